"""Quotes of closed form around a midprice, and the rules that they are measured against.

With q the inventory, τ the time that is left, σ the volatility of the midprice, orders that fill at the rate
A exp(-k δ), and a maker with constant absolute aversion γ to risk:

    Avellaneda and Stoikov (2008), eq. 29-30, an expansion around q = 0 for small γ:
        r = S - q γ σ² τ          δ_a + δ_b = γ σ² τ + (2/γ) log(1 + γ/k)        quotes at r ± half of it

    Guéant, Lehalle and Fernandez-Tapia (2013), section 4, the optimum without bounds on q far from the close, q taken
    for continuous:
        δ_b = (1/γ) log(1 + γ/k) + (2q + 1)/2 √(σ²γ/(2kA) (1 + γ/k)^(1 + k/γ)),  δ_a the same with -q

Exact ones are tables over time and inventory (`QuoteTable`, from twosided.limit_orders.exact). Offsets are in the
market's unit of offsets, and so are σ, 1/k and 1/γ: currency among limit orders, fractions of the price on bars.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twosided.core.numeric import Scalar
from twosided.core.policy import StatelessPolicy
from twosided.core.validation import check, is_at_least, is_positive
from twosided.limit_orders.orders import LimitOrders


class FixedOffset(StatelessPolicy):
    """Quotes at the same distances from the mid on every step."""

    bid_offset: Scalar = 0.7
    """How far below the mid it bids."""
    ask_offset: Scalar = 0.7
    """How far above it asks."""

    def act(self, shock, memory, observation):
        dtype = observation.inventory.dtype
        return LimitOrders(jnp.asarray(self.bid_offset, dtype), jnp.asarray(self.ask_offset, dtype)), memory


class DoNothing(StatelessPolicy):
    """Places no orders."""

    def act(self, shock, memory, observation):
        nothing = jnp.zeros_like(observation.inventory)
        return LimitOrders(nothing, nothing, nothing, nothing), memory


class BuyAndHold(StatelessPolicy):
    """Buys a number of units by market orders and then keeps them."""

    units: Scalar = 10.0
    """To hold, sold short if below 0."""

    def __check_init__(self):
        check("units", self.units, "finite", lambda: np.isfinite(self.units))

    def act(self, shock, memory, observation):
        nothing = jnp.zeros_like(observation.inventory)
        missing = (self.units - observation.inventory).astype(nothing.dtype)
        return LimitOrders(nothing, nothing, nothing, nothing, missing), memory


class AvellanedaStoikov(StatelessPolicy):
    """Quotes of Avellaneda and Stoikov (2008): the approximation, as printed."""

    risk_aversion: Scalar = 0.1
    """γ, to risk, per unit of money."""
    volatility: Scalar = 2.0
    """σ of the midprice, per square root of a unit of time."""
    decay: Scalar = 1.5
    """k, of the rate at which orders fill."""
    horizon: Scalar = 1.0
    """τ, in units of time, where the market does not say when it closes."""

    def __check_init__(self):
        _check_risk(self)
        check("horizon", self.horizon, "positive and finite", lambda: is_positive(self.horizon))

    def act(self, shock, memory, observation):
        left = self.horizon if observation.time_left is None else observation.time_left
        risk = self.risk_aversion * jnp.square(self.volatility) * left
        half = risk / 2 + jnp.log1p(self.risk_aversion / self.decay) / self.risk_aversion
        return _around(half, risk * observation.inventory, observation), memory


class GueantLehalleFernandezTapia(StatelessPolicy):
    """Quotes of Guéant, Lehalle and Fernandez-Tapia (2013) far from the close: their approximation in closed form."""

    risk_aversion: Scalar = 0.1
    """γ, to risk, per unit of money."""
    volatility: Scalar = 2.0
    """σ of the midprice, per square root of a unit of time."""
    intensity: Scalar = 140.0
    """A, orders a unit of time that fill at the mid."""
    decay: Scalar = 1.5
    """k, of the rate at which orders fill."""

    def __check_init__(self):
        _check_risk(self)
        check("intensity", self.intensity, "positive and finite", lambda: is_positive(self.intensity))

    def act(self, shock, memory, observation):
        ratio = jnp.log1p(self.risk_aversion / self.decay)
        growth = jnp.exp(ratio * (1 + self.decay / self.risk_aversion))
        risk = jnp.square(self.volatility) * self.risk_aversion / (2 * self.decay * self.intensity)
        skew = jnp.sqrt(risk * growth)
        return _around(
            ratio / self.risk_aversion + skew / 2, skew * observation.inventory, observation
        ), memory


class QuoteTable(StatelessPolicy):
    """Quotes by a table over time and inventory; beyond its ends, its ends."""

    first: Float[Array, ""]
    """The lowest inventory of the table, in units; it goes on in steps of 1."""
    time_step: Float[Array, ""]
    """Units of time from a row to the next; the last row is for the last step before the close."""
    bid: Float[Array, "steps inventories"]
    """How far below the mid it bids."""
    ask: Float[Array, "steps inventories"]
    """How far above it asks."""

    def act(self, shock, memory, observation):
        steps, inventories = self.bid.shape
        row = 0
        if observation.time_left is not None:
            left = jnp.round(observation.time_left / self.time_step).astype(jnp.int32)
            row = jnp.clip(steps - left, 0, steps - 1)
        place = jnp.round(observation.inventory - self.first).astype(jnp.int32)
        place = jnp.clip(place, 0, inventories - 1)
        dtype = observation.inventory.dtype
        return LimitOrders(*(table[row, place].astype(dtype) for table in (self.bid, self.ask))), memory


def _check_risk(policy):
    check("volatility", policy.volatility, "at least 0 and finite", lambda: is_at_least(policy.volatility, 0))
    for name in ("risk_aversion", "decay"):
        value = getattr(policy, name)
        check(name, value, "positive and finite", lambda value=value: is_positive(value))


def _around(half, skew, observation):
    """A bid at `half` below the mid and an ask at `half` above it, both moved down by the skew."""
    dtype = observation.inventory.dtype
    return LimitOrders(jnp.asarray(half + skew, dtype), jnp.asarray(half - skew, dtype))
