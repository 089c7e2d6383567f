"""Soft actor-critic (Haarnoja et al. 2018) for the learner's seat of any scenario with continuous actions.

Numbered as in Bakshaev (2020), with π the policy, α the temperature, d = 1 where the market ended:

    goal     π* = argmax E[Σ γ^i (R_i + α H(π(s_i)))]                                                    (equation 4)
    critics  L_j = E[(Q_j(s, a) - y)²],  j = 1, 2                                                        (equation 5)
    target   y = r + γ (1 - d) (min_j Q_j^target(s', ã') - α log π(ã' | s')),  ã' ~ π(s')                (equation 6)
    actor    L_π = E[α log π(ã | s) - min_j Q_j(s, ã)],  ã ~ π(s)                               (algorithm 1, line 14)
    targets  φ_j^target ← (1 - τ) φ_j^target + τ φ_j                                            (algorithm 1, line 15)
    L_α = log α · (H(π) - H̄), where the temperature is found: it rises while the entropy is below H̄

Actions are points of [-1, 1]^d, the action box in its own units, and so are densities and entropies. An iteration
rolls out, puts what it saw into a ring and takes gradient steps on batches from it, all compiled; `train_chunk` runs a
number of iterations in one program. Everything that training needs to go on is in the `TrainState`, the ring too, so a
run that stops and goes on gives the same bits as one that never stopped.

Experience is kept raw and scaled when it is learned from, by the scales of that moment, so that old and new rows are
always in the same units: observations by their running mean and deviation, rewards by the running deviation of their
discounted sum as the market was lived, exploring; running over about as many steps as the ring holds, so that what was
lived at first and is forgotten sets no scale either. Values and the temperature are in those units of reward.
"""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from twosided.core.numeric import Scalar
from twosided.core.policy import Policy
from twosided.core.rollout import Carry, rollout
from twosided.core.scenario import Scenario, Step
from twosided.core.spaces import Box
from twosided.core.validation import check, is_at_least, is_positive
from twosided.learn.base import Learner, each, first_episodes, joint_policy, keys_of, repeated
from twosided.learn.networks import (
    MLP,
    Activation,
    Draw,
    Explorer,
    NeuralPolicy,
    Normalizer,
    UniformExplorer,
    action_size,
    features,
    mlp,
    num_features,
)
from twosided.learn.replay import Replay
from twosided.learn.returns import discounted_returns


class Fitted(eqx.Module):
    """What gradients move, and what its optimizer remembers."""

    value: Any
    moments: Any


class Agent(eqx.Module):
    """What a learner is so far."""

    actor: Fitted
    critics: Fitted
    """Two perceptrons."""
    log_ent_coef: Fitted
    targets: tuple[MLP, MLP]
    """The critics, followed slowly."""
    observations: Normalizer
    returns: Normalizer
    return_so_far: Float[Array, "num_envs"]


class TrainState(eqx.Module):
    """Where training stands; everything that it needs to go on."""

    agents: Agent
    """The learner; where a scenario has several, leaves have a leading axis of them."""
    replays: Replay
    """What it has lived; of several likewise. Apart from the learner, whom many gradient steps pass from hand to hand:
    a ring that went along would be copied on the way, all of it."""
    carry: Carry
    key: PRNGKeyArray
    iteration: Int[Array, ""]


class Experience(eqx.Module):
    """One step of one path, as the ring keeps it; in a batch, leaves have a leading axis."""

    observation: Float[Array, "*batch features"]
    action: Float[Array, "*batch size"]
    """In [-1, 1]."""
    reward: Float[Array, "*batch"]
    next_observation: Float[Array, "*batch features"]
    """Before any new start."""
    terminated: Bool[Array, "*batch"]


