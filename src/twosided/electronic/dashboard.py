"""Dashboard of the electronic markets: a table policy as arrows, and an episode in ticks."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from twosided.core.dashboard import Dashboard, PolicyTable, Section
from twosided.plots.run import figure_episode, figure_side_by_side
from twosided.plots.tables import figure_arrows

ARROWS = (
    "Action in each cell of observations, such as the imbalance of orders since the last change of the quote. An arrow "
    "up raises the quote by a tick, an arrow down lowers it, a dash leaves it. The larger the mark, the more likely "
    "the action."
)
EPISODE = (
    "From top to bottom: the fundamental price; the maker’s quotes relative to it; trades with the maker; its "
    "inventory; and cumulative PnL by source. Informed traders buy while the quote is below the fundamental price and "
    "sell while it is above, so a good maker keeps its quotes close."
)
SIDE_BY_SIDE = (
    "All makers meet the same random numbers, so the fundamental price is the same wherever the markets are. The "
    "Sharpe ratio of one episode is noisy; the table has that of all episodes."
)


class ElectronicDashboard(Dashboard):
    """Figures of the electronic markets."""

    introduction = (
        "One order or price change arrives at a time. Uninformed traders buy or sell at random; informed traders "
        "know the fundamental price and trade only when the maker’s quote is off. The maker sees the imbalance of "
        "orders and moves its quotes by a tick at a time."
    )

    def table(self, table: PolicyTable) -> Section | None:
        if table.values is None:
            return None
        figure = figure_arrows(np.asarray(table.probabilities), table.values, table.cells)
        return Section("Policy", ARROWS, figure)

    def episode(self, trace: pl.DataFrame) -> Section:
        return Section("One episode", EPISODE, figure_episode(trace, currency="ticks", relative=False))

    def side_by_side(self, traces: Mapping[str, pl.DataFrame]) -> Section:
        figure = figure_side_by_side(traces, currency="ticks")
        return Section("One episode, side by side", SIDE_BY_SIDE, figure)
