"""Soft actor-critic (Haarnoja et al. 2018) for the learner's seat of any scenario with continuous actions.

Numbered as in Bakshaev (2020), with π the policy, α the temperature, and d = 1 where the market terminated:

    objective  π* = argmax E[Σ γ^i (R_i + α H(π(s_i)))]                                                  (equation 4)
    critics    L_j = E[(Q_j(s, a) - y)²],  j = 1, 2                                                      (equation 5)
    target     y = r + γ (1 - d) (min_j Q_j^target(s', ã') - α log π(ã' | s')),  ã' ~ π(s')              (equation 6)
    actor      L_π = E[α log π(ã | s) - min_j Q_j(s, ã)],  ã ~ π(s)                             (algorithm 1, line 14)
    targets    φ_j^target ← (1 - τ) φ_j^target + τ φ_j                                          (algorithm 1, line 15)
    automatic temperature tuning   L_α = log α · (H(π) - H̄): α rises while the entropy is below H̄

Actions are points of [-1, 1]^d, the coordinates of the action box; densities and entropies are in these coordinates. An
iteration collects a rollout, adds it to the replay buffer and takes gradient steps on batches from the buffer. All of
it is compiled, and `train_chunk` runs a number of iterations in one program. `TrainState` holds everything that
training needs to resume, the buffer included, so an interrupted run gives results that are identical to the bit.

Experience is stored unscaled and is scaled when a batch is drawn, so that old and new rows are always in the same
units. Observations are normalised by their running mean and standard deviation. Rewards are divided by the running
standard deviation of their discounted sum while exploring. Both run over about as many steps as the buffer holds, so
that experience that the buffer has dropped does not set the scale. Values and α are in units of scaled reward.
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
from twosided.learn.base import (
    Learner,
    joint_policy,
    learner_keys,
    per_learner,
    run_iterations,
    start_staggered,
)
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
from twosided.learn.replay import ReplayBuffer
from twosided.learn.returns import discounted_returns


class Optimized(eqx.Module):
    """Trainable parameters with the state of their optimizer."""

    params: Any
    """Trainable parameters."""
    opt_state: Any
    """State of the optimizer."""


class Agent(eqx.Module):
    """One learner: its networks, temperature and running scales."""

    actor: Optimized
    """Network of the policy."""
    critics: Optimized
    """Two networks of the action value Q."""
    log_ent_coef: Optimized
    """log α, where it is tuned automatically."""
    target_critics: tuple[MLP, MLP]
    """Target networks: moving averages of the critics."""
    observation_normalizer: Normalizer
    """Running mean and variance of the features."""
    return_normalizer: Normalizer
    """Running mean and variance of discounted returns, whose standard deviation scales rewards."""
    running_return: Float[Array, "num_envs"]
    """Discounted return of the current episode in each environment."""


class TrainState(eqx.Module):
    """Training state: everything that training needs to resume."""

    agents: Agent
    """The learner, kept apart from the buffer so that the scan over gradient steps does not copy the buffer; with
    several learners in a scenario, leaves have a leading axis of learners."""
    buffers: ReplayBuffer
    """Replay buffer of the learner; of several likewise."""
    carry: Carry
    """State of the environments."""
    key: PRNGKeyArray
    """Key of the random numbers still to be drawn."""
    iteration: Int[Array, ""]
    """Iterations completed."""


class Experience(eqx.Module):
    """One step of one environment, as a row of the replay buffer. In a batch, leaves have a leading axis."""

    observation: Float[Array, "*batch features"]
    """Features before the step."""
    action: Float[Array, "*batch size"]
    """Action in [-1, 1]^d."""
    reward: Float[Array, "*batch"]
    """Reward of the step."""
    next_observation: Float[Array, "*batch features"]
    """Features after the step and before any reset."""
    terminated: Bool[Array, "*batch"]
    """Whether the market terminated with the step."""


class SAC(Learner):
    """Soft actor-critic with twin critics, a replay buffer and automatic temperature tuning."""

    total_timesteps: int = eqx.field(static=True, default=200_000)
    """Training steps per seed, over all environments, after those of learning_starts."""
    num_envs: int = eqx.field(static=True, default=16)
    """Environments side by side."""
    num_steps: int = eqx.field(static=True, default=1)
    """Steps per environment in each rollout."""
    gradient_steps: int = eqx.field(static=True, default=4)
    """Gradient steps after each rollout."""
    batch_size: int = eqx.field(static=True, default=256)
    """Rows of the replay buffer in the batch of a gradient step."""
    buffer_size: int = eqx.field(static=True, default=1_000_000)
    """Largest number of rows in the replay buffer, per seed. No more are allocated than there are steps."""
    learning_starts: int = eqx.field(static=True, default=1000)
    """Steps with actions drawn uniformly from the action box before the first gradient step."""
    hidden_sizes: tuple[int, ...] = eqx.field(static=True, default=(64, 64))
    """Sizes of the hidden layers of the actor and of the critics."""
    activation: Activation = eqx.field(static=True, default="relu")
    """Activation function of the hidden layers."""
    layer_norm: bool = eqx.field(static=True, default=False)
    """Apply layer normalisation before each activation."""
    gamma: Scalar = 0.99
    """Discount factor γ per step."""
    tau: Scalar = 0.005
    """Step τ of the target networks towards the critics after each gradient step."""
    ent_coef: Literal["auto"] | Scalar = "auto"
    """Temperature α, the coefficient of the entropy, in units of scaled reward. "auto" tunes it so that the entropy
    meets target_entropy."""
    initial_ent_coef: Scalar = 0.1
    """Initial temperature α under automatic tuning."""
    target_entropy: Scalar | None = None
    """Target entropy H̄ in nats, in units in which the action box is [-1, 1] in every dimension. None uses minus the
    number of dimensions."""
    actor_lr: Scalar = 3e-4
    """Initial learning rate of the actor's Adam."""
    critic_lr: Scalar = 3e-4
    """Initial learning rate of the critics' Adam."""
    ent_coef_lr: Scalar = 3e-4
    """Initial learning rate of Adam for the logarithm of the temperature."""
    lr_end: Scalar = 0.0
    """Final learning rates, as a fraction of the initial ones, on a linear schedule."""
    max_grad_norm: Scalar | None = None
    """Largest global norm of a gradient, per network. Larger gradients are scaled down to it. None sets no limit."""
    normalize_observations: bool = eqx.field(static=True, default=True)
    """Normalise observations by their running mean and standard deviation."""
    normalize_rewards: bool = eqx.field(static=True, default=True)
    """Divide rewards by the running standard deviation of their discounted sum."""

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
        steps = self.steps_per_iteration
        check(
            "num_envs", self.num_envs, f"at most 10 million over num_steps ({self.num_steps})", steps <= 1e7
        )
        least = max(steps, self._warmup_steps)
        bound = f"at least {least}, the steps of a rollout or of learning_starts"
        check("buffer_size", self.buffer_size, bound, self.buffer_size >= least)
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
        """Rollouts, each followed by gradient steps, in the whole training."""
        return -(-self.total_timesteps // self.steps_per_iteration)

    @property
    def steps_per_iteration(self) -> int:
        return self.num_envs * self.num_steps

    @property
    def _warmup_steps(self) -> int:
        """Steps of learning_starts, rounded up to whole steps of all environments."""
        return -(-self.learning_starts // self.num_envs) * self.num_envs

    def init(self, scenario: Scenario, key: PRNGKeyArray) -> TrainState:
        """Initialize the learners, and fill their buffers with the steps of learning_starts.

        Raises ValueError for a market with a finite list of actions.
        """
        if not isinstance(scenario.action_space, Box):
            raise ValueError("learner needs a market with continuous actions; ppo also takes a finite list")
        key_agents, key_start, key_warmup, key = jax.random.split(key, 4)
        agents, buffers = per_learner(scenario, lambda k: self._init_agent(scenario, k))(
            learner_keys(scenario, key_agents)
        )
        policy = joint_policy(scenario, UniformExplorer(_policies(self, scenario, agents)))
        carry = start_staggered(scenario, policy, key_start, self.num_envs)
        steps = self._warmup_steps // self.num_envs
        carry, agents, buffers, _ = _collect(
            self, scenario, policy, carry, agents, buffers, key_warmup, steps
        )
        return TrainState(agents, buffers, carry, key, iteration=jnp.zeros((), jnp.int32))

    def _init_agent(self, scenario: Scenario, key: PRNGKeyArray) -> tuple[Agent, ReplayBuffer]:
        size, dimensions = num_features(scenario), action_size(scenario.action_space)
        key_actor, *keys = jax.random.split(key, 3)

        def network(inputs: int, outputs: int, output_scale: float, key: PRNGKeyArray) -> MLP:
            return mlp(
                inputs, outputs, self.hidden_sizes, self.activation, output_scale, key, self.layer_norm
            )

        def optimized(params: Any) -> Optimized:
            return Optimized(params, _optimizer(self).init(params))

        first, second = (network(size + dimensions, 1, 1.0, k) for k in keys)
        observation, false = jnp.zeros(size), jnp.asarray(False)
        row = Experience(observation, jnp.zeros(dimensions), jnp.zeros(()), observation, false)
        capacity = min(self.buffer_size, self._warmup_steps + self.iterations * self.steps_per_iteration)
        agent = Agent(
            actor=optimized(network(size, 2 * dimensions, 0.01, key_actor)),
            critics=optimized((first, second)),
            log_ent_coef=optimized(jnp.log(self.initial_ent_coef) * jnp.ones(())),
            target_critics=(first, second),
            observation_normalizer=Normalizer.empty(size),
            return_normalizer=Normalizer.empty(),
            running_return=jnp.zeros(self.num_envs),
        )
        return agent, ReplayBuffer.empty(capacity, row)

    def train_chunk(
        self, scenario: Scenario, state: TrainState, iterations: Int[Array, ""]
    ) -> tuple[TrainState, dict[str, Any]]:
        """Run a number of iterations and return the state and the mean of each metric.

        `reward`: mean reward per step while exploring, in currency; `policy_loss`: L_π; `value_loss`: L_1 + L_2;
        `value`: mean of the critics, in scaled reward; `entropy`: of the actions in [-1, 1]^d, in nats; `ent_coef`: α.
        """
        return run_iterations(lambda state: self._iterate(scenario, state), state, iterations)

    def _iterate(self, scenario: Scenario, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """Collect a rollout and take the gradient steps of an iteration."""
        state, reward, key = self.collect(scenario, state)
        sources = ((state.buffers, self.batch_size),)
        agents, metrics = update_agents(self, scenario, state.agents, sources, state.iteration, key)
        return TrainState(agents, state.buffers, state.carry, state.key, state.iteration + 1), metrics | {
            "reward": reward
        }

    def collect(
        self, scenario: Scenario, state: TrainState
    ) -> tuple[TrainState, Float[Array, ""], PRNGKeyArray]:
        """Collect a rollout while exploring. Return the state, the mean reward, and the key of the updates."""
        key_rollout, key_updates, key = jax.random.split(state.key, 3)
        policy = exploring_policy(self, scenario, state.agents)
        carry, agents, buffers, reward = _collect(
            self, scenario, policy, state.carry, state.agents, state.buffers, key_rollout, self.num_steps
        )
        return TrainState(agents, buffers, carry, key, state.iteration), reward, key_updates

    def policy(self, scenario: Scenario, state: TrainState, explore: bool = False) -> Policy:
        """Return the current policy: its mode, or with `explore` its distribution.

        The policies of several learners form a JointPolicy.
        """
        return joint_policy(scenario, _policies(self, scenario, state.agents, explore))


def soft_target(
    reward: Float[Array, ""],
    terminated: Bool[Array, ""],
    next_values: Float[Array, "2"],
    next_log_prob: Float[Array, ""],
    gamma: Scalar,
    ent_coef: Scalar,
) -> Float[Array, ""]:
    """Return y of equation 6.

    An episode truncated at the horizon is bootstrapped from its last observation.
    """
    return reward + gamma * jnp.where(terminated, 0.0, next_values.min() - ent_coef * next_log_prob)


def exploring_policy(config: SAC, scenario: Scenario, agents: Agent) -> Policy:
    """Return the policy of all learners' seats while exploring."""
    return joint_policy(scenario, Explorer(_policies(config, scenario, agents, explore=True)))


def experience_recorder(
    scenario: Scenario,
) -> Callable[[Any, Draw, Step], tuple[Experience, Bool[Array, "..."]]]:
    """Return a function that records a row of experience from a step, and whether the episode ended with it."""
    to_features = per_learner(scenario, features)

    def record(observation: Any, draw: Draw, step: Step) -> tuple[Experience, Bool[Array, "..."]]:
        terminated, truncated = (
            jnp.broadcast_to(end, step.reward.shape) for end in (step.terminated, step.truncated)
        )
        row = Experience(
            to_features(observation), jnp.tanh(draw.u), step.reward, to_features(step.observation), terminated
        )
        return row, terminated | truncated

    return record


def update_agents(
    config: SAC,
    scenario: Scenario,
    agents: Agent,
    sources: tuple[tuple[ReplayBuffer, int], ...],
    iteration: Int[Array, ""],
    key: PRNGKeyArray,
) -> tuple[Agent, dict[str, Any]]:
    """Take the gradient steps of an iteration, on batches of a number of rows from each buffer in `sources`.

    Several learners update independently, each from its own experience.
    """
    lr_factor = 1 - (1 - config.lr_end) * jnp.clip(iteration / config.iterations, 0.0, 1.0)
    buffers, counts = tuple(buffer for buffer, _ in sources), tuple(count for _, count in sources)

    def update_agent(
        agent: Agent, buffers: tuple[ReplayBuffer, ...], key: PRNGKeyArray
    ) -> tuple[Agent, dict[str, Any]]:
        def step(agent: Agent, key: PRNGKeyArray) -> tuple[Agent, dict[str, Any]]:
            key_batch, key_update = jax.random.split(key)
            # The draws from the first buffer do not depend on whether there are others.
            keys = [key_batch, *(jax.random.fold_in(key_batch, i) for i in range(1, len(buffers)))]
            rows = [buffer.sample(k, count) for buffer, k, count in zip(buffers, keys, counts, strict=True)]
            batch = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *rows)
            return _gradient_step(config, scenario, agent, batch, lr_factor, key_update)

        agent, metrics = jax.lax.scan(step, agent, jax.random.split(key, config.gradient_steps))
        return agent, jax.tree.map(jnp.mean, metrics)

    agents, metrics = per_learner(scenario, update_agent)(agents, buffers, learner_keys(scenario, key))
    return agents, jax.tree.map(jnp.mean, metrics)


def _collect(
    config: SAC,
    scenario: Scenario,
    policy: Policy,
    carry: Carry,
    agents: Agent,
    buffers: ReplayBuffer,
    key: PRNGKeyArray,
    num_steps: int,
) -> tuple[Carry, Agent, ReplayBuffer, Float[Array, ""]]:
    """Collect a rollout, add it to the buffers, update the running scales, and return the mean reward."""

    def add(
        agent: Agent, buffer: ReplayBuffer, rows: Experience, done: Bool[Array, "time num_envs"]
    ) -> tuple[Agent, ReplayBuffer]:
        sums = jax.vmap(discounted_returns, in_axes=(0, 1, 1, None), out_axes=1)(
            agent.running_return, rows.reward, done, config.gamma
        )
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)
        agent = eqx.tree_at(
            lambda a: (a.observation_normalizer, a.return_normalizer, a.running_return),
            agent,
            (
                agent.observation_normalizer.update(flat.observation).limit_count(buffer.capacity),
                agent.return_normalizer.update(sums.reshape(-1)).limit_count(buffer.capacity),
                jnp.where(done[-1], 0.0, sums[-1]),
            ),
        )
        return agent, buffer.add(flat)

    carry, recorded = rollout(scenario, policy, carry, key, num_steps, experience_recorder(scenario))
    if scenario.learners > 1:
        recorded = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 2, 0), recorded)
    agents, buffers = per_learner(scenario, add)(agents, buffers, *recorded)
    return carry, agents, buffers, recorded[0].reward.mean()


