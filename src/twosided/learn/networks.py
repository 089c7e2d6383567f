"""Neural policies: an observation, normalised, through a small network to a distribution over actions.

A box is covered by a Gaussian with a mean from the network and a deviation for each dimension, its own or from the
network too, in coordinates u in which the box is [-1, 1]^d; the action is u clipped to the box, or tanh(u). A finite
list of actions is covered by a categorical distribution. A policy plays its mode unless it is told to explore.
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
LOG_STD = (-20.0, 2.0)
"""Bounds on the logarithm of a deviation that a network gives."""


class Normalizer(eqx.Module):
    """Running mean and variance of a vector, merged batch by batch (Chan et al. 1979)."""

    mean: Float[Array, "*size"]
    variance: Float[Array, "*size"]
    count: Float[Array, ""]

    @classmethod
    def empty(cls, *size: int) -> "Normalizer":
        """Of nothing yet: it leaves a vector as it is."""
        return cls(jnp.zeros(size), jnp.ones(size), jnp.asarray(0.0))

    def update(self, batch: Float[Array, "n *size"]) -> "Normalizer":
        added = batch.shape[0]
        mean, variance = batch.mean(0), batch.var(0)
        total = self.count + added
        shift = mean - self.mean
        squares = self.variance * self.count + variance * added + shift**2 * self.count * added / total
        return Normalizer(self.mean + shift * added / total, squares / total, total)

    def recent(self, most: float) -> "Normalizer":
        """As if it had seen no more than that many: the older, the less it counts from here on."""
        return Normalizer(self.mean, self.variance, jnp.minimum(self.count, most))

    def __call__(self, vector: Float[Array, "*size"], limit: float = 10.0) -> Float[Array, "*size"]:
        """The vector less the mean over the deviation, clipped to ± limit."""
        # Relative to the mean, so that any unit will do: what deviates by less is a constant's rounding.
        deviation = jnp.sqrt(self.variance + jnp.square(1e-5 * self.mean) + 1e-24)
        return jnp.clip((vector - self.mean) / deviation, -limit, limit)


class DiagonalGaussian(eqx.Module):
    """Independent normals; `u` may lie outside of the box."""

    mean: Float[Array, "size"]
    log_std: Float[Array, "size"]

    def sample(self, shock: Float[Array, "size"]) -> Float[Array, "size"]:
        return self.mean + jnp.exp(self.log_std) * shock

    def mode(self) -> Float[Array, "size"]:
        return self.mean

    def log_prob(self, u: Float[Array, "size"]) -> Float[Array, ""]:
        return jax.scipy.stats.norm.logpdf(u, self.mean, jnp.exp(self.log_std)).sum()

    def log_prob_of_tanh(self, u: Float[Array, "size"]) -> Float[Array, ""]:
        """log π(tanh u) = log N(u) - Σ log(1 - tanh² u), the density on the box [-1, 1]^d.

        As 2 (log 2 - u - log(1 + e^-2u)) its logarithm is exact where 1 - tanh² u is no longer a number beside 1.
        """
        return self.log_prob(u) - 2 * (jnp.log(2.0) - u - jax.nn.softplus(-2 * u)).sum()

    def entropy(self) -> Float[Array, ""]:
        return (self.log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e)).sum()


class Categorical(eqx.Module):
    """One of a finite list of actions; `u` is its index."""

    logits: Float[Array, "actions"]

    def sample(self, shock: Float[Array, "actions"]) -> Float[Array, ""]:
        """Gumbel's trick: the largest of the logits with Gumbel noise added."""
        return jnp.argmax(self.logits + shock).astype(self.logits.dtype)

    def mode(self) -> Float[Array, ""]:
        return jnp.argmax(self.logits).astype(self.logits.dtype)

    def log_prob(self, u: Float[Array, ""]) -> Float[Array, ""]:
        return jax.nn.log_softmax(self.logits)[u.astype(jnp.int32)]

    def entropy(self) -> Float[Array, ""]:
        log_prob = jax.nn.log_softmax(self.logits)
        return -(jnp.exp(log_prob) * log_prob).sum()


class NeuralPolicy(Policy):
    """A network that plays the mode of its distribution, or samples it."""

    network: "MLP"
    log_std: Float[Array, "size"] | None
    """Logarithm of the Gaussian's deviation, in the box's coordinates; empty for finite actions. None: the second half
    of what the network gives, so that it depends on what is observed."""
    normalizer: Normalizer
    space: Box | Discrete
    squash: bool = eqx.field(static=True, default=False)
    """Map u to the box by tanh instead of by clipping."""
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

    def act(self, shock, memory, observation):
        distribution = self.distribution(observation)
        u = distribution.sample(shock) if self.explore else distribution.mode()
        return self.action(u), memory

    def distribution(self, observation: Any) -> DiagonalGaussian | Categorical:
        """Over actions, given what is observed."""
        return self.head(self.normalizer(features(observation)))

    def head(self, x: Float[Array, "features"]) -> DiagonalGaussian | Categorical:
        """Over actions, given normalised features."""
        output = self.network(x)
        if isinstance(self.space, Discrete):
            return Categorical(output)
        if self.log_std is None:
            mean, log_std = jnp.split(output, 2)
            return DiagonalGaussian(mean, jnp.clip(log_std, *LOG_STD))
        return DiagonalGaussian(output, self.log_std)

    def action(self, u: Float[Array, "..."]) -> Any:
        """The action of a point u of the distribution."""
        if isinstance(self.space, Discrete):
            return jax.tree.map(lambda leaf: leaf[u.astype(jnp.int32)], self.space.actions)
        unit = jnp.tanh(u) if self.squash else jnp.clip(u, -1.0, 1.0)
        low, unravel = ravel_pytree(jax.tree.map(jnp.asarray, self.space.low))
        high, _ = ravel_pytree(jax.tree.map(jnp.asarray, self.space.high))
        return unravel(low + (unit + 1) / 2 * (high - low))


