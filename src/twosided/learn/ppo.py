"""Proximal policy optimisation (Schulman et al. 2017) for the learner's seat of any scenario.

    ratio    r_t(θ) = π_θ(u_t | o_t) / π_old(u_t | o_t)
    policy   L_π = - E[min(r_t A_t, clip(r_t, 1 - ε, 1 + ε) A_t)]                        (equation 7)
    value    L_V = ½ E[(V(o_t) - R_t)²],  R_t = A_t + V_old(o_t)                         (equation 9)
    loss     L_π + c_V L_V - c_H entropy

An iteration collects a rollout, estimates advantages and takes several epochs of minibatch gradient steps. All of it is
compiled, and `train_chunk` runs a number of iterations in one program. `TrainState` holds everything that training
needs to resume, so an interrupted run gives results that are identical to the bit.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from twosided.core.numeric import Scalar
from twosided.core.policy import Policy
from twosided.core.rollout import Carry, rollout, start
from twosided.core.scenario import Scenario, Step
from twosided.core.spaces import Box
from twosided.core.validation import check, is_at_least, is_positive
from twosided.learn.base import Learner, joint_policy, learner_keys, per_learner, run_iterations
from twosided.learn.networks import (
    MLP,
    Activation,
    Draw,
    Explorer,
    NeuralPolicy,
    Normalizer,
    action_size,
    features,
    mlp,
    num_features,
)
from twosided.learn.returns import discounted_returns, generalized_advantages


class Networks(eqx.Module):
    """Trainable parameters."""

    actor: MLP
    """Network of the policy."""
    critic: MLP
    """Network of the value V."""
    log_std: Float[Array, "size"]
    """Logarithm of the Gaussian's standard deviation; empty for finite actions."""


class Agent(eqx.Module):
    """One learner: its networks, optimizer and running scales."""

    networks: Networks
    """Trainable parameters."""
    opt_state: Any
    """State of the optimizer."""
    observation_normalizer: Normalizer
    """Running mean and variance of the features."""
    return_normalizer: Normalizer
    """Running mean and variance of discounted returns, whose standard deviation scales rewards."""
    running_return: Float[Array, "num_envs"]
    """Discounted return of the current episode in each environment."""


class TrainState(eqx.Module):
    """Training state: everything that training needs to resume."""

    agents: Agent
    """The learner; with several in a scenario, leaves have a leading axis of learners."""
    carry: Carry
    """State of the environments."""
    key: PRNGKeyArray
    """Key of the random numbers still to be drawn."""
    iteration: Int[Array, ""]
    """Iterations completed."""


class Sample(eqx.Module):
    """One step of one environment, as needed for the update; of one learner, or of several."""

    observation: Float[Array, "*learners features"]
    """Features before the step."""
    next_observation: Float[Array, "*learners features"]
    """Features after the step and before any reset."""
    draw: Draw
    """Sampled action."""
    reward: Float[Array, "*learners"]
    """Reward of the step."""
    terminated: Bool[Array, "*learners"]
    """Whether the market terminated with the step."""
    truncated: Bool[Array, "*learners"]
    """Whether the episode was truncated at the horizon after the step."""


