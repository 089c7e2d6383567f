"""Spreads that follow volatility, as clients and the exchange show them (Bakshaev 2020, section 3.2, eq. 10-13).

    bid = S - ν δ_bid,  ask = S + ν δ_ask,    δ = clip(σ_roll + ε, 0.1 σ_mean, 2.5 σ_mean),    ε = m exp(s Z)

σ_roll is the standard deviation of the last prices themselves, in currency: eq. 12 divides it by √n_steps, which would
leave nothing of it beside ε. σ_mean is its mean: over the steps of the episode so far, or over the whole path where the
market looks ahead, as the paper does. s = γ S_0 σ √Δ; the median m of ε is 1 in currency, at S_0 = 100.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from twosided.core.numeric import Scalar
from twosided.core.validation import check, is_at_least


class RollingVolatility(eqx.Module):
    """The deviation of the last prices, and its mean; of one asset, or of several at once."""

    prices: Float[Array, "window *assets"]
    """The last ones, the latest first."""
    count: Float[Array, "*assets"]
    """How many the episode has had."""
    level: Float[Array, "*assets"]
    """σ_roll, in currency: over as many prices as there are, if fewer than the window; 0 of one alone."""
    mean: Float[Array, "*assets"]
    """σ_mean, in currency."""
    whole: Float[Array, "*assets"]
    """The mean over the whole path, where the market looks ahead; else 0."""

    @classmethod
    def start(
        cls, mid: Float[Array, "*assets"], window: int, whole: Float[Array, "*assets"] | None = None
    ) -> "RollingVolatility":
        """Of the first price alone."""
        nothing = jnp.zeros_like(mid)
        whole = nothing if whole is None else whole.astype(mid.dtype)
        return cls(jnp.broadcast_to(mid, (window, *mid.shape)), nothing + 1, nothing, whole, whole)

    def after(self, mid: Float[Array, "*assets"]) -> "RollingVolatility":
        """With one more price."""
        prices = jnp.concatenate([mid[None], self.prices[:-1]])
        window, count = prices.shape[0], self.count + 1
        number = jnp.minimum(count, window)
        held = jnp.arange(window).reshape(-1, *[1] * mid.ndim) < number
        # From the latest price, so that nothing is lost where prices are large beside their deviation.
        apart = jnp.where(held, prices - mid, 0.0)
        mean = apart.sum(0) / number
        level = jnp.sqrt(jnp.where(held, jnp.square(apart - mean), 0.0).sum(0) / (number - 1))
        so_far = self.mean + (level - self.mean) / (count - 1)
        return RollingVolatility(
            prices, count, level, jnp.where(self.whole > 0, self.whole, so_far), self.whole
        )

    @property
    def trend(self) -> Float[Array, "*assets"]:
        """How far the latest price is above the mean of the last ones, in deviations of them; 0 where nothing moves."""
        number = jnp.minimum(self.count, self.prices.shape[0])
        held = jnp.arange(self.prices.shape[0]).reshape(-1, *[1] * self.level.ndim) < number
        above = -jnp.where(held, self.prices - self.prices[0], 0.0).sum(0) / number
        moves = self.level > 0
        return jnp.where(moves, above / jnp.where(moves, self.level, 1.0), 0.0)

    @property
    def relative(self) -> Float[Array, "*assets"]:
        """σ_roll / σ_mean; 1 where nothing moves."""
        moves = self.mean > 0
        return jnp.where(moves, self.level / jnp.where(moves, self.mean, 1.0), 1.0)


class StochasticSpread(eqx.Module):
    """A half-spread on each side: rolling volatility and a log-normal part, within bounds."""

    multiplier: Scalar = 0.18
    """ν, the size of the spread; a number."""
    noise: Scalar = 0.5 * 100 * 0.15 / 512**0.5
    """s, the deviation of the logarithm of the log-normal part: γ S_0 σ √Δ of eq. 13."""
    median: Scalar = 1.0
    """m, the median of the log-normal part, in currency; per 100 of the midprice if `relative`."""
    relative: bool = eqx.field(static=True, default=False)
    """Let the log-normal part grow with the midprice, so that the spread has no scale of its own."""
    clamp: bool = eqx.field(static=True, default=True)
    """Keep δ within its bounds; the paper means to, and its code does not."""
    clamp_low: Scalar = 0.1
    """Smallest δ, times σ_mean."""
    clamp_high: Scalar = 2.5
    """Largest δ, times σ_mean."""

    def __check_init__(self):
        for name in ("multiplier", "noise", "median", "clamp_low"):
            value = getattr(self, name)
            check(name, value, "at least 0 and finite", lambda value=value: is_at_least(value, 0))
        low, high = self.clamp_low, self.clamp_high
        check("clamp_high", high, f"at least clamp_low ({low}) and finite", lambda: is_at_least(high, low))

    def half(
        self,
        normals: Float[Array, "*assets sides"],
        mid: Float[Array, "*assets"],
        volatility: RollingVolatility,
    ) -> Float[Array, "*assets sides"]:
        """ν δ, in currency."""
        level, mean = volatility.level[..., None], volatility.mean[..., None]
        median = self.median * mid[..., None] / 100 if self.relative else self.median
        delta = level + median * jnp.exp(self.noise * normals)
        if self.clamp:
            delta = jnp.clip(delta, self.clamp_low * mean, self.clamp_high * mean)
        return self.multiplier * delta


def skewed(half: Float[Array, "2"], skew: Float[Array, ""]) -> Float[Array, "2"]:
    """Half-spreads of bid and ask after a skew in [-1, 1]: below 0 it raises the bid, above 0 it lowers the ask.

    Eq. 25-26; at -1 or 1 the side is at the midprice. It tightens one side and never widens the other.
    """
    return half * (1 - jnp.maximum(jnp.stack([-skew, skew]), 0.0))


def check_window(name: str, window: int) -> None:
    """Raises ValueError for what is no number of prices to take a deviation of."""
    check(name, window, "from 2 to 1000", 2 <= window <= 1000)
