"""Numbers as text, and intervals from standard errors."""

import math

from twosided.core.records import Record

SCALE = 100.0
"""PnL is shown a step, times 100: the unit of the tables of Ganesh et al. (2019)."""


Z_95 = 1.959964
"""Half-width of a 95% interval of the normal distribution, in standard errors."""


def interval(record: Record) -> tuple[float, float]:
    """Return the 95% interval of a record by its standard error, assuming a normal distribution."""
    half = Z_95 * (record.error or 0.0)
    return record.value - half, record.value + half


def number(value: float, digits: int) -> str:
    """Format a number with a true minus sign (none if it rounds to 0), and NaN as a dash."""
    if math.isnan(value):
        return "–"
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")