class PPO(Learner):
    """Proximal policy optimisation with a clipped objective and generalised advantage estimation."""

    total_timesteps: int = eqx.field(static=True, default=1_000_000)
    """Training steps per seed, over all environments."""
    num_envs: int = eqx.field(static=True, default=128)
    """Environments side by side."""
    num_steps: int = eqx.field(static=True, default=32)
    """Steps per environment in each rollout."""
    num_epochs: int = eqx.field(static=True, default=4)
    """Passes over each rollout."""
    num_minibatches: int = eqx.field(static=True, default=16)
    """Minibatches, and gradient steps, per pass. Must divide num_envs times num_steps."""
    hidden_sizes: tuple[int, ...] = eqx.field(static=True, default=(64, 64))
    """Sizes of the hidden layers of the actor and of the critic."""
    activation: Activation = eqx.field(static=True, default="tanh")
    """Activation function of the hidden layers."""
    squash: bool = eqx.field(static=True, default=False)
    """Map the Gaussian to the action box by tanh instead of clipping."""
    initial_std: Scalar = 0.6
    """Initial standard deviation of the Gaussian, in units in which the action box is [-1, 1] in every dimension."""
    final_std: Scalar | None = 0.003
    """Final and smallest standard deviation. Its upper bound falls from initial_std to this value on a geometric
    schedule. None removes both bounds."""
    learning_rate: Scalar = 1e-3
    """Initial learning rate of Adam."""
    learning_rate_end: Scalar = 0.0
    """Final learning rate, as a fraction of the initial one, on a linear schedule."""
    gamma: Scalar = 0.9
    """Discount factor γ per step."""
    gae_lambda: Scalar = 0.5
    """Decay λ of generalised advantage estimation."""
    clip_eps: Scalar = 0.2
    """Clipping range ε of the probability ratio."""
    vf_clip: Scalar | None = None
    """Clipping range of the value in an update, in units of scaled reward. None disables clipping."""
    vf_coef: Scalar = 0.5
    """Coefficient c_V of the value loss."""
    ent_coef: Scalar = 0.0
    """Initial coefficient c_H of the entropy bonus. The entropy is that of u, before tanh or clipping."""
    ent_coef_end: Scalar = 0.0
    """Final coefficient c_H of the entropy bonus, on a linear schedule."""
    max_grad_norm: Scalar = 0.5
    """Largest global norm of a gradient. Larger gradients are scaled down to it."""
    normalize_observations: bool = eqx.field(static=True, default=True)
    """Normalise observations by their running mean and standard deviation."""
    normalize_rewards: bool = eqx.field(static=True, default=True)
    """Divide rewards by the running standard deviation of their discounted sum."""

    def __check_init__(self):
        for name in ("total_timesteps", "num_envs", "num_steps", "num_epochs", "num_minibatches"):
            value = getattr(self, name)
            check(name, value, "at least 1", value >= 1)
        check(
            "hidden_sizes",
            self.hidden_sizes,
            "sizes of at least 1",
            all(size >= 1 for size in self.hidden_sizes),
        )
        batch = self.steps_per_iteration
        check(
            "num_envs", self.num_envs, f"at most 10 million over num_steps ({self.num_steps})", batch <= 1e7
        )
        divides = f"a divisor of num_envs times num_steps ({batch})"
        check("num_minibatches", self.num_minibatches, divides, batch % self.num_minibatches == 0)
        for name in ("initial_std", "learning_rate", "clip_eps", "max_grad_norm"):
            value = getattr(self, name)
            check(name, value, "positive and finite", lambda value=value: is_positive(value))
        for name in ("learning_rate_end", "vf_coef", "ent_coef", "ent_coef_end"):
            value = getattr(self, name)
            check(name, value, "at least 0 and finite", lambda value=value: is_at_least(value, 0))
        check("gamma", self.gamma, "in [0, 1)", lambda: 0 <= self.gamma < 1)
        check("gae_lambda", self.gae_lambda, "in [0, 1]", lambda: 0 <= self.gae_lambda <= 1)
        if (final := self.final_std) is not None:
            bounds = f"positive and at most initial_std ({self.initial_std})"
            check("final_std", final, bounds, lambda: 0 < final <= self.initial_std)
        if self.vf_clip is not None:
            check("vf_clip", self.vf_clip, "positive and finite", lambda: is_positive(self.vf_clip))

    @property
    def iterations(self) -> int:
        """Rollouts in the whole training. The first only initializes the scales of observations and rewards."""
        return 1 + -(-self.total_timesteps // self.steps_per_iteration)

    @property
    def steps_per_iteration(self) -> int:
        return self.num_envs * self.num_steps

    def init(self, scenario: Scenario, key: PRNGKeyArray) -> TrainState:
        """Initialize the learners, and start their episodes at random times within the horizon."""
        key_agents, key_start, key_time, key = jax.random.split(key, 4)
        agents = per_learner(scenario, lambda k: self._init_agent(scenario, k))(
            learner_keys(scenario, key_agents)
        )
        policy = joint_policy(scenario, Explorer(_policies(self, scenario, agents)))
        carry = start(scenario, policy, key_start, self.num_envs)
        # Staggered episodes, so that a rollout covers all times of the horizon at once.
        times = jax.random.randint(key_time, (self.num_envs,), 0, scenario.horizon)
        carry = eqx.tree_at(lambda c: c.state.time, carry, times)
        return TrainState(agents=agents, carry=carry, key=key, iteration=jnp.zeros((), jnp.int32))

    def _init_agent(self, scenario: Scenario, key: PRNGKeyArray) -> Agent:
        key_actor, key_critic = jax.random.split(key)
        size, dimensions = num_features(scenario), action_size(scenario.action_space)
        box = isinstance(scenario.action_space, Box)
        networks = Networks(
            actor=mlp(size, dimensions, self.hidden_sizes, self.activation, 0.01, key_actor),
            critic=mlp(size, 1, self.hidden_sizes, self.activation, 1.0, key_critic),
            log_std=jnp.log(self.initial_std) * jnp.ones(dimensions if box else 0),
        )
        return Agent(
            networks=networks,
            opt_state=_optimizer(self).init(networks),  # pyright: ignore[reportArgumentType]
            observation_normalizer=Normalizer.empty(size),
            return_normalizer=Normalizer.empty(),
            running_return=jnp.zeros(self.num_envs),
        )

    def train_chunk(
        self, scenario: Scenario, state: TrainState, iterations: Int[Array, ""]
    ) -> tuple[TrainState, dict[str, Any]]:
        """Run a number of iterations and return the state and the mean of each metric.

        `reward`: mean reward per step while exploring, in currency. Of the last epoch: `policy_loss`, L_π;
        `value_loss`, L_V; `entropy`, in nats; `approx_kl`, an estimate of KL(old, new); `clip_fraction`, the share of
        ratios beyond the clipping range; `std`, the mean standard deviation. `explained_variance`: share of the
        variance of the returns that the values explain before the update.
        """
        return run_iterations(lambda state: self._iterate(scenario, state), state, iterations)

    def _iterate(self, scenario: Scenario, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """Collect a rollout and update. Several learners update independently, each from its own experience."""
        key_rollout, key_update, key = jax.random.split(state.key, 3)
        progress = self._progress(state.iteration)
        # The first rollout only initializes the scales of observations and rewards.
        updates = state.iteration > 0
        carry, samples = _collect(self, scenario, state, key_rollout)

        def update(agent: Agent, samples: Sample, key: PRNGKeyArray) -> tuple[Agent, dict[str, Any]]:
            batch = _batch(self, agent, samples)
            updated, metrics = _update(self, scenario, agent, batch, progress, key)
            agent = jax.tree.map(lambda new, old: jnp.where(updates, new, old), updated, agent)
            if self.final_std is not None:
                low, high = (
                    jnp.log(self.final_std),
                    self._max_log_std(self.final_std, state.iteration + 1),
                )
                clipped = jnp.clip(agent.networks.log_std, low, high)
                agent = eqx.tree_at(lambda a: a.networks.log_std, agent, clipped)
            return _update_normalizers(self, agent, samples), metrics | {"reward": samples.reward.mean()}

        agents, metrics = per_learner(scenario, update)(
            state.agents, samples, learner_keys(scenario, key_update)
        )
        return TrainState(agents, carry, key, state.iteration + 1), jax.tree.map(jnp.mean, metrics)

    def policy(self, scenario: Scenario, state: TrainState, explore: bool = False) -> Policy:
        """Return the current policy: its mode, or with `explore` its distribution.

        The policies of several learners form a JointPolicy.
        """
        policies = _policies(self, scenario, state.agents, explore)
        return joint_policy(scenario, policies)

    def _progress(self, iteration: Int[Array, ""]) -> Float[Array, ""]:
        """Return the progress of training, from 0 at the first update to 1 after the last."""
        return jnp.clip((iteration - 1) / max(self.iterations - 1, 1), 0.0, 1.0)

    def _max_log_std(self, final_std: Scalar, iteration: Int[Array, ""]) -> Float[Array, ""]:
        """Return the upper bound on the log standard deviation. It applies to rollouts and not within an update."""
        first, last = jnp.log(self.initial_std), jnp.log(final_std)
        return first + self._progress(iteration) * (last - first)


class Batch(eqx.Module):
    """Rollout with its advantages, flattened over environments and times."""

    observation: Float[Array, "*n features"]
    """Normalised features."""
    draw: Draw
    """Sampled actions."""
    advantage: Float[Array, "*n"]
    """A_t, in units of scaled reward."""
    value: Float[Array, "*n"]
    """V_old(o_t), in units of scaled reward."""


def _collect(config: PPO, scenario: Scenario, state: TrainState, key: PRNGKeyArray) -> tuple[Carry, Sample]:
    """Collect a rollout. With several learners, samples have a leading axis of learners."""
    to_features = per_learner(scenario, features)

    def record(observation: Any, draw: Draw, step: Step) -> Sample:
        return Sample(
            observation=to_features(observation),
            next_observation=to_features(step.observation),
            draw=draw,
            reward=step.reward,
            terminated=jnp.broadcast_to(step.terminated, step.reward.shape),
            truncated=jnp.broadcast_to(step.truncated, step.reward.shape),
        )

    policy = joint_policy(scenario, Explorer(_policies(config, scenario, state.agents)))
    carry, samples = rollout(scenario, policy, state.carry, key, config.num_steps, record)
    if scenario.learners > 1:
        samples = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 2, 0), samples)
    return carry, samples


