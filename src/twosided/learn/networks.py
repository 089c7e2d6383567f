"""Neural policies: normalised observations, a small network, and a distribution over actions.

Actions in a box follow a Gaussian in coordinates u in which the box is [-1, 1]^d. The network gives its mean; its
standard deviation per dimension is a parameter of its own or a second output of the network. The action is u clipped
to the box, or tanh(u). Actions from a finite list follow a categorical distribution. A policy plays the mode of its
distribution unless it explores.
"""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.core.policy import Policy
from twosided.core.scenario import Scenario
from twosided.core.spaces import Box, Discrete

Activation = Literal["tanh", "relu", "silu"]
ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "silu": jax.nn.silu}
LOG_STD_BOUNDS = (-20.0, 2.0)
"""Bounds on the logarithm of a standard deviation that a network outputs."""


class Normalizer(eqx.Module):
    """Running mean and variance of a vector, merged batch by batch (Chan et al. 1979)."""

    mean: Float[Array, "*size"]
    """Running mean."""
    variance: Float[Array, "*size"]
    """Running variance."""
    count: Float[Array, ""]
    """Number of vectors, which weights the next merge."""

    @classmethod
    def empty(cls, *size: int) -> "Normalizer":
        """Return a normalizer of no data, whose results are 0: without data no scale is known."""
        return cls(jnp.zeros(size), jnp.ones(size), jnp.asarray(0.0))

    @classmethod
    def identity(cls, size: int) -> "Normalizer":
        """Return a normalizer that leaves vectors within the limit unchanged."""
        return cls(jnp.zeros(size), jnp.ones(size), jnp.asarray(1.0))

    def update(self, batch: Float[Array, "n *size"]) -> "Normalizer":
        """Return the normalizer with a batch of vectors merged in."""
        added = batch.shape[0]
        mean, variance = batch.mean(0), batch.var(0)
        total = self.count + added
        shift = mean - self.mean
        squares = self.variance * self.count + variance * added + shift**2 * self.count * added / total
        return Normalizer(self.mean + shift * added / total, squares / total, total)

    def limit_count(self, maximum: float) -> "Normalizer":
        """Return the normalizer with its count capped, so that older data lose weight in later merges."""
        return Normalizer(self.mean, self.variance, jnp.minimum(self.count, maximum))

    def std(self, floor: float = 1e-5) -> Float[Array, "*size"]:
        """Return √(variance + (floor · mean)²), the standard deviation; 1 where both are 0.

        The floor is relative to the mean, so that it holds in any unit: smaller standard deviations are rounding errors
        of a constant.
        """
        square = self.variance + jnp.square(floor * self.mean)
        return jnp.where(square > 0, jnp.sqrt(square), 1.0)

    def __call__(self, vector: Float[Array, "*size"], limit: float = 10.0) -> Float[Array, "*size"]:
        """Return (vector - mean) / standard deviation, clipped to ± limit; 0 without data."""
        scaled = jnp.clip((vector - self.mean) / self.std(), -limit, limit)
        return jnp.where(self.count > 0, scaled, 0.0)


class DiagonalGaussian(eqx.Module):
    """Independent normal distributions of u, which may lie outside the box."""

    mean: Float[Array, "size"]
    """Mean."""
    log_std: Float[Array, "size"]
    """Logarithm of the standard deviation."""

    def sample(self, shock: Float[Array, "size"]) -> Float[Array, "size"]:
        """Return a draw of u, given a standard normal shock."""
        return self.mean + jnp.exp(self.log_std) * shock

    def mode(self) -> Float[Array, "size"]:
        """Return the mean."""
        return self.mean

    def log_prob(self, u: Float[Array, "size"]) -> Float[Array, ""]:
        """Return log N(u)."""
        return jax.scipy.stats.norm.logpdf(u, self.mean, jnp.exp(self.log_std)).sum()

    def log_prob_of_tanh(self, u: Float[Array, "size"]) -> Float[Array, ""]:
        """Return log π(tanh u) = log N(u) - Σ log(1 - tanh² u), the log-density on the box [-1, 1]^d.

        The term log(1 - tanh² u) is computed as 2 (log 2 - u - log(1 + e^-2u)), which stays accurate where 1 - tanh² u
        rounds to 0.
        """
        return self.log_prob(u) - 2 * (jnp.log(2.0) - u - jax.nn.softplus(-2 * u)).sum()

    def entropy(self) -> Float[Array, ""]:
        """Return the entropy of u in nats."""
        return (self.log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e)).sum()


