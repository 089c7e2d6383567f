"""Proximal policy optimisation (Schulman et al. 2017) for the learner's seat of any scenario.

    ratio    r_t(θ) = π_θ(u_t | o_t) / π_old(u_t | o_t)
    policy   L_π = - E[min(r_t A_t, clip(r_t, 1 - ε, 1 + ε) A_t)]                        (equation 7)
    value    L_V = ½ E[(V(o_t) - R_t)²],  R_t = A_t + V_old(o_t)                         (equation 9)
    loss     L_π + c_V L_V - c_H entropy

An iteration rolls out, estimates advantages and takes several epochs of minibatch steps, all compiled;
`train_chunk` runs a number of iterations in one program. Everything that training needs to go on is in the
`TrainState`, so a run that stops and goes on gives the same bits as one that never stopped.
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
from twosided.learn.base import Learner, each, joint_policy, keys_of, repeated
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
    """What gradients move."""

    actor: MLP
    critic: MLP
    log_std: Float[Array, "size"]


class Agent(eqx.Module):
    """What a learner is so far."""

    networks: Networks
    optimizer: Any
    observations: Normalizer
    returns: Normalizer
    return_so_far: Float[Array, "num_envs"]


class TrainState(eqx.Module):
    """Where training stands; everything that it needs to go on."""

    agents: Agent
    """The learner; where a scenario has several, leaves have a leading axis of them."""
    carry: Carry
    key: PRNGKeyArray
    iteration: Int[Array, ""]


class Sample(eqx.Module):
    """One step of one path, as the update needs it."""

    observation: Float[Array, "features"]
    next_observation: Float[Array, "features"]
    draw: Draw
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]


class PPO(Learner):
    """Proximal policy optimisation with a clipped objective and generalised advantages."""

    total_timesteps: int = eqx.field(static=True, default=1_000_000)
    """Market steps to train on, a seed."""
    num_envs: int = eqx.field(static=True, default=128)
    """Markets side by side."""
    num_steps: int = eqx.field(static=True, default=32)
    """Steps of every market between two updates."""
    num_epochs: int = eqx.field(static=True, default=4)
    """Passes over a rollout."""
    num_minibatches: int = eqx.field(static=True, default=16)
    """Gradient steps in a pass; must divide num_envs times num_steps."""
    hidden_sizes: tuple[int, ...] = eqx.field(static=True, default=(64, 64))
    """Sizes of the hidden layers, of the policy's and the value's network alike."""
    activation: Activation = eqx.field(static=True, default="tanh")
    """Activation between layers."""
    squash: bool = eqx.field(static=True, default=False)
    """Map a Gaussian to the action box by tanh instead of clipping it."""
    initial_std: Scalar = 0.6
    """Deviation of the Gaussian at first, the box being [-1, 1] in every dimension."""
    final_std: Scalar | None = 0.003
    """Deviation at the end, and the least there is; the bound on it falls here from the first by equal factors. None
    leaves it free."""
    learning_rate: Scalar = 1e-3
    """Adam's step size at first."""
    learning_rate_end: Scalar = 0.0
    """Step size at the end, as a fraction of the first; linear in between."""
    gamma: Scalar = 0.9
    """γ, a step."""
    gae_lambda: Scalar = 0.5
    """λ of generalised advantage estimation."""
    clip_eps: Scalar = 0.2
    """ε: how far the ratio of new to old probability may move an advantage's weight."""
    vf_clip: Scalar | None = None
    """How far a value may move from the old one in an update, in scaled reward; none for no limit."""
    vf_coef: Scalar = 0.5
    """c_V, weight of the value loss."""
    ent_coef: Scalar = 0.0
    """c_H, weight of the entropy of u at first (before tanh or clipping)."""
    ent_coef_end: Scalar = 0.0
    """c_H at the end; linear in between."""
    max_grad_norm: Scalar = 0.5
    """A gradient of a larger global norm is scaled down to it."""
    normalize_observations: bool = eqx.field(static=True, default=True)
    """Scale observations by their running mean and deviation."""
    normalize_rewards: bool = eqx.field(static=True, default=True)
    """Divide rewards by the running deviation of their discounted sum."""

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
            most = f"positive and at most initial_std ({self.initial_std})"
            check("final_std", final, most, lambda: 0 < final <= self.initial_std)
        if self.vf_clip is not None:
            check("vf_clip", self.vf_clip, "positive and finite", lambda: is_positive(self.vf_clip))

    @property
    def iterations(self) -> int:
        """Rollouts in the whole training, the first of which only sets the scales."""
        return 1 + -(-self.total_timesteps // self.steps_per_iteration)

    @property
    def steps_per_iteration(self) -> int:
        return self.num_envs * self.num_steps

    def begin(self, scenario: Scenario, key: PRNGKeyArray) -> TrainState:
        """Fresh learners and first episodes."""
        key_agents, key_start, key_time, key = jax.random.split(key, 4)
        agents = each(scenario, lambda k: self._fresh(scenario, k))(keys_of(scenario, key_agents))
        policy = joint_policy(scenario, Explorer(_policies(self, scenario, agents)))
        # Episodes start out of step with each other, so that a rollout sees all their ages at once.
        carry = start(scenario, policy, key_start, self.num_envs)
        ages = jax.random.randint(key_time, (self.num_envs,), 0, scenario.horizon)
        carry = eqx.tree_at(lambda c: c.state.time, carry, ages)
        return TrainState(agents=agents, carry=carry, key=key, iteration=jnp.zeros((), jnp.int32))

    def _fresh(self, scenario: Scenario, key: PRNGKeyArray) -> Agent:
        """A learner that knows nothing."""
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
            optimizer=_optimizer(self).init(networks),  # pyright: ignore[reportArgumentType]
            observations=Normalizer.empty(size),
            returns=Normalizer.empty(),
            return_so_far=jnp.zeros(self.num_envs),
        )

    def train_chunk(
        self, scenario: Scenario, state: TrainState, iterations: Int[Array, ""]
    ) -> tuple[TrainState, dict]:
        """A number of iterations, and means of what they tell.

        reward: mean a step of the exploring policy, in currency; policy_loss: L_π; value_loss: L_V; entropy;
        approx_kl: estimate of KL(old, new); clip_fraction: share of ratios beyond the clip; std: mean standard
        deviation, all of the last epoch; explained_variance: of the returns by the values before the update.
        """
        return repeated(lambda state: self._iterate(scenario, state), state, iterations)

    def _iterate(self, scenario: Scenario, state: TrainState) -> tuple[TrainState, dict]:
        """One rollout and its update; several learners update side by side, each from what it saw itself."""
        key_rollout, key_update, key = jax.random.split(state.key, 3)
        progress = self._progress(state.iteration)
        # The first rollout only sets the scales of observations and rewards: nothing is learned from it.
        learns = state.iteration > 0
        carry, samples = _collect(self, scenario, state, key_rollout)

        def learn(agent: Agent, samples: Sample, key: PRNGKeyArray) -> tuple[Agent, dict]:
            batch = _advantages(self, agent, samples)
            updated, metrics = _update(self, scenario, agent, batch, progress, key)
            agent = jax.tree.map(lambda new, old: jnp.where(learns, new, old), updated, agent)
            if self.final_std is not None:
                low, high = (
                    jnp.log(self.final_std),
                    self._highest_log_std(self.final_std, state.iteration + 1),
                )
                narrowed = jnp.clip(agent.networks.log_std, low, high)
                agent = eqx.tree_at(lambda a: a.networks.log_std, agent, narrowed)
            return _rescale(self, agent, samples), metrics | {"reward": samples.reward.mean()}

        agents, metrics = each(scenario, learn)(state.agents, samples, keys_of(scenario, key_update))
        return TrainState(agents, carry, key, state.iteration + 1), jax.tree.map(jnp.mean, metrics)

    def policy(self, scenario: Scenario, state: TrainState, explore: bool = False) -> Policy:
        """The policy as it stands: its mode, or the distribution that it explores with; `Together` for several."""
        policies = _policies(self, scenario, state.agents, explore)
        return joint_policy(scenario, policies)

    def _progress(self, iteration: Int[Array, ""]) -> Float[Array, ""]:
        """From 0 at the first update to 1 after the last."""
        return jnp.clip((iteration - 1) / max(self.iterations - 1, 1), 0.0, 1.0)

    def _highest_log_std(self, final_std: Scalar, iteration: Int[Array, ""]) -> Float[Array, ""]:
        """The bound on the logarithm of the deviation, which an update may pass but no rollout."""
        first, last = jnp.log(self.initial_std), jnp.log(final_std)
        return first + self._progress(iteration) * (last - first)


