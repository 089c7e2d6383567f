"""Calibration of the reference book: `twosided calibrate book`."""

import json as json_format
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from twosided.core import store
from twosided.core.validation import check, check_seed
from twosided.data.formats import parse_columns
from twosided.data.order_books import FIELDS, read_snapshots
from twosided.dealer.book_files import write_book
from twosided.dealer.book_plots import figure_book_fit
from twosided.dealer.calibration import BookFit, fit_book, reference_book, sample_curves
from twosided.dealer.reference_book import ReferenceBook
from twosided.report.pages import figure_page
from twosided.settings import Settings


@dataclass(frozen=True)
class CalibrateBook:
    """Fit the reference book of the dealer market to order books, and write it for --book.

    Example:

        twosided calibrate book AAPL_orderbook_10.csv --out aapl.toml
    """

    files: tuple[Path, ...]
    """LOBSTER orderbook file, alone or with its message file, or snapshots with named columns; CSV or Parquet, plain,
    .gz or .zip."""
    columns: tuple[str, ...] = ()
    """Columns whose names are not recognised, such as time=local_timestamp,ask_price_1=ask; levels count from 1."""
    format: str = ""
    """Form of times and numbers that cannot be detected: dmy, mdy or ymd; s, ms, us or ns (since 1970); decimal-comma
    or decimal-point; or a pattern such as %d/%m/%Y %H:%M."""
    levels: int = 10
    """Levels per side to use, or all if there are fewer."""
    paper_spread: bool = False
    """Use the quoted spread and the tick of Ganesh et al. (2019) in place of the data's."""
    target: float | None = None
    """E[S_ref(1)] to which the volumes are scaled, as a fraction of the mid. Default: at the same place between its
    bounds as the paper's 4.7 basis points."""
    out: Path = Path("book.toml")
    """Output file of the book. A figure of the fit is written beside it, as HTML."""
    seed: int = 0
    """Seed of the resamples for the standard errors."""
    json: bool = False
    """Print the fit as JSON."""

    def __post_init__(self):
        check("levels", self.levels, "at least 1", self.levels >= 1)
        check_seed(self.seed)
        check("out", str(self.out), "a file whose name does not end in .html", self.out.suffix != ".html")

    def __call__(self, settings: Settings) -> int:
        columns = parse_columns(self.columns, FIELDS)
        snapshots = read_snapshots(*self.files, columns=columns, format=self.format)
        fit = fit_book(snapshots, levels=self.levels, seed=self.seed)
        spread_from = ReferenceBook() if self.paper_spread else None
        book = reference_book(fit, spread_from=spread_from, target=self.target)
        sizes = np.linspace(0.0, 2.0, 81)
        figure = figure_book_fit(fit, sizes, sample_curves(book, sizes))
        picture = self.out.with_suffix(".html")
        write_book(self.out, book, fit)
        store.write(picture, figure_page(figure, "The reference book, fitted"))
        if self.json:
            values = {
                "book": asdict(book),
                "estimates": fit.estimates,
                "standard_errors": fit.standard_errors,
            }
            print(json_format.dumps(values | {"file": str(self.out), "figure": str(picture)}, indent=1))
            return 0
        console = Console()
        console.print(_fit_table(fit, book))
        console.print(f"book: {self.out} (--book {self.out}); figure of the fit: {picture}")
        return 0


def _fit_table(fit: BookFit, book: ReferenceBook) -> Table:
    table = Table(title=f"{fit.rows_used:,} of {fit.rows_read:,} snapshots, {fit.num_levels} levels per side")
    for name in ("parameter", "estimate", "standard error", "in the book"):
        table.add_column(name, justify="left" if name == "parameter" else "right")
    for name, value in asdict(book).items():
        estimate, error = fit.estimates.get(name), fit.standard_errors.get(name)
        shown = ["" if x is None else f"{x:.6g}" for x in (estimate, error)]
        table.add_row(name, *shown, f"{value:.6g}")
    return table