class SAC(Learner):
    """Soft actor-critic with twin critics, replay and a temperature that finds itself."""

    total_timesteps: int = eqx.field(static=True, default=200_000)
    """Market steps to train on, a seed, after the warm-up."""
    num_envs: int = eqx.field(static=True, default=16)
    """Markets side by side."""
    num_steps: int = eqx.field(static=True, default=1)
    """Steps of every market between two rounds of updates."""
    gradient_steps: int = eqx.field(static=True, default=4)
    """Gradient steps after each rollout."""
    batch_size: int = eqx.field(static=True, default=256)
    """Rows of the replay that a gradient step learns from."""
    buffer_size: int = eqx.field(static=True, default=1_000_000)
    """Rows that the replay holds, a seed; never more than there are steps."""
    learning_starts: int = eqx.field(static=True, default=1000)
    """Market steps with random actions before the first update, uniform over the box."""
    hidden_sizes: tuple[int, ...] = eqx.field(static=True, default=(64, 64))
    """Sizes of the hidden layers, of the policy's and the values' networks alike."""
    activation: Activation = eqx.field(static=True, default="relu")
    """Activation between layers."""
    layer_norm: bool = eqx.field(static=True, default=False)
    """Normalise every hidden layer before its activation."""
    gamma: Scalar = 0.99
    """γ, a step."""
    tau: Scalar = 0.005
    """How far the target networks move towards the critics after each gradient step."""
    ent_coef: Literal["auto"] | Scalar = "auto"
    """α, the worth of a unit of entropy in scaled reward; none finds the one at which the entropy is the target's."""
    initial_ent_coef: Scalar = 0.1
    """α at first, where it is found."""
    target_entropy: Scalar | None = None
    """H̄, nats, the action box being [-1, 1] in every dimension; none for minus the number of dimensions."""
    actor_lr: Scalar = 3e-4
    """Adam's step size for the policy at first."""
    critic_lr: Scalar = 3e-4
    """Adam's step size for the values at first."""
    ent_coef_lr: Scalar = 3e-4
    """Adam's step size for the logarithm of the temperature at first."""
    lr_end: Scalar = 0.0
    """Step sizes at the end, as a fraction of the first; linear in between."""
    max_grad_norm: Scalar | None = None
    """A gradient of a larger global norm is scaled down to it, each network's on its own; none for no limit."""
    normalize_observations: bool = eqx.field(static=True, default=True)
    """Scale observations by their running mean and deviation."""
    normalize_rewards: bool = eqx.field(static=True, default=True)
    """Divide rewards by the running deviation of their discounted sum."""

    def __check_init__(self):
        for name in (
            "total_timesteps",
            "num_envs",
            "num_steps",
            "gradient_steps",
            "batch_size",
            "learning_starts",
        ):
            value = getattr(self, name)
            check(name, value, "at least 1", value >= 1)
        check(
            "hidden_sizes",
            self.hidden_sizes,
            "sizes of at least 1",
            all(size >= 1 for size in self.hidden_sizes),
        )
        rows = self.steps_per_iteration
        check("num_envs", self.num_envs, f"at most 10 million over num_steps ({self.num_steps})", rows <= 1e7)
        most = max(rows, self._warmup_rows)
        holds = f"at least the {most} steps of a rollout or of the warm-up"
        check("buffer_size", self.buffer_size, holds, self.buffer_size >= most)
        for name in ("initial_ent_coef", "actor_lr", "critic_lr", "ent_coef_lr"):
            value = getattr(self, name)
            check(name, value, "positive and finite", lambda value=value: is_positive(value))
        check("lr_end", self.lr_end, "at least 0 and finite", lambda: is_at_least(self.lr_end, 0))
        check("gamma", self.gamma, "in [0, 1)", lambda: 0 <= self.gamma < 1)
        check("tau", self.tau, "in (0, 1]", lambda: 0 < self.tau <= 1)
        ent_coef = self.ent_coef
        check(
            "ent_coef",
            ent_coef,
            'at least 0 and finite, or "auto"',
            lambda: ent_coef == "auto" if isinstance(ent_coef, str) else is_at_least(ent_coef, 0),
        )
        if (entropy := self.target_entropy) is not None:
            check("target_entropy", entropy, "finite", lambda: is_at_least(entropy, -1e30))
        if (norm := self.max_grad_norm) is not None:
            check("max_grad_norm", norm, "positive and finite", lambda: is_positive(norm))

    @property
    def iterations(self) -> int:
        """Rollouts with their updates in the whole training."""
        return -(-self.total_timesteps // self.steps_per_iteration)

    @property
    def steps_per_iteration(self) -> int:
        return self.num_envs * self.num_steps

    @property
    def _warmup_rows(self) -> int:
        """Whole steps of all markets."""
        return -(-self.learning_starts // self.num_envs) * self.num_envs

    def begin(self, scenario: Scenario, key: PRNGKeyArray) -> TrainState:
        """Fresh learners, and first episodes lived at random for the length of the warm-up."""
        if not isinstance(scenario.action_space, Box):
            raise ValueError("learner needs a market with continuous actions; ppo takes a finite list too")
        key_agents, key_start, key_warmup, key = jax.random.split(key, 4)
        agents, replays = each(scenario, lambda k: self._fresh(scenario, k))(keys_of(scenario, key_agents))
        policy = joint_policy(scenario, UniformExplorer(_policies(self, scenario, agents)))
        carry = first_episodes(scenario, policy, key_start, self.num_envs)
        steps = self._warmup_rows // self.num_envs
        carry, agents, replays, _ = _live(self, scenario, policy, carry, agents, replays, key_warmup, steps)
        return TrainState(agents, replays, carry, key, iteration=jnp.zeros((), jnp.int32))

    def _fresh(self, scenario: Scenario, key: PRNGKeyArray) -> tuple[Agent, Replay]:
        """A learner that knows nothing and has lived nothing."""
        size, dimensions = num_features(scenario), action_size(scenario.action_space)
        key_actor, *keys = jax.random.split(key, 3)

        def network(inputs: int, outputs: int, last_scale: float, key: PRNGKeyArray) -> MLP:
            return mlp(inputs, outputs, self.hidden_sizes, self.activation, last_scale, key, self.layer_norm)

        def fitted(value: Any) -> Fitted:
            return Fitted(value, _optimizer(self).init(value))

        one, other = (network(size + dimensions, 1, 1.0, k) for k in keys)
        seen, done = jnp.zeros(size), jnp.asarray(False)
        row = Experience(seen, jnp.zeros(dimensions), jnp.zeros(()), seen, done)
        capacity = min(self.buffer_size, self._warmup_rows + self.iterations * self.steps_per_iteration)
        agent = Agent(
            actor=fitted(network(size, 2 * dimensions, 0.01, key_actor)),
            critics=fitted((one, other)),
            log_ent_coef=fitted(jnp.log(self.initial_ent_coef) * jnp.ones(())),
            targets=(one, other),
            observations=Normalizer.empty(size),
            returns=Normalizer.empty(),
            return_so_far=jnp.zeros(self.num_envs),
        )
        return agent, Replay.empty(capacity, row)

    def train_chunk(
        self, scenario: Scenario, state: TrainState, iterations: Int[Array, ""]
    ) -> tuple[TrainState, dict]:
        """A number of iterations, and means of what they tell.

        reward: mean a step of the exploring policy, in currency; policy_loss: L_π; value_loss: L_1 + L_2; value: mean
        of the critics, in scaled reward; entropy: of the actions in [-1, 1]; ent_coef: α.
        """
        return repeated(lambda state: self._iterate(scenario, state), state, iterations)

    def _iterate(self, scenario: Scenario, state: TrainState) -> tuple[TrainState, dict]:
        """One rollout and its updates."""
        state, reward, key = self.lived(scenario, state)
        sources = ((state.replays, self.batch_size),)
        agents, metrics = learned(self, scenario, state.agents, sources, state.iteration, key)
        return TrainState(agents, state.replays, state.carry, state.key, state.iteration + 1), metrics | {
            "reward": reward
        }

    def lived(
        self, scenario: Scenario, state: TrainState
    ) -> tuple[TrainState, Float[Array, ""], PRNGKeyArray]:
        """The state after one more rollout, exploring; its mean reward; and the key of what is learned from it."""
        key_rollout, key_updates, key = jax.random.split(state.key, 3)
        policy = explorer(self, scenario, state.agents)
        carry, agents, replays, reward = _live(
            self, scenario, policy, state.carry, state.agents, state.replays, key_rollout, self.num_steps
        )
        return TrainState(agents, replays, carry, key, state.iteration), reward, key_updates

    def policy(self, scenario: Scenario, state: TrainState, explore: bool = False) -> Policy:
        """The policy as it stands: its mode, or the distribution that it explores with; `Together` for several."""
        return joint_policy(scenario, _policies(self, scenario, state.agents, explore))


def soft_target(
    reward: Float[Array, ""],
    terminated: Bool[Array, ""],
    next_values: Float[Array, "2"],
    next_log_prob: Float[Array, ""],
    gamma: Scalar,
    ent_coef: Scalar,
) -> Float[Array, ""]:
    """y of equation 6. A time that the horizon cuts is no end: it is followed by the observation before the cut."""
    return reward + gamma * jnp.where(terminated, 0.0, next_values.min() - ent_coef * next_log_prob)


def explorer(config: SAC, scenario: Scenario, agents: Agent) -> Policy:
    """What sits in the learners' seats while they explore."""
    return joint_policy(scenario, Explorer(_policies(config, scenario, agents, explore=True)))


def recorder(scenario: Scenario) -> Callable[[Any, Draw, Step], tuple[Experience, Bool[Array, "..."]]]:
    """What to keep of a step of learners that explore: a row of experience, and whether the episode ended with it."""
    seen = each(scenario, features)

    def record(observation: Any, draw: Draw, step: Step) -> tuple[Experience, Bool[Array, "..."]]:
        terminated, truncated = (
            jnp.broadcast_to(end, step.reward.shape) for end in (step.terminated, step.truncated)
        )
        row = Experience(seen(observation), jnp.tanh(draw.u), step.reward, seen(step.observation), terminated)
        return row, terminated | truncated

    return record


def learned(
    config: SAC,
    scenario: Scenario,
    agents: Agent,
    sources: tuple[tuple[Replay, int], ...],
    iteration: Int[Array, ""],
    key: PRNGKeyArray,
) -> tuple[Agent, dict]:
    """The updates of an iteration, on batches of a number of rows from each ring; several learners update side by
    side, each from what it saw itself."""
    rate = 1 - (1 - config.lr_end) * jnp.clip(iteration / config.iterations, 0.0, 1.0)
    rings, counts = tuple(ring for ring, _ in sources), tuple(count for _, count in sources)

    def learn(agent: Agent, rings: tuple[Replay, ...], key: PRNGKeyArray) -> tuple[Agent, dict]:
        def update(agent: Agent, key: PRNGKeyArray) -> tuple[Agent, dict]:
            key_batch, key_update = jax.random.split(key)
            # The first ring's draws are the same whatever other rings there are.
            keys = [key_batch, *(jax.random.fold_in(key_batch, i) for i in range(1, len(rings)))]
            rows = [ring.sample(k, count) for ring, k, count in zip(rings, keys, counts, strict=True)]
            batch = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *rows)
            return _update(config, scenario, agent, batch, rate, key_update)

        agent, metrics = jax.lax.scan(update, agent, jax.random.split(key, config.gradient_steps))
        return agent, jax.tree.map(jnp.mean, metrics)

    agents, metrics = each(scenario, learn)(agents, rings, keys_of(scenario, key))
    return agents, jax.tree.map(jnp.mean, metrics)


def _live(
    config: SAC,
    scenario: Scenario,
    policy: Policy,
    carry: Carry,
    agents: Agent,
    replays: Replay,
    key: PRNGKeyArray,
    num_steps: int,
) -> tuple[Carry, Agent, Replay, Float[Array, ""]]:
    """A rollout of the learners, remembered; and its mean reward."""

    def remember(
        agent: Agent, replay: Replay, rows: Experience, done: Bool[Array, "time paths"]
    ) -> tuple[Agent, Replay]:
        sums = jax.vmap(discounted_returns, in_axes=(0, 1, 1, None), out_axes=1)(
            agent.return_so_far, rows.reward, done, config.gamma
        )
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)
        agent = eqx.tree_at(
            lambda a: (a.observations, a.returns, a.return_so_far),
            agent,
            (
                agent.observations.update(flat.observation).recent(replay.capacity),
                agent.returns.update(sums.reshape(-1)).recent(replay.capacity),
                jnp.where(done[-1], 0.0, sums[-1]),
            ),
        )
        return agent, replay.add(flat)

    carry, lived = rollout(scenario, policy, carry, key, num_steps, recorder(scenario))
    if scenario.learners > 1:
        lived = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 2, 0), lived)
    agents, replays = each(scenario, remember)(agents, replays, *lived)
    return carry, agents, replays, lived[0].reward.mean()


