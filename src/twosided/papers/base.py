"""What the reproduction of a paper is made of: cases that cost time, items that readers know, claims that hold or not.

    Case     one piece of work: numbers and small tables, made within a budget and kept on the disk
    Item     one table or figure of the paper, drawn from the outcomes of the cases that it names
    Claim    one sentence of the paper and the test that decides it on numbers, never by eye
    Study    a paper: its cases, and its items

Cases run once each (runner.py), in any order and in processes of their own; items and claims only read what cases
left behind, so they are made anew whenever a page is.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from twosided.core.records import MEAN, Record, find

if TYPE_CHECKING:  # a process that runs cases draws nothing
    import plotly.graph_objects as go
    import polars as pl


@dataclass(frozen=True)
class Budget:
    """What a case may spend, and what decides its chance."""

    quick: bool
    """Whether a small case is enough: minutes for a whole study."""
    seeds: int
    """Independent repetitions of what is trained, at least 1."""
    seed: int
    """Decides everything that is random."""
    bars: tuple[str, ...] = ()
    """Files of real bars, for the cases that need some."""


@dataclass(frozen=True)
class Outcome:
    """What a case found."""

    records: list[Record]
    frames: dict[str, "pl.DataFrame"] = field(default_factory=dict)
    """Small tables by name (curves, histograms, traces): what figures need."""


Tell: TypeAlias = Callable[[str], None]
"""Tells a line of progress. Once somebody has asked for a stop, it raises KeyboardInterrupt instead."""


@dataclass(frozen=True)
class Case:
    """A piece of work."""

    name: str
    """Lower-case with dashes; unique in its study, and the name of its folder."""
    run: Callable[[Budget, Tell], Outcome]
    needs_bars: bool = False
    """Whether it is about real bars, which whoever runs it must point to."""


class Missing(KeyError):
    """A case that has not been run; its one argument is a sentence that says so."""


class Lacking(KeyError):
    """A finished case without something that its study asks it for; its arguments are the case, and what it lacks."""


@dataclass(frozen=True)
class Outcomes(Mapping[str, Outcome]):
    """The outcomes of cases by name, and the budget that they all had; raises Missing for those that there are not."""

    of: Mapping[str, Outcome]
    budget: Budget

    def __getitem__(self, case: str) -> Outcome:
        if case not in self.of:
            raise Missing(f"the case {case} has not been run")
        return self.of[case]

    def __iter__(self) -> Iterator[str]:
        return iter(self.of)

    def __len__(self) -> int:
        return len(self.of)

    def record(self, case: str, case_in_records: str, metric: str, maker: int = 0) -> Record:
        """The one record of a metric. Raises Missing, and Lacking if the case has none such."""
        records = self[case].records
        try:
            return find(records, case_in_records, metric, maker)
        except KeyError as error:
            raise Lacking(case, error.args[0]) from None

    def estimate(
        self, case: str, case_in_records: str, metric: str, maker: int = 0, scale: float = 1.0
    ) -> "Estimate":
        """A record's value and error, times `scale`. The error of a mean of seeds has seeds - 1 degrees of freedom."""
        record = self.record(case, case_in_records, metric, maker)
        freedom = self.budget.seeds - 1 if case_in_records == MEAN else None
        return Estimate(record.value, record.error, freedom).times(scale)

    def frame(self, case: str, name: str) -> "pl.DataFrame":
        """One of a case's tables. Raises Missing and Lacking."""
        frames = self[case].frames
        if name not in frames:
            raise Lacking(case, f"no table {name}")
        return frames[name]


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error."""

    value: float
    error: float | None = None
    """Standard error; None for what is exact."""
    freedom: int | None = None
    """Degrees of freedom that the error was estimated with; None for as many as make no difference."""

    def times(self, factor: float) -> "Estimate":
        error = None if self.error is None else abs(factor) * self.error
        return Estimate(factor * self.value, error, self.freedom)

    def minus(self, other: "Estimate") -> "Estimate":
        """The difference of two that are independent, with Welch and Satterthwaite's degrees of freedom."""
        if self.error is None and other.error is None:
            return Estimate(self.value - other.value)
        mine, theirs = (self.error or 0.0) ** 2, (other.error or 0.0) ** 2
        spread = sum(
            square**2 / freedom
            for square, freedom in ((mine, self.freedom), (theirs, other.freedom))
            if freedom
        )
        freedom = max(math.floor((mine + theirs) ** 2 / spread), 1) if spread else None
        if any(e.freedom == 0 for e in (self, other)):
            freedom = 0
        return Estimate(self.value - other.value, math.sqrt(mine + theirs), freedom)

    @property
    def interval(self) -> tuple[float, float]:
        """The two-sided 95% interval: Student's quantile for the degrees of freedom (2.78 for five seeds, 12.7 for
        two, the whole line for one), the normal one, 1.96, where none are stated; a point for what is exact."""
        if self.error is None:
            return self.value, self.value
        half = _quantile(self.freedom) * self.error if self.freedom != 0 else math.inf
        return self.value - half, self.value + half


def mean(values: Sequence[float]) -> Estimate:
    """The mean of independent values, with its standard error by their spread."""
    n = len(values)
    centre = math.fsum(values) / n
    if n == 1:
        return Estimate(centre, 0.0, 0)
    return Estimate(centre, math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (n - 1) / n), n - 1)


@dataclass(frozen=True)
class Cell:
    """A number of a table, as far as there is one: ours, the paper's and the exact."""

    ours: Estimate | None
    theirs: float | None = None
    exact: float | None = None
    digits: int = 2
    """Digits after the point, for all three."""


