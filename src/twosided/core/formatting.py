"""Numbers as text: true minus signs, digits that suit a number's size and error, and 95% intervals."""

import math

from twosided.core.records import Record

Z_95 = 1.959964
"""Half-width of a 95% interval of the normal distribution, in standard errors."""
SMALLEST = 1e-6
"""Smaller magnitudes are written in scientific notation, unless the number of decimals is given."""


def interval(record: Record) -> tuple[float, float]:
    """Return the 95% interval of a record: its standard error times `quantile_95` of its degrees of freedom."""
    half = quantile_95(record.dof) * (record.error or 0.0)
    return record.value - half, record.value + half


def quantile_95(dof: int | None = None) -> float:
    """Return the half-width of a 95% interval, in standard errors: Student's quantile, or without degrees of freedom
    the normal one."""
    from scipy.special import stdtrit

    return Z_95 if dof is None else float(stdtrit(dof, 0.975))


def number(value: float, digits: int) -> str:
    """Format a number with a true minus sign (none if it rounds to 0), and NaN as a dash."""
    if math.isnan(value):
        return "–"
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def decimals(value: float, error: float | None = None, figures: int = 4) -> int:
    """Return the decimals that show two significant digits of the error, or else `figures` of the value.

    A value that is not 0 keeps at least one significant digit, however large its error is.
    """
    if error and math.isfinite(error):
        return max(1 - _exponent(error, 2), -_exponent(value, 1), 0)
    return max(figures - 1 - _exponent(value, figures), 0)


def with_error(
    value: float, error: float | None = None, digits: int | None = None, figures: int | None = None
) -> tuple[str, str]:
    """Return a value and its standard error as text.

    `digits` are the decimals of both; None chooses them by size, with none for whole numbers without an error.
    `figures` is the largest number of significant digits of the value; None for no limit. The error is empty where
    there is none, or where it rounds to 0.
    """
    if digits is None and 0 < abs(value) < SMALLEST:
        return f"{value:.1e}".replace("-", "−"), "" if not error else f"{error:.1e}".replace("-", "−")
    if digits is None:
        digits = 0 if float(value).is_integer() and not error else decimals(value, error)
    if figures is not None:
        digits = min(digits, decimals(value, figures=figures))
    text = number(abs(error or 0.0), digits)
    return number(value, digits), text if text.strip("0.–") else ""


def _exponent(value: float, figures: int) -> int:
    """Return the power of ten of a number rounded to some significant digits; 0 for 0, infinities and NaN."""
    return int(f"{value:.{figures - 1}e}".partition("e")[2]) if value and math.isfinite(value) else 0
