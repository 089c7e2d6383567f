"""Figures: records and paths in, plotly figures out; nothing is read, written or simulated here."""

from twosided.plots.markouts import figure_markouts
from twosided.plots.run import figure_earnings, figure_episode, figure_epsilon, figure_learning, figure_skew
from twosided.plots.study import figure_bars, figure_book, figure_distributions, figure_lines
from twosided.plots.tables import figure_arrows, figure_best, figure_table

__all__ = [
    "figure_arrows",
    "figure_bars",
    "figure_best",
    "figure_book",
    "figure_distributions",
    "figure_earnings",
    "figure_episode",
    "figure_epsilon",
    "figure_learning",
    "figure_lines",
    "figure_markouts",
    "figure_skew",
    "figure_table",
]
