"""Dashboard of the limit-order market: offsets by inventory, and an episode in currency."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from twosided.core.dashboard import Dashboard, Section
from twosided.plots.run import Curve, figure_by_inventory, figure_episode
from twosided.plots.style import BUY, SELL

if TYPE_CHECKING:
    from twosided.limit_orders.market import LimitOrderMarket

OFFSETS = (
    "Mean distance of each order from the midprice, by the inventory before the step; orders that are not placed are "
    "left out. A maker that wants to reduce a long position asks closer to the midprice and bids further away."
)
EPISODE = (
    "From top to bottom: the midprice; the maker’s orders relative to it; what filled; its inventory; and cumulative "
    "PnL by source."
)


class LimitOrderDashboard(Dashboard):
    """Figures of the limit-order market."""

    introduction = (
        "The maker places one order to buy below the midprice and one to sell above it. Orders further away earn "
        "more when they fill, but fill less often, and the inventory that fills leave gains or loses with the "
        "midprice."
    )

    def __init__(self, market: "LimitOrderMarket"):
        self.max_offset = float(market.max_offset)

    def policy(self, trace: pl.DataFrame, metrics: Mapping[str, float] | None = None) -> list[Section]:
        if "bid_offset" not in trace.columns:
            return []
        figure = figure_offsets(trace, self.max_offset, "offset, currency")
        return [Section("Offsets by inventory", OFFSETS, figure)]

    def episode(self, trace: pl.DataFrame) -> Section:
        return Section("One episode", EPISODE, figure_episode(trace, relative=False))


def figure_offsets(trace: pl.DataFrame, max_offset: float, title: str, scale: float = 1.0):
    """Return the mean offset of each order by inventory, times `scale`, without orders at `max_offset` or beyond."""
    columns = {"bid_offset": Curve("bid", BUY), "ask_offset": Curve("ask", SELL)}
    placed = trace.with_columns(
        pl.when(pl.col(column) < max_offset).then(scale * pl.col(column)).alias(column) for column in columns
    )
    return figure_by_inventory(placed, columns, title)