def _gradient_step(
    config: SAC,
    scenario: Scenario,
    agent: Agent,
    batch: Experience,
    lr_factor: Float[Array, ""],
    key: PRNGKeyArray,
) -> tuple[Agent, dict[str, Any]]:
    """Take one gradient step of the critics, the actor and the temperature, on a batch of off-policy experience."""
    key_next, key_current = jax.random.split(key)
    normalize = jax.vmap(_observation_normalizer(config, agent))
    observation, next_observation = normalize(batch.observation), normalize(batch.next_observation)
    reward = (
        batch.reward / agent.return_normalizer.std(REWARD_FLOOR) if config.normalize_rewards else batch.reward
    )
    ent_coef = jnp.exp(agent.log_ent_coef.params) if isinstance(config.ent_coef, str) else config.ent_coef

    def sample_actions(actor: MLP, observations: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        """Return reparametrised actions and their log-probabilities, differentiable in the actor."""
        policy = eqx.tree_at(lambda p: p.network, _policy(config, scenario, agent, explore=True), actor)

        def one(x: Array, shock: Array) -> tuple[Array, Array]:
            distribution = policy.head(x)
            u = distribution.sample(shock)
            return jnp.tanh(u), distribution.log_prob_of_tanh(u)

        return jax.vmap(one)(observations, policy.shocks(key, (observations.shape[0],)))

    next_action, next_log_prob = sample_actions(agent.actor.params, next_observation, key_next)
    target = jax.vmap(soft_target, in_axes=(0, 0, 1, 0, None, None))(
        reward,
        batch.terminated,
        _values(agent.target_critics, next_observation, next_action),
        next_log_prob,
        config.gamma,
        ent_coef,
    )

    def critic_loss(critics: tuple[MLP, MLP]) -> tuple[Array, Array]:
        values = _values(critics, observation, batch.action)
        return jnp.square(values - target).mean(1).sum(), values.mean()

    (value_loss, value), gradient = jax.value_and_grad(critic_loss, has_aux=True)(agent.critics.params)
    critics = _adam_step(config, agent.critics, gradient, config.critic_lr * lr_factor)

    def actor_loss(actor: MLP) -> tuple[Array, Array]:
        action, log_prob = sample_actions(actor, observation, key_current)
        least = _values(critics.params, observation, action).min(0)
        return (ent_coef * log_prob - least).mean(), -log_prob.mean()

    (policy_loss, entropy), gradient = jax.value_and_grad(actor_loss, has_aux=True)(agent.actor.params)
    actor = _adam_step(config, agent.actor, gradient, config.actor_lr * lr_factor)

    log_ent_coef = agent.log_ent_coef
    if isinstance(config.ent_coef, str):
        target_entropy = (
            -float(batch.action.shape[1]) if config.target_entropy is None else config.target_entropy
        )
        gradient = (entropy - target_entropy).astype(log_ent_coef.params.dtype)
        log_ent_coef = _adam_step(config, log_ent_coef, gradient, config.ent_coef_lr * lr_factor)
    target_critics = jax.tree.map(
        lambda old, new: old + config.tau * (new - old), agent.target_critics, critics.params
    )
    agent = eqx.tree_at(
        lambda a: (a.actor, a.critics, a.log_ent_coef, a.target_critics),
        agent,
        (actor, critics, log_ent_coef, target_critics),
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
    """Return the values of both critics, given normalised observations and actions in [-1, 1]^d."""
    inputs = jnp.concatenate([observation, action], axis=1)
    return jnp.stack([jax.vmap(critic)(inputs)[:, 0] for critic in critics])


def _observation_normalizer(config: SAC, agent: Agent) -> Normalizer:
    """Return the normalizer of the agent, or one that leaves observations unchanged."""
    size = agent.observation_normalizer.mean.shape[0]
    return agent.observation_normalizer if config.normalize_observations else Normalizer.identity(size)


def _policy(config: SAC, scenario: Scenario, agent: Agent, explore: bool = False) -> NeuralPolicy:
    """Return the policy of one learner."""
    return NeuralPolicy(
        network=agent.actor.params,
        log_std=None,
        normalizer=_observation_normalizer(config, agent),
        space=scenario.action_space,
        squash=True,
        explore=explore,
    )


def _policies(config: SAC, scenario: Scenario, agents: Agent, explore: bool = False) -> NeuralPolicy:
    """Return the policy of the learner, or the stacked policies of several."""
    return per_learner(scenario, lambda agent: _policy(config, scenario, agent, explore))(agents)


def _adam_step(config: SAC, optimized: Optimized, gradient: Any, learning_rate: Scalar) -> Optimized:
    """Take one step of Adam."""
    direction, opt_state = _optimizer(config).update(gradient, optimized.opt_state)
    params = jax.tree.map(lambda w, d: w - learning_rate * d, optimized.params, direction)
    return Optimized(params, opt_state)


def _optimizer(config: SAC) -> optax.GradientTransformation:
    """Return Adam without a learning rate, which the schedule applies."""
    adam = optax.scale_by_adam()
    if config.max_grad_norm is None:
        return adam
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), adam)


REWARD_FLOOR = 0.01
"""Smallest standard deviation of discounted returns relative to their mean, for rewards that hardly vary."""
