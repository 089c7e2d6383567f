"""Limit orders and market orders on bars of open, high, low and close prices: orders of one bar trade in the next.

Let C_t be the close of bar t, which is the midprice, and q the inventory. The maker observes bar t in full, then acts:

    1. a market order for m units trades at the open of bar t+1, across the spread:
                                                                      hedge PnL      -m (price - C_t)
    2. a bid for b units rests at C_t (1 - δ_b) and an ask for a units at C_t (1 + δ_a); each fills in full or not at
       all, by how far bar t+1 went through it (twosided.limit_orders.fills), at its own price:
                                                                      spread PnL     C_t Σ size δ over the filled orders
    3. fees are paid and rebates received:                            fees PnL
    4. the position after the trades is marked at the new close:      inventory PnL  q_{t+1} (C_{t+1} - C_t)

The inventory part thus contains the move of bar t+1 against orders that it filled (adverse selection). No part of bar
t+1 is observed before the action.

Offsets are fractions of the close. An offset of `max_offset` or more places no order, nor does a size below one unit
where sizes are whole units. Orders are reduced to the bounds on inventory and cash: the market order first, then each
limit order as if the other did not fill.

Prices are in the currency of the bars, sizes in units. The scaled observation has log prices over the close, in units
of `max_offset`. The unscaled observation is the state of Gore (2025) (`twosided.papers.heston_planning.scenario`).
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from twosided.bars.source import BarSource, QuotedBar, SimulatedBars
from twosided.core.dashboard import Dashboard
from twosided.core.market import History, Market, Part
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

UNLIMITED_CASH = 1e30
"""Cash to spend where there is no bound on debt, in currency."""


class BarsObservation(eqx.Module):
    """Observation of the maker after a bar. With `scaled`, prices are log prices over the close, in units of
    `max_offset`; else they are in currency."""

    inventory: Float[Array, "*makers"]
    """q, in units."""
    open: Float[Array, "*makers"]
    """Open of the last bar."""
    high: Float[Array, "*makers"]
    """High of the last bar."""
    low: Float[Array, "*makers"]
    """Low of the last bar."""
    change: Float[Array, "*makers"]
    """Change of the close over the last bar; unscaled, the change of (high + low) / 2."""
    bought: Float[Array, "*makers"]
    """Units bought in the last bar, market orders included."""
    sold: Float[Array, "*makers"]
    """Units sold in the last bar, market orders included."""
    cash: Float[Array, "*makers"] | None = None
    """Cash, in currency. With `scaled`, cash above `min_cash` in orders of `size` units at the close, at most 10; None
    without a bound on debt."""
    volatility: Float[Array, "*makers"] | None = None
    """Exponentially weighted volatility of log changes of the close, in units of `max_offset`; with `scaled` only."""
    half_spread: Float[Array, "*makers"] | None = None
    """Half-spread at the close, as a fraction of the close in units of `max_offset`; with `scaled` only."""
    close: Float[Array, "*makers"] | None = None
    """Close of the last bar; None with `scaled`."""
    profit: Float[Array, "*makers"] | None = None
    """Cash received less cash paid in the last bar, in currency; None with `scaled`."""
    inventory_pnl: Float[Array, "*makers"] | None = None
    """Inventory PnL of the last bar, in currency; None with `scaled`."""


class BarsShock(eqx.Module):
    """Random inputs of a step."""

    source: Any
    """Shock of the source of bars."""
    bid: Any
    """Shock of the fill of the bid."""
    ask: Any
    """Shock of the fill of the ask."""


class StepResults(eqx.Module):
    """Results of the last step that the maker observes, in the units of the observation before scaling."""

    change: Float[Array, ""]
    """Log change of the close with `scaled`; else the change of (high + low) / 2, in currency."""
    bought: Float[Array, ""]
    """Units bought, market orders included."""
    sold: Float[Array, ""]
    """Units sold, market orders included."""
    profit: Float[Array, ""]
    """Cash received less cash paid, in currency."""
    inventory_pnl: Float[Array, ""]
    """Inventory PnL, in currency."""


class BarsState(eqx.Module):
    """State of the market before the maker acts."""

    price: Any
    """State of the source of bars."""
    cash: Float[Array, ""]
    """Cash from every trade at its own price, less fees, in currency; wealth is cash + inventory · close."""
    inventory: Float[Array, ""]
    """q, in units."""
    variance: Float[Array, ""]
    """Exponentially weighted mean of squared log changes of the close."""
    count: Float[Array, ""]
    """Number of log changes in `variance`."""
    last_step: StepResults
    """Results of the last step; 0 at the start of an episode."""


class BarsMarket(Market):
    """Limit orders and market orders on bars: orders of one bar trade in the next."""

    takes_competitors = False
    extras = InventoryMoments

    source: BarSource = SimulatedBars()
    """Source of the bars: a simulated price process, or recorded bars."""
    fills: BarFill = TradeThroughFill()
    """Rule that decides which limit orders fill."""
    size: Scalar = 1.0
    """Size of a limit order where the maker does not choose it, in units; at most `max_size`."""
    max_size: Scalar = 10.0
    """Largest size of a limit order, in units."""
    max_market_order: Scalar = 10.0
    """Largest size of a market order, in units."""
    sizes: bool = eqx.field(static=True, default=True)
    """Let makers choose the sizes of limit orders, and market orders; otherwise they choose two offsets for orders of
    `size` units."""
    whole_units: bool = eqx.field(static=True, default=True)
    """Round sizes toward 0 to whole units."""
    min_offset: Scalar = 0.0
    """Smallest offset of a limit order, as a fraction of the close; negative offsets cross the close."""
    max_offset: Scalar = 0.002
    """Offset from which on no order is placed, as a fraction of the close."""
    maker_fee: Scalar = 0.0
    """Fee per unit traded by a limit order, in currency; a rebate if negative."""
    taker_fee: Scalar = 0.0
    """Fee per unit traded by a market order, in currency; a rebate if negative."""
    maker_rate: Scalar = 0.0
    """Fee of a limit order as a fraction of its value; a rebate if negative. Added to `maker_fee`."""
    taker_rate: Scalar = 0.0
    """Fee of a market order as a fraction of its value; a rebate if negative. Added to `taker_fee`."""
    initial_inventory: Scalar = 0.0
    """q at the start of an episode, in units."""
    min_inventory: Scalar = -10.0
    """Smallest inventory, in units; 0 for no short sales."""
    max_inventory: Scalar = 10.0
    """Largest inventory, in units."""
    initial_cash: Scalar = 0.0
    """Cash at the start of an episode, in currency."""
    min_cash: Scalar | None = None
    """Smallest cash that a purchase may leave, in currency; 0 for no debt, none for no bound."""
    volatility_window: Scalar = 30.0
    """Effective window of the observed volatility, in bars: the weight of the last squared change is 1 over it."""
    scaled: bool = eqx.field(static=True, default=True)
    """Show log prices over the close in units of `max_offset`; otherwise prices and cash in currency."""
    num_makers: int = eqx.field(static=True, default=1)
    """Always 1: the maker has no competitors."""

    def __check_init__(self):
        alone = "1 (the market has no competitors: choose none)"
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
        lower, upper = self.min_inventory, self.max_inventory
        check("min_inventory", lower, "finite", lambda: np.isfinite(lower))
        above = f"at least min_inventory ({lower}) and finite"
        check("max_inventory", upper, above, lambda: is_at_least(upper, lower))
        first, between = self.initial_inventory, f"from {lower} to {upper}"
        check("initial_inventory", first, between, lambda: (first >= lower) & (first <= upper))
        min_cash = self.min_cash
        if min_cash is not None:
            bound = f"at most initial_cash ({self.initial_cash})"
            check("min_cash", min_cash, bound, lambda: min_cash <= self.initial_cash)
        window = self.volatility_window
        check("volatility_window", window, "at least 1 and finite", lambda: is_at_least(window, 1))

    @property
    def history(self) -> History | None:
        record = self.source.history
        if record is None:
            return None
        return History(steps=record.number - 1, starts=record.number - 1 - record.window)

    def place(self, state: BarsState) -> Int[Array, ""]:
        return state.price

    def part(self, part: Part) -> "BarsMarket":
        source = self.source.part(part)
        return self if source is self.source else dataclasses.replace(self, source=source)

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
            last_step=StepResults(*[nothing] * 5),
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
        # A plain mean over the first window, as there is no estimate to start from.
        weight = jnp.maximum(1 / count, 1 / self.volatility_window)
        mid_range_change = (bar.mid.high + bar.mid.low - before.mid.high - before.mid.low) / 2
        bought = trades.bought + jnp.maximum(trades.ordered, 0.0)
        sold = trades.sold + jnp.maximum(-trades.ordered, 0.0)
        after = BarsState(
            price=price,
            cash=state.cash + cash,
            inventory=state.inventory + trades.volume,
            variance=state.variance + weight * (jnp.square(log_change) - state.variance),
            count=count,
            last_step=StepResults(
                log_change if self.scaled else mid_range_change, bought, sold, cash, pnl.inventory
            ),
        )
        bid, ask = before.mid.close - trades.bid_offset, before.mid.close + trades.ask_offset
        exchange = bar.mid.open - bar.half_spread_at_open, bar.mid.open + bar.half_spread_at_open
        fields = {
            "pnl": pnl,
            "quotes": Quotes(before.mid.close, close, bid, ask, *exchange),
            "held": state.inventory,
            # Fills depend on the price innovation, so the draw takes the place of its expectation.
            "expected_inventory_pnl": pnl.inventory,
            "inventory": after.inventory,
            "bought": trades.bought,
            "sold": trades.sold,
            "extras": InventoryMoments(jnp.square(pnl.inventory), jnp.minimum(pnl.inventory, 0.0)),
        }
        return after, Transition(
            observation=self.observe(after),
            terminated=self.source.ended(price),
            **jax.tree.map(lambda leaf: leaf[None], fields),
        )

    def _trades(
        self, state: BarsState, action: LimitOrders, shock: BarsShock, close: Float[Array, ""], bar: QuotedBar
    ) -> Trades:
        """Return the trades in a bar, of the orders placed at the close before it."""
        spendable = UNLIMITED_CASH if self.min_cash is None else state.cash - self.min_cash

        # The market order trades at the open.
        order = jnp.zeros_like(close)
        if action.market_order is not None:
            order = self._clip(action.market_order, close, -self.max_market_order, self.max_market_order)
        slippage = bar.mid.open - close + jnp.sign(order) * bar.half_spread_at_open
        price = close + slippage
        unit_cost = price * (1 + self.taker_rate) + self.taker_fee
        max_purchase = jnp.minimum(self.max_inventory - state.inventory, spendable / unit_cost)
        order = jnp.clip(
            order, -jnp.maximum(state.inventory - self.min_inventory, 0.0), jnp.maximum(max_purchase, 0.0)
        )
        order = self._round(order)
        fees = jnp.abs(order) * (self.taker_fee + price * self.taker_rate)
        held, spendable = state.inventory + order, spendable - order * price - fees

        # The limit orders rest during the bar.
        bid, ask = (
            self._clip(x, close, self.min_offset, self.max_offset)
            for x in (action.bid_offset, action.ask_offset)
        )
        buy, sell = (
            self._clip(self.size if x is None else x, close, 0.0, self.max_size)
            for x in (action.bid_size, action.ask_size)
        )
        bid_price, ask_price = close * (1 - bid), close * (1 + ask)
        unit_cost = bid_price * (1 + self.maker_rate) + self.maker_fee
        max_purchase = jnp.minimum(
            self.max_inventory - held, spendable / jnp.maximum(unit_cost, 1e-6 * close)
        )
        buy = self._round(jnp.minimum(buy, jnp.maximum(max_purchase, 0.0)))
        sell = self._round(jnp.minimum(sell, jnp.maximum(held - self.min_inventory, 0.0)))
        through = (bid_price - bar.lowest_ask) / bid_price, (bar.highest_bid - ask_price) / ask_price
        filled = self.fills.filled(shock.bid, through[0]), self.fills.filled(shock.ask, through[1])
        bought = jnp.where(filled[0] & (bid < self.max_offset) & bar.contiguous, buy, 0.0)
        sold = jnp.where(filled[1] & (ask < self.max_offset) & bar.contiguous, sell, 0.0)
        fees = fees + (bought + sold) * self.maker_fee
        fees = fees + (bought * bid_price + sold * ask_price) * self.maker_rate
        return Trades(bought, close * bid, sold, close * ask, order, slippage, fees)

    def _clip(self, value: Any, like: Float[Array, ""], low: Any, high: Any) -> Float[Array, ""]:
        """Return the choice of the one maker, clipped to its bounds."""
        value = jnp.asarray(value)
        return jnp.clip(value.reshape(-1)[0], low, high).astype(like.dtype)

    def _round(self, size: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.trunc(size) if self.whole_units else size

    def observe(self, state: BarsState) -> BarsObservation:
        """Return the observation of the maker, from the last bar and the results of the last step."""
        bar, last = self.source.bar(state.price), state.last_step
        mid = bar.mid
        common = {"inventory": state.inventory, "bought": last.bought, "sold": last.sold}
        if self.scaled:
            orders = None
            if self.min_cash is not None:
                orders = jnp.minimum((state.cash - self.min_cash) / (mid.close * self.size), 10.0)
            observed = {
                "open": jnp.log(mid.open / mid.close) / self.max_offset,
                "high": jnp.log(mid.high / mid.close) / self.max_offset,
                "low": jnp.log(mid.low / mid.close) / self.max_offset,
                "change": last.change / self.max_offset,
                "cash": orders,
                "volatility": jnp.sqrt(state.variance) / self.max_offset,
                "half_spread": bar.half_spread / mid.close / self.max_offset,
            }
        else:
            observed = {
                "open": mid.open,
                "high": mid.high,
                "low": mid.low,
                "change": last.change,
                "cash": state.cash,
                "close": mid.close,
                "profit": last.profit,
                "inventory_pnl": last.inventory_pnl,
            }
        return BarsObservation(**jax.tree.map(lambda leaf: leaf[None], common | observed))

    def optimum(self, scenario: "Scenario") -> Optimum:
        from twosided.bars.optimum import exact_offsets

        return exact_offsets(scenario)

    def metrics(self) -> tuple[MetricGroup, ...]:
        from twosided.bars.metrics import bars_metrics

        return bars_metrics()

    def dashboard(self) -> Dashboard:
        from twosided.bars.dashboard import BarsDashboard

        return BarsDashboard(self)
