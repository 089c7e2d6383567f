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

__all__ = [
    "figure_book_fit",
    "figure_earnings",
    "figure_episode",
    "figure_epsilon",
    "figure_learning",
    "figure_markouts",
    "figure_skew",
]
