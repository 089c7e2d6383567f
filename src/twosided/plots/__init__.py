"""Figures: records and paths in, plotly figures out; nothing is read, written or simulated here."""

from twosided.plots.book import figure_book_fit
from twosided.plots.markout import figure_markouts
from twosided.plots.run import (
    figure_earnings,
    figure_episode,
    figure_epsilon,
    figure_learning,
    figure_skew,
)
from twosided.plots.study import figure_bars, figure_book, figure_distributions, figure_lines

__all__ = [
    "figure_bars",
    "figure_book",
    "figure_book_fit",
    "figure_distributions",
    "figure_earnings",
    "figure_episode",
    "figure_epsilon",
    "figure_learning",
    "figure_lines",
    "figure_markouts",
    "figure_skew",
]
