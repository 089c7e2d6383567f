"""Comparison of runs: `twosided compare` on common random numbers, and the list of `twosided runs`."""

import dataclasses
import json as json_format
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from twosided.cli.commands.output import print_records
from twosided.cli.commands.run import settings_of
from twosided.core import store
from twosided.core.evaluation import evaluate, trace
from twosided.core.market import Market
from twosided.core.metrics import SHARPE, find_metric
from twosided.core.names import kebab
from twosided.core.policy import Policy
from twosided.core.records import MEAN, Record, find, from_frame, mean_of_cases
from twosided.core.scenario import Scenario
from twosided.core.validation import check, check_seed
from twosided.report.pages import Provenance, results_page
from twosided.runs.results import trained_policies
from twosided.runs.settings import TRAIN, RunError, TrainSettings, check_fit, named
from twosided.settings import NO_FILES, Settings, SettingsError, build, load, read


@dataclass(frozen=True)
class Compare:
    """Evaluate the makers of several runs side by side on common random numbers, and write a report.

    Each maker is evaluated in the market that it was trained in. Runs of one kind of market draw the same random
    numbers, so all makers meet the same prices and clients where these have the same parameters.

    Example:

        twosided compare runs/first runs/second --policy persistent-quoter
    """

    runs: tuple[Path, ...]
    """Folders of the runs, finished or not."""
    policies: tuple[Policy, ...] = ()
    """Policies to evaluate beside them, in the market of the first run. Repeat for several."""
    steps: int = 1_000_000
    """Evaluation steps per policy."""
    seed: int = 0
    """Seed of all random numbers."""
    out: Path = Path("compare.html")
    """File of the report."""
    json: bool = False
    """Print the records as JSON."""

    def __post_init__(self):
        check_seed(self.seed)
        check("steps", self.steps, "at least 1", self.steps >= 1)
        check("out", str(self.out), "a file, not a folder", not self.out.is_dir())

    def __call__(self, settings: Settings) -> int:
        trained: dict[str, TrainSettings] = {
            name: build(settings_of(run, settings.user_files)[0])
            for name, run in zip(_names(self.runs), self.runs, strict=True)
        }
        if not trained:
            raise RunError("nothing to compare: give the folders of some runs")
        kinds = {name: kebab(type(one.market).__name__) for name, one in trained.items()}
        first, *rest = kinds
        for other in rest:
            if kinds[other] != kinds[first]:
                raise RunError(
                    f"runs must be of one kind of market, but {other} is of {kinds[other]} "
                    f"and {first} of {kinds[first]}"
                )
        others, scenario = named(self.policies), trained[first].test_scenario
        check_fit(scenario, others.values())
        records: list[Record] = []
        traces: dict[str, pl.DataFrame] = {}
        for (name, one), run in zip(trained.items(), self.runs, strict=True):
            own, best = self._evaluated(name, one, trained_policies(one, run))
            records += own
            traces[name] = self._trace(one.test_scenario, best)
        records += evaluate(scenario, others, self.seed, self.steps)
        traces |= {name: self._trace(scenario, policy) for name, policy in others.items()}
        store.write(self.out, self._page(scenario.market, records, traces, list(others)))
        print_records(records, scenario.market.metrics(), self.json)
        if not self.json:
            Console().print(f"report: {self.out}", highlight=False)
        return 0

    def _evaluated(
        self, name: str, trained: TrainSettings, policies: dict[str, Policy]
    ) -> tuple[list[Record], Policy]:
        """Return the mean over the seeds of a run, and the policy of the seed with the highest reward."""
        found = [
            dataclasses.replace(record, data=trained.data)
            for record in evaluate(trained.test_scenario, policies, self.seed, self.steps)
        ]
        best = max(policies, key=lambda case: find(found, case, "reward").value)
        return mean_of_cases(found, list(policies), name), policies[best]

    def _trace(self, scenario: Scenario, policy: Policy) -> pl.DataFrame:
        return trace(scenario, policy, self.seed)

    def _page(
        self, market: Market, records: list[Record], traces: dict[str, pl.DataFrame], others: list[str]
    ) -> str:
        return results_page(
            "Market makers side by side",
            records,
            market.metrics(),
            market.dashboard(),
            summary=f"{_prices_met(traces)} A run is the mean of its seeds; its episode is that of the best seed.",
            compared=others,
            side_by_side=traces,
            provenance=Provenance(command=" ".join(["twosided compare", *map(str, self.runs)])),
        )


