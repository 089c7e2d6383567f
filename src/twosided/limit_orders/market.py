"""Limit orders around a midprice: the market of Avellaneda and Stoikov (2008), in discrete time.

In a step from t to t+1, with S the midprice and q the maker's inventory:

    1. the maker bids at S_t - δ_b and asks at S_t + δ_a, for one unit each
    2. each order fills with probability 1 - exp(-A exp(-k δ) Δ), independently (twosided.limit_orders.fills):
                                                                      spread PnL  Σ δ over the filled orders
    3. the price moves, and with it the position after the trades:    inventory PnL  q_{t+1} (S_{t+1} - S_t)

An offset of `max_offset` or more places no order, nor does a size below 1, nor an order that would take |q| beyond
`max_inventory`. As steps become short, this is the market in which orders fill at the rate A exp(-k δ), whose
optimum is known (twosided.limit_orders.exact). The market closes after a session. It may charge fees, or pay
rebates, per filled unit.

Time is in the units of the price process, by default 200 steps of 0.005. Offsets and money are in currency.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from twosided.core.dashboard import Dashboard
from twosided.core.market import Market
from twosided.core.metrics import MetricGroup
from twosided.core.numeric import Scalar
from twosided.core.optimum import Optimum
from twosided.core.scenario import Scenario
from twosided.core.spaces import Box
from twosided.core.transition import Quotes, Transition
from twosided.core.validation import check, is_at_least
from twosided.limit_orders.fills import ExponentialFill
from twosided.limit_orders.orders import LimitOrders, Trades
from twosided.prices import Bachelier, PriceProcess
from twosided.rewards.extras import InventoryMoments


class LimitOrderObservation(eqx.Module):
    """Observation of the maker before it acts."""

    inventory: Float[Array, "*makers"]
    """q, in units."""
    time_left: Float[Array, "*makers"] | None
    """Time until the market closes, in units of time; None if it never closes."""


class LimitOrderShock(eqx.Module):
    """Random inputs of a step."""

    price: Any
    """Price innovation."""
    sale: Float[Array, "*batch"]
    """Gumbel variable of the deepest sell order, which meets the maker's bid."""
    purchase: Float[Array, "*batch"]
    """Gumbel variable of the deepest buy order, which meets the maker's ask."""


class LimitOrderState(eqx.Module):
    """State of the market before the maker acts."""

    price: Any
    time: Int[Array, ""]
    """Steps since the opening."""
    cash: Float[Array, ""]
    """Cash from every trade at its own price, in currency; wealth is cash + inventory · mid."""
    inventory: Float[Array, ""]