@dataclass(frozen=True)
class Row:
    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Shows, column by column, the paper's number, ours with its standard error, and the exact optimum.

    Each of the three is left out of a column in which no row has it.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    """What a reader needs to know of it, units above all."""
    title: str = ""

    def __post_init__(self):
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"rows must have {len(self.columns)} cells, but {row.label!r} has {len(row.cells)}"
                )


@dataclass(frozen=True)
class Figure:
    """A figure with its title and what to look for in it. Its layout states its height."""

    title: str
    sentence: str
    figure: "go.Figure"
    min_width: int = 0
    """Pixels below which it scrolls sideways in its box instead of shrinking."""


Verdict: TypeAlias = Literal["holds", "does not hold", "cannot be decided"]


@dataclass(frozen=True)
class Finding:
    """What a test made of a claim."""

    verdict: Verdict
    evidence: str
    """The numbers that decided it, in words."""


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, and the test that decides it."""

    where: str
    """Where the paper says it: section 7.2, table 1."""
    text: str
    test: Callable[[Outcomes], Finding]


@dataclass(frozen=True)
class Item:
    """A table or figure of the paper, or what belongs beside them."""

    name: str
    """What it is asked for by: table-1, figure-4."""
    title: str
    sentence: str
    cases: tuple[str, ...]
    """The cases that it is made of."""
    content: Callable[[Outcomes], list[Table | Figure]]
    claims: tuple[Claim, ...] = ()

    @property
    def label(self) -> str:
        """What the paper calls it, such as Table 4; empty for what is this project's own."""
        kind, _, place = self.name.partition("-")
        return f"{kind.capitalize()} {place}" if kind in ("table", "figure") and place.isdigit() else ""


@dataclass(frozen=True)
class Study:
    """A paper: the cases that it takes, and the items that they make."""

    name: str
    title: str
    citation: str
    cases: tuple[Case, ...]
    """In the order in which they are run."""
    items: tuple[Item, ...]
    read_bars: Callable[[Budget], object] = lambda budget: None
    """Reads the files of real bars that a budget points to, if cases need some; raises Refusal if they will not do."""

    def __post_init__(self):
        cases, items = [case.name for case in self.cases], [item.name for item in self.items]
        for what, names in (("study", [self.name]), ("case", cases), ("item", items)):
            for name, times in Counter(names).items():
                if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
                    raise ValueError(
                        f"the name of a {what} is lower-case words with dashes, but got {name!r}"
                    )
                if times > 1:
                    raise ValueError(
                        f"the names of {what}s must be unique, but {name!r} stands there {times} times"
                    )
        for item in self.items:
            for case in item.cases:
                if case not in cases:
                    raise ValueError(f"the item {item.name!r} names the case {case!r}, which there is not")

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
    """Whether a exceeds b by more than a margin: decided if the 95% interval of a - b lies on one side of it.

    Two-sided, with the quantile of `Estimate.interval`: Student's where the errors come from few seeds. a and b are
    taken as independent, unless the difference was measured pair by pair and is given.
    """
    gap = a.minus(b) if difference is None else difference
    low, high = gap.interval
    text = f"{_named(names[0])} {_shown(a, digits)}, {_named(names[1])} {_shown(b, digits)}; "
    text += f"the difference is {_spread(gap, digits)}"
    if margin:
        text += f", and more than {_number(margin, digits)} is claimed"
    return Finding(_verdict(low > margin, high <= margin), text)


def within(a: Estimate, target: float, tolerance: float, *, name: str = "ours", digits: int = 2) -> Finding:
    """Whether a lies within a tolerance of a target: holds if all of its 95% interval does, and does not if none does.

    The quantile is that of `Estimate.interval`.
    """
    low, high = a.interval
    inside = target - tolerance <= low and high <= target + tolerance
    outside = high < target - tolerance or low > target + tolerance
    text = (
        f"{name} {_spread(a, digits)}, to be within {_number(tolerance, digits)} of {_number(target, digits)}"
    )
    return Finding(_verdict(inside, outside), text)


def all_of(findings: Iterable[Finding]) -> Finding:
    """Does not hold if any does not; holds if all do; else cannot be decided. The evidence is of those that decide."""
    findings = list(findings)
    if not findings:
        raise ValueError("a claim of nothing: there must be at least one finding")
    found = {finding.verdict for finding in findings}
    verdict = _verdict(found == {"holds"}, "does not hold" in found)
    return Finding(verdict, "; ".join(f.evidence for f in findings if f.verdict == verdict))


def judge(claim: Claim, outcomes: Outcomes) -> Finding:
    """What the claim's test says; cannot be decided if it asks for a case that has not been run."""
    try:
        return claim.test(outcomes)
    except Missing as error:
        return Finding("cannot be decided", error.args[0])


def _named(name: str) -> str:
    """A name before its number; a colon keeps the two apart where the name ends in a number of its own."""
    return f"{name}:" if name[-1:].isdigit() or name.endswith("]") else name


def _verdict(holds: bool, fails: bool) -> Verdict:
    return "holds" if holds else "does not hold" if fails else "cannot be decided"


def _quantile(freedom: int | None) -> float:
    from scipy.special import stdtrit

    return 1.959964 if freedom is None else float(stdtrit(freedom, 0.975))


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def _shown(a: Estimate, digits: int) -> str:
    return _number(a.value, digits) + ("" if a.error is None else f" ± {_number(a.error, digits)}")


def _spread(a: Estimate, digits: int) -> str:
    if a.error is None:
        return _number(a.value, digits)
    low, high = (_number(bound, digits) for bound in a.interval)
    return f"{_number(a.value, digits)} (95% interval {low} to {high})"
