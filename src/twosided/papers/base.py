"""Building blocks of a study that reproduces a paper: cases, items and claims.

    Case     one unit of work: records and small tables, produced within a budget and kept on disk
    Item     one table or figure of the paper, made from the outcomes of the cases that it names
    Claim    one sentence of the paper and the statistical test that decides it
    Study    a paper: its cases and its items

Each case runs once (runner.py), in any order and possibly in a process of its own. Items and claims only read the
outcomes of cases, so they are made anew with every page.

The parameters of a case, and of each number in it, are columns of its records. Results are looked up by their
parameters; labels for people are made from the parameters when a table or figure is shown.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from twosided.core.formatting import quantile_95
from twosided.core.records import Parameter, Record, check_parameters, combined_dof

if TYPE_CHECKING:  # a process that runs cases draws no figures
    import plotly.graph_objects as go
    import polars as pl


@dataclass(frozen=True)
class Budget:
    """Size of a study's cases, and their seed."""

    quick: bool
    """Run small cases, which take minutes for a whole study."""
    seeds: int
    """Independent training runs of each learner, and replications of each evaluation; at least 1."""
    seed: int
    """Seed of all random numbers."""
    bars: tuple[str, ...] = ()
    """Files of real bars, for the cases that need some."""
    timezone: str = "UTC"
    """Time zone of their dates without an offset."""
    columns: tuple[str, ...] = ()
    """Names of their columns, such as close=last."""
    format: str = ""
    """Form of their times and numbers, as in `read_bars`."""


@dataclass(frozen=True)
class Outcome:
    """Result of a case."""

    records: list[Record]
    frames: dict[str, "pl.DataFrame"] = field(default_factory=dict)
    """Small tables by name (curves, histograms, traces), for figures."""


Report: TypeAlias = Callable[[str], None]
"""Callback that reports a line of progress. Raises KeyboardInterrupt after the user has requested a stop."""


@dataclass(frozen=True)
class Case:
    """Unit of work."""

    name: str
    """Lower-case words with dashes; unique in its study, and the name of its folder."""
    run: Callable[[Budget, Report], Outcome]
    parameters: Mapping[str, Parameter] = field(default_factory=dict, hash=False)
    """Parameters that distinguish it from the other cases of its study."""
    needs_bars: bool = False
    """Whether it needs files of real bars, which the user provides."""

    def __post_init__(self):
        check_parameters(self.parameters)

    def outcome(self, budget: Budget, report: Report) -> Outcome:
        """Run the case. Its records carry its name, and its parameters beside their own."""
        outcome = self.run(budget, report)
        records = [
            replace(record, case=self.name, parameters={**self.parameters, **record.parameters})
            for record in outcome.records
        ]
        return replace(outcome, records=records)


def dash_case(*parts: str | float) -> str:
    """A name of lower-case words with dashes, from words and numbers: ("drift", -0.01) is drift-minus-0-01."""
    words = (part if isinstance(part, str) else f"{part:g}".replace("-", "minus-") for part in parts)
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower())


def select(cases: Iterable[Case], **parameters: Parameter) -> tuple[str, ...]:
    """Names of the cases that have these parameters. Raises LookupError if there is none."""
    found = tuple(case.name for case in cases if parameters.items() <= case.parameters.items())
    if not found:
        raise LookupError(f"no case has the parameters {_listed(parameters)}")
    return found


def select_one(cases: Iterable[Case], **parameters: Parameter) -> str:
    """Name of the one case that has these parameters. Raises LookupError if there is none, or more than one."""
    found = select(cases, **parameters)
    if len(found) != 1:
        raise LookupError(f"{len(found)} cases have the parameters {_listed(parameters)}: {', '.join(found)}")
    return found[0]


def records_of(parameters: Mapping[str, Parameter], **metrics: float) -> list[Record]:
    """Records of numbers without a standard error. Running the case adds its name."""
    return [record_of(parameters, name, float(value)) for name, value in metrics.items()]


def record_of(
    parameters: Mapping[str, Parameter], metric: str, value: float, error: float | None = None, seed: int = 0
) -> Record:
    """A record of the first seat. Running the case adds its name."""
    return Record("", 0, metric, value, error, seed, parameters=parameters)


class CaseNotRun(KeyError):
    """A case has not been run; the argument is a sentence with its name."""


class MissingResult(KeyError):
    """A finished case lacks a result that its study needs; the arguments are the case and the missing result."""


