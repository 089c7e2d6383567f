"""Runs beside each other: `twosided compare` on common chance, `twosided runs` to see what there are."""

import json as json_format
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from twosided.cli.commands.output import print_records
from twosided.cli.commands.run import settings_of
from twosided.core import store
from twosided.core.evaluation import evaluate, trace
from twosided.core.names import kebab
from twosided.core.policy import Policy
from twosided.core.records import MEAN, Record, find, from_frame, mean_of_cases
from twosided.core.scenario import Scenario
from twosided.core.validation import check, check_seed
from twosided.report.page import Provenance, page
from twosided.runs.results import trained_policies
from twosided.runs.settings import RunError, check_fit, named
from twosided.settings import Settings, SettingsError


@dataclass(frozen=True)
class Compare:
    """Judge the makers of several runs side by side on common chance, and write a page.

    Each plays in the market that it learned in. Runs of one kind of market draw the same chance, so where their prices
    and clients are the same, all meet the same of them.
    """

    runs: tuple[Path, ...]
    """Folders of the runs, finished or not."""
    policies: tuple[Policy, ...] = ()
    """Makers to judge beside them, in the market of the first run; repeat for several."""
    steps: int = 1_000_000
    """Market steps that each maker is judged on."""
    seed: int = 0
    """Decides everything that is random."""
    out: Path = Path("compare.html")
    """Where the page is written."""
    json: bool = False
    """Print the records as JSON."""

    def __post_init__(self):
        check_seed(self.seed)
        check("steps", self.steps, "at least 1", self.steps >= 1)
        check("out", str(self.out), "a file, not a folder", not self.out.is_dir())

    def __call__(self, settings: Settings) -> int:
        trained = {name: settings_of(run)[0] for name, run in zip(_names(self.runs), self.runs, strict=True)}
        if not trained:
            raise RunError("nothing to compare: give the folders of some runs")
        kinds = {name: kebab(type(one.market).__name__) for name, one in trained.items()}
        first, *rest = kinds
        for other in rest:
            if kinds[other] != kinds[first]:
                raise RunError(f"{other} is of the {kinds[other]} and {first} of the {kinds[first]}")
        others, scenario = named(self.policies), trained[first].scenario
        check_fit(scenario, others.values())
        records: list[Record] = []
        traces: dict[str, pl.DataFrame] = {}
        for (name, one), run in zip(trained.items(), self.runs, strict=True):
            own, best = self._judged(name, one.scenario, trained_policies(one, run))
            records += own
            traces[name] = self._trace(one.scenario, best)
        records += evaluate(scenario, others, self.seed, self.steps)
        traces |= {name: self._trace(scenario, policy) for name, policy in others.items()}
        store.write(self.out, self._page(records, traces, list(others)))
        print_records(records, self.json)
        if not self.json:
            Console().print(f"the page: {self.out}", highlight=False)
        return 0

    def _judged(
        self, name: str, scenario: Scenario, policies: dict[str, Policy]
    ) -> tuple[list[Record], Policy]:
        """The records of a run, the mean of its seeds, and the policy of the seed that is paid most."""
        found = evaluate(scenario, policies, self.seed, self.steps)
        best = max(policies, key=lambda case: find(found, case, "reward").value)
        return mean_of_cases(found, list(policies), name), policies[best]

    def _trace(self, scenario: Scenario, policy: Policy) -> pl.DataFrame:
        return trace(scenario, policy, self.seed)

    def _page(self, records: list[Record], traces: dict[str, pl.DataFrame], others: list[str]) -> str:
        return page(
            "Makers side by side",
            records,
            summary=f"{_said(traces)} A run stands for the mean of its seeds, its episode for the best of them.",
            compared=others,
            side_by_side=traces,
            provenance=Provenance(command=" ".join(["twosided compare", *map(str, self.runs)])),
        )


@dataclass(frozen=True)
class Runs:
    """What runs there are, how far each is and what it found."""

    folder: Path = Path("runs")
    """Where the runs are."""
    json: bool = False
    """Print it as JSON."""

    def __call__(self, settings: Settings) -> int:
        if not self.folder.is_dir():
            raise RunError(f"there is no folder {self.folder}")
        found = list(_found(self.folder))
        if self.json:
            print(json_format.dumps(found, indent=1))
            return 0
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
        for name in ("run", "market", "learner", "seeds", "done", "PnL × 100", "Sharpe × 100"):
            numeric = name not in ("run", "market", "learner")
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in found:
            numbers = ["" if row[key] is None else f"{100 * row[key]:.1f}" for key in ("pnl", "sharpe")]
            words = [
                row["run"],
                row["market"],
                row["learner"],
                str(row["seeds"]),
                f"{100 * row['done']:.0f}%",
            ]
            table.add_row(*words, *numbers)
        Console().print(table)
        return 0


def _found(folder: Path) -> Iterator[dict[str, Any]]:
    """The runs of a folder, the oldest first; of those that are finished, what the mean of their seeds earns."""
    paths = list(folder.glob(f"*/{store.SETTINGS}"))
    for path in sorted(paths, key=lambda path: path.stat().st_mtime):
        try:
            settings, _ = settings_of(path.parent)
        except SettingsError:  # of another version, or of something else
            continue
        records, done = [], 0.0
        if (path.parent / store.ABOUT).exists():
            records, done = from_frame(store.read_frame(path.parent / store.RECORDS)), 1.0
        elif (path.parent / store.CHECKPOINT).exists():
            header = store.read_header(path.parent / store.CHECKPOINT)
            done = header["iteration"] / settings.learner.iterations
        means = {
            record.metric: record.value for record in records if (record.case, record.maker) == (MEAN, 0)
        }
        yield {
            "run": str(path.parent),
            "market": kebab(type(settings.market).__name__),
            "learner": kebab(type(settings.learner).__name__),
            "seeds": settings.seeds,
            "done": done,
            "pnl": means.get("pnl_total"),
            "sharpe": means.get("sharpe"),
        }


def _names(folders: tuple[Path, ...]) -> list[str]:
    """Runs by the last part of their paths, or by all of it where that is the same for two."""
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _said(traces: dict[str, pl.DataFrame]) -> str:
    """Who met the same prices, as far as all of them lived: not makers in other markets, or with a longer memory."""
    mids = {name: s.filter(pl.col("maker") == 0).select("path", "time", "mid") for name, s in traces.items()}
    first = next(iter(mids))
    others = []
    for name, other in mids.items():
        both = mids[first].join(other, on=["path", "time"])
        if not both.select((pl.col("mid") == pl.col("mid_right")).all()).item():
            others.append(name)
    if not others:
        return "All met the same prices."
    return f"Not all met the same prices: those of {', '.join(others)} are others than those of {first}."
