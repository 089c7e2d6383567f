"""Fill models: which limit orders fill, and how the fill probability falls with their distance from the midprice.

Orders of others arrive on each side at a rate A, and each reaches a depth into the book that is exponential with
mean 1/k. Those that reach a maker's order at a distance δ arrive at the rate

    λ(δ) = A exp(-k δ)                                              Avellaneda and Stoikov (2008), section 2.5

Of all that arrive in Δ, a Poisson number, the deepest reaches (log(A Δ) + G) / k with G a standard Gumbel variable,
so it reaches δ with probability 1 - exp(-λ(δ) Δ). The random input is therefore a depth that does not depend on the
quotes.

On bars the price itself shows how far it went, but not the position in the queue. Let x be how far the bar went
through an order, as a fraction of the order's price (negative if it did not reach it). Rules that bound the fills
are

    touch          x >= 0                                           optimistic: first in the queue
    trade-through  x > margin                                       pessimistic: last in the queue
    probabilistic  with probability 1 - (1 - p) e^{-x/d}, x >= 0    p at a touch, more the deeper the bar went
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
    """Orders arrive at a rate that falls exponentially with the distance from the midprice."""

    intensity: Scalar = 140.0
    """A, orders per unit of time that reach the midprice on each side; 140 in Avellaneda and Stoikov's examples."""
    decay: Scalar = 1.5
    """k, per unit of currency; the mean depth is 1/k."""

    def __check_init__(self):
        for name in ("intensity", "decay"):
            value = getattr(self, name)
            check(name, value, "positive and finite", lambda value=value: is_positive(value))

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Draw the Gumbel variables of one side."""
        return jax.random.gumbel(key, shape)

    def filled(
        self, shock: Float[Array, "..."], distance: Float[Array, "..."], time_step: Scalar
    ) -> Bool[Array, "..."]:
        """Whether the deepest order of a step reaches a distance from the midprice, in currency."""
        depth = jnp.log(jnp.asarray(self.intensity * time_step, shock.dtype)) + shock
        return distance * self.decay < depth

    def probability(self, distance: Float[Array, "*batch"], time_step: Scalar) -> Float[Array, "*batch"]:
        """Return the probability that an order at a distance from the midprice fills in a step."""
        return -jnp.expm1(-self.intensity * time_step * jnp.exp(-self.decay * distance))


class BarFill(eqx.Module):
    """Rule that decides which limit orders fill in a bar."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """Draw the random inputs of one order; None for a deterministic rule."""

    @abc.abstractmethod
    def filled(self, shock: Any, through: Float[Array, ""]) -> Bool[Array, ""]:
        """Whether an order fills, given how far the bar went through it, as a fraction of the order's price."""


class TouchFill(BarFill):
    """Fills every order that the price touches: optimistic."""

    def shocks(self, key, shape):
        return None

    def filled(self, shock, through):
        return through >= 0


class TradeThroughFill(BarFill):
    """Fills orders that the price trades through: pessimistic."""

    margin: Scalar = 0.0
    """How far the price must go beyond the order, as a fraction of the price; at 0 any distance is enough."""

    def __check_init__(self):
        check("margin", self.margin, "at least 0 and finite", lambda: is_at_least(self.margin, 0))

    def shocks(self, key, shape):
        return None

    def filled(self, shock, through):
        return through > self.margin


class ProbabilisticFill(BarFill):
    """Fills with a probability that rises with the distance that the price goes beyond the order."""

    touch: Scalar = 0.3
    """p, fill probability at a touch; in [0, 1]."""
    depth: Scalar = 1e-4
    """d, distance over which the probability of no fill falls by a factor e, as a fraction of the price."""

    def __check_init__(self):
        check("touch", self.touch, "in [0, 1]", lambda: 0 <= self.touch <= 1)
        check("depth", self.depth, "positive and finite", lambda: is_positive(self.depth))

    def shocks(self, key, shape):
        return jax.random.uniform(key, shape)

    def filled(self, shock, through):
        missed = (1 - self.touch) * jnp.exp(-jnp.maximum(through, 0.0) / self.depth)
        return (through >= 0) & (shock >= missed)
