"""Conversion of text to numbers: decimal commas, separators of thousands, currency signs and abbreviated amounts."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Bool, Float
from numpy import ndarray

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_GROUPED = r"^[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?$"
_GROUPED_WITH_POINTS = r"^[+-]?[0-9]{1,3}(\.[0-9]{3})+(,[0-9]*)?$"
_WITH_COMMA = r"^[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)?,[0-9]*([eE][+-]?[0-9]+)?$"
_MISSING = ("", "-", "--", "–", "—", ".", "n/a", "na", "nan", "null", "none")
"""Amounts that are missing, in lower case."""
_SUFFIXES = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def decimal_separator(columns: Sequence[pl.Series], delimiter: str) -> str | None:
    """Return the decimal separator of columns of numbers, a point or a comma, or None if it is ambiguous.

    Where semicolons separate columns, a comma in a number is the decimal separator if it can be.
    """
    commas = [column.filter(column.str.contains(",", literal=True)) for column in columns]
    if all(column.is_empty() for column in commas):
        return "."
    groups = all(column.str.contains(_GROUPED).all() for column in commas)
    decimals = all(column.str.contains(_WITH_COMMA).all() for column in commas) and all(
        column.str.contains(rf"{_GROUPED_WITH_POINTS}|^[^.]*$|,").all() for column in columns
    )
    if groups and decimals:
        return "," if delimiter == ";" else None
    return "," if decimals else "."


def to_numbers(
    cells: pl.Series, decimal: str, is_amount: bool
) -> tuple[Float[ndarray, "rows"], Bool[ndarray, "rows"]]:
    """Return numbers, NaN where a cell is empty, and whether a cell is not a finite number.

    An amount may be abbreviated (12.5K) or missing (-, n/a).
    """
    cells = cells.fill_null("").str.strip_chars()
    if cells.str.contains("[$€£¥]").any():
        cells = cells.str.replace(r"^([+-]?)[$€£¥] ?", "${1}").str.replace(r" ?[$€£¥]$", "")
    if cells.str.contains("['’]").any():
        cells = cells.str.replace_all("['’]([0-9]{3})", "${1}")
    factor, missing = pl.Series(np.ones(len(cells))), cells == ""
    if is_amount:
        lower = cells.str.to_lowercase()
        missing = lower.is_in(list(_MISSING))
        suffix = lower.str.extract(r"[0-9.,] ?([kmbt])$").fill_null("")
        values = list(_SUFFIXES.values())
        factor = suffix.replace_strict(list(_SUFFIXES), values, default=1.0, return_dtype=pl.Float64)
        cells = cells.str.replace(r"(?i)([0-9.,]) ?[kmbt]$", "${1}")
    if decimal == ",":
        plain = cells.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
        right = cells.str.contains(rf"{_WITH_COMMA}|{_GROUPED_WITH_POINTS}|^[^.,]*$")
        cells = pl.select(pl.when(right).then(plain).otherwise(pl.lit("x"))).to_series()
    elif (grouped := cells.str.contains(_GROUPED)).any():
        plain = cells.str.replace_all(",", "", literal=True)
        cells = pl.select(pl.when(grouped).then(plain).otherwise(cells)).to_series()
    is_number = cells.str.contains(_NUMBER).to_numpy()
    x = (cells.cast(pl.Float64, strict=False) * factor).fill_null(float("nan")).to_numpy().copy()
    empty = missing.to_numpy()
    x[empty] = np.nan
    return x, ~empty & ~(is_number & np.isfinite(x))
