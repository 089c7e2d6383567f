"""What records say, in the rows, units and words that people read, on the page and on the terminal."""

import math

from twosided.core.records import Record

SCALE = 100.0
"""PnL is shown a step, times 100: the unit of the tables of Ganesh et al. (2019)."""


Z_95 = 1.959964
"""Standard errors on either side of a 95% interval."""


def interval(record: Record) -> tuple[float, float]:
    """The 95% interval of a value by its standard error, taken as normal."""
    half = Z_95 * (record.error or 0.0)
    return record.value - half, record.value + half


def number(value: float, digits: int) -> str:
    """A number with a true minus sign, none for what rounds to 0, and a dash for what is not a number."""
    if math.isnan(value):
        return "–"
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")
