"""TOML files of reference books: the fields of `ReferenceBook`, as read by `--book FILE`."""

from dataclasses import fields
from pathlib import Path

from twosided.core import store
from twosided.dealer.calibration import BookFit
from twosided.dealer.reference_book import ReferenceBook
from twosided.settings import build, load, read


def write_book(path: str | Path, book: ReferenceBook, fit: BookFit | None = None) -> None:
    """Write the book to a TOML file atomically, with the sources and standard errors of a fit as comments."""
    lines = ["# Reference book: spreads and tick are fractions of the mid, volumes are in units of trade."]
    if fit is not None:
        sources = "".join(c if c.isprintable() else "?" for c in " and ".join(fit.sources))
        lines.append(f"# Fitted to {fit.rows_used} snapshots of {sources}.")
    for field in fields(book):
        value = getattr(book, field.name)
        line = f"{field.name} = {value if field.name == 'num_levels' else float(value)!r}"
        # A value not taken from the fit, such as the paper's spread, has no standard error.
        if fit is not None and field.name in fit.standard_errors and fit.estimates[field.name] == value:
            line += f"  # standard error {fit.standard_errors[field.name]:.2g}"
        lines.append(line)
    store.write(Path(path), "\n".join(lines) + "\n")


def read_book(path: str | Path) -> ReferenceBook:
    """Read a book; fields missing from the file take their defaults. Raises SettingsError for an invalid file."""
    return build(read("twosided.dealer.reference_book:ReferenceBook", load(path), str(path)))
