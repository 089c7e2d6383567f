"""Reproducing papers: `twosided reproduce`."""

import json as json_format
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from twosided.cli.terminal import StudyDisplay, stopping
from twosided.core import store
from twosided.core.names import nearest
from twosided.core.validation import check, check_seed
from twosided.papers.base import Budget, Item, MissingResult, Outcomes, Study
from twosided.papers.base import Table as Numbers
from twosided.papers.folder import CASES, is_finished, read_about, read_outcomes
from twosided.papers.page import (
    MARKS,
    ItemResult,
    cell_text,
    column_parts,
    count_decisions,
    item_results,
    study_page,
    verb,
)
from twosided.papers.runner import find_study, run_cases
from twosided.runs.settings import RunError
from twosided.settings import Settings

STUDIES = {
    "ganesh2019": "twosided.papers.ganesh2019.study:STUDY",
    "bakshaev2020": "twosided.papers.bakshaev2020.study:STUDY",
    "phelps2022": "twosided.papers.phelps2022.study:STUDY",
    "heston-planning": "twosided.papers.heston_planning.study:STUDY",
}
SEEDS, QUICK_SEEDS = 5, 2
STYLES = {"good": "green", "bad": "red", "open": "yellow"}


@dataclass(frozen=True)
class Reproduce:
    """Reproduce a paper: every table and figure beside the paper's, and a test of every claim.

    A finished case is never run again, so the same command resumes a run that was stopped.
    """

    study: str | None = None
    """The paper, or MODULE:ATTRIBUTE of a study of your own. Default: list all studies."""
    items: tuple[str, ...] = ()
    """Tables and figures of it, such as table-1 figure-4. Default: all."""
    quick: bool = False
    """Run small cases: minutes, with larger errors."""
    seeds: int | None = None
    """Independent training runs of each learner. Default: 5, or 2 when quick."""
    seed: int = 0
    """Seed of all random numbers."""
    workers: int = 1
    """Cases that run at the same time, each in its own process."""
    bars: tuple[Path, ...] = ()
    """Files of real bars, for the items that need them: of one price, or of bid and ask in one file or two."""
    timezone: str = "UTC"
    """Time zone of dates without an offset, such as Europe/London."""
    columns: tuple[str, ...] = ()
    """Columns whose names are not recognised, such as time=opened,close=last; by number, such as close=5, in a file
    without a header."""
    format: str = ""
    """Form of times and numbers that cannot be detected: dmy, mdy or ymd; s, ms, us or ns (since 1970); decimal-comma
    or decimal-point; or a pattern such as %d/%m/%Y %H:%M."""
    out: Path | None = None
    """Folder of the outcomes and the page. Default: runs/STUDY or runs/STUDY-quick."""
    json: bool = False
    """Print claims and records as JSON. Progress goes to standard error."""

    def __post_init__(self):
        check_seed(self.seed)
        if self.seeds is not None:
            check("seeds", self.seeds, "at least 1", self.seeds >= 1)
        check("workers", self.workers, "at least 1", self.workers >= 1)

    def __call__(self, settings: Settings) -> int:
        if self.study is None:
            _list(self.json)
            return 0
        reference = _reference(self.study)
        study = find_study(reference)
        asked = _asked(study, self.items, bool(self.bars))
        bars = tuple(str(path.absolute()) for path in self.bars)
        budget = Budget(self.quick, self.seeds or (QUICK_SEEDS if self.quick else SEEDS), self.seed, bars)
        budget = replace(budget, timezone=self.timezone, columns=self.columns, format=self.format)
        if bars:
            study.read_bars(budget)  # unsuitable files are refused before anything runs
        folder = self.out or Path("runs") / (f"{study.name}-quick" if self.quick else study.name)
        cases = study.cases_of(asked)
        console = Console(stderr=self.json)
        try:
            with stopping(console) as stop, StudyDisplay(console) as display:
                failures = run_cases(reference, cases, budget, folder, self.workers, stop, display)
            stopped = stop.is_set
        except KeyboardInterrupt:
            failures, stopped = {}, True
        if stopped and not all(is_finished(folder, case.name) or case.name in failures for case in cases):
            console.print("stopped; the same command resumes here", highlight=False)
            return 130
        outcomes = read_outcomes(folder, study.cases, budget)
        try:
            self._present(study, asked, outcomes, folder, failures)
        except MissingResult as error:
            case, what = error.args
            path = folder / CASES / case
            raise RunError(
                f"{path} is of another version of {study.name}, with {what}; "
                "remove it, and run the same command again"
            ) from error
        return 1 if failures else 0

    def _present(
        self,
        study: Study,
        asked: Sequence[Item],
        outcomes: Outcomes,
        folder: Path,
        failures: Mapping[str, str],
    ) -> None:
        """Write the page of the requested items and of those finished before, and print the requested ones."""
        shown = [
            item for item in study.items if item in asked or all(case in outcomes for case in item.cases)
        ]
        items = item_results(shown, outcomes)
        cases = study.cases_of(shown)
        page = study_page(study, items, self._command(study, shown), read_about(folder, cases), failures)
        path = folder / store.REPORT
        store.write(path, page)
        items = [item for item in items if item.item in asked]
        if self.json:
            print(json_format.dumps(_plain(study, items, outcomes, failures), indent=1))
            return
        console = Console()
        for item in items:
            _print_item(console, item)
        console.print(_claims_table(items))
        counts = (f"{count} {verb(decision, count)}" for decision, count in count_decisions(items).items())
        console.print(f"claims: {', '.join(counts)}", highlight=False)
        console.print(f"report: {path}", highlight=False, soft_wrap=True)

    def _command(self, study: Study, shown: Sequence[Item]) -> str:
        """The command that makes the same page."""
        words = ["twosided", "reproduce", self.study or ""]
        words += [] if len(shown) == len(study.items) else [item.name for item in shown]
        words += ["--quick"] if self.quick else []
        words += ["--seeds", str(self.seeds)] if self.seeds is not None else []
        words += ["--seed", str(self.seed)] if self.seed else []
        words += ["--bars", ",".join(map(str, self.bars))] if self.bars else []
        words += ["--timezone", self.timezone] if self.timezone != "UTC" else []
        words += ["--columns", ",".join(self.columns)] if self.columns else []
        words += ["--format", self.format] if self.format else []
        return shlex.join(words)