@dataclass(frozen=True)
class Outcomes(Mapping[str, Outcome]):
    """Outcomes of cases by name, and their common budget. Raises CaseNotRun for a case that has not been run."""

    of: Mapping[str, Outcome]
    budget: Budget

    def __getitem__(self, case: str) -> Outcome:
        if case not in self.of:
            raise CaseNotRun(f"the case {case} has not been run")
        return self.of[case]

    def __iter__(self) -> Iterator[str]:
        return iter(self.of)

    def __len__(self) -> int:
        return len(self.of)

    def record(self, case: str, metric: str, /, **parameters: Parameter) -> Record:
        """The one record of a case that has this metric, the seat `maker` (default 0) and these among its parameters.

        Raises CaseNotRun, and MissingResult if the case has no such record or several.
        """
        maker = parameters.pop("maker", 0)
        found = [
            record
            for record in self[case].records
            if (record.metric, record.maker) == (metric, maker)
            and parameters.items() <= record.parameters.items()
        ]
        if len(found) != 1:
            count = f"{len(found)} records" if found else "no record"
            having = f" with {_listed(parameters)}" if parameters else ""
            raise MissingResult(case, f"{count} of {metric} for maker {maker}{having}")
        return found[0]

    def estimate(self, case: str, metric: str, /, **parameters: Parameter) -> "Estimate":
        """A record's value and error. The error of a mean of n replications has n - 1 degrees of freedom, if the record
        does not state others."""
        record = self.record(case, metric, **parameters)
        replications, dof = record.parameters.get("replications"), record.dof
        if dof is None and replications is not None:
            dof = int(replications) - 1
        return Estimate(record.value, record.error, dof)

    def mean(self, case: str, metric: str, /, **parameters: Parameter) -> "Estimate":
        """The estimate that is a mean over the seeds of the budget."""
        return self.estimate(case, metric, **parameters, replications=self.budget.seeds)

    def frame(self, case: str, name: str) -> "pl.DataFrame":
        """One of a case's tables. Raises CaseNotRun and MissingResult."""
        frames = self[case].frames
        if name not in frames:
            raise MissingResult(case, f"no table {name}")
        return frames[name]


def _listed(parameters: Mapping[str, Parameter]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in parameters.items())


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error."""

    value: float
    error: float | None = None
    """Standard error; None for exact values."""
    dof: int | None = None
    """Degrees of freedom of the standard error; None if they are too many to matter."""

    def times(self, factor: float) -> "Estimate":
        error = None if self.error is None else abs(factor) * self.error
        return Estimate(factor * self.value, error, self.dof)

    def minus(self, other: "Estimate") -> "Estimate":
        """The difference of two independent estimates, with Welch and Satterthwaite's degrees of freedom."""
        if self.error is None and other.error is None:
            return Estimate(self.value - other.value)
        own, others = self.error or 0.0, other.error or 0.0
        dof = combined_dof((own, self.dof), (others, other.dof))
        if any(e.dof == 0 for e in (self, other)):
            dof = 0
        return Estimate(self.value - other.value, math.sqrt(own**2 + others**2), dof)

    @property
    def interval(self) -> tuple[float, float]:
        """The two-sided 95% interval: Student's quantile for the degrees of freedom (2.78 for five seeds, 12.7 for
        two, the whole line for one), the normal one, 1.96, if none are stated; a point for exact values."""
        if self.error is None:
            return self.value, self.value
        half = quantile_95(self.dof) * self.error if self.dof != 0 else math.inf
        return self.value - half, self.value + half


def mean(values: Sequence[float]) -> Estimate:
    """The mean of independent values, with the standard error by their spread."""
    n = len(values)
    average = math.fsum(values) / n
    if n == 1:
        return Estimate(average, 0.0, 0)
    return Estimate(average, math.sqrt(math.fsum((v - average) ** 2 for v in values) / (n - 1) / n), n - 1)


@dataclass(frozen=True)
class Cell:
    """A number of a table: ours, the paper's and the exact one, as far as there is one."""

    ours: Estimate | None
    paper: float | None = None
    exact: float | None = None
    digits: int = 2
    """Digits after the decimal point, for all three."""


@dataclass(frozen=True)
class Row:
    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Table of the paper's number, ours with its standard error, and the exact optimum, column by column.

    Each of the three is left out of a column in which no row has it.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    """Note below the table, units above all."""
    title: str = ""

    def __post_init__(self):
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"rows must have {len(self.columns)} cells, but {row.label!r} has {len(row.cells)}"
                )


@dataclass(frozen=True)
class Figure:
    """A figure with its title and caption. Its layout states its height."""

    title: str
    caption: str
    figure: "go.Figure"
    min_width: int = 0
    """Width in pixels below which the figure scrolls horizontally instead of shrinking."""


Decision: TypeAlias = Literal["holds", "does not hold", "cannot be decided"]


