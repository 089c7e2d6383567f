"""Records: one row per measured number, the common format of results in tables, pages and files."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import polars as pl

Parameter: TypeAlias = float | int | str | bool

INDEPENDENT = "independent paths"
"""Sample of the errors in a market without a history."""
UNSEEN = "test, unseen"
"""Data that were held out of training."""
IN_SAMPLE = "in sample"
"""Data that makers were trained on too."""
NO_ERROR = "no error"
"""Beginning of the reason why a standard error is not known."""
MEAN = "mean of seeds"
"""Case of the mean over the seeds of a learner."""


@dataclass(frozen=True)
class Record:
    """One measured number, with its standard error where it has one."""

    case: str
    """Case that was measured, usually a policy."""
    maker: int
    """Seat in the market; 0 is the policy's own."""
    metric: str
    value: float
    error: float | None = None
    """Standard error; None for exact values and extremes."""
    seed: int = 0
    """Seed of the random numbers that it was measured on."""
    study: str = ""
    dof: int | None = None
    """Degrees of freedom of the standard error; None if they are not known, or too many to matter."""
    error_over: str = ""
    """Sample that the standard error is over, such as "independent paths" or "20 blocks of one history". Where it
    begins with "no error", the reason why an error is not known. Empty for exact values and extremes."""
    data: str = ""
    """Recorded data that a trained maker was evaluated on: UNSEEN or IN_SAMPLE; empty for simulated data and where
    nothing was trained."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict, hash=False)
    """Parameters of the case by name; each is a column of a table of records."""

    def __post_init__(self):
        check_parameters(self.parameters)

    @property
    def unknown(self) -> bool:
        """Whether the value has an error that is not known."""
        return self.error is None and self.error_over.startswith(NO_ERROR)

    def row(self) -> dict[str, Any]:
        """The record as one flat row: its fields, then its parameters."""
        return {name: getattr(self, name) for name in _COLUMNS} | dict(self.parameters)


_COLUMNS = {
    "case": pl.String,
    "maker": pl.Int64,
    "metric": pl.String,
    "value": pl.Float64,
    "error": pl.Float64,
    "seed": pl.Int64,
    "study": pl.String,
    "dof": pl.Int64,
    "error_over": pl.String,
    "data": pl.String,
}


def check_parameters(parameters: Mapping[str, Parameter]) -> None:
    """Raise ValueError if a parameter has the name of a field of records."""
    taken = parameters.keys() & _COLUMNS.keys()
    if taken:
        raise ValueError(f"a parameter must not be named like a column of records, but got {min(taken)!r}")


def to_frame(records: Iterable[Record]) -> pl.DataFrame:
    """The records as a table, one row each: a column per field, then one per parameter.

    A parameter that a record does not have is null. Raises ValueError if the values of a parameter are of several
    types; integers and floats together are floats.
    """
    records = list(records)
    values: dict[str, list[Parameter]] = {}
    for record in records:
        for name, value in record.parameters.items():
            values.setdefault(name, []).append(value)
    columns = dict(_COLUMNS) | {name: _column_type(name, found) for name, found in values.items()}
    rows = [dict.fromkeys(columns) | record.row() for record in records]
    return pl.DataFrame(rows, schema=columns)


def _column_type(name: str, values: Iterable[Any]) -> Any:
    kinds = {next((kind for kind in (bool, int, float, str) if isinstance(x, kind)), type(x)) for x in values}
    if kinds == {int, float}:
        return pl.Float64
    known = {bool: pl.Boolean, int: pl.Int64, float: pl.Float64, str: pl.String}
    if len(kinds) != 1 or not kinds <= known.keys():
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(
            f"the values of the parameter {name} must be all bool, int, float or str, but got {names}"
        )
    return known[kinds.pop()]


def from_frame(frame: pl.DataFrame) -> list[Record]:
    """The records of a table. Columns beyond the fields of a record are parameters, absent where they are null."""
    records = []
    for row in frame.iter_rows(named=True):
        own = {name: row.pop(name) for name in _COLUMNS if name in row}
        records.append(Record(**own, parameters={name: x for name, x in row.items() if x is not None}))
    return records


def find(
    records: Iterable[Record], case: str, metric: str, maker: int = 0, **parameters: Parameter
) -> Record:
    """The first record of a case, metric, maker and, if given, parameters. Raises KeyError if there is none."""
    for record in records:
        if (record.case, record.metric, record.maker) == (case, metric, maker) and (
            parameters.items() <= record.parameters.items()
        ):
            return record
    having = "".join(f", {name} {value}" for name, value in parameters.items())
    raise KeyError(f"no record of {metric} for maker {maker} of {case}{having}")


def mean_of_cases(records: Iterable[Record], cases: list[str], name: str) -> list[Record]:
    """Return the mean of each metric over cases, usually seeds of one learner, with its standard error.

    The cases were measured on common random numbers, so their own errors do not average out: the error is the root
    of the squares of their mean and of the spread between cases over √n. Its degrees of freedom are Welch and
    Satterthwaite's. Where the error of a case is not known, that of the mean is not either. Extremes stay extremes.
    """
    grouped: dict[tuple[int, str], list[Record]] = {}
    for record in records:
        if record.case in cases:
            grouped.setdefault((record.maker, record.metric), []).append(record)
    out = []
    for (maker, metric), group in grouped.items():
        values, number = [record.value for record in group], len(group)
        unknown = next((record for record in group if record.unknown), None)
        error, dof, over = None, None, ""
        if metric.endswith(("_min", "_max")):
            value = (min if metric.endswith("_min") else max)(values)
        elif unknown is not None:
            value, over = math.fsum(values) / number, unknown.error_over
        else:
            value = math.fsum(values) / number
            own = math.fsum(record.error or 0.0 for record in group) / number
            squares = math.fsum((v - value) ** 2 for v in values)
            between = math.sqrt(squares / (number - 1) / number) if number > 1 else 0.0
            error = math.hypot(own, between)
            dof = combined_dof((own, min_dof(group)), (between, number - 1))
            over = group[0].error_over
            if over and number > 1:
                over += f" and {number} seeds"
        out.append(
            Record(name, maker, metric, value, error, group[0].seed, group[0].study, dof, over, group[0].data)
        )
    return out


def min_dof(group: Iterable[Record]) -> int | None:
    """Return the smallest degrees of freedom of some records; None if none states them."""
    return min((record.dof for record in group if record.dof is not None), default=None)


def combined_dof(*errors: tuple[float, int | None]) -> int | None:
    """Return the degrees of freedom of the root of a sum of squared errors, from each error and its own (Welch and
    Satterthwaite); None if none of the errors other than 0 states them."""
    squares = [(error**2, dof) for error, dof in errors]
    total = math.fsum(square for square, _ in squares)
    spread = math.fsum(square**2 / dof for square, dof in squares if dof)
    return max(math.floor(total**2 / spread), 1) if spread > 0 else None