class Batch(eqx.Module):
    """A rollout with its advantages, paths and times in one axis."""

    observation: Float[Array, "n features"]
    draw: Draw
    advantage: Float[Array, "n"]
    value: Float[Array, "n"]


def _collect(config: PPO, scenario: Scenario, state: TrainState, key: PRNGKeyArray) -> tuple[Carry, Sample]:
    """A rollout of the learners; with several, samples have a leading axis of them."""
    seen = each(scenario, features)

    def record(observation: Any, draw: Draw, step: Step) -> Sample:
        return Sample(
            observation=seen(observation),
            next_observation=seen(step.observation),
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


def _advantages(config: PPO, agent: Agent, samples: Sample) -> Batch:
    scale = jnp.sqrt(agent.returns.variance + 1e-8) if config.normalize_rewards else 1.0
    normalize = agent.observations if config.normalize_observations else lambda x: x

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
) -> tuple[Agent, dict]:
    learning_rate = config.learning_rate * (1 - (1 - config.learning_rate_end) * progress)
    ent_coef = config.ent_coef + (config.ent_coef_end - config.ent_coef) * progress
    optimizer = _optimizer(config)
    size = batch.advantage.shape[0]

    def loss(networks: Networks, part: Batch) -> tuple[Float[Array, ""], dict]:
        policy = _policy(config, scenario, networks, agent.observations, explore=True)
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
            near = part.value + jnp.clip(value - part.value, -config.vf_clip, config.vf_clip)
            error = jnp.maximum(error, jnp.square(near - target))
        value_loss = 0.5 * error.mean()

        entropy = jax.vmap(lambda d: d.entropy())(distributions).mean()
        metrics = {
            "policy_loss": policy_loss,
            "entropy": entropy,
            "approx_kl": (ratio - 1 - log_ratio).mean(),
            "clip_fraction": (jnp.abs(ratio - 1) > config.clip_eps).mean(),
            "value_loss": value_loss,
            "std": jnp.exp(networks.log_std).mean(),
        }
        return policy_loss + config.vf_coef * value_loss - ent_coef * entropy, metrics

    def minibatch(carry, rows):
        networks, moments = carry
        part = jax.tree.map(lambda leaf: leaf[rows], batch)
        gradient, metrics = jax.grad(loss, has_aux=True)(networks, part)
        updates, new_moments = optimizer.update(gradient, moments)
        new_networks = jax.tree.map(lambda w, d: w - learning_rate * d, networks, updates)
        return (new_networks, new_moments), metrics

    def epoch(carry, key):
        rows = jax.random.permutation(key, size).reshape(config.num_minibatches, -1)
        return jax.lax.scan(minibatch, carry, rows)

    (networks, moments), metrics = jax.lax.scan(
        epoch, (agent.networks, agent.optimizer), jax.random.split(key, config.num_epochs)
    )
    agent = eqx.tree_at(lambda a: (a.networks, a.optimizer), agent, (networks, moments))
    metrics = jax.tree.map(lambda leaf: leaf[-1].mean(0), metrics)
    return agent, metrics | {"explained_variance": _explained_variance(batch)}