@dataclass(frozen=True)
class Runs:
    """List the runs of a folder, with their progress and results.

    Example:

        twosided runs --json
    """

    folder: Path = Path("runs")
    """Folder of the runs."""
    json: bool = False
    """Print the list as JSON."""

    def __call__(self, settings: Settings) -> int:
        if not self.folder.is_dir():
            raise RunError(f"there is no folder {self.folder}")
        found = list(_found(self.folder))
        if self.json:
            print(json_format.dumps([row for row, _ in found], indent=1))
            return 0
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
        for name in ("run", "market", "learner", "seeds", "done", "PnL", "Sharpe"):
            numeric = name not in ("run", "market", "learner")
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row, market in found:
            table.add_row(
                Text(os.path.relpath(row["run"], self.folder)),
                row["market"],
                row["learner"],
                str(row["seeds"]),
                f"{100 * row['done']:.0f}%",
                _pnl_text(market, row["pnl"]),
                "" if row["sharpe"] is None else SHARPE.text(row["sharpe"])[0],
            )
        table.title, table.title_justify = Text(f"Runs of {self.folder}"), "left"
        table.caption, table.caption_justify = "PnL and Sharpe ratio: per step, mean of seeds.", "left"
        Console().print(table)
        return 0


def _pnl_text(market: Market | None, value: float | None) -> str:
    """Return PnL per step in the market's unit, or in currency; empty where there is none yet."""
    if value is None:
        return ""
    if market is None:
        return f"{value:.4g}"
    metric = find_metric(market.metrics(), "pnl_total")
    unit = metric.unit.removesuffix(" per step").replace("currency", "")
    return f"{metric.text(value, brief=True)[0]} {unit}".strip()


def _found(folder: Path) -> Iterator[tuple[dict[str, Any], Market | None]]:
    """Yield the runs of a folder, oldest first, with the results of those that are finished, and their markets.

    The market is None for a run with classes of a user's own file, which is not imported.
    """
    paths = list(folder.glob(f"*/{store.SETTINGS}"))
    for path in sorted(paths, key=lambda path: path.stat().st_mtime):
        try:
            match data := load(path):
                case {"market": {"kind": str(kind)}, "learner": {"kind": str(learner)}, "seeds": int(seeds)}:
                    own = bool(NO_FILES.used_in(data))
                    market = None if own else build(read(TRAIN, data, str(path))).scenario.market
                case _:  # a study
                    continue
        except SettingsError:  # of another version
            continue
        records, done = [], 0.0
        if (path.parent / store.ABOUT).exists():
            records, done = from_frame(store.read_frame(path.parent / store.RECORDS)), 1.0
        elif (path.parent / store.CHECKPOINT).exists():
            header = store.read_header(path.parent / store.CHECKPOINT)
            done = header["iteration"] / header["iterations"]
        means = {
            record.metric: record.value for record in records if (record.case, record.maker) == (MEAN, 0)
        }
        row = {
            "run": str(path.parent),
            "market": kind,
            "learner": learner,
            "seeds": seeds,
            "done": done,
            "pnl": means.get("pnl_total"),
            "sharpe": means.get("sharpe"),
        }
        yield row, market


def _names(folders: tuple[Path, ...]) -> list[str]:
    """Return the names of runs: the last part of their paths, or the whole path where two would have the same name."""
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _prices_met(traces: dict[str, pl.DataFrame]) -> str:
    """Return which makers met the same prices, in the steps before their markets ended."""
    mids = {name: s.filter(pl.col("maker") == 0).select("path", "time", "mid") for name, s in traces.items()}
    first = next(iter(mids))
    others = []
    for name, other in mids.items():
        both = mids[first].join(other, on=["path", "time"])
        if not both.select((pl.col("mid") == pl.col("mid_right")).all()).item():
            others.append(name)
    if not others:
        return "All makers met the same prices."
    return f"Prices differ: those of {', '.join(others)} are not those of {first}."
