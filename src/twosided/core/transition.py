"""The words every room shares: array aliases, profit and loss, transitions, and the sign conventions.

Everything is from the market maker's side. Inventory > 0 is long. A buy by the maker happens at its bid, a
sale at its ask; a half-spread is positive when it earns. Each market states its units of time and price
once; volatility is per square root of that unit of time.
"""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Float

PARTS = ("spread", "hedge", "inventory", "fees", "total")
"""The parts of PnL and their sum, as they are reported."""


class PnL(eqx.Module):
    """The attribution of every unit of money, in the market's currency; one entry a maker.

    The parts sum to the change of marked wealth, cash + inventory · mid, on every step of every path.
    """

    spread: Float[Array, "*makers"]
    """Earned on clients' trades over the mid: size · (mid - price), size > 0 when the maker buys."""
    hedge: Float[Array, "*makers"]
    """The same for trades with the exchange; a cost, so negative."""
    inventory: Float[Array, "*makers"]
    """Revaluation of the position held from t to t+1: position · (P_{t+1} - P_t)."""
    fees: Float[Array, "*makers"]
    """Fees less rebates; a cost is negative."""

    @property
    def total(self) -> Float[Array, "*makers"]:
        return self.spread + self.hedge + self.inventory + self.fees


class Quotes(eqx.Module):
    """The prices of a step, for every maker, in the market's currency."""

    mid: Float[Array, "makers"]
    """The midprice that the step's trades are measured against."""
    mid_after: Float[Array, "makers"]
    """The midprice that wealth is marked at when the step has ended."""
    bid: Float[Array, "makers"]
    """At which the maker buys from clients, a unit."""
    ask: Float[Array, "makers"]
    """At which it sells to them, a unit."""
    exchange_bid: Float[Array, "makers"] | None = None
    """At which it can sell on the exchange, where the market shows it."""
    exchange_ask: Float[Array, "makers"] | None = None
    """At which it can buy there."""


class Transition(eqx.Module):
    """What a step of a market gives, for every maker; the observation is the one before any reset."""

    observation: Any
    """The market's observation at t+1, leaves with a leading axis of makers."""
    pnl: PnL
    quotes: Quotes
    held: Float[Array, "makers"]
    """Position before the step's trades, in units."""
    expected_inventory_pnl: Float[Array, "makers"]
    """E[inventory PnL | state, action], in currency: the price innovation's mean in place of its draw. The
    draw itself where
    trades depend on the innovation."""
    inventory: Float[Array, "makers"]
    """Position after the step's trades, in units."""
    bought: Float[Array, "makers"]
    """Volume bought from clients in the step, in units."""
    sold: Float[Array, "makers"]
    """Volume sold to clients in the step, in units."""
    terminated: Bool[Array, ""]
    """The market itself ended (a breach): nothing follows, so nothing is bootstrapped."""
    extras: Any = None
    """What this market alone reports, of the type that `Market.extras` names; None in a market that adds nothing."""
