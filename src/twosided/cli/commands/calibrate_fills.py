"""Calibration of fill probabilities: `twosided calibrate fills`."""

import json as json_format
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from twosided.core.validation import check, check_seed
from twosided.data.bar_files import FIELDS, read_bars
from twosided.data.formats import parse_columns
from twosided.limit_orders.calibration import FillsFit, Side, check_offsets, fit_fills
from twosided.limit_orders.fills import BarFill, TradeThroughFill
from twosided.settings import Settings


@dataclass(frozen=True)
class CalibrateFills:
    """Fit the decay of fill probabilities with distance from the mid, and volatility, to bars.

    Example:

        twosided calibrate fills EURUSD_bid.csv EURUSD_ask.csv --offsets 0.0001,0.0002,0.0005
    """

    files: tuple[Path, ...]
    """Bars of one price, or of bid and ask in one file or two (CSV or Parquet; plain, .gz or .zip)."""
    offsets: tuple[float, ...] | None = None
    """Distances of orders from the close, as increasing fractions of it. Default: nine, chosen from the bars."""
    rule: BarFill = TradeThroughFill()
    """Rule that decides which orders fill."""
    side: Side = "both"
    """Orders to fit: bids, asks, or both with common parameters."""
    block: int | None = None
    """Bars per block. The standard errors assume that blocks are independent. Default: a tenth of the bars."""
    timezone: str = "UTC"
    """Time zone of dates without an offset, such as Europe/London."""
    columns: tuple[str, ...] = ()
    """Columns whose names are not recognised, such as time=opened,close=last; by number, such as close=5, in a file
    without a header."""
    format: str = ""
    """Form of times and numbers that cannot be detected: dmy, mdy or ymd; s, ms, us or ns (since 1970); decimal-comma
    or decimal-point; or a pattern such as %d/%m/%Y %H:%M."""
    seed: int = 0
    """Seed of the random draws of the rule."""
    json: bool = False
    """Print the fit as JSON."""

    def __post_init__(self):
        if self.block is not None:
            check("block", self.block, "at least 1", self.block >= 1)
        check_seed(self.seed)
        if self.offsets is not None:
            check_offsets(self.offsets)

    def __call__(self, settings: Settings) -> int:
        columns = parse_columns(self.columns, FIELDS)
        bars = read_bars(*self.files, timezone=self.timezone, columns=columns, format=self.format)
        fit = fit_fills(bars, self.offsets, self.rule, self.side, self.block, self.seed)
        if self.json:
            print(json_format.dumps(_plain(fit), indent=1))
            return 0
        console = Console()
        console.print(_estimates(fit))
        console.print(_shares(fit))
        test = f"χ² {fit.chi_square:,.1f}, p {fit.p_value:.2g}"
        console.print(f"{test}, the probability that bars of this model differ as much from it")
        return 0


def _plain(fit: FillsFit) -> dict[str, Any]:
    names = ("intensity", "decay", "volatility", "bars", "chi_square", "p_value")
    values = {name: getattr(fit, name) for name in names}
    values |= {"standard_errors": fit.standard_errors, "robust_errors": fit.robust_errors}
    values["robust_dof"] = fit.robust_dof
    return values | {name: getattr(fit, name).tolist() for name in ("offsets", "observed", "fitted")}


def _estimates(fit: FillsFit) -> Table:
    table = Table(
        title=f"{fit.bars:,} bars that follow another; time in bars, distances as fractions of the close"
    )
    for name in ("parameter", "estimate", "standard error", "if bars were independent"):
        table.add_column(name, justify="left" if name == "parameter" else "right")
    table.caption = f"standard error: over {fit.robust_dof + 1} blocks of bars"
    labels = {"intensity": "A, fills at the close", "decay": "k, decay", "volatility": "σ, volatility"}
    for name, label in labels.items():
        errors = fit.robust_errors[name], fit.standard_errors[name]
        table.add_row(label, *(f"{x:.4g}" for x in (getattr(fit, name), *errors)))
    return table


def _shares(fit: FillsFit) -> Table:
    table = Table(title="Share of bars that fill an order")
    for name in ("offset, basis points", "observed", "fitted"):
        table.add_column(name, justify="right")
    for offset, observed, fitted in zip(fit.offsets, fit.observed, fit.fitted, strict=True):
        table.add_row(f"{1e4 * offset:.3g}", f"{observed:.3f}", f"{fitted:.3f}")
    return table
