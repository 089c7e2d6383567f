"""Training, and results of a run: `twosided demo`, `train` and `show`."""

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from twosided.cli.commands.output import print_records
from twosided.cli.terminal import Display, stopping
from twosided.core import store
from twosided.papers.published import published
from twosided.runs.page import run_page
from twosided.runs.results import RunResults, read_results
from twosided.runs.run import SnapshotCallback, run
from twosided.runs.settings import TRAIN, RunError, TrainSettings
from twosided.settings import Settings, UserFiles, build, dump, load, read


@dataclass(frozen=True)
class Train(TrainSettings):
    """Train a market maker, evaluate it, and write a report.

    The run is saved after every chunk of training. Ctrl-C stops it, and --resume continues it with the same results as
    an uninterrupted run.

    Examples:

        twosided train --preset single-asset
        twosided train --market limit-order-market --learner sac --learner.gamma 0.99 --out runs/first
        twosided train --resume runs/first
        twosided train --market my_market.py:MyMarket --market.alpha 3
    """

    out: Path | None = None
    """Output folder. Default: a name derived from the settings, under runs/."""
    resume: Path | None = None
    """Folder of a run to resume, with its own settings."""
    json: bool = False
    """Print the records as JSON. Progress goes to standard error."""

    def __call__(self, settings: Settings) -> int:
        if self.resume is not None:
            if ignored := {path[0] for path in settings.origins} - {"resume", "json"}:
                raise RunError(
                    f"--resume uses the settings of the run; {sorted(ignored)[0]} cannot be changed"
                )
            return _train(*settings_of(self.resume, settings.user_files), self.resume, self.json)
        own = {"out", "resume", "json"}
        values = {name: value for name, value in settings.values.items() if name not in own}
        if ("competitors",) not in settings.origins and not self.market.takes_competitors:
            values["competitors"] = []
        asked = read(TRAIN, values, user_files=settings.user_files)
        digest = hashlib.sha256(dump(asked, meanings=False).encode()).hexdigest()[:8]
        folder = self.out or Path("runs") / f"{type(self).__name__.lower()}-{digest}"
        return _train(asked, dump(asked), folder, self.json)


@dataclass(frozen=True)
class Demo(Train):
    """Train a market maker in a few minutes, and report its gap to the exact optimum.

    The market is the dealer market, with one competitor. --competitor takes a name of `twosided list competitors` too.

    Examples:

        twosided demo
        twosided demo --competitor random-0.5
    """


@dataclass(frozen=True)
class Show:
    """Print the results of a finished run, and write its report again.

    Example:

        twosided show runs/first
    """

    run: Path
    """Folder of the run."""
    json: bool = False
    """Print the records as JSON."""

    def __call__(self, settings: Settings) -> int:
        results = read_results(self.run)
        asked, text = settings_of(self.run, settings.user_files)
        _present(results, build(asked), text, self.run, self.json)
        return 0


def settings_of(folder: Path, user_files: UserFiles) -> tuple[Settings, str]:
    """Return the settings of a run, and their text. Raises StoreError and SettingsError."""
    path = folder / store.SETTINGS
    text = store.read_text(path)
    return read(TRAIN, load(path), str(path), user_files), text


def _train(asked: Settings, text: str, folder: Path, json: bool) -> int:
    console = Console(stderr=json)
    settings = build(asked)
    done = (folder / store.ABOUT).exists()
    try:
        with stopping(console) as stop, Display(console) as display:
            finished = run(settings, text, folder, stop, display, _page_of(folder, settings, text))
    except KeyboardInterrupt:
        finished = False
    if not finished:
        words = ["twosided", "train", "--resume", str(folder), *asked.user_files.trust(asked.used_files)]
        console.print(f"stopped; resume with: {shlex.join(words)}", highlight=False, soft_wrap=True)
        return 130
    if done:
        console.print(
            f"{folder} holds this run, finished; choose another --out to repeat it", highlight=False
        )
    _present(read_results(folder), settings, text, folder, json)
    return 0


def _present(results: RunResults, settings: TrainSettings, text: str, folder: Path, json: bool) -> None:
    """Print the results of a finished run and write its page."""
    _page_of(folder, settings, text)(results)
    print_records(results.records, settings.scenario.market.metrics(), json)
    if not json:
        Console().print(f"report: {folder / store.REPORT}", highlight=False)


def _page_of(folder: Path, settings: TrainSettings, text: str) -> SnapshotCallback:
    """Return a function that writes the page of a run, finished or not."""

    def write(results: RunResults) -> None:
        store.write(folder / store.REPORT, run_page(settings, text, results, published(settings)))

    return write