class Draw(eqx.Module):
    """What a learner must remember of an action to learn from it."""

    u: Float[Array, "..."]
    log_prob: Float[Array, ""]


class Explorer(Policy):
    """A policy that samples and leaves the draw in its memory, for a learner to read."""

    policy: NeuralPolicy

    def shocks(self, key, shape):
        return self.policy.shocks(key, shape)

    def init(self):
        discrete = isinstance(self.policy.space, Discrete)
        return Draw(jnp.zeros(() if discrete else action_size(self.policy.space)), jnp.zeros(()))

    def act(self, shock, memory, observation):
        distribution = self.policy.distribution(observation)
        u = distribution.sample(shock)
        return self.policy.action(u), Draw(u, distribution.log_prob(u))


class UniformExplorer(Policy):
    """Actions uniform over the box, that leave the draw in the memory as an `Explorer` does."""

    policy: NeuralPolicy
    """Whose actions they are; it squashes, so that u is half a logistic number: its tanh is uniform on [-1, 1]."""

    def shocks(self, key, shape):
        return jax.random.logistic(key, (*shape, action_size(self.policy.space))) / 2

    def init(self):
        return Explorer(self.policy).init()

    def act(self, shock, memory, observation):
        return self.policy.action(shock), Draw(shock, jnp.zeros(()))


class JointPolicy(Policy):
    """The policies of several learners of one scenario, which act side by side."""

    stacked: Any
    """Policies of one kind as one, whose leaves have a leading axis of learners."""

    def shocks(self, key, shape):
        keys = jax.random.split(key, self.count)
        return jax.vmap(lambda policy, k: policy.shocks(k, shape), out_axes=len(shape))(self.stacked, keys)

    def init(self):
        return jax.vmap(lambda policy: policy.init())(self.stacked)

    def act(self, shock, memory, observation):
        return jax.vmap(lambda policy, *seen: policy.act(*seen))(self.stacked, shock, memory, observation)

    @property
    def count(self) -> int:
        return jax.tree.leaves(self.stacked)[0].shape[0]

    @property
    def policies(self) -> tuple[Policy, ...]:
        """One by one."""
        return tuple(jax.tree.map(lambda leaf, i=i: leaf[i], self.stacked) for i in range(self.count))


def features(observation: Any) -> Float[Array, "features"]:
    """Everything observed, as one vector."""
    return jnp.concatenate([jnp.ravel(leaf).astype(float) for leaf in jax.tree.leaves(observation)])


def num_features(scenario: Scenario) -> int:
    """How many numbers a learner in a scenario sees."""

    def first(key: PRNGKeyArray) -> Float[Array, "features"]:
        shock = jax.tree.map(lambda leaf: leaf[0], scenario.shocks(key, (1,)))
        return features(scenario.reset(shock)[1])

    return jax.eval_shape(first, jax.random.key(0)).shape[0] // scenario.learners


def action_size(space: Box | Discrete) -> int:
    """Outputs that a distribution over the space needs."""
    return space.size if isinstance(space, Discrete) else ravel_pytree(space.low)[0].size


def mlp(
    inputs: int,
    outputs: int,
    hidden_sizes: tuple[int, ...],
    activation: Activation,
    last_scale: float,
    key: PRNGKeyArray,
    layer_norm: bool = False,
) -> "MLP":
    """A multilayer perceptron with normal weights that keep the scale of its input, the last layer's scaled.

    Orthogonal weights would need a QR factorisation, and several batched ones in one program can wait for each
    other for ever in jaxlib 0.10 when the machine has as few cores (seen on two, mapped over seeds).
    """
    sizes = (inputs, *hidden_sizes, outputs)
    scales = [1.0] * len(hidden_sizes) + [last_scale]
    layers = []
    for i, (scale, k) in enumerate(zip(scales, jax.random.split(key, len(scales)), strict=True)):
        linear = eqx.nn.Linear(sizes[i], sizes[i + 1], key=k)
        weight = scale * jax.nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)(k, linear.weight.shape)
        nothing = jnp.zeros(sizes[i + 1])
        linear = eqx.tree_at(lambda x: (x.weight, x.bias), linear, (weight, nothing))
        layers.append(linear)
    norms = tuple(eqx.nn.LayerNorm(size) for size in hidden_sizes) if layer_norm else None
    return MLP(tuple(layers), activation, norms)


class MLP(eqx.Module):
    """Linear layers of any sizes with an activation between them."""

    layers: tuple[eqx.nn.Linear, ...]
    activation: Activation = eqx.field(static=True)
    norms: tuple[eqx.nn.LayerNorm, ...] | None = None
    """Before each activation, if any: a layer's outputs less their mean over their deviation."""

    def __call__(self, x: Float[Array, "inputs"]) -> Float[Array, "outputs"]:
        *inner, last = self.layers
        for i, layer in enumerate(inner):
            x = _linear(layer, x)
            x = ACTIVATIONS[self.activation](x if self.norms is None else self.norms[i](x))
        return _linear(last, x)


def _linear(layer: eqx.nn.Linear, x: Float[Array, "inputs"]) -> Float[Array, "outputs"]:
    """The layer with the vector on the left. Mapped over a batch that is a product of matrices as they lie in memory;
    weight @ x turns the result round, which took up to 40% of a gradient step when mapped over seeds too."""
    return x @ layer.weight.T + layer.bias  # pyright: ignore[reportOperatorIssue]
