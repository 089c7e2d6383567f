"""Dashboard of a market: the figures that make sense there. Generic pages ask for them."""

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
    min_width: int = 0
    """Pixels below which the figure scrolls sideways in its box instead of shrinking."""


class Dashboard:
    """Figures of one market, drawn from a trace (see `twosided.trace`); a market overrides what it adds."""

    def policy(self, trace: "pl.DataFrame", metrics: dict[str, float] | None = None) -> list[Section]:
        """Figures of what the maker does: quotes, skew, hedges. `metrics` are those that the optimum fixes."""
        return []

    def episode(self, trace: "pl.DataFrame") -> Section | None:
        """Figure of one episode; None for the generic one."""
        return None
