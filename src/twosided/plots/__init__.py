"""Figures: records and traces in, plotly figures out. Nothing here reads, writes or simulates."""

from twosided.plots.markouts import figure_markouts
from twosided.plots.run import (
    figure_by_inventory,
    figure_earnings,
    figure_episode,
    figure_learning,
    figure_side_by_side,
)
from twosided.plots.study import figure_bars, figure_distributions, figure_lines
from twosided.plots.tables import figure_arrows, figure_best, figure_table

__all__ = [
    "figure_arrows",
    "figure_bars",
    "figure_best",
    "figure_by_inventory",
    "figure_distributions",
    "figure_earnings",
    "figure_episode",
    "figure_learning",
    "figure_lines",
    "figure_markouts",
    "figure_side_by_side",
    "figure_table",
]