def _batch(config: PPO, agent: Agent, samples: Sample) -> Batch:
    """Normalise a rollout and estimate its advantages."""
    scale = agent.return_normalizer.std() if config.normalize_rewards else 1.0
    normalize = agent.observation_normalizer if config.normalize_observations else lambda x: x

    def value(observation: Float[Array, "features"]) -> Float[Array, ""]:
        return agent.networks.critic(normalize(observation))[0]

    values = jax.vmap(jax.vmap(value))(samples.observation)
    next_values = jax.vmap(jax.vmap(value))(samples.next_observation)
    advantages = jax.vmap(generalized_advantages, in_axes=(1, 1, 1, 1, 1, None, None), out_axes=1)(
        samples.reward / scale,
        values,
        next_values,
        samples.terminated,
        samples.truncated,
        config.gamma,
        config.gae_lambda,
    )
    batch = Batch(jax.vmap(jax.vmap(normalize))(samples.observation), samples.draw, advantages, values)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch)


def _update(
    config: PPO,
    scenario: Scenario,
    agent: Agent,
    batch: Batch,
    progress: Float[Array, ""],
    key: PRNGKeyArray,
) -> tuple[Agent, dict[str, Any]]:
    """Take all gradient steps of an iteration."""
    learning_rate = config.learning_rate * (1 - (1 - config.learning_rate_end) * progress)
    ent_coef = config.ent_coef + (config.ent_coef_end - config.ent_coef) * progress
    optimizer = _optimizer(config)
    size = batch.advantage.shape[0]

    def loss(networks: Networks, part: Batch) -> tuple[Float[Array, ""], dict[str, Any]]:
        policy = _policy(config, scenario, networks, agent.observation_normalizer, explore=True)
        distributions = jax.vmap(policy.head)(part.observation)
        log_ratio = jax.vmap(lambda d, u: d.log_prob(u))(distributions, part.draw.u) - part.draw.log_prob
        ratio = jnp.exp(log_ratio)
        advantage = (part.advantage - part.advantage.mean()) / (part.advantage.std() + 1e-8)
        clipped = jnp.clip(ratio, 1 - config.clip_eps, 1 + config.clip_eps)
        policy_loss = -jnp.minimum(ratio * advantage, clipped * advantage).mean()

        target = part.advantage + part.value
        value = jax.vmap(networks.critic)(part.observation)[:, 0]
        error = jnp.square(value - target)
        if config.vf_clip is not None:
            clipped_value = part.value + jnp.clip(value - part.value, -config.vf_clip, config.vf_clip)
            error = jnp.maximum(error, jnp.square(clipped_value - target))
        value_loss = 0.5 * error.mean()

        entropy = jax.vmap(lambda d: d.entropy())(distributions).mean()
        metrics = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "approx_kl": (ratio - 1 - log_ratio).mean(),
            "clip_fraction": (jnp.abs(ratio - 1) > config.clip_eps).mean(),
            "std": jnp.exp(networks.log_std).mean(),
        }
        return policy_loss + config.vf_coef * value_loss - ent_coef * entropy, metrics

    def minibatch(carry, rows):
        networks, opt_state = carry
        part = jax.tree.map(lambda leaf: leaf[rows], batch)
        gradient, metrics = jax.grad(loss, has_aux=True)(networks, part)
        updates, new_opt_state = optimizer.update(gradient, opt_state)
        new_networks = jax.tree.map(lambda w, d: w - learning_rate * d, networks, updates)
        return (new_networks, new_opt_state), metrics

    def epoch(carry, key):
        rows = jax.random.permutation(key, size).reshape(config.num_minibatches, -1)
        return jax.lax.scan(minibatch, carry, rows)

    (networks, opt_state), metrics = jax.lax.scan(
        epoch, (agent.networks, agent.opt_state), jax.random.split(key, config.num_epochs)
    )
    agent = eqx.tree_at(lambda a: (a.networks, a.opt_state), agent, (networks, opt_state))
    metrics = jax.tree.map(lambda leaf: leaf[-1].mean(0), metrics)
    return agent, metrics | {"explained_variance": _explained_variance(batch)}


