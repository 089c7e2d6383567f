"""Clients who trade at a dealer's prices: two Poisson streams at a rate that follows volatility (Bakshaev 2020, 3.3).

    rate     R = C (α + σ_roll / σ_mean)                                                      (17)
    λ        = β (ρ r + √(1 - ρ²) σ_r ε)                                                      (20)
    sells    clients sell, the maker buys at its bid:   Poisson(R max(1 - λ, 0))              (15, 18)
    buys     clients buy, the maker sells at its ask:   Poisson(R max(1 + λ, 0))              (16, 19)

r is the log return of the step, or the mean of the last ones; σ_r is its deviation, so that λ deviates as much whatever
its correlation ρ with the price (the paper mixes r, which is of the order of 0.007, with a normal of deviation 1).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.core.numeric import Scalar
from twosided.core.validation import check, is_at_least
from twosided.hedging.spreads import RollingVolatility
from twosided.prices.poisson import poisson_from_normal


class Returns(eqx.Module):
    """The last log returns."""

    values: Float[Array, "smoothing"]
    """The latest first."""
    count: Float[Array, ""]
    """How many the episode has had."""

    @property
    def held(self) -> Float[Array, ""]:
        """How many of them are in the mean."""
        return jnp.clip(self.count, 1, self.values.size)

    @property
    def mean(self) -> Float[Array, ""]:
        return self.values.sum() / self.held


class PoissonClients(eqx.Module):
    """Clients whose number follows volatility, and whose side follows the price."""

    scale: Scalar = 100.0
    """C, units that clients buy, and that they sell, in a step of mean volatility."""
    floor: Scalar = 0.0
    """α, the part of the rate that does not depend on volatility; times C."""
    sensitivity: Scalar = 10.0
    """β of eq. 20, how the imbalance follows log returns; a number."""
    correlation: Scalar = 1.0
    """ρ, of the imbalance with log returns; in [-1, 1]."""
    smoothing: int = eqx.field(static=True, default=1)
    """Returns in the mean that the imbalance follows; 1 is the step's own."""

    def __check_init__(self):
        for name in ("scale", "floor"):
            value = getattr(self, name)
            check(name, value, "at least 0 and finite", lambda value=value: is_at_least(value, 0))
        check("sensitivity", self.sensitivity, "finite", lambda: np.isfinite(self.sensitivity))
        check("correlation", self.correlation, "in [-1, 1]", lambda: abs(self.correlation) <= 1)
        check("smoothing", self.smoothing, "from 1 to 1000", 1 <= self.smoothing <= 1000)

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "*shape 3"]:
        """Standard normals: of those who sell, of those who buy, of the imbalance."""
        return jax.random.normal(key, (*shape, 3))

    def start(self, mid: Float[Array, ""]) -> Returns:
        """No returns yet."""
        return Returns(jnp.zeros(self.smoothing, mid.dtype), jnp.zeros_like(mid))

    def after(self, returns: Returns, latest: Float[Array, ""]) -> Returns:
        """With one more return."""
        return Returns(jnp.concatenate([latest[None], returns.values[:-1]]), returns.count + 1)

    def rate(self, volatility: RollingVolatility) -> Float[Array, "*assets"]:
        """R, in units a step."""
        return self.scale * (self.floor + volatility.relative)

    def trades(
        self,
        normals: Float[Array, "3"],
        rate: Float[Array, ""],
        returns: Returns,
        deviation: Float[Array, ""],
    ) -> Float[Array, "2"]:
        """Units that clients sell to the maker and that they buy of it; `deviation` is that of one return."""
        imbalance = self.imbalance(normals[2], returns, deviation)
        multipliers = jnp.maximum(1 + jnp.stack([-imbalance, imbalance]), 0.0)
        return poisson_from_normal(rate * multipliers, normals[:2])

    def imbalance(
        self, normal: Float[Array, ""], returns: Returns, deviation: Float[Array, ""]
    ) -> Float[Array, ""]:
        """λ."""
        own = jnp.sqrt(1 - jnp.square(self.correlation))
        noise = deviation / jnp.sqrt(returns.held) * normal
        return self.sensitivity * (self.correlation * returns.mean + own * noise)
