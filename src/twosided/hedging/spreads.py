"""Rolling volatility, and the stochastic spreads of the maker and the exchange (Bakshaev 2020, section 3.2, eq. 10-13).

    bid = S - ν δ_bid,  ask = S + ν δ_ask,    δ = clip(σ_roll + ε, 0.1 σ_mean, 2.5 σ_mean),    ε = m exp(s Z)

σ_roll is the standard deviation of the last prices themselves, in currency. (Eq. 12 divides it by √n_steps, which would
make it negligible beside ε.) σ_mean is the mean of σ_roll: over the steps of the episode so far, or over the whole path
if the market looks ahead, as the paper does. s = γ S_0 σ √Δ; the median m of ε is 1 in currency, at S_0 = 100.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from twosided.core.numeric import Scalar
from twosided.core.validation import check, is_at_least


class RollingVolatility(eqx.Module):
    """Standard deviation of the last prices, and its mean; of one asset or of several."""

    prices: Float[Array, "..."]
    """Last prices, the latest first, (window, *assets); in currency."""
    count: Float[Array, "*assets"]
    """Number of prices of the episode so far."""
    rolling: Float[Array, "*assets"]
    """σ_roll, in currency. Uses the available prices while there are fewer than the window; 0 after the first price."""
    mean: Float[Array, "*assets"]
    """σ_mean, in currency."""
    path_mean: Float[Array, "*assets"]
    """Mean of σ_roll over the whole path, if the market looks ahead; otherwise 0."""

    @classmethod
    def initial(
        cls, mid: Float[Array, "*assets"], window: int, path_mean: Float[Array, "*assets"] | None = None
    ) -> "RollingVolatility":
        """Return the state after the first price."""
        zero = jnp.zeros_like(mid)
        path_mean = zero if path_mean is None else path_mean.astype(mid.dtype)
        return cls(jnp.broadcast_to(mid, (window, *mid.shape)), zero + 1, zero, path_mean, path_mean)

    def update(self, mid: Float[Array, "*assets"]) -> "RollingVolatility":
        """Return the state after one more price."""
        prices = jnp.concatenate([mid[None], self.prices[:-1]])
        window, count = prices.shape[0], self.count + 1
        number = jnp.minimum(count, window)
        in_window = jnp.arange(window).reshape(-1, *[1] * mid.ndim) < number
        # Relative to the latest price, which keeps digits where prices are large beside their standard deviation.
        difference = jnp.where(in_window, prices - mid, 0.0)
        mean = difference.sum(0) / number
        rolling = jnp.sqrt(jnp.where(in_window, jnp.square(difference - mean), 0.0).sum(0) / (number - 1))
        mean_so_far = self.mean + (rolling - self.mean) / (count - 1)
        return RollingVolatility(
            prices, count, rolling, jnp.where(self.path_mean > 0, self.path_mean, mean_so_far), self.path_mean
        )

    @property
    def trend(self) -> Float[Array, "*assets"]:
        """Latest price less the mean of the last prices, over σ_roll; 0 if prices do not move."""
        number = jnp.minimum(self.count, self.prices.shape[0])
        in_window = jnp.arange(self.prices.shape[0]).reshape(-1, *[1] * self.rolling.ndim) < number
        difference = -jnp.where(in_window, self.prices - self.prices[0], 0.0).sum(0) / number
        moves = self.rolling > 0
        return jnp.where(moves, difference / jnp.where(moves, self.rolling, 1.0), 0.0)

    @property
    def relative(self) -> Float[Array, "*assets"]:
        """σ_roll / σ_mean; 1 if prices do not move."""
        moves = self.mean > 0
        return jnp.where(moves, self.rolling / jnp.where(moves, self.mean, 1.0), 1.0)


class StochasticSpread(eqx.Module):
    """Half-spread of each side: rolling volatility plus log-normal noise, clamped and scaled."""

    multiplier: Scalar = 0.18
    """ν, factor of the spread; dimensionless."""
    noise_std: Scalar = 0.5 * 100 * 0.15 / 512**0.5
    """s, standard deviation of the logarithm of the noise: γ S_0 σ √Δ of eq. 13."""
    noise_median: Scalar = 1.0
    """m, median of the noise, in currency; per 100 of the midprice with `noise_scales_with_mid`."""
    noise_scales_with_mid: bool = eqx.field(static=True, default=False)
    """Scale the noise with the midprice, which makes the spread scale-free."""
    clamp: bool = eqx.field(static=True, default=True)
    """Clamp δ to its bounds. The paper describes the clamp, but it has no effect in the paper's code."""
    clamp_low: Scalar = 0.1
    """Smallest δ, as a multiple of σ_mean."""
    clamp_high: Scalar = 2.5
    """Largest δ, as a multiple of σ_mean."""

    def __check_init__(self):
        for name in ("multiplier", "noise_std", "noise_median", "clamp_low"):
            value = getattr(self, name)
            check(name, value, "at least 0 and finite", lambda value=value: is_at_least(value, 0))
        low, high = self.clamp_low, self.clamp_high
        check("clamp_high", high, f"at least clamp_low ({low}) and finite", lambda: is_at_least(high, low))

    def half_spread(
        self,
        normals: Float[Array, "..."],
        mid: Float[Array, "*assets"],
        volatility: RollingVolatility,
    ) -> Float[Array, "*assets sides"]:
        """Return ν δ of each side, in currency. Normals broadcast to (*assets, sides)."""
        rolling, mean = volatility.rolling[..., None], volatility.mean[..., None]
        median = self.noise_median * mid[..., None] / 100 if self.noise_scales_with_mid else self.noise_median
        delta = rolling + median * jnp.exp(self.noise_std * normals)
        if self.clamp:
            delta = jnp.clip(delta, self.clamp_low * mean, self.clamp_high * mean)
        return self.multiplier * delta


def apply_skew(half_spread: Float[Array, "2"], skew: Float[Array, ""]) -> Float[Array, "2"]:
    """Return the half-spreads of bid and ask after a skew in [-1, 1], eq. 25-26.

    A negative skew raises the bid, a positive skew lowers the ask; at -1 or 1 that side is at the midprice. One side is
    tightened, and the other is unchanged.
    """
    return half_spread * (1 - jnp.maximum(jnp.stack([-skew, skew]), 0.0))


def check_window(name: str, window: int) -> None:
    """Check a window of prices for a standard deviation. Raises ValueError."""
    check(name, window, "from 2 to 1000", 2 <= window <= 1000)