class Categorical(eqx.Module):
    """Categorical distribution over a finite list of actions; u is the index of an action."""

    logits: Float[Array, "actions"]
    """Unnormalised log-probabilities."""

    def sample(self, shock: Float[Array, "actions"]) -> Float[Array, ""]:
        """Return a draw of u by the Gumbel-max trick, given Gumbel shocks."""
        return jnp.argmax(self.logits + shock).astype(self.logits.dtype)

    def mode(self) -> Float[Array, ""]:
        """Return the most likely index."""
        return jnp.argmax(self.logits).astype(self.logits.dtype)

    def log_prob(self, u: Float[Array, ""]) -> Float[Array, ""]:
        """Return the log-probability of an index."""
        return jax.nn.log_softmax(self.logits)[u.astype(jnp.int32)]

    def entropy(self) -> Float[Array, ""]:
        """Return the entropy in nats."""
        log_prob = jax.nn.log_softmax(self.logits)
        return -(jnp.exp(log_prob) * log_prob).sum()


class NeuralPolicy(Policy):
    """Neural network policy that plays the mode of its distribution, or samples it."""

    network: "MLP"
    """Network from normalised features to the parameters of the distribution."""
    log_std: Float[Array, "size"] | None
    """Logarithm of the Gaussian's standard deviation, in the coordinates of the box; empty for finite actions. None
    uses the second half of the network's output, so that it depends on the observation."""
    normalizer: Normalizer
    """Normalisation of the features."""
    space: Box | Discrete
    """Action space."""
    squash: bool = eqx.field(static=True, default=False)
    """Map u to the box by tanh instead of clipping."""
    explore: bool = eqx.field(static=True, default=False)
    """Sample the distribution instead of playing its mode."""

    def shocks(self, key, shape):
        if not self.explore:
            return None
        if isinstance(self.space, Discrete):
            return jax.random.gumbel(key, (*shape, self.space.size))
        return jax.random.normal(key, (*shape, action_size(self.space)))

    def init(self):
        return None

    def act(self, shock, state, observation):
        distribution = self.distribution(observation)
        u = distribution.sample(shock) if self.explore else distribution.mode()
        return self.action(u), state

    def distribution(self, observation: Any) -> DiagonalGaussian | Categorical:
        """Return the distribution of u, given an observation."""
        return self.head(self.normalizer(features(observation)))

    def head(self, x: Float[Array, "features"]) -> DiagonalGaussian | Categorical:
        """Return the distribution of u, given normalised features."""
        output = self.network(x)
        if isinstance(self.space, Discrete):
            return Categorical(output)
        if self.log_std is None:
            mean, log_std = jnp.split(output, 2)
            return DiagonalGaussian(mean, jnp.clip(log_std, *LOG_STD_BOUNDS))
        return DiagonalGaussian(output, self.log_std)

    def action(self, u: Float[Array, "..."]) -> Any:
        """Return the action at a point u of the distribution."""
        if isinstance(self.space, Discrete):
            return jax.tree.map(lambda leaf: leaf[u.astype(jnp.int32)], self.space.actions)
        unit = jnp.tanh(u) if self.squash else jnp.clip(u, -1.0, 1.0)
        low, unravel = ravel_pytree(jax.tree.map(jnp.asarray, self.space.low))
        high, _ = ravel_pytree(jax.tree.map(jnp.asarray, self.space.high))
        return unravel(low + (unit + 1) / 2 * (high - low))


class Draw(eqx.Module):
    """Sampled action, as needed to learn from it."""

    u: Float[Array, "..."]
    """Point u of the distribution."""
    log_prob: Float[Array, ""]
    """Log-probability of u under the policy that drew it."""


class Explorer(Policy):
    """Policy that samples and keeps its last draw as policy state, from which a learner records it."""

    policy: NeuralPolicy
    """Policy to sample."""

    def shocks(self, key, shape):
        return self.policy.shocks(key, shape)

    def init(self):
        discrete = isinstance(self.policy.space, Discrete)
        return Draw(jnp.zeros(() if discrete else action_size(self.policy.space)), jnp.zeros(()))

    def act(self, shock, state, observation):
        distribution = self.policy.distribution(observation)
        u = distribution.sample(shock)
        return self.policy.action(u), Draw(u, distribution.log_prob(u))


