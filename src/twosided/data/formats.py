"""Format of a data file, as a user states it in place of its detection."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twosided.core.errors import Refusal

ORDERS = ("dmy", "mdy", "ymd")
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""Units of numeric times, and the number of each in a second."""
_DECIMALS = {"decimal-comma": ",", "decimal-point": "."}


@dataclass(frozen=True)
class Format:
    """Form of the times and numbers of a file; None is detected."""

    order: str | None = None
    """Order of day, month and year in dates such as 03/04/2023: dmy, mdy or ymd."""
    unit: str | None = None
    """Unit of numeric times since 1970: s, ms, us or ns."""
    pattern: str | None = None
    """Pattern of times, such as %d/%m/%Y %H:%M."""
    decimal: str | None = None
    """Decimal separator, a comma or a point."""

    @classmethod
    def parse(cls, text: str) -> "Format":
        """Read a format from comma-separated words: dmy, mdy or ymd; s, ms, us or ns; decimal-comma or decimal-point;
        or a pattern with % such as %d/%m/%Y %H:%M.

        Raises Refusal for anything else.
        """
        format, pattern = cls(), list[str]()
        for word in text.split(",") if text else []:
            plain = word.strip().lower()
            if "%" in word or pattern:
                pattern.append(word)
            elif plain in ORDERS:
                format = replace(format, order=plain)
            elif plain in UNITS:
                format = replace(format, unit=plain)
            elif plain in _DECIMALS:
                format = replace(format, decimal=_DECIMALS[plain])
            else:
                raise Refusal(
                    f"format must be of the words {', '.join((*ORDERS, *UNITS, *_DECIMALS))}, or a pattern such as"
                    f" %d/%m/%Y %H:%M, but got {text!r}"
                )
        if pattern:
            format = replace(format, pattern=",".join(pattern).strip())
        if sum(x is not None for x in (format.order, format.unit, format.pattern)) > 1:
            raise Refusal(
                "format must be only one of an order of dates, a unit of numbers and a pattern, but got"
                f" {text!r}"
            )
        return format


def parse_columns(words: Iterable[str], fields: Sequence[str]) -> dict[str, str]:
    """Return names of columns by field, from words such as close=last. Raises Refusal.

    `fields` are the fields that may be named; a field that ends in `*` stands for all with this beginning.
    """
    columns: dict[str, str] = {}
    for word in words:
        field, separator, column = word.partition("=")
        if not separator:
            raise Refusal(f"columns must be of the kind {fields[0]}=NAME, but got {word!r}")
        if field in columns:
            raise Refusal(f"columns must name each field once, but {field!r} is named twice")
        columns[field] = column
    check_columns(columns, fields)
    return columns


def check_columns(columns: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Raise Refusal if a field is not one of those that may be named."""
    prefixes = tuple(field[:-1] for field in fields if field.endswith("*"))
    for field in columns:
        if field not in fields and not (prefixes and field.startswith(prefixes)):
            raise Refusal(f"columns must be of the fields {', '.join(fields)}, but got {field!r}")