def _reference(study: str) -> str:
    if study in STUDIES or ":" in study:
        return STUDIES.get(study, study)
    near = nearest(study, list(STUDIES)) or f"; there are {', '.join(STUDIES)}"
    raise RunError(f"there is no study {study}{near}")


def _asked(study: Study, names: Sequence[str], bars: bool) -> list[Item]:
    """The items to make; those that need real bars only if there are some. Raises RunError."""
    items = {item.name: item for item in study.items}
    for name in names:
        if name not in items:
            near = nearest(name, list(items)) or f"; there are {', '.join(items)}"
            raise RunError(f"{study.name} has no item {name}{near}")
    asked = [item for name, item in items.items() if not names or name in names]
    about = [item for item in asked if any(case.needs_bars for case in study.cases_of([item]))]
    if bars and not about:
        raise RunError(f"no requested item of {study.name} needs real bars; leave --bars out")
    if names and about and not bars:
        raise RunError(
            f"{about[0].name} needs real bars: give their files with --bars FILE or --bars BID,ASK"
        )
    return asked if bars else [item for item in asked if item not in about]


def _list(json: bool) -> None:
    studies = [find_study(reference) for reference in STUDIES.values()]
    if json:
        print(
            json_format.dumps(
                {s.name: {item.name: item.title for item in s.items} for s in studies}, indent=1
            )
        )
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for study in studies:
        table.add_row(Text(study.name, "bold"), Text(study.title))
        for item in study.items:
            table.add_row(Text(f"  {item.name}"), Text(item.title))
    Console().print(table)


def _print_item(console: Console, item: ItemResult) -> None:
    if item.missing:
        missing = f"not shown: {', '.join(item.missing)} failed or not run"
        console.print(Text(f"\n{item.item.title}: {missing}", "yellow"))
    for part in item.content:
        if isinstance(part, Numbers):
            console.print(_numbers_table(part, item.item))


def _numbers_table(numbers: Numbers, of: Item) -> Table:
    """Columns across, each with its parts: the paper's number, ours above its standard error, the exact one."""
    title = ". ".join(filter(None, [of.label, of.title, numbers.title]))
    table = Table(
        title=Text(title, "bold"), caption=Text(numbers.note), box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1)
    )
    table.title_justify = table.caption_justify = "left"
    table.add_column("", overflow="fold")
    held = [column_parts([row.cells[i] for row in numbers.rows]) for i in range(len(numbers.columns))]
    for name, parts in zip(numbers.columns, held, strict=True):
        for i, part in enumerate(parts):
            heading = f"{'' if i else name}\n{part}"
            table.add_column(
                Text(heading), justify="right", overflow="fold", style="bold" if part == "ours" else None
            )
    for row in numbers.rows:
        shown = []
        for cell, parts in zip(row.cells, held, strict=True):
            for part in parts:
                value, error = cell_text(cell, part)
                shown.append(f"{value}\n±{error}" if error else value)
        table.add_row(Text(row.label), *shown)
    return table


def _claims_table(items: Sequence[ItemResult]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("result", width=19)
    table.add_column("claim and evidence")
    for item in items:
        for claim, finding in item.findings:
            mark, style = MARKS[finding.decision]
            found = Text.assemble((f"{mark} {finding.decision}", STYLES[style]), "\n", (claim.source, "dim"))
            table.add_row(found, Text.assemble(claim.text, "\n", (finding.evidence, "dim")))
    return table


def _plain(
    study: Study, items: Sequence[ItemResult], outcomes: Outcomes, failures: Mapping[str, str]
) -> dict[str, Any]:
    """Claims and records as plain data, for JSON."""
    claims = [
        {"item": item.item.name, "source": claim.source, "text": claim.text} | asdict(finding)
        for item in items
        for claim, finding in item.findings
    ]
    cases = [case.name for case in study.cases_of([item.item for item in items]) if case.name in outcomes]
    return {
        "study": study.name,
        "budget": asdict(outcomes.budget),
        "claims": claims,
        "records": {case: [record.row() for record in outcomes[case].records] for case in cases},
        "failures": dict(failures),
    }
