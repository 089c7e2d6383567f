"""Limit orders and a market order on bars, real or simulated: what an order placed after bar t does in bar t+1.

With C_t the close of bar t (its mid), seen with all of the bar before acting, and q the inventory:

    1. a market order for m units trades at the open of bar t+1, across the spread:    hedge PnL  -m (price - C_t)
    2. a bid for b units rests at C_t (1 - δ_b), an ask for a units at C_t (1 + δ_a); each fills as a whole or not
       at all, by how far bar t+1 went through it (twosided.limit_orders.fills), at its own price:  spread PnL
       C_t Σ size δ
    3. fees are paid, rebates received:                                                 fees PnL
    4. what is held then is marked at the new close:                              inventory PnL  q' (C_{t+1} - C_t)

So whatever bar t+1 did to those who were filled in it is in the inventory part, and nothing is seen before it is paid
for. Offsets are fractions of the close. An offset of `max_offset` or more is no order, nor is a size below one
lot where
sizes are whole. A broker cuts market orders, then each limit order alone, to what bounds on inventory and cash allow.

Prices are in the currency of the bars, sizes in units. The observation is scaled: log prices over the close, in units
of `max_offset`; unscaled it is the state of the paper's preset (`twosided.papers.heston_planning.scenario`).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.bars.source import BarSource, QuotedBar, SimulatedBars
from twosided.core.dashboard import Dashboard
from twosided.core.market import Market
from twosided.core.metrics import MetricGroup
from twosided.core.numeric import Scalar
from twosided.core.optimum import Optimum
from twosided.core.scenario import Scenario
from twosided.core.spaces import Box
from twosided.core.transition import Quotes, Transition
from twosided.core.validation import check, is_at_least, is_positive
from twosided.limit_orders.fills import BarFill, TradeThroughFill
from twosided.limit_orders.orders import LimitOrders, Trades
from twosided.rewards.extras import InventoryMoments

UNBOUNDED = 1e30
"""Units that nobody runs out of."""


class BarsObservation(eqx.Module):
    """What the maker sees after a bar. Scaled, prices are logarithms over the close, in units of `max_offset`."""

    inventory: Float[Array, "makers"]
    """q, in units."""
    open: Float[Array, "makers"]
    high: Float[Array, "makers"]
    low: Float[Array, "makers"]
    change: Float[Array, "makers"]
    """Of the close since the bar before; unscaled, of (high + low) / 2."""
    bought: Float[Array, "makers"]
    """In the bar, in units, market orders included."""
    sold: Float[Array, "makers"]
    cash: Float[Array, "makers"] | None = None
    """In currency; scaled: lots of `size` that may still be bought with it, at most 10, None if debt has no bound."""
    volatility: Float[Array, "makers"] | None = None
    """Deviation of the close's changes so far, lately."""
    half_spread: Float[Array, "makers"] | None = None
    close: Float[Array, "makers"] | None = None
    """Unscaled only, as are the next two."""
    profit: Float[Array, "makers"] | None = None
    """Cash received in the bar less cash paid, in currency."""
    inventory_pnl: Float[Array, "makers"] | None = None
    """In the bar, in currency."""


class BarsShock(eqx.Module):
    """What chance decides in a step."""

    source: Any
    bid: Any
    """Of the fill of the maker's bid."""
    ask: Any


class LastStep(eqx.Module):
    """What a step leaves to be seen, in the units of the observation."""

    change: Float[Array, ""]
    bought: Float[Array, ""]
    sold: Float[Array, ""]
    profit: Float[Array, ""]
    inventory_pnl: Float[Array, ""]


class BarsState(eqx.Module):
    """Where the market stands before the maker acts."""

    price: Any
    """Of the source of bars."""
    cash: Float[Array, ""]
    """From every trade at its own price, and fees; wealth is cash + inventory · close."""
    inventory: Float[Array, ""]
    variance: Float[Array, ""]
    """Exponentially weighted mean of squared log changes of the close."""
    count: Float[Array, ""]
    """Of the changes in it."""
    last: LastStep


