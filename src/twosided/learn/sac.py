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
from typing import Any

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
    Normaliser,
    UniformExplorer,
    action_size,
    features,
    mlp,
    num_features,
)
from twosided.learn.replay import Replay
from twosided.learn.returns import discounted_returns


class Fitted(eqx.Module):
    """What gradients move, and what its optimiser remembers."""

    value: Any
    moments: Any


class Agent(eqx.Module):
    """What a learner is so far."""

    actor: Fitted
    critics: Fitted
    """Two perceptrons."""
    log_temperature: Fitted
    targets: tuple[MLP, MLP]
    """The critics, followed slowly."""
    observations: Normaliser
    returns: Normaliser
    return_so_far: Float[Array, "paths"]


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

    steps: int = eqx.field(static=True, default=200_000)
    """Market steps to train on, a seed, after the warm-up."""
    paths: int = eqx.field(static=True, default=16)
    """Markets side by side."""
    rollout_steps: int = eqx.field(static=True, default=1)
    """Steps of every market between two rounds of updates."""
    updates: int = eqx.field(static=True, default=4)
    """Gradient steps after each rollout."""
    batch: int = eqx.field(static=True, default=256)
    """Rows of the replay that a gradient step learns from."""
    buffer: int = eqx.field(static=True, default=1_000_000)
    """Rows that the replay holds, a seed; never more than there are steps."""
    warmup: int = eqx.field(static=True, default=1000)
    """Market steps with random actions before the first update, uniform over the box."""
    hidden: tuple[int, ...] = eqx.field(static=True, default=(64, 64))
    """Sizes of the hidden layers, of the policy's and the values' networks alike."""
    activation: Activation = eqx.field(static=True, default="relu")
    """Activation between layers."""
    layer_norm: bool = eqx.field(static=True, default=False)
    """Normalise every hidden layer before its activation."""
    discount: Scalar = 0.99
    """γ, a step."""
    tau: Scalar = 0.005
    """How far the target networks move towards the critics after each gradient step."""
    temperature: Scalar | None = None
    """α, the worth of a unit of entropy in scaled reward; none finds the one at which the entropy is the target's."""
    initial_temperature: Scalar = 0.1
    """α at first, where it is found."""
    target_entropy: Scalar | None = None
    """H̄, nats, the action box being [-1, 1] in every dimension; none for minus the number of dimensions."""
    actor_rate: Scalar = 3e-4
    """Adam's step size for the policy at first."""
    critic_rate: Scalar = 3e-4
    """Adam's step size for the values at first."""
    temperature_rate: Scalar = 3e-4
    """Adam's step size for the logarithm of the temperature at first."""
    rate_end: Scalar = 0.0
    """Step sizes at the end, as a fraction of the first; linear in between."""
    max_gradient_norm: Scalar | None = None
    """A gradient of a larger global norm is scaled down to it, each network's on its own; none for no limit."""
    normalise_observations: bool = eqx.field(static=True, default=True)
    """Scale observations by their running mean and deviation."""
    normalise_rewards: bool = eqx.field(static=True, default=True)
    """Divide rewards by the running deviation of their discounted sum."""

    def __check_init__(self):
        for name in ("steps", "paths", "rollout_steps", "updates", "batch", "warmup"):
            value = getattr(self, name)
            check(name, value, "at least 1", value >= 1)
        check("hidden", self.hidden, "sizes of at least 1", all(size >= 1 for size in self.hidden))
        rows = self.steps_per_iteration
        check(
            "paths", self.paths, f"at most 10 million over rollout_steps ({self.rollout_steps})", rows <= 1e7
        )
        most = max(rows, self._warmup_rows)
        holds = f"at least the {most} steps of a rollout or of the warm-up"
        check("buffer", self.buffer, holds, self.buffer >= most)
        for name in ("initial_temperature", "actor_rate", "critic_rate", "temperature_rate"):
            value = getattr(self, name)
            check(name, value, "positive and finite", lambda value=value: is_positive(value))
        check("rate_end", self.rate_end, "at least 0 and finite", lambda: is_at_least(self.rate_end, 0))
        check("discount", self.discount, "in [0, 1)", lambda: 0 <= self.discount < 1)
        check("tau", self.tau, "in (0, 1]", lambda: 0 < self.tau <= 1)
        if (fixed := self.temperature) is not None:
            check("temperature", fixed, "at least 0 and finite", lambda: is_at_least(fixed, 0))
        if (entropy := self.target_entropy) is not None:
            check("target_entropy", entropy, "finite", lambda: is_at_least(entropy, -1e30))
        if (norm := self.max_gradient_norm) is not None:
            check("max_gradient_norm", norm, "positive and finite", lambda: is_positive(norm))

    @property
    def iterations(self) -> int:
        """Rollouts with their updates in the whole training."""
        return -(-self.steps // self.steps_per_iteration)

    @property
    def steps_per_iteration(self) -> int:
        return self.paths * self.rollout_steps

    @property
    def _warmup_rows(self) -> int:
        """Whole steps of all markets."""
        return -(-self.warmup // self.paths) * self.paths

    def begin(self, scenario: Scenario, key: PRNGKeyArray) -> TrainState:
        """Fresh learners, and first episodes lived at random for the length of the warm-up."""
        if not isinstance(scenario.action_space, Box):
            raise ValueError("learner needs a market with continuous actions; ppo takes a finite list too")
        key_agents, key_start, key_warmup, key = jax.random.split(key, 4)
        agents, replays = each(scenario, lambda k: self._fresh(scenario, k))(keys_of(scenario, key_agents))
        policy = joint_policy(scenario, UniformExplorer(_policies(self, scenario, agents)))
        carry = first_episodes(scenario, policy, key_start, self.paths)
        steps = self._warmup_rows // self.paths
        carry, agents, replays, _ = _live(self, scenario, policy, carry, agents, replays, key_warmup, steps)
        return TrainState(agents, replays, carry, key, iteration=jnp.zeros((), jnp.int32))

    def _fresh(self, scenario: Scenario, key: PRNGKeyArray) -> tuple[Agent, Replay]:
        """A learner that knows nothing and has lived nothing."""
        size, dimensions = num_features(scenario), action_size(scenario.action_space)
        key_actor, *keys = jax.random.split(key, 3)

        def network(inputs: int, outputs: int, last_scale: float, key: PRNGKeyArray) -> MLP:
            return mlp(inputs, outputs, self.hidden, self.activation, last_scale, key, self.layer_norm)

        def fitted(value: Any) -> Fitted:
            return Fitted(value, _optimiser(self).init(value))

        one, other = (network(size + dimensions, 1, 1.0, k) for k in keys)
        seen, done = jnp.zeros(size), jnp.asarray(False)
        row = Experience(seen, jnp.zeros(dimensions), jnp.zeros(()), seen, done)
        capacity = min(self.buffer, self._warmup_rows + self.iterations * self.steps_per_iteration)
        agent = Agent(
            actor=fitted(network(size, 2 * dimensions, 0.01, key_actor)),
            critics=fitted((one, other)),
            log_temperature=fitted(jnp.log(self.initial_temperature) * jnp.ones(())),
            targets=(one, other),
            observations=Normaliser.empty(size),
            returns=Normaliser.empty(),
            return_so_far=jnp.zeros(self.paths),
        )
        return agent, Replay.empty(capacity, row)

    def train_chunk(
        self, scenario: Scenario, state: TrainState, iterations: Int[Array, ""]
    ) -> tuple[TrainState, dict]:
        """A number of iterations, and means of what they tell.

        reward: mean a step of the exploring policy, in currency; entropy: of the actions in [-1, 1]; temperature;
        value: mean of the critics, in scaled reward; value_loss: L_1 + L_2.
        """
        return repeated(lambda state: self._iterate(scenario, state), state, iterations)

    def _iterate(self, scenario: Scenario, state: TrainState) -> tuple[TrainState, dict]:
        """One rollout and its updates."""
        state, reward, key = self.lived(scenario, state)
        sources = ((state.replays, self.batch),)
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
            self, scenario, policy, state.carry, state.agents, state.replays, key_rollout, self.rollout_steps
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
    discount: Scalar,
    temperature: Scalar,
) -> Float[Array, ""]:
    """y of equation 6. A time that the horizon cuts is no end: it is followed by the observation before the cut."""
    return reward + discount * jnp.where(terminated, 0.0, next_values.min() - temperature * next_log_prob)


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
    rate = 1 - (1 - config.rate_end) * jnp.clip(iteration / config.iterations, 0.0, 1.0)
    rings, counts = tuple(ring for ring, _ in sources), tuple(count for _, count in sources)

    def learn(agent: Agent, rings: tuple[Replay, ...], key: PRNGKeyArray) -> tuple[Agent, dict]:
        def update(agent: Agent, key: PRNGKeyArray) -> tuple[Agent, dict]:
            key_batch, key_update = jax.random.split(key)
            # The first ring's draws are the same whatever other rings there are.
            keys = [key_batch, *(jax.random.fold_in(key_batch, i) for i in range(1, len(rings)))]
            rows = [ring.sample(k, count) for ring, k, count in zip(rings, keys, counts, strict=True)]
            batch = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *rows)
            return _update(config, scenario, agent, batch, rate, key_update)

        agent, metrics = jax.lax.scan(update, agent, jax.random.split(key, config.updates))
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
    steps: int,
) -> tuple[Carry, Agent, Replay, Float[Array, ""]]:
    """A rollout of the learners, remembered; and its mean reward."""

    def remember(
        agent: Agent, replay: Replay, rows: Experience, done: Bool[Array, "time paths"]
    ) -> tuple[Agent, Replay]:
        sums = jax.vmap(discounted_returns, in_axes=(0, 1, 1, None), out_axes=1)(
            agent.return_so_far, rows.reward, done, config.discount
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

    carry, lived = rollout(scenario, policy, carry, key, steps, recorder(scenario))
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
    normalise = jax.vmap(_scales(config, agent))
    observation, next_observation = normalise(batch.observation), normalise(batch.next_observation)
    reward = batch.reward / _reward_scale(agent.returns) if config.normalise_rewards else batch.reward
    temperature = jnp.exp(agent.log_temperature.value) if config.temperature is None else config.temperature

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
        config.discount,
        temperature,
    )

    def critic_loss(critics: tuple[MLP, MLP]) -> tuple[Array, Array]:
        values = _values(critics, observation, batch.action)
        return jnp.square(values - target).mean(1).sum(), values.mean()

    (value_loss, value), gradient = jax.value_and_grad(critic_loss, has_aux=True)(agent.critics.value)
    critics = _descend(config, agent.critics, gradient, config.critic_rate * rate)

    def actor_loss(actor: MLP) -> tuple[Array, Array]:
        action, log_prob = played(actor, observation, key_now)
        best = _values(critics.value, observation, action).min(0)
        return (temperature * log_prob - best).mean(), -log_prob.mean()

    gradient, entropy = jax.grad(actor_loss, has_aux=True)(agent.actor.value)
    actor = _descend(config, agent.actor, gradient, config.actor_rate * rate)

    log_temperature = agent.log_temperature
    if config.temperature is None:
        wanted = -float(batch.action.shape[1]) if config.target_entropy is None else config.target_entropy
        gradient = (entropy - wanted).astype(log_temperature.value.dtype)
        log_temperature = _descend(config, log_temperature, gradient, config.temperature_rate * rate)
    targets = jax.tree.map(lambda old, new: old + config.tau * (new - old), agent.targets, critics.value)
    agent = eqx.tree_at(
        lambda a: (a.actor, a.critics, a.log_temperature, a.targets),
        agent,
        (actor, critics, log_temperature, targets),
    )
    metrics = {"entropy": entropy, "temperature": temperature, "value": value, "value_loss": value_loss}
    return agent, jax.tree.map(jnp.asarray, metrics)


