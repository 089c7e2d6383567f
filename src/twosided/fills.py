"""Which limit orders fill, and how the chance of it falls with their distance from the mid.

Orders of others arrive on each side at a rate A, and each reaches a depth into the book that is exponential with mean
1/k. Those that reach a maker's order at a distance δ come at the rate

    λ(δ) = A exp(-k δ)                                              Avellaneda and Stoikov (2008), eq. 12

and of all that arrive in Δ, a Poisson number, the deepest reaches (log(A Δ) + G) / k, G a standard Gumbel variable: it
reaches δ with probability 1 - exp(-λ(δ) Δ). So chance can say how deep it goes before anybody has quoted.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.types import Scalar, check, is_positive


class ExponentialFills(eqx.Module):
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

    def reach(self, shock: Float[Array, "*batch"], time_step: Scalar) -> Float[Array, "*batch"]:
        """How far from the mid the deepest order of a step goes, in currency; below 0 it does not get to the mid."""
        return (jnp.log(jnp.asarray(self.intensity * time_step, shock.dtype)) + shock) / self.decay

    def probability(self, distance: Float[Array, "*batch"], time_step: Scalar) -> Float[Array, "*batch"]:
        """That an order at the distance from the mid fills in a step."""
        return -jnp.expm1(-self.intensity * time_step * jnp.exp(-self.decay * distance))