@dataclass(frozen=True)
class Finding:
    """Result of a claim's test."""

    decision: Decision
    evidence: str
    """Numbers on which the decision is based, in a sentence."""


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, and the test that decides it."""

    source: str
    """Place in the paper, such as section 7.2 or table 1."""
    text: str
    test: Callable[[Outcomes], Finding]


@dataclass(frozen=True)
class Item:
    """A table or figure of the paper, or an addition to them."""

    name: str
    """Name on the command line, such as table-1 or figure-4."""
    title: str
    description: str
    cases: tuple[str, ...]
    """Names of the cases that it uses."""
    content: Callable[[Outcomes], list[Table | Figure]]
    claims: tuple[Claim, ...] = ()

    @property
    def label(self) -> str:
        """Label in the paper, such as Table 4; empty for an addition of this project."""
        kind, _, place = self.name.partition("-")
        return f"{kind.capitalize()} {place}" if kind in ("table", "figure") and place.isdigit() else ""


@dataclass(frozen=True)
class Study:
    """A paper: the cases to run, and the items made from them."""

    name: str
    title: str
    citation: str
    cases: tuple[Case, ...]
    """Cases in the order in which they are run."""
    items: tuple[Item, ...]
    read_bars: Callable[[Budget], object] = lambda budget: None
    """Reads the budget's files of real bars, if cases need some; raises Refusal if they are unsuitable."""

    def __post_init__(self):
        cases, items = [case.name for case in self.cases], [item.name for item in self.items]
        for what, names in (("study", [self.name]), ("case", cases), ("item", items)):
            for name, times in Counter(names).items():
                if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
                    raise ValueError(
                        f"the name of a {what} must be lower-case words with dashes, but got {name!r}"
                    )
                if times > 1:
                    raise ValueError(
                        f"the names of {what}s must be unique, but {name!r} occurs {times} times"
                    )
        for item in self.items:
            for case in item.cases:
                if case not in cases:
                    raise ValueError(f"the item {item.name!r} names the case {case!r}, which does not exist")

    def cases_of(self, items: Iterable[Item]) -> list[Case]:
        """The cases that these items need, each once, in the study's order."""
        needed = {case for item in items for case in item.cases}
        return [case for case in self.cases if case.name in needed]


def greater(
    a: Estimate,
    b: Estimate,
    margin: float = 0.0,
    *,
    difference: Estimate | None = None,
    names: tuple[str, str] = ("the one", "the other"),
    digits: int = 2,
) -> Finding:
    """Test whether a exceeds b by more than a margin. Decided if the 95% interval of a - b lies on one side of it.

    Two-sided, with the quantile of `Estimate.interval`: Student's if the errors come from few seeds. a and b are
    taken as independent, unless the difference was measured pair by pair and is given.
    """
    gap = a.minus(b) if difference is None else difference
    low, high = gap.interval
    text = f"{_named(names[0])} {_shown(a, digits)}, {_named(names[1])} {_shown(b, digits)}; "
    text += f"the difference is {_with_interval(gap, digits)}"
    if margin:
        text += f"; claimed: more than {_number(margin, digits)}"
    return Finding(_decision(bool(low > margin), bool(high <= margin)), text)


def within(a: Estimate, target: float, tolerance: float, *, name: str = "ours", digits: int = 2) -> Finding:
    """Test whether a lies within a tolerance of a target: holds if its whole 95% interval does, fails if none does.

    The quantile is that of `Estimate.interval`.
    """
    low, high = a.interval
    inside = target - tolerance <= low and high <= target + tolerance
    outside = high < target - tolerance or low > target + tolerance
    claimed = f"within {_number(tolerance, digits)} of {_number(target, digits)}"
    text = f"{name} {_with_interval(a, digits)}; claimed: {claimed}"
    return Finding(_decision(bool(inside), bool(outside)), text)


def all_of(findings: Iterable[Finding]) -> Finding:
    """Does not hold if any does not; holds if all do; else cannot be decided. The evidence is that of the findings
    that decide."""
    findings = list(findings)
    if not findings:
        raise ValueError("a claim needs at least one finding, but got none")
    found = {finding.decision for finding in findings}
    decision = _decision(found == {"holds"}, "does not hold" in found)
    return Finding(decision, "; ".join(f.evidence for f in findings if f.decision == decision))


def evaluate_claim(claim: Claim, outcomes: Outcomes) -> Finding:
    """Return the result of the claim's test, which cannot be decided if it needs a case that has not been run."""
    try:
        return claim.test(outcomes)
    except CaseNotRun as error:
        return Finding("cannot be decided", error.args[0])


def _named(name: str) -> str:
    """A name before its number; a colon keeps the two apart if the name ends in a number of its own."""
    return f"{name}:" if name[-1:].isdigit() or name.endswith("]") else name


def _decision(holds: bool, fails: bool) -> Decision:
    return "holds" if holds else "does not hold" if fails else "cannot be decided"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def _shown(a: Estimate, digits: int) -> str:
    return _number(a.value, digits) + ("" if a.error is None else f" ± {_number(a.error, digits)}")


def _with_interval(a: Estimate, digits: int) -> str:
    if a.error is None:
        return _number(a.value, digits)
    low, high = (_number(bound, digits) for bound in a.interval)
    return f"{_number(a.value, digits)} (95% interval {low} to {high})"
