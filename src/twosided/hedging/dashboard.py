"""Dashboard of the hedging markets: hedges and skew by position, and an episode in panels."""

from collections.abc import Mapping

import polars as pl

from twosided.core.dashboard import Dashboard, Section
from twosided.hedging.plots import CLIENTS, HEDGES, figure_hedging
from twosided.plots.run import Curve, figure_by_inventory, figure_side_by_side

EPISODE = (
    "From top to bottom: the midprice with the quotes of the maker and of the exchange; the half-spreads that the "
    "maker charged its clients and paid on the exchange; its skew, if it has one; trades; the position that "
    "clients brought, its hedge, and the net position; and cumulative PnL by source. A good hedger keeps the net "
    "position small at little cost."
)
HEDGE = (
    "Mean hedge ordered at each net position. A line through 0 that falls by one unit per unit hedges everything; "
    "a flat line hedges nothing."
)
SKEW = "Mean skew at each net position. A maker that wants to reduce a long position has a positive skew."
SIDE_BY_SIDE = (
    "All makers meet the same random numbers, so prices and clients are the same wherever the markets are. The "
    "Sharpe ratio of one episode is noisy; the table has that of all episodes."
)


class HedgingDashboard(Dashboard):
    """Figures of the hedging markets."""

    introduction = (
        "Clients trade with the maker at its bid and ask, and the maker earns half the spread on every trade. The "
        "position that is left gains or loses with the midprice until the maker hedges it on an exchange, at a cost."
    )

    def policy(self, trace: pl.DataFrame, metrics: Mapping[str, float] | None = None) -> list[Section]:
        sections = []
        for column, title, sentence, color in (
            ("hedge", "Hedge by position", HEDGE, HEDGES),
            ("skew", "Skew by position", SKEW, CLIENTS),
        ):
            # The hedge of a portfolio is a vector, which the net position does not determine.
            if f"{column}_0" not in trace.columns and column in trace.columns and (trace[column] != 0).any():
                unit = "hedge, units" if column == "hedge" else column
                figure = figure_by_inventory(trace, {column: Curve(column, color)}, unit)
                sections.append(Section(title, sentence, figure))
        return sections

    def episode(self, trace: pl.DataFrame) -> Section:
        return Section("One episode", EPISODE, figure_hedging(trace))

    def side_by_side(self, traces: Mapping[str, pl.DataFrame]) -> Section:
        figure = figure_side_by_side(traces, position="net_position")
        return Section("One episode, side by side", SIDE_BY_SIDE, figure)
