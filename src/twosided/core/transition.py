"""Transition: the result of one step of a market, with its PnL and prices.

Signs are from the market maker's point of view. Inventory above 0 is long. The maker buys at its bid and sells at its
ask; a half-spread is positive when it earns. Each market states its units of time and price; volatility is per square
root of that unit of time.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from twosided.core.numeric import HostArray

PARTS = ("spread", "hedge", "inventory", "fees", "total")
"""Parts of PnL and their sum."""


class PnL(eqx.Module):
    """PnL of a step by part, in the market's currency, for every maker.

    The parts sum to the change of marked wealth, cash + inventory · mid, on every step of every path.
    """

    spread: Float[Array, "*makers"]
    """Earnings of client trades over the midprice: size · (mid - price), size > 0 when the maker buys."""
    hedge: Float[Array, "*makers"]
    """The same for trades with the exchange; a cost is negative."""
    inventory: Float[Array, "*makers"]
    """Revaluation of the position held from t to t+1: position · (P_{t+1} - P_t)."""
    fees: Float[Array, "*makers"]
    """Fees less rebates; a cost is negative."""

    @property
    def total(self) -> Float[HostArray, "*makers"]:
        """Sum of the parts."""
        return self.spread + self.hedge + self.inventory + self.fees


class Quotes(eqx.Module):
    """Prices of a step, in the market's currency, for every maker."""

    mid: Float[Array, "*makers"]
    """Midprice against which the step's trades are measured."""
    mid_after: Float[Array, "*makers"]
    """Midprice at which wealth is marked after the step."""
    bid: Float[Array, "*makers"]
    """Price at which the maker buys a unit from clients."""
    ask: Float[Array, "*makers"]
    """Price at which the maker sells a unit to clients."""
    exchange_bid: Float[Array, "*makers"] | None = None
    """Price at which the maker can sell on the exchange; None where the market has none."""
    exchange_ask: Float[Array, "*makers"] | None = None
    """Price at which the maker can buy on the exchange; None where the market has none."""


class Transition(eqx.Module):
    """Result of one step of a market, for every maker."""

    observation: Any
    """Observation at t+1, before any reset; leaves with a leading axis of makers."""
    pnl: PnL
    """PnL of the step by part."""
    quotes: Quotes
    """Prices of the step."""
    held: Float[Array, "makers"]
    """Position before the step's trades, in units."""
    expected_inventory_pnl: Float[Array, "makers"]
    """E[inventory PnL | state, action], in currency: the price innovation's mean in place of its draw. Where trades
    depend on the innovation, it is the draw."""
    inventory: Float[Array, "makers"]
    """Position after the step's trades, in units."""
    bought: Float[Array, "makers"]
    """Volume bought from clients in the step, in units."""
    sold: Float[Array, "makers"]
    """Volume sold to clients in the step, in units."""
    terminated: Bool[Array, ""]
    """Whether the market ended the episode, such as by a breach of a limit; returns are not bootstrapped."""
    time_step: Float[ArrayLike, ""] = 1.0
    """Δ, length of the step, in the market's units of time."""
    extras: Any = None
    """Further quantities of this market, of the type `Market.extras`; None if it has none."""

    @classmethod
    def of(
        cls,
        observation: Any,
        pnl: Float[ArrayLike, "makers"] | Float[ArrayLike, ""],
        terminated: Bool[ArrayLike, ""] = False,
        extras: Any = None,
    ) -> "Transition":
        """Return the transition of a task without prices and trades, such as a control problem.

        `pnl` is the number that each maker earns in the step; it becomes spread PnL, and a single number stands for one
        maker. The other parts of PnL, positions and volumes are 0, and quotes are NaN.
        """
        spread = jnp.atleast_1d(jnp.asarray(pnl, float))
        zero, none = jnp.zeros_like(spread), jnp.full_like(spread, jnp.nan)
        return cls(
            observation=observation,
            pnl=PnL(spread, zero, zero, zero),
            quotes=Quotes(none, none, none, none),
            held=zero,
            expected_inventory_pnl=zero,
            inventory=zero,
            bought=zero,
            sold=zero,
            terminated=jnp.asarray(terminated, bool),
            extras=extras,
        )
