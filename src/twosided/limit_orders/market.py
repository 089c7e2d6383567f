"""Limit orders around a midprice: the market of Avellaneda and Stoikov (2008), in steps of time.

In a step from t to t+1, with S the midprice and q the maker's inventory:

    1. the maker asks at S_t + δ_a and bids at S_t - δ_b for one unit each; an offset of `max_offset` or more
    is no order,
       nor is one of a size below 1, nor one that would take |q| beyond its limit
    2. each order fills with probability 1 - exp(-A exp(-k δ) Δ), independently (twosided.limit_orders.fills):
                                                                      spread PnL  Σ δ over what filled
    3. the price moves, and with it the position after the trades:    inventory PnL  q_{t+1} (S_{t+1} - S_t)

With steps that become short this is the market in which orders fill at the rate A exp(-k δ), whose optimum is known
(twosided.limit_orders.exact). The market closes after a session, and may charge fees, or pay rebates, for what fills.

Time is in the units of the price process, 200 steps of 0.005 by default; offsets and money in currency.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from twosided.core.market import Market
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
    """What the maker sees before it acts."""

    inventory: Float[Array, "makers"]
    """q, in units."""
    time_left: Float[Array, "makers"] | None
    """Until the market closes, in units of time; None if it never does."""


class LimitOrderShock(eqx.Module):
    """What chance decides in a step."""

    price: Any
    sale: Float[Array, "*batch"]
    """Of the deepest order of those who sell, to the maker's bid."""
    purchase: Float[Array, "*batch"]
    """Of the deepest order of those who buy, at the maker's ask."""


class LimitOrderState(eqx.Module):
    """Where the market stands before the maker acts."""

    price: Any
    time: Int[Array, ""]
    """Steps since the opening."""
    cash: Float[Array, ""]
    """From every trade at its own price; wealth is cash + inventory · mid."""
    inventory: Float[Array, ""]


class LimitOrderMarket(Market):
    """A maker of limit orders around a midprice; the further away they are, the fewer of them fill."""

    takes_competitors = False
    extras = InventoryMoments

    price: PriceProcess = Bachelier(volatility=2.0, time_step=0.005)
    """How the midprice moves."""
    fills: ExponentialFill = ExponentialFill()
    """How far those who trade with the maker reach."""
    max_inventory: Scalar = 10.0
    """Largest |q|, in units; a whole number."""
    min_offset: Scalar = 0.0
    """Smallest offset of an order from the mid, in currency; below 0 it may be beyond the mid."""
    max_offset: Scalar = 4.0
    """An offset of so much or more is no order, in currency."""
    fee: Scalar = 0.0
    """Paid for a unit that fills, in currency; a rebate if below 0."""
    session: int = eqx.field(static=True, default=200)
    """Steps after which the market closes (the episode is terminated); 0: it never does."""
    num_makers: int = eqx.field(static=True, default=1)
    """Only 1: nobody competes for these orders."""

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
        told = {
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
            **jax.tree.map(lambda leaf: jnp.asarray(leaf, mid.dtype)[None], told),
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


def is_order(offset: Any, size: Any, max_offset: Scalar) -> Any:
    """Whether an offset is an order: nearer than `max_offset`, and of a unit or more if its maker states a size."""
    near = jnp.asarray(offset) < max_offset
    return near if size is None else near & (jnp.asarray(size) >= 1)