class LimitOrderMarket(Market):
    """One maker quotes around a midprice; orders further away fill less often."""

    takes_competitors = False
    extras = InventoryMoments

    price: PriceProcess = Bachelier(volatility=2.0, time_step=0.005)
    """Midprice process."""
    fills: ExponentialFill = ExponentialFill()
    """Fill model."""
    max_inventory: Scalar = 10.0
    """Largest |q|, in units; a whole number."""
    min_offset: Scalar = 0.0
    """Smallest offset of an order from the midprice, in currency; negative offsets cross the midprice."""
    max_offset: Scalar = 4.0
    """Offset from which on no order is placed, in currency."""
    fee: Scalar = 0.0
    """Fee per filled unit, in currency; a rebate if negative."""
    session: int = eqx.field(static=True, default=200)
    """Steps after which the market closes and the episode is terminated; 0 for never."""
    num_makers: int = eqx.field(static=True, default=1)
    """Always 1: the maker has no competitors."""

    def __check_init__(self):
        alone = "1 (nobody competes here: choose no competitors)"
        check("num_makers", self.num_makers, alone, self.num_makers == 1)
        limit, min_offset = self.max_inventory, self.min_offset
        check("max_inventory", limit, "a whole number from 1 on", lambda: (limit >= 1) & (limit % 1 == 0))
        check("min_offset", min_offset, "finite", lambda: np.isfinite(min_offset))
        above = f"above min_offset ({min_offset}) and finite"
        check(
            "max_offset",
            self.max_offset,
            above,
            lambda: np.isfinite(self.max_offset) & (self.max_offset > min_offset),
        )
        check("fee", self.fee, "finite", lambda: np.isfinite(self.fee))
        check(
            "session",
            self.session,
            "from 0 to 1000000",
            is_at_least(self.session, 0) & (self.session <= 10**6),
        )

    @property
    def action_space(self) -> Box:
        low, high = (jnp.asarray(bound, float) for bound in (self.min_offset, self.max_offset))
        return Box(LimitOrders(low, low), LimitOrders(high, high))

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> LimitOrderShock:
        key_price, key_sale, key_purchase = jax.random.split(key, 3)
        return LimitOrderShock(
            price=self.price.shocks(key_price, shape),
            sale=self.fills.shocks(key_sale, shape),
            purchase=self.fills.shocks(key_purchase, shape),
        )

    def reset(self, shock: LimitOrderShock) -> tuple[LimitOrderState, LimitOrderObservation]:
        price = self.price.reset(shock.price)
        nothing = jnp.zeros_like(price.mid)
        state = LimitOrderState(price, jnp.zeros((), jnp.int32), nothing, nothing)
        return state, self._observe(state)

    def step(
        self, state: LimitOrderState, action: LimitOrders, shock: LimitOrderShock
    ) -> tuple[LimitOrderState, Transition]:
        if action.market_order is not None:
            raise AttributeError("it places market orders, which this market does not take")
        held, mid = state.inventory, state.price.mid
        bid, ask = (self._offset(side, held) for side in (action.bid_offset, action.ask_offset))
        bid_size, ask_size = (
            size if size is None else jnp.asarray(size)[0] for size in (action.bid_size, action.ask_size)
        )
        may_buy = is_order(bid, bid_size, self.max_offset) & (held + 1 <= self.max_inventory)
        may_sell = is_order(ask, ask_size, self.max_offset) & (held - 1 >= -self.max_inventory)
        bought = self.fills.filled(shock.sale, bid, self.price.time_step) & may_buy
        sold = self.fills.filled(shock.purchase, ask, self.price.time_step) & may_sell
        bought, sold = bought.astype(mid.dtype), sold.astype(mid.dtype)
        nothing = jnp.zeros_like(mid)
        trades = Trades(bought, bid, sold, ask, nothing, nothing, self.fee * (bought + sold))

        price, change = self.price.step(state.price, shock.price), self.price.change_moments(state.price)
        after = LimitOrderState(price, state.time + 1, state.cash + trades.cash(mid), held + trades.volume)
        expected, square, loss = change.of_position(after.inventory)
        fields = {
            "pnl": trades.pnl(held, price.mid - mid),
            "quotes": Quotes(mid, price.mid, mid - bid, mid + ask),
            "held": held,
            "expected_inventory_pnl": expected,
            "inventory": after.inventory,
            "bought": bought,
            "sold": sold,
            "extras": InventoryMoments(square, loss),
        }
        closed = after.time >= self.session if self.session else jnp.zeros((), bool)
        return after, Transition(
            observation=self._observe(after),
            terminated=closed,
            time_step=jnp.asarray(self.price.time_step, mid.dtype),
            **jax.tree.map(lambda leaf: jnp.asarray(leaf, mid.dtype)[None], fields),
        )

    def _offset(self, offset: Any, like: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.clip(jnp.asarray(offset)[0], self.min_offset, self.max_offset).astype(like.dtype)

    def _observe(self, state: LimitOrderState) -> LimitOrderObservation:
        left = None
        if self.session:
            left = ((self.session - state.time) * self.price.time_step).astype(state.cash.dtype)[None]
        return LimitOrderObservation(state.inventory[None], left)

    def optimum(self, scenario: "Scenario") -> Optimum:
        from twosided.limit_orders.optimum import exact_quotes

        return exact_quotes(scenario)

    def metrics(self) -> tuple[MetricGroup, ...]:
        from twosided.limit_orders.metrics import limit_order_metrics

        return limit_order_metrics()

    def dashboard(self) -> Dashboard:
        from twosided.limit_orders.dashboard import LimitOrderDashboard

        return LimitOrderDashboard(self)


def is_order(offset: Any, size: Any, max_offset: Scalar) -> Any:
    """Whether an offset places an order: below `max_offset`, and with a size of at least one unit if a size is
    given."""
    near = jnp.asarray(offset) < max_offset
    return near if size is None else near & (jnp.asarray(size) >= 1)
