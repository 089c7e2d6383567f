"""Dashboard of the bars market: offsets of limit orders by inventory."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from twosided.core.dashboard import Dashboard, Section
from twosided.limit_orders.dashboard import figure_offsets

if TYPE_CHECKING:
    from twosided.bars.market import BarsMarket

OFFSETS = (
    "Mean distance of each limit order from the close, in basis points (bp) of it, by the inventory before the "
    "bar; orders that are not placed are left out. A maker that wants to reduce a long position asks closer to the "
    "close and bids further away."
)


class BarsDashboard(Dashboard):
    """Figures of the bars market."""

    introduction = (
        "After each bar the maker places limit orders around the close, and market orders if it wants. The orders "
        "of one bar fill in the next if its prices reach them, and the inventory that they leave is marked at "
        "every close."
    )

    def __init__(self, market: "BarsMarket"):
        self.max_offset = float(market.max_offset)

    def policy(self, trace: pl.DataFrame, metrics: Mapping[str, float] | None = None) -> list[Section]:
        if "bid_offset" not in trace.columns:
            return []
        figure = figure_offsets(trace, self.max_offset, "offset, bp", scale=1e4)
        return [Section("Offsets by inventory", OFFSETS, figure)]