class UniformExplorer(Policy):
    """Policy that draws actions uniformly from the box and keeps its last draw as an `Explorer` does."""

    policy: NeuralPolicy
    """Policy whose action space is explored. It must squash: u is half a logistic variable, so that tanh(u) is uniform
    on [-1, 1]."""

    def shocks(self, key, shape):
        return jax.random.logistic(key, (*shape, action_size(self.policy.space))) / 2

    def init(self):
        return Explorer(self.policy).init()

    def act(self, shock, state, observation):
        return self.policy.action(shock), Draw(shock, jnp.zeros(()))


class JointPolicy(Policy):
    """Policies of several learners of one scenario, which act at the same time."""

    stacked: Any
    """Policies of one type, stacked: leaves have a leading axis of learners."""

    def shocks(self, key, shape):
        keys = jax.random.split(key, self.count)
        return jax.vmap(lambda policy, k: policy.shocks(k, shape), out_axes=len(shape))(self.stacked, keys)

    def init(self):
        return jax.vmap(lambda policy: policy.init())(self.stacked)

    def act(self, shock, state, observation):
        return jax.vmap(lambda policy, *inputs: policy.act(*inputs))(self.stacked, shock, state, observation)

    @property
    def count(self) -> int:
        """Number of policies."""
        return jax.tree.leaves(self.stacked)[0].shape[0]

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Separate policies, in the order of the seats."""
        return tuple(jax.tree.map(lambda leaf, i=i: leaf[i], self.stacked) for i in range(self.count))


def features(observation: Any) -> Float[Array, "features"]:
    """Return an observation as one vector."""
    return jnp.concatenate([jnp.ravel(leaf).astype(float) for leaf in jax.tree.leaves(observation)])


def num_features(scenario: Scenario) -> int:
    """Return the length of a learner's feature vector in a scenario."""

    def first(key: PRNGKeyArray) -> Float[Array, "features"]:
        shock = jax.tree.map(lambda leaf: leaf[0], scenario.shocks(key, (1,)))
        return features(scenario.reset(shock)[1])

    return jax.eval_shape(first, jax.random.key(0)).shape[0] // scenario.learners


def action_size(space: Box | Discrete) -> int:
    """Return the dimension of a box, or the number of actions of a finite list."""
    return space.size if isinstance(space, Discrete) else ravel_pytree(space.low)[0].size


def mlp(
    inputs: int,
    outputs: int,
    hidden_sizes: tuple[int, ...],
    activation: Activation,
    output_scale: float,
    key: PRNGKeyArray,
    layer_norm: bool = False,
) -> "MLP":
    """Initialize a multilayer perceptron with LeCun normal weights, those of the output layer times `output_scale`.

    Orthogonal initialisation needs a QR factorisation, and several batched ones in one program can deadlock in jaxlib
    0.10 on a machine with few cores (observed with two cores, mapped over seeds).
    """
    sizes = (inputs, *hidden_sizes, outputs)
    scales = [1.0] * len(hidden_sizes) + [output_scale]
    layers = []
    for i, (scale, k) in enumerate(zip(scales, jax.random.split(key, len(scales)), strict=True)):
        linear = eqx.nn.Linear(sizes[i], sizes[i + 1], key=k)
        weight = scale * jax.nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)(k, linear.weight.shape)
        bias = jnp.zeros(sizes[i + 1])
        linear = eqx.tree_at(lambda x: (x.weight, x.bias), linear, (weight, bias))
        layers.append(linear)
    norms = tuple(eqx.nn.LayerNorm(size) for size in hidden_sizes) if layer_norm else None
    return MLP(tuple(layers), activation, norms)


class MLP(eqx.Module):
    """Multilayer perceptron: linear layers with an activation between them."""

    layers: tuple[eqx.nn.Linear, ...]
    """Linear layers."""
    activation: Activation = eqx.field(static=True)
    """Activation function of the hidden layers."""
    norms: tuple[eqx.nn.LayerNorm, ...] | None = None
    """Layer normalisation before each activation, if any."""

    def __call__(self, x: Float[Array, "inputs"]) -> Float[Array, "outputs"]:
        *hidden, output = self.layers
        for i, layer in enumerate(hidden):
            x = _linear(layer, x)
            x = ACTIVATIONS[self.activation](x if self.norms is None else self.norms[i](x))
        return _linear(output, x)


def _linear(layer: eqx.nn.Linear, x: Float[Array, "inputs"]) -> Float[Array, "outputs"]:
    """Apply a linear layer with the vector on the left.

    Mapped over a batch, this multiplies the matrices as they are laid out in memory. weight @ x transposes the result,
    which is a large part of a gradient step when mapped over seeds too.
    """
    return x @ layer.weight.T + layer.bias  # pyright: ignore[reportOperatorIssue]
