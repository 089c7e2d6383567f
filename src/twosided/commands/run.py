"""Training a maker and showing a run: `twosided demo`, `train` and `show`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import equinox as eqx
from rich.console import Console

from twosided import store
from twosided.commands.output import print_records
from twosided.report import page
from twosided.runs import TrainSettings, read_verdict, run
from twosided.settings import Settings, build, dump, load, read
from twosided.studies.ganesh2019 import COMPETITORS, PUBLISHED, Published
from twosided.terminal import Display, stopping

TRAIN = "twosided.runs:TrainSettings"


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
            return _train(*settings_of(self.resume), self.resume, self.json)
        own = {"out", "resume", "json"}
        values = {name: value for name, value in settings.values.items() if name not in own}
        text = dump(read(TRAIN, values), meanings=False)
        name = f"{type(self).__name__.lower()}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        return _train(self, text, self.out or Path("runs") / name, self.json)


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
    with stopping(console) as stop:
        finished = run(settings, text, folder, stop, Display(console))
    if not finished:
        console.print(f"stopped and saved; go on with: twosided train --resume {folder}", highlight=False)
        return 130
    _present(folder, json)
    return 0


def _present(folder: Path, json: bool) -> None:
    """Print a finished run's verdict and write its page."""
    verdict = read_verdict(folder)
    path = folder / store.REPORT
    store.write(path, page(verdict, _published(folder)))
    print_records(verdict.records, json)
    if not json:
        Console().print(f"the page: {path}", highlight=False)


def _published(folder: Path) -> tuple[Published, ...]:
    """What the paper printed for the competitor of a run, if it had that one."""
    competitors = settings_of(folder)[0].competitors
    for name, word in COMPETITORS.items():
        if eqx.tree_equal(competitors, build(read(TRAIN, {"competitors": [word]})).competitors):
            return PUBLISHED[name]
    return ()