def _explained_variance(batch: Batch) -> Float[Array, ""]:
    """Return 1 - Var[R - V] / Var[R] of the values before the update; 0 where the returns do not vary."""
    variance = (batch.advantage + batch.value).var()
    unexplained = batch.advantage.var() / jnp.where(variance > 0, variance, 1.0)
    return jnp.where(variance > 0, 1 - unexplained, 0.0)


def _update_normalizers(config: PPO, agent: Agent, samples: Sample) -> Agent:
    """Update the running scales. This follows the update of the networks, which uses the previous scales."""
    observations = samples.observation.reshape(-1, samples.observation.shape[-1])
    done = samples.terminated | samples.truncated
    sums = jax.vmap(discounted_returns, in_axes=(0, 1, 1, None), out_axes=1)(
        agent.running_return, samples.reward, done, config.gamma
    )
    return eqx.tree_at(
        lambda a: (a.observation_normalizer, a.return_normalizer, a.running_return),
        agent,
        (
            agent.observation_normalizer.update(observations),
            agent.return_normalizer.update(sums.reshape(-1)),
            jnp.where(done[-1], 0.0, sums[-1]),
        ),
    )


def _policy(
    config: PPO,
    scenario: Scenario,
    networks: Networks,
    normalizer: Normalizer,
    explore: bool,
) -> NeuralPolicy:
    """Return the policy of one learner's networks."""
    if not config.normalize_observations:
        normalizer = Normalizer.identity(normalizer.mean.shape[0])
    return NeuralPolicy(
        network=networks.actor,
        log_std=networks.log_std,
        normalizer=normalizer,
        space=scenario.action_space,
        squash=config.squash,
        explore=explore,
    )


def _policies(config: PPO, scenario: Scenario, agents: Agent, explore: bool = True) -> NeuralPolicy:
    """Return the policy of the learner, or the stacked policies of several."""

    def one(agent: Agent) -> NeuralPolicy:
        return _policy(config, scenario, agent.networks, agent.observation_normalizer, explore)

    return per_learner(scenario, one)(agents)


def _optimizer(config: PPO) -> optax.GradientTransformation:
    """Return Adam without a learning rate, which the schedule applies."""
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.scale_by_adam(eps=1e-5))
