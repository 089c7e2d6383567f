"""A reference book as a small TOML file: a [book] table with exactly the fields of `ReferenceBook`."""

import os
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from twosided.book import ReferenceBook
from twosided.calibrate.book import BookFit
from twosided.tables import DataError, nearest, show

LARGEST = 1e6
"""No number of a book is larger, whatever its unit: simulations are in single precision."""
MOST_LEVELS = 1_000

_NAMES = [field.name for field in fields(ReferenceBook)]


def write_book(path: str | Path, book: ReferenceBook, fit: BookFit | None = None) -> None:
    """Write the book, sources and standard errors as comments; the file is whole or not there."""
    lines = ["# A reference book: spreads and tick are fractions of the mid, volumes are in units of trade."]
    if fit is not None:
        sources = " and ".join(fit.sources)
        printable = "".join(c if c.isprintable() else "?" for c in sources)
        lines.append(f"# Fitted to {fit.rows_used} snapshots of {printable}.")
    lines.append("[book]")
    for name in _NAMES:
        value = getattr(book, name)
        line = f"{name} = {value if name == 'num_levels' else float(value)!r}"
        # A value that is not the fit's, the paper's spread say, has no standard error.
        if fit is not None and name in fit.standard_errors and fit.estimates[name] == value:
            line += f"  # standard error {fit.standard_errors[name]:.2g}"
        lines.append(line)
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_book(path: str | Path) -> ReferenceBook:
    """Read a book; raises DataError, one sentence that names the file and the field."""
    try:
        content = tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()})") from None
    except (ValueError, RecursionError) as error:  # TOML's and UTF-8's errors are ValueErrors
        raise DataError(f"{path}: not a TOML file ({' '.join(str(error).split())[:100]})") from None
    if extra := sorted(content.keys() - {"book"}):
        raise DataError(
            f"{path}: {show(extra[0])} is beside [book]; only [book] is known{nearest(extra[0], ['book'])}"
        )
    book = content.get("book")
    if not isinstance(book, dict):
        raise DataError(f"{path}: no table [book]")
    values = {name: _number(path, name, value) for name, value in book.items()}
    if missing := [name for name in _NAMES if name not in values]:
        raise DataError(f"{path}: [book] lacks {', '.join(missing)}")
    try:
        return ReferenceBook(**values)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def _number(path: str | Path, name: str, value: Any) -> Any:
    """A value of the file as its field takes it; refuses unknown fields and what is no sane number."""
    if name not in _NAMES:
        raise DataError(f"{path}: [book] has no field {show(name)}{nearest(name, _NAMES)}")
    if name == "num_levels":
        if type(value) is not int or not 1 <= value <= MOST_LEVELS:
            raise DataError(
                f"{path}: num_levels must be a whole number from 1 to {MOST_LEVELS}, but got {show(value)}"
            )
        return value
    # A comparison that NaN fails as well.
    if type(value) not in (int, float) or not abs(value) <= LARGEST:
        raise DataError(f"{path}: {name} must be a number within ±{LARGEST:,.0f}, but got {show(value)}")
    return float(value)
