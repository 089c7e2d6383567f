"""Closed-form quotes around a midprice, and reference policies.

Let q be the inventory, τ the time to the close, σ the volatility of the midprice, A exp(-k δ) the fill rate and γ
the maker's constant absolute risk aversion:

    Avellaneda and Stoikov (2008), eq. 29-30, an expansion around q = 0 for small γ:
        r = S - q γ σ² τ          δ_a + δ_b = γ σ² τ + (2/γ) log(1 + γ/k)        quotes at r ± half of it

    Guéant, Lehalle and Fernandez-Tapia (2013), section 4, the optimum without bounds on q far from the close, with q
    continuous:
        δ_b = (1/γ) log(1 + γ/k) + (2q + 1)/2 √(σ²γ/(2kA) (1 + γ/k)^(1 + k/γ)),  δ_a the same with -q

Exact quotes are tables over time and inventory (`QuoteTable`, from twosided.limit_orders.exact). Offsets, σ, 1/k
and 1/γ share the market's unit of offsets: currency around a midprice, fractions of the price on bars.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twosided.core.numeric import Scalar
from twosided.core.policy import StatelessPolicy
from twosided.core.validation import check, is_at_least, is_positive
from twosided.limit_orders.orders import LimitOrders


class FixedOffset(StatelessPolicy):
    """Quotes at constant offsets from the midprice."""

    bid_offset: Scalar = 0.7
    """Midprice less bid, in the market's unit of offsets."""
    ask_offset: Scalar = 0.7
    """Ask less midprice, in the market's unit of offsets."""

    def act(self, shock, state, observation):
        dtype = observation.inventory.dtype
        return LimitOrders(jnp.asarray(self.bid_offset, dtype), jnp.asarray(self.ask_offset, dtype)), state


class DoNothing(StatelessPolicy):
    """Places no orders, as a reference."""

    def act(self, shock, state, observation):
        nothing = jnp.zeros_like(observation.inventory)
        return LimitOrders(nothing, nothing, nothing, nothing), state


class BuyAndHold(StatelessPolicy):
    """Buys a number of units by market orders and holds them."""

    units: Scalar = 10.0
    """Units to hold; a short position if negative."""

    def __check_init__(self):
        check("units", self.units, "finite", lambda: np.isfinite(self.units))

    def act(self, shock, state, observation):
        nothing = jnp.zeros_like(observation.inventory)
        missing = (self.units - observation.inventory).astype(nothing.dtype)
        return LimitOrders(nothing, nothing, nothing, nothing, missing), state


class AvellanedaStoikov(StatelessPolicy):
    """Approximate quotes of Avellaneda and Stoikov (2008), as printed."""

    risk_aversion: Scalar = 0.1
    """γ, absolute risk aversion, per unit of currency."""
    volatility: Scalar = 2.0
    """σ, volatility of the midprice, in currency per square root of a unit of time."""
    decay: Scalar = 1.5
    """k, decay of the fill rate, per unit of currency."""
    horizon: Scalar = 1.0
    """τ, time to the close, in units of time, in a market without a closing time."""

    def __check_init__(self):
        _check_risk(self)
        check("horizon", self.horizon, "positive and finite", lambda: is_positive(self.horizon))

    def act(self, shock, state, observation):
        left = time_left(observation)
        left = self.horizon if left is None else left
        risk = self.risk_aversion * jnp.square(self.volatility) * left
        half = risk / 2 + jnp.log1p(self.risk_aversion / self.decay) / self.risk_aversion
        return _around(half, risk * observation.inventory, observation), state


class GueantLehalleFernandezTapia(StatelessPolicy):
    """Closed-form approximation of the quotes of Guéant, Lehalle and Fernandez-Tapia (2013) far from the close."""

    risk_aversion: Scalar = 0.1
    """γ, absolute risk aversion, per unit of currency."""
    volatility: Scalar = 2.0
    """σ, volatility of the midprice, in currency per square root of a unit of time."""
    intensity: Scalar = 140.0
    """A, fill rate at the midprice, per unit of time."""
    decay: Scalar = 1.5
    """k, decay of the fill rate, per unit of currency."""

    def __check_init__(self):
        _check_risk(self)
        check("intensity", self.intensity, "positive and finite", lambda: is_positive(self.intensity))

    def act(self, shock, state, observation):
        ratio = jnp.log1p(self.risk_aversion / self.decay)
        growth = jnp.exp(ratio * (1 + self.decay / self.risk_aversion))
        risk = jnp.square(self.volatility) * self.risk_aversion / (2 * self.decay * self.intensity)
        skew = jnp.sqrt(risk * growth)
        return _around(
            ratio / self.risk_aversion + skew / 2, skew * observation.inventory, observation
        ), state


class QuoteTable(StatelessPolicy):
    """Quotes from a table over time and inventory, clipped to its ends."""

    first: Float[Array, ""]
    """Lowest inventory of the table, in units; columns are one unit apart."""
    time_step: Float[Array, ""]
    """Time between rows, in units of time; the last row is for the last step before the close."""
    bid: Float[Array, "steps inventories"]
    """Midprice less bid, in the market's unit of offsets."""
    ask: Float[Array, "steps inventories"]
    """Ask less midprice, in the market's unit of offsets."""

    def act(self, shock, state, observation):
        steps, inventories = self.bid.shape
        row = 0
        if (remaining := time_left(observation)) is not None:
            left = jnp.round(remaining / self.time_step).astype(jnp.int32)
            row = jnp.clip(steps - left, 0, steps - 1)
        place = jnp.round(observation.inventory - self.first).astype(jnp.int32)
        place = jnp.clip(place, 0, inventories - 1)
        dtype = observation.inventory.dtype
        return LimitOrders(*(table[row, place].astype(dtype) for table in (self.bid, self.ask))), state


def time_left(observation: Any) -> Float[Array, ""] | None:
    """Return the time until the market closes; None for an observation without a closing time, as on bars."""
    return getattr(observation, "time_left", None)


def _check_risk(policy):
    check("volatility", policy.volatility, "at least 0 and finite", lambda: is_at_least(policy.volatility, 0))
    for name in ("risk_aversion", "decay"):
        value = getattr(policy, name)
        check(name, value, "positive and finite", lambda value=value: is_positive(value))


def _around(half, skew, observation):
    """Return a bid `half` below the midprice and an ask `half` above it, both lowered by the skew."""
    dtype = observation.inventory.dtype
    return LimitOrders(jnp.asarray(half + skew, dtype), jnp.asarray(half - skew, dtype))
