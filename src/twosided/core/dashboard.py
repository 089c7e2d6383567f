"""Dashboard of a market: its figures on pages, with their titles and explanations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl


@dataclass(frozen=True)
class Section:
    """A figure with its title and a sentence on how to read it."""

    title: str
    sentence: str
    figure: "go.Figure"
    """Figure, whose layout sets its height."""
    min_width: int = 0
    """Width in pixels below which the figure scrolls horizontally instead of shrinking."""


@dataclass(frozen=True)
class PolicyTable:
    """A policy that is a table: the probability of each action in each cell of observations."""

    cells: Sequence[str]
    """Names of the rows."""
    actions: Sequence[str]
    """Names of the columns."""
    probabilities: Sequence[Sequence[float]]
    """One row per cell, one column per action."""
    values: Sequence[float] | None = None
    """Number that each action stands for; None where an action has several parts."""


class Dashboard:
    """Figures of one market, drawn from traces (`twosided.trace`). A market overrides some of them."""

    introduction: str = ""
    """Two or three sentences on the market for a reader who is new to it; empty for the market's docstring."""

    def policy(self, trace: "pl.DataFrame", metrics: Mapping[str, float] | None = None) -> list[Section]:
        """Return figures of the maker's actions: quotes, skew, hedges. `metrics` are those of the optimum."""
        return []

    def table(self, table: PolicyTable) -> Section | None:
        """Return the figure of a tabular policy; None for the generic one."""
        return None

    def episode(self, trace: "pl.DataFrame") -> Section | None:
        """Return the figure of one episode, which may have no steps yet; None for the generic one."""
        return None

    def side_by_side(self, traces: Mapping[str, "pl.DataFrame"]) -> Section | None:
        """Return the figure of the same episode with several makers, traces by name; None for the generic one."""
        return None