def _update(
    config: SAC,
    scenario: Scenario,
    agent: Agent,
    batch: Experience,
    rate: Float[Array, ""],
    key: PRNGKeyArray,
) -> tuple[Agent, dict]:
    """One step of gradient descent of the critics, the actor and the temperature, on a batch from anywhere."""
    key_next, key_now = jax.random.split(key)
    normalize = jax.vmap(_scales(config, agent))
    observation, next_observation = normalize(batch.observation), normalize(batch.next_observation)
    reward = batch.reward / _reward_scale(agent.returns) if config.normalize_rewards else batch.reward
    ent_coef = jnp.exp(agent.log_ent_coef.value) if isinstance(config.ent_coef, str) else config.ent_coef

    def played(actor: MLP, seen: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        """Actions and their log-probabilities, differentiable."""
        policy = eqx.tree_at(lambda p: p.network, _policy(config, scenario, agent, explore=True), actor)

        def one(x: Array, shock: Array) -> tuple[Array, Array]:
            distribution = policy.head(x)
            u = distribution.sample(shock)
            return jnp.tanh(u), distribution.log_prob_of_tanh(u)

        return jax.vmap(one)(seen, policy.shocks(key, (seen.shape[0],)))

    next_action, next_log_prob = played(agent.actor.value, next_observation, key_next)
    target = jax.vmap(soft_target, in_axes=(0, 0, 1, 0, None, None))(
        reward,
        batch.terminated,
        _values(agent.targets, next_observation, next_action),
        next_log_prob,
        config.gamma,
        ent_coef,
    )

    def critic_loss(critics: tuple[MLP, MLP]) -> tuple[Array, Array]:
        values = _values(critics, observation, batch.action)
        return jnp.square(values - target).mean(1).sum(), values.mean()

    (value_loss, value), gradient = jax.value_and_grad(critic_loss, has_aux=True)(agent.critics.value)
    critics = _descend(config, agent.critics, gradient, config.critic_lr * rate)

    def actor_loss(actor: MLP) -> tuple[Array, Array]:
        action, log_prob = played(actor, observation, key_now)
        best = _values(critics.value, observation, action).min(0)
        return (ent_coef * log_prob - best).mean(), -log_prob.mean()

    (policy_loss, entropy), gradient = jax.value_and_grad(actor_loss, has_aux=True)(agent.actor.value)
    actor = _descend(config, agent.actor, gradient, config.actor_lr * rate)

    log_ent_coef = agent.log_ent_coef
    if isinstance(config.ent_coef, str):
        wanted = -float(batch.action.shape[1]) if config.target_entropy is None else config.target_entropy
        gradient = (entropy - wanted).astype(log_ent_coef.value.dtype)
        log_ent_coef = _descend(config, log_ent_coef, gradient, config.ent_coef_lr * rate)
    targets = jax.tree.map(lambda old, new: old + config.tau * (new - old), agent.targets, critics.value)
    agent = eqx.tree_at(
        lambda a: (a.actor, a.critics, a.log_ent_coef, a.targets),
        agent,
        (actor, critics, log_ent_coef, targets),
    )
    metrics = {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "value": value,
        "entropy": entropy,
        "ent_coef": ent_coef,
    }
    return agent, jax.tree.map(jnp.asarray, metrics)


def _values(
    critics: tuple[MLP, MLP],
    observation: Float[Array, "n features"],
    action: Float[Array, "n size"],
) -> Float[Array, "2 n"]:
    """What both critics say of normalised observations and actions in [-1, 1]."""
    inputs = jnp.concatenate([observation, action], axis=1)
    return jnp.stack([jax.vmap(critic)(inputs)[:, 0] for critic in critics])


def _reward_scale(returns: Normalizer) -> Float[Array, ""]:
    """The deviation of discounted sums, or a hundredth of their mean where they hardly deviate."""
    return jnp.sqrt(returns.variance + jnp.square(0.01 * returns.mean) + 1e-24)


def _scales(config: SAC, agent: Agent) -> Normalizer:
    size = agent.observations.mean.shape[0]
    return agent.observations if config.normalize_observations else Normalizer.empty(size)


def _policy(config: SAC, scenario: Scenario, agent: Agent, explore: bool = False) -> NeuralPolicy:
    """The policy of one learner."""
    return NeuralPolicy(
        network=agent.actor.value,
        log_std=None,
        normalizer=_scales(config, agent),
        space=scenario.action_space,
        squash=True,
        explore=explore,
    )


def _policies(config: SAC, scenario: Scenario, agents: Agent, explore: bool = False) -> NeuralPolicy:
    """The policy of the learner, or of every learner, stacked."""
    return each(scenario, lambda agent: _policy(config, scenario, agent, explore))(agents)


def _descend(config: SAC, fitted: Fitted, gradient: Any, rate: Scalar) -> Fitted:
    """One step of Adam."""
    direction, moments = _optimizer(config).update(gradient, fitted.moments)
    return Fitted(jax.tree.map(lambda w, d: w - rate * d, fitted.value, direction), moments)


def _optimizer(config: SAC) -> optax.GradientTransformation:
    """Adam's direction; the step size is the schedule's."""
    adam = optax.scale_by_adam()
    if config.max_grad_norm is None:
        return adam
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), adam)