class BarsMarket(Market):
    """Limit orders and market orders on bars: those of one bar fill in the next."""

    takes_competitors = False
    extras = InventoryMoments

    source: BarSource = SimulatedBars()
    """Where bars come from: a price process seen through substeps, or history."""
    fills: BarFill = TradeThroughFill()
    """Which limit orders fill."""
    size: Scalar = 1.0
    """Units of a limit order whose maker does not say; at most `max_size`."""
    max_size: Scalar = 10.0
    """Largest limit order, in units."""
    max_market_order: Scalar = 10.0
    """Largest market order, in units."""
    sizes: bool = eqx.field(static=True, default=True)
    """Makers choose sizes and market orders too; else they quote two offsets, for `size` units each."""
    whole: bool = eqx.field(static=True, default=True)
    """Sizes are cut to whole units, towards 0."""
    min_offset: Scalar = 0.0
    """Smallest offset of a limit order, a fraction of the close."""
    max_offset: Scalar = 0.002
    """An offset of so much or more is no order; a fraction of the close."""
    maker_fee: Scalar = 0.0
    """Paid for a unit that a limit order trades, in currency; a rebate if below 0."""
    taker_fee: Scalar = 0.0
    """Paid for a unit that a market order trades, in currency."""
    maker_rate: Scalar = 0.0
    """The same as a fraction of what is traded, in currency; a rebate if below 0."""
    taker_rate: Scalar = 0.0
    """Of market orders."""
    initial_inventory: Scalar = 0.0
    """q at the start of an episode, in units."""
    min_inventory: Scalar = -10.0
    """In units; 0: nothing is sold short."""
    max_inventory: Scalar = 10.0
    """In units."""
    initial_cash: Scalar = 0.0
    """At the start of an episode, in currency."""
    min_cash: Scalar | None = None
    """What is bought leaves at least so much cash, in currency; 0: no debt; none: no bound."""
    memory: Scalar = 30.0
    """Changes of the close that the observed volatility goes back to, in bars."""
    scaled: bool = eqx.field(static=True, default=True)
    """Show prices relative to the close and `max_offset`; else as they are, in currency."""
    num_makers: int = eqx.field(static=True, default=1)
    """Only 1: nobody competes for these orders."""

    def __check_init__(self):
        alone = "1 (nobody competes here: choose no competitors)"
        check("num_makers", self.num_makers, alone, self.num_makers == 1)
        for name in ("size", "max_size"):
            value = getattr(self, name)
            check(name, value, "positive and finite", lambda value=value: is_positive(value))
        largest = f"at most max_size ({self.max_size})"
        check("size", self.size, largest, lambda: np.asarray(self.size) <= self.max_size)
        check(
            "max_market_order",
            self.max_market_order,
            "at least 0 and finite",
            lambda: is_at_least(self.max_market_order, 0),
        )
        low, high = self.min_offset, self.max_offset
        check("min_offset", low, "in (-1, 1)", lambda: (low > -1) & (low < 1))
        check("max_offset", high, f"above min_offset ({low}) and below 1", lambda: (high > low) & (high < 1))
        for name in ("maker_fee", "taker_fee", "maker_rate", "taker_rate", "initial_cash"):
            check(name, getattr(self, name), "finite", lambda name=name: np.isfinite(getattr(self, name)))
        least, most = self.min_inventory, self.max_inventory
        check("min_inventory", least, "finite", lambda: np.isfinite(least))
        over = f"at least min_inventory ({least}) and finite"
        check("max_inventory", most, over, lambda: is_at_least(most, least))
        first, between = self.initial_inventory, f"from {least} to {most}"
        check("initial_inventory", first, between, lambda: (first >= least) & (first <= most))
        debt = self.min_cash
        if debt is not None:
            bound = f"at most initial_cash ({self.initial_cash})"
            check("min_cash", debt, bound, lambda: debt <= self.initial_cash)
        check("memory", self.memory, "at least 1 and finite", lambda: is_at_least(self.memory, 1))

    @property
    def action_space(self) -> Box:
        low, high, size, order = (
            jnp.asarray(x, float)
            for x in (self.min_offset, self.max_offset, self.max_size, self.max_market_order)
        )
        if not self.sizes:
            return Box(LimitOrders(low, low), LimitOrders(high, high))
        nothing = jnp.zeros_like(size)
        return Box(
            LimitOrders(low, low, nothing, nothing, -order), LimitOrders(high, high, size, size, order)
        )

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> BarsShock:
        key_source, key_bid, key_ask = jax.random.split(key, 3)
        return BarsShock(
            source=self.source.shocks(key_source, shape),
            bid=self.fills.shocks(key_bid, shape),
            ask=self.fills.shocks(key_ask, shape),
        )

    def reset(self, shock: BarsShock) -> tuple[BarsState, BarsObservation]:
        price = self.source.reset(shock.source)
        nothing = jnp.zeros_like(self.source.bar(price).mid.close)
        state = BarsState(
            price=price,
            cash=nothing + self.initial_cash,
            inventory=nothing + self.initial_inventory,
            variance=nothing,
            count=nothing,
            last=LastStep(*[nothing] * 5),
        )
        return state, self.observe(state)

    def step(self, state: BarsState, action: LimitOrders, shock: BarsShock) -> tuple[BarsState, Transition]:
        before = self.source.bar(state.price)
        price = self.source.step(state.price, shock.source)
        bar = self.source.bar(price)
        trades = self._trades(state, action, shock, before.mid.close, bar)

        close, change = bar.mid.close, bar.mid.close - before.mid.close
        cash, pnl = trades.cash(before.mid.close), trades.pnl(state.inventory, change)
        log_change = jnp.log(close / before.mid.close)
        count = state.count + 1
        # A plain mean at first: there is nothing to start from.
        weight = jnp.maximum(1 / count, 1 / self.memory)
        moved = (bar.mid.high + bar.mid.low - before.mid.high - before.mid.low) / 2
        bought = trades.bought + jnp.maximum(trades.ordered, 0.0)
        sold = trades.sold + jnp.maximum(-trades.ordered, 0.0)
        after = BarsState(
            price=price,
            cash=state.cash + cash,
            inventory=state.inventory + trades.volume,
            variance=state.variance + weight * (jnp.square(log_change) - state.variance),
            count=count,
            last=LastStep(log_change if self.scaled else moved, bought, sold, cash, pnl.inventory),
        )
        bid, ask = before.mid.close - trades.bid_offset, before.mid.close + trades.ask_offset
        exchange = bar.mid.open - bar.half_spread_at_open, bar.mid.open + bar.half_spread_at_open
        told = {
            "pnl": pnl,
            "quotes": Quotes(before.mid.close, close, bid, ask, *exchange),
            "held": state.inventory,
            # What fills knows where the price goes: the draw itself stands for what is expected.
            "expected_inventory_pnl": pnl.inventory,
            "inventory": after.inventory,
            "bought": trades.bought,
            "sold": trades.sold,
            "extras": InventoryMoments(jnp.square(pnl.inventory), jnp.minimum(pnl.inventory, 0.0)),
        }
        return after, Transition(
            observation=self.observe(after),
            terminated=self.source.ended(price),
            **jax.tree.map(lambda leaf: leaf[None], told),
        )

    def _trades(
        self, state: BarsState, action: LimitOrders, shock: BarsShock, close: Float[Array, ""], bar: QuotedBar
    ) -> Trades:
        """What trades in a bar of what was ordered at the close before it."""
        free = UNBOUNDED if self.min_cash is None else state.cash - self.min_cash

        # A market order, at the open.
        order = jnp.zeros_like(close)
        if action.market_order is not None:
            order = self._of(action.market_order, close, -self.max_market_order, self.max_market_order)
        slippage = bar.mid.open - close + jnp.sign(order) * bar.half_spread_at_open
        price = close + slippage
        cost = price * (1 + self.taker_rate) + self.taker_fee
        room = jnp.minimum(self.max_inventory - state.inventory, free / cost)
        order = jnp.clip(
            order, -jnp.maximum(state.inventory - self.min_inventory, 0.0), jnp.maximum(room, 0.0)
        )
        order = self._cut(order)
        fees = jnp.abs(order) * (self.taker_fee + price * self.taker_rate)
        held, free = state.inventory + order, free - order * price - fees

        # Limit orders, in the bar.
        bid, ask = (
            self._of(x, close, self.min_offset, self.max_offset)
            for x in (action.bid_offset, action.ask_offset)
        )
        buy, sell = (
            self._of(self.size if x is None else x, close, 0.0, self.max_size)
            for x in (action.bid_size, action.ask_size)
        )
        bid_price, ask_price = close * (1 - bid), close * (1 + ask)
        cost = bid_price * (1 + self.maker_rate) + self.maker_fee
        room = jnp.minimum(self.max_inventory - held, free / jnp.maximum(cost, 1e-6 * close))
        buy = self._cut(jnp.minimum(buy, jnp.maximum(room, 0.0)))
        sell = self._cut(jnp.minimum(sell, jnp.maximum(held - self.min_inventory, 0.0)))
        through = (bid_price - bar.lowest_ask) / bid_price, (bar.highest_bid - ask_price) / ask_price
        reached = self.fills.filled(shock.bid, through[0]), self.fills.filled(shock.ask, through[1])
        bought = jnp.where(reached[0] & (bid < self.max_offset) & bar.follows, buy, 0.0)
        sold = jnp.where(reached[1] & (ask < self.max_offset) & bar.follows, sell, 0.0)
        fees = fees + (bought + sold) * self.maker_fee
        fees = fees + (bought * bid_price + sold * ask_price) * self.maker_rate
        return Trades(bought, close * bid, sold, close * ask, order, slippage, fees)

    def _of(self, decided: Any, like: Float[Array, ""], low: Any, high: Any) -> Float[Array, ""]:
        """The one maker's decision, within bounds."""
        decided = jnp.asarray(decided)
        return jnp.clip(decided.reshape(-1)[0], low, high).astype(like.dtype)

    def _cut(self, size: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.trunc(size) if self.whole else size

    def observe(self, state: BarsState) -> BarsObservation:
        bar, last = self.source.bar(state.price), state.last
        mid = bar.mid
        common = {"inventory": state.inventory, "bought": last.bought, "sold": last.sold}
        if self.scaled:
            lots = None
            if self.min_cash is not None:
                lots = jnp.minimum((state.cash - self.min_cash) / (mid.close * self.size), 10.0)
            seen = {
                "open": jnp.log(mid.open / mid.close) / self.max_offset,
                "high": jnp.log(mid.high / mid.close) / self.max_offset,
                "low": jnp.log(mid.low / mid.close) / self.max_offset,
                "change": last.change / self.max_offset,
                "cash": lots,
                "volatility": jnp.sqrt(state.variance) / self.max_offset,
                "half_spread": bar.half_spread / mid.close / self.max_offset,
            }
        else:
            seen = {
                "open": mid.open,
                "high": mid.high,
                "low": mid.low,
                "change": last.change,
                "cash": state.cash,
                "close": mid.close,
                "profit": last.profit,
                "inventory_pnl": last.inventory_pnl,
            }
        return BarsObservation(**jax.tree.map(lambda leaf: leaf[None], common | seen))

    def optimum(self, scenario: "Scenario") -> Optimum:
        from twosided.bars.optimum import exact_offsets

        return exact_offsets(scenario)

    def metrics(self) -> tuple[MetricGroup, ...]:
        from twosided.bars.metrics import bars_metrics

        return bars_metrics()

    def dashboard(self) -> Dashboard:
        from twosided.bars.dashboard import BarsDashboard

        return BarsDashboard(self)