def _values(
    critics: tuple[MLP, MLP],
    observation: Float[Array, "n features"],
    action: Float[Array, "n size"],
) -> Float[Array, "2 n"]:
    """What both critics say of normalised observations and actions in [-1, 1]."""
    inputs = jnp.concatenate([observation, action], axis=1)
    return jnp.stack([jax.vmap(critic)(inputs)[:, 0] for critic in critics])


def _reward_scale(returns: Normaliser) -> Float[Array, ""]:
    """The deviation of discounted sums, or a hundredth of their mean where they hardly deviate."""
    return jnp.sqrt(returns.variance + jnp.square(0.01 * returns.mean) + 1e-24)


def _scales(config: SAC, agent: Agent) -> Normaliser:
    size = agent.observations.mean.shape[0]
    return agent.observations if config.normalise_observations else Normaliser.empty(size)


def _policy(config: SAC, scenario: Scenario, agent: Agent, explore: bool = False) -> NeuralPolicy:
    """The policy of one learner."""
    return NeuralPolicy(
        network=agent.actor.value,
        log_std=None,
        normaliser=_scales(config, agent),
        space=scenario.action_space,
        squash=True,
        explore=explore,
    )


def _policies(config: SAC, scenario: Scenario, agents: Agent, explore: bool = False) -> NeuralPolicy:
    """The policy of the learner, or of every learner, stacked."""
    return each(scenario, lambda agent: _policy(config, scenario, agent, explore))(agents)


def _descend(config: SAC, fitted: Fitted, gradient: Any, rate: Scalar) -> Fitted:
    """One step of Adam."""
    direction, moments = _optimiser(config).update(gradient, fitted.moments)
    return Fitted(jax.tree.map(lambda w, d: w - rate * d, fitted.value, direction), moments)


def _optimiser(config: SAC) -> optax.GradientTransformation:
    """Adam's direction; the step size is the schedule's."""
    adam = optax.scale_by_adam()
    if config.max_gradient_norm is None:
        return adam
    return optax.chain(optax.clip_by_global_norm(config.max_gradient_norm), adam)
