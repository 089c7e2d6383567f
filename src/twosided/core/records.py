"""Records: one row of a result, the only form in which numbers travel from a run to a table, page or file."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import polars as pl

MEAN = "mean of seeds"
"""The case that holds the mean over the seeds of a learner."""


@dataclass(frozen=True)
class Record:
    """One number that was measured, with its standard error where it has one."""

    case: str
    """What was measured: a policy, as a rule."""
    maker: int
    """Seat in the market; 0 is the policy's own."""
    metric: str
    value: float
    error: float | None = None
    """Standard error; None for what is exact or an extreme."""
    seed: int = 0
    """Seed of the chance that it was measured on."""
    study: str = ""


def to_frame(records: Iterable[Record]) -> pl.DataFrame:
    """The records as a table with a row each."""
    columns = {"case": pl.String, "maker": pl.Int64, "metric": pl.String, "value": pl.Float64}
    columns |= {"error": pl.Float64, "seed": pl.Int64, "study": pl.String}
    return pl.DataFrame([asdict(record) for record in records], schema=columns)


def from_frame(frame: pl.DataFrame) -> list[Record]:
    """The records of a table."""
    return [Record(**row) for row in frame.iter_rows(named=True)]


def find(records: Iterable[Record], case: str, metric: str, maker: int = 0) -> Record:
    """The one record of a case, metric and maker. Raises KeyError if there is none."""
    for record in records:
        if (record.case, record.metric, record.maker) == (case, metric, maker):
            return record
    raise KeyError(f"no record of {metric} for maker {maker} of {case}")


def mean_of_cases(records: Iterable[Record], cases: list[str], name: str) -> list[Record]:
    """The mean of each metric over cases (seeds of one learner, as a rule), with the error of that mean.

    The cases were measured on common chance, so their own errors do not average out: the error is the root of the
    squares of their mean and of the spread between cases over √n. Extremes stay extremes.
    """
    grouped: dict[tuple[int, str], list[Record]] = {}
    for record in records:
        if record.case in cases:
            grouped.setdefault((record.maker, record.metric), []).append(record)
    out = []
    for (maker, metric), group in grouped.items():
        values = [record.value for record in group]
        if metric.endswith(("_min", "_max")):
            value, error = (min if metric.endswith("_min") else max)(values), None
        else:
            value = math.fsum(values) / len(values)
            own = math.fsum(record.error or 0.0 for record in group) / len(group)
            squares = math.fsum((v - value) ** 2 for v in values)
            between = math.sqrt(squares / (len(values) - 1) / len(values)) if len(values) > 1 else 0.0
            error = math.hypot(own, between)
        out.append(Record(name, maker, metric, value, error, group[0].seed, group[0].study))
    return out
