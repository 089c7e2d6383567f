"""Which limit orders fill, and how the chance of it falls with their distance from the mid.

Orders of others arrive on each side at a rate A, and each reaches a depth into the book that is exponential with mean
1/k. Those that reach a maker's order at a distance δ come at the rate

    λ(δ) = A exp(-k δ)                                              Avellaneda and Stoikov (2008), section 2.5

and of all that arrive in Δ, a Poisson number, the deepest reaches (log(A Δ) + G) / k, G a standard Gumbel variable: it
reaches δ with probability 1 - exp(-λ(δ) Δ). So chance can say how deep it goes before anybody has quoted.

On bars the price itself says how far it came, and nothing says who was ahead in the queue. With x how far the bar went
through an order, as a fraction of the order's price (below 0 it did not get there), rules that bound what would have
filled are

    touch      x >= 0                                        optimistic: first in the queue
    through    x > margin                                    pessimistic: last in the queue
    probable   with probability 1 - (1 - p) e^{-x/d}, x >= 0    p at a touch, more the deeper it went
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from twosided.core.numeric import Scalar
from twosided.core.validation import check, is_at_least, is_positive


class ExponentialFill(eqx.Module):
    """Orders arrive at a rate that falls exponentially with the distance from the mid."""

    intensity: Scalar = 140.0
    """A, orders on each side in a unit of time that reach the mid; 140 in Avellaneda and Stoikov's examples."""
    decay: Scalar = 1.5
    """k, per unit of currency: the mean depth is 1/k."""

    def __check_init__(self):
        for name in ("intensity", "decay"):
            value = getattr(self, name)
            check(name, value, "positive and finite", lambda value=value: is_positive(value))

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Of one side."""
        return jax.random.gumbel(key, shape)

    def filled(
        self, shock: Float[Array, "*batch"], distance: Float[Array, "*batch"], time_step: Scalar
    ) -> Bool[Array, "*batch"]:
        """Whether the deepest order of a step reaches the distance from the mid, in currency."""
        depth = jnp.log(jnp.asarray(self.intensity * time_step, shock.dtype)) + shock
        return distance * self.decay < depth

    def probability(self, distance: Float[Array, "*batch"], time_step: Scalar) -> Float[Array, "*batch"]:
        """That an order at the distance from the mid fills in a step."""
        return -jnp.expm1(-self.intensity * time_step * jnp.exp(-self.decay * distance))


class BarFill(eqx.Module):
    """Which limit orders fill in a bar."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """Of one order; None where nothing is left to chance."""

    @abc.abstractmethod
    def filled(self, shock: Any, through: Float[Array, ""]) -> Bool[Array, ""]:
        """Whether an order fills, given how far the bar went through it, as a fraction of its price."""


class TouchFill(BarFill):
    """Fills whatever the price touches: optimistic."""

    def shocks(self, key, shape):
        return None

    def filled(self, shock, through):
        return through >= 0


class TradeThroughFill(BarFill):
    """Fills what the price goes beyond: pessimistic."""

    margin: Scalar = 0.0
    """How far beyond it must go, as a fraction of the price; at 0 any bit is enough."""

    def __check_init__(self):
        check("margin", self.margin, "at least 0 and finite", lambda: is_at_least(self.margin, 0))

    def shocks(self, key, shape):
        return None

    def filled(self, shock, through):
        return through > self.margin


class ProbabilisticFill(BarFill):
    """Fills by chance, the likelier the further the price goes beyond the order."""

    touch: Scalar = 0.3
    """p, probability that an order fills which the price just touches; in [0, 1]."""
    depth: Scalar = 1e-4
    """d, how far beyond it the price goes while the chance of no fill falls by a factor e; a fraction of the price."""

    def __check_init__(self):
        check("touch", self.touch, "in [0, 1]", lambda: 0 <= self.touch <= 1)
        check("depth", self.depth, "positive and finite", lambda: is_positive(self.depth))

    def shocks(self, key, shape):
        return jax.random.uniform(key, shape)

    def filled(self, shock, through):
        missed = (1 - self.touch) * jnp.exp(-jnp.maximum(through, 0.0) / self.depth)
        return (through >= 0) & (shock >= missed)
