"""Client trade flow: two Poisson streams whose rate follows volatility (Bakshaev 2020, section 3.3).

    rate        R = C (α + σ_roll / σ_mean)                                                   (17)
    imbalance   λ = β (ρ r + √(1 - ρ²) σ_r ε)                                                 (20)
    sales       clients sell, the maker buys at its bid:   Poisson(R max(1 - λ, 0))           (15, 18)
    purchases   clients buy, the maker sells at its ask:   Poisson(R max(1 + λ, 0))           (16, 19)

r is the log return of the step, or the mean of the last log returns, and σ_r its standard deviation. Scaling ε by σ_r
makes the standard deviation of λ independent of the correlation ρ. (The paper adds r, which is of the order of 0.007,
to a normal with standard deviation 1.)
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from twosided.core.numeric import Scalar
from twosided.core.validation import check, is_at_least
from twosided.hedging.spreads import RollingVolatility
from twosided.prices.poisson import poisson_from_normal


class RollingReturns(eqx.Module):
    """Last log returns of the midprice."""

    values: Float[Array, "window"]
    """Log returns, the latest first."""
    count: Float[Array, ""]
    """Number of log returns of the episode so far."""

    @property
    def num_averaged(self) -> Float[Array, ""]:
        """Number of returns in the mean."""
        return jnp.clip(self.count, 1, self.values.size)

    @property
    def mean(self) -> Float[Array, ""]:
        """Mean of the last log returns."""
        return self.values.sum() / self.num_averaged


class PoissonClients(eqx.Module):
    """Clients whose trade rate follows volatility, and whose net flow follows log returns."""

    scale: Scalar = 100.0
    """C, units that clients buy, and that they sell, per step at mean volatility."""
    floor: Scalar = 0.0
    """α, part of the rate that does not depend on volatility, as a multiple of C."""
    sensitivity: Scalar = 10.0
    """β of eq. 20, sensitivity of the imbalance to log returns; dimensionless."""
    correlation: Scalar = 1.0
    """ρ, correlation of the imbalance with log returns; in [-1, 1]."""
    return_window: int = eqx.field(static=True, default=1)
    """Number of log returns that are averaged to give r; with 1, r is the return of the step."""

    def __check_init__(self):
        for name in ("scale", "floor"):
            value = getattr(self, name)
            check(name, value, "at least 0 and finite", lambda value=value: is_at_least(value, 0))
        check("sensitivity", self.sensitivity, "finite", lambda: np.isfinite(self.sensitivity))
        check("correlation", self.correlation, "in [-1, 1]", lambda: abs(self.correlation) <= 1)
        check("return_window", self.return_window, "from 1 to 1000", 1 <= self.return_window <= 1000)

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "*shape 3"]:
        """Draw the standard normals of the clients' sales, their purchases and the imbalance."""
        return jax.random.normal(key, (*shape, 3))

    def initial_returns(self, mid: Float[Array, ""]) -> RollingReturns:
        """Return the returns at the start of an episode, of which there are none."""
        return RollingReturns(jnp.zeros(self.return_window, mid.dtype), jnp.zeros_like(mid))

    def update_returns(self, returns: RollingReturns, latest: Float[Array, ""]) -> RollingReturns:
        """Return the returns after one more log return."""
        return RollingReturns(jnp.concatenate([latest[None], returns.values[:-1]]), returns.count + 1)

    def rate(self, volatility: RollingVolatility) -> Float[Array, "*assets"]:
        """Return R, in units per step."""
        return self.scale * (self.floor + volatility.relative)

    def trades(
        self,
        normals: Float[Array, "3"],
        rate: Float[Array, ""],
        returns: RollingReturns,
        return_std: Float[ArrayLike, ""],
    ) -> Float[Array, "2"]:
        """Return the units that clients sell to the maker, and the units that they buy from it.

        `return_std` is the standard deviation of one log return.
        """
        imbalance = self.imbalance(normals[2], returns, return_std)
        multipliers = jnp.maximum(1 + jnp.stack([-imbalance, imbalance]), 0.0)
        return poisson_from_normal(rate * multipliers, normals[:2])

    def imbalance(
        self, normal: Float[Array, ""], returns: RollingReturns, return_std: Float[ArrayLike, ""]
    ) -> Float[Array, ""]:
        """Return λ, the imbalance of the rates."""
        own = jnp.sqrt(1 - jnp.square(self.correlation))
        noise = return_std / jnp.sqrt(returns.num_averaged) * normal
        return self.sensitivity * (self.correlation * returns.mean + own * noise)
