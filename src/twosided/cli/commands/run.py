"""Training a maker and showing a run: `twosided demo`, `train` and `show`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
from rich.console import Console

from twosided.cli.commands.output import print_records
from twosided.cli.terminal import Display, stopping
from twosided.core import store
from twosided.core.names import kebab
from twosided.dealer.market import DealerMarket
from twosided.papers.ganesh2019 import CITATION, COMPETITORS, PUBLISHED
from twosided.report.page import KnownOptimum, LearnedTable, Provenance, Published, page
from twosided.runs.results import RunResults, read_results
from twosided.runs.run import SnapshotCallback, run
from twosided.runs.settings import RunError, TrainSettings
from twosided.settings import Settings, build, describe, dump, load, read

TRAIN = "twosided.runs.settings:TrainSettings"


@dataclass(frozen=True)
class Train(TrainSettings):
    """Train a market maker, judge it and write its page."""

    out: Path | None = None
    """Folder of the run; a name from its settings in runs/ if none is given."""
    resume: Path | None = None
    """Go on with the run in this folder, with the settings that it has."""
    json: bool = False
    """Print the records as JSON, progress going to the standard error."""

    def __call__(self, settings: Settings) -> int:
        if self.resume is not None:
            if ignored := {path[0] for path in settings.origins} - {"resume", "json"}:
                raise RunError(
                    f"--resume goes on with the settings of its run; {sorted(ignored)[0]} cannot be given"
                )
            return _train(*settings_of(self.resume), self.resume, self.json)
        own = {"out", "resume", "json"}
        values = {name: value for name, value in settings.values.items() if name not in own}
        if ("competitors",) not in settings.origins and not self.market.takes_competitors:
            values["competitors"] = []
        asked = read(TRAIN, values)
        digest = hashlib.sha256(dump(asked, meanings=False).encode()).hexdigest()[:8]
        folder = self.out or Path("runs") / f"{type(self).__name__.lower()}-{digest}"
        return _train(build(asked), dump(asked), folder, self.json)


@dataclass(frozen=True)
class Demo(Train):
    """Watch a market maker learn, and read how far it is from the best.

    --competitor also takes short names: persistent-0, persistent-0.5, random-1, random-0.5.
    """


@dataclass(frozen=True)
class Show:
    """Show a finished run again: its verdict, and its page made anew."""

    run: Path
    """Folder of the run."""
    json: bool = False
    """Print the records as JSON."""

    def __call__(self, settings: Settings) -> int:
        _present(self.run, self.json)
        return 0


def settings_of(folder: Path) -> tuple[TrainSettings, str]:
    """The settings of a run, and their text. Raises StoreError and SettingsError."""
    path = folder / store.SETTINGS
    text = store.read_text(path)
    return build(read(TRAIN, load(path), str(path))), text


def _train(settings: TrainSettings, text: str, folder: Path, json: bool) -> int:
    console = Console(stderr=json)
    done = (folder / store.ABOUT).exists()
    try:
        with stopping(console) as stop, Display(console) as display:
            finished = run(settings, text, folder, stop, display, _page_of(folder, settings, text))
    except KeyboardInterrupt:
        finished = False
    if not finished:
        console.print(
            f"stopped; resume with: twosided train --resume {folder}", highlight=False, soft_wrap=True
        )
        return 130
    if done:
        console.print(f"{folder} held this run, finished; another --out runs it again", highlight=False)
    _present(folder, json)
    return 0


def _present(folder: Path, json: bool) -> None:
    """Print a finished run's verdict and write its page."""
    results = read_results(folder)
    settings, text = settings_of(folder)
    _page_of(folder, settings, text)(results)
    print_records(results.records, json)
    if not json:
        Console().print(f"the page: {folder / store.REPORT}", highlight=False)


def _page_of(folder: Path, settings: TrainSettings, text: str) -> SnapshotCallback:
    """Writes the page of a run: as it stands while it goes on, and when it is finished."""

    def write(results: RunResults) -> None:
        content = _content(settings, text, results)
        store.write(folder / store.REPORT, content)

    return write


def _content(settings: TrainSettings, text: str, results: RunResults) -> str:
    about = results.about
    seconds = {f"{part} took": f"{value:.0f} s" for part, value in about.get("seconds", {}).items()}
    made = {"machine": about["host"]} | seconds | about["versions"] if "host" in about else {}
    done = about.get("done", 1.0)
    going_on = f" It still learns: {100 * done:.0f}% of the training is done." if done < 1 else ""
    return page(
        _title(settings),
        results.records,
        summary=_summary(settings) + going_on,
        reloads=bool(going_on),
        compared=[about.get("optimum", {}).get("name", "")],
        curves=results.curve,
        trace=results.trace,
        traced=about.get("traced", "seed 0"),
        optimum=_known(about.get("optimum", {})),
        why_no_optimum=about.get("optimum", {}).get("why_not", ""),
        published=_published(settings),
        table=LearnedTable(**about["table"]) if about.get("table") else None,
        provenance=Provenance(
            command=f"twosided train --settings {store.SETTINGS}",
            settings=text,
            facts=made,
        ),
    )


def _known(optimum: dict[str, Any]) -> KnownOptimum | None:
    if "value" not in optimum:
        return None
    metrics = optimum["metrics"]
    return KnownOptimum(
        optimum["value"],
        optimum["metric"],
        metrics.get("epsilon_buy_mean"),
        metrics.get("epsilon_sell_mean"),
        optimum["source"],
    )


def _title(settings: TrainSettings) -> str:
    if settings.competitors:
        return f"A market maker against {_against(settings)}"
    return f"A market maker alone: {kebab(type(settings.market).__name__).replace('-', ' ')}"


def _summary(settings: TrainSettings) -> str:
    """What is going on, for somebody who has never seen it."""
    makers, updates = 1 + len(settings.competitors), settings.learner.iterations
    learned = (
        f"One seat learned by trial and error in {updates:,} updates, {settings.seeds} times from scratch; "
    )
    if not isinstance(settings.market, DealerMarket):
        market = describe(f"{type(settings.market).__module__}:{type(settings.market).__name__}").summary
        return f"{market} {learned}this page says what it earns."
    return (
        f"Investors trade with whichever of {makers} makers offers the best price. A maker earns the spread between "
        "its price and the midprice, may hedge what it holds on an exchange, at a cost, and gains or loses with the "
        f"midprice on the rest. {learned}this page says what it earns and how far it is from the best."
    )


def _against(settings: TrainSettings) -> str:
    """The competitors in words, by the paper's short name if they have one."""
    name = _paper_name(settings)
    return name or ", ".join(type(policy).__name__.lower() for policy in settings.competitors) or "nobody"


def _published(settings: TrainSettings) -> Published | None:
    """What the paper printed for the competitor of a run, if it had that one."""
    name = _paper_name(settings)
    return Published(CITATION, PUBLISHED[name]) if name else None


def _paper_name(settings: TrainSettings) -> str | None:
    """The short name of the competitor, if all else is as in the paper."""
    paper = TrainSettings()
    ours = (settings.market, settings.reward, settings.horizon)
    if not eqx.tree_equal(ours, (paper.market, paper.reward, paper.horizon)):
        return None
    for name, word in COMPETITORS.items():
        if eqx.tree_equal(settings.competitors, build(read(TRAIN, {"competitors": [word]})).competitors):
            return name
    return None