def _explained_variance(batch: Batch) -> Float[Array, ""]:
    """1 - Var[R - V] / Var[R] of the values before the update; 0 where the returns do not vary."""
    variance = (batch.advantage + batch.value).var()
    unexplained = batch.advantage.var() / jnp.where(variance > 0, variance, 1.0)
    return jnp.where(variance > 0, 1 - unexplained, 0.0)


def _rescale(config: PPO, agent: Agent, samples: Sample) -> Agent:
    """Bring the running scales up to date, after the update that used the old ones."""
    observations = samples.observation.reshape(-1, samples.observation.shape[-1])
    done = samples.terminated | samples.truncated
    sums = jax.vmap(discounted_returns, in_axes=(0, 1, 1, None), out_axes=1)(
        agent.return_so_far, samples.reward, done, config.gamma
    )
    return eqx.tree_at(
        lambda a: (a.observations, a.returns, a.return_so_far),
        agent,
        (
            agent.observations.update(observations),
            agent.returns.update(sums.reshape(-1)),
            jnp.where(done[-1], 0.0, sums[-1]),
        ),
    )


def _policy(
    config: PPO,
    scenario: Scenario,
    networks: Networks,
    observations: Normalizer,
    explore: bool,
) -> NeuralPolicy:
    """The policy of one learner's networks."""
    if not config.normalize_observations:
        observations = Normalizer.empty(observations.mean.shape[0])
    return NeuralPolicy(
        network=networks.actor,
        log_std=networks.log_std,
        normalizer=observations,
        space=scenario.action_space,
        squash=config.squash,
        explore=explore,
    )


def _policies(config: PPO, scenario: Scenario, agents: Agent, explore: bool = True) -> NeuralPolicy:
    """The policy of the learner, or of every learner, stacked."""

    def one(agent: Agent) -> NeuralPolicy:
        return _policy(config, scenario, agent.networks, agent.observations, explore)

    return each(scenario, one)(agents)


def _optimizer(config: PPO) -> optax.GradientTransformation:
    """Adam's direction; the step size is the schedule's."""
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.scale_by_adam(eps=1e-5))
