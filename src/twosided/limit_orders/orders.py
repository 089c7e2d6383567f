"""What the markets of limit orders share: what a maker decides there, and the money of a step."""

import equinox as eqx
from jaxtyping import Array, Float

from twosided.core.transition import PnL

Money = Float[Array, ""]


class LimitOrders(eqx.Module):
    """What a maker of limit orders decides in a step; leaves with a leading axis of makers inside the market."""

    bid_offset: Float[Array, "*makers"] | float
    """How far below the mid it bids; in the market's unit of offsets."""
    ask_offset: Float[Array, "*makers"] | float
    """How far above the mid it asks."""
    bid_size: Float[Array, "*makers"] | float | None = None
    """Most units to buy; None for the market's usual size."""
    ask_size: Float[Array, "*makers"] | float | None = None
    """Most units to sell; None for the market's usual size."""
    market_order: Float[Array, "*makers"] | float | None = None
    """Units to buy at once, to sell if below 0; None for none."""


class Trades(eqx.Module):
    """What one maker trades in a step, and at which prices."""

    bought: Money
    """Units, by its bid."""
    bid_offset: Money
    """Mid less bid, in currency."""
    sold: Money
    """Units, by its ask."""
    ask_offset: Money
    """Ask less mid, in currency."""
    ordered: Money
    """Units bought by a market order, sold if below 0."""
    slippage: Money
    """Its price less the mid, in currency."""
    fees: Money
    """Fees less rebates, in currency."""

    @property
    def volume(self) -> Money:
        """Units that the position grows by."""
        return self.bought - self.sold + self.ordered

    def cash(self, mid: Money) -> Money:
        """What is received less what is paid, every trade at its own price."""
        received = self.sold * (mid + self.ask_offset)
        paid = self.bought * (mid - self.bid_offset) + self.ordered * (mid + self.slippage)
        return received - paid - self.fees

    def pnl(self, held: Money, change: Money) -> PnL:
        """Trades are measured against the mid that orders were placed at; the position after them is revalued."""
        return PnL(
            spread=self.bought * self.bid_offset + self.sold * self.ask_offset,
            hedge=-self.ordered * self.slippage,
            inventory=(held + self.volume) * change,
            fees=-self.fees,
        )
