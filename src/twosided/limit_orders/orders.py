"""Limit orders and trades, shared by the markets around a midprice and on bars."""

import equinox as eqx
from jaxtyping import Array, Float

from twosided.core.transition import PnL

Money = Float[Array, ""]


class LimitOrders(eqx.Module):
    """Action of a maker of limit orders; leaves have a leading axis of makers inside the market."""

    bid_offset: Float[Array, "*makers"] | float
    """Midprice less bid, in the market's unit of offsets."""
    ask_offset: Float[Array, "*makers"] | float
    """Ask less midprice, in the market's unit of offsets."""
    bid_size: Float[Array, "*makers"] | float | None = None
    """Largest size to buy, in units; None for the market's default size."""
    ask_size: Float[Array, "*makers"] | float | None = None
    """Largest size to sell, in units; None for the market's default size."""
    market_order: Float[Array, "*makers"] | float | None = None
    """Units to buy by a market order, or to sell if negative; None for none."""


class Trades(eqx.Module):
    """Trades of one maker in a step, with their prices."""

    bought: Money
    """Units bought at the bid."""
    bid_offset: Money
    """Midprice less bid, in currency."""
    sold: Money
    """Units sold at the ask."""
    ask_offset: Money
    """Ask less midprice, in currency."""
    ordered: Money
    """Units bought by a market order, or sold if negative."""
    slippage: Money
    """Price of the market order less the midprice, in currency."""
    fees: Money
    """Fees less rebates, in currency."""

    @property
    def volume(self) -> Money:
        """Change of the position, in units."""
        return self.bought - self.sold + self.ordered

    def cash(self, mid: Money) -> Money:
        """Return cash received less cash paid, every trade at its own price."""
        received = self.sold * (mid + self.ask_offset)
        paid = self.bought * (mid - self.bid_offset) + self.ordered * (mid + self.slippage)
        return received - paid - self.fees

    def pnl(self, held: Money, change: Money) -> PnL:
        """Return PnL: trades are measured against the midprice at which orders were placed, and the position after
        them is revalued by `change`."""
        return PnL(
            spread=self.bought * self.bid_offset + self.sold * self.ask_offset,
            hedge=-self.ordered * self.slippage,
            inventory=(held + self.volume) * change,
            fees=-self.fees,
        )
