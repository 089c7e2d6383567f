"""Folder of a study, with the outcomes of its cases, so that no finished case runs again.

    settings.toml                the study and its budget: a folder holds one of each
    cases/NAME/records.parquet   records of the case; its parameters, and those of each record, are columns
    cases/NAME/FRAME.parquet     each of its tables
    cases/NAME/about.json        seconds, memory, versions; written last, so it marks a finished case
    cases/NAME/error.txt         traceback of a failed case, until it succeeds
    report.html                  the page

Files are written atomically (store.py): a process that is killed leaves no partial file.
"""

import json
import sys
import time
import tomllib
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from twosided.core import store
from twosided.core.records import from_frame, to_frame
from twosided.papers.base import Budget, Case, Outcome, Outcomes, Report
from twosided.runs.provenance import host, versions
from twosided.runs.settings import RunError

CASES, ERROR = "cases", "error.txt"
_OF_BARS = ("bars", "timezone", "columns", "format")
"""Settings that a folder may lack until bars are added to it."""


def claim_folder(folder: Path, study: str, budget: Budget) -> None:
    """Reserve the folder for this study and budget. Raises RunError or StoreError if it holds another.

    Files of bars may be added later, but not replaced by others.
    """
    text = f'study = "{study}"\nquick = {str(budget.quick).lower()}\nseeds = {budget.seeds}\nseed = {budget.seed}\n'
    if budget.bars:
        stated = {name: getattr(budget, name) for name in _OF_BARS}
        text += "".join(f"{name} = {json.dumps(x)}\n" for name, x in stated.items() if x and x != "UTC")
    if store.claim(folder, text, "study"):
        return
    path = folder / store.SETTINGS
    try:
        held = tomllib.loads(store.read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{path} is not TOML: {error}") from None
    asked = tomllib.loads(text)
    is_added = "bars" in asked and "bars" not in held
    if "bars" not in held:
        held |= {name: asked[name] for name in _OF_BARS if name in asked}
    if "bars" not in asked:
        asked |= {name: held[name] for name in _OF_BARS if name in held}
    if held != asked:
        raise RunError(f"{folder} holds {_described(held)}; choose another --out, or remove it")
    if is_added:
        store.write(path, text)


def is_finished(folder: Path, case: str) -> bool:
    """Whether a case has been run to its end."""
    return (folder / CASES / case / store.ABOUT).exists()


def read_outcomes(folder: Path, cases: Sequence[Case], budget: Budget) -> Outcomes:
    """Outcomes of those of these cases that are finished. Raises StoreError."""
    of = {case.name: _read(folder, case.name) for case in cases if is_finished(folder, case.name)}
    return Outcomes(of, budget)


def read_about(folder: Path, cases: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """Provenance of those of these cases that are finished: seconds, memory_mib, host, versions. Raises StoreError."""
    names = [case.name for case in cases if is_finished(folder, case.name)]
    return {name: store.read_json(folder / CASES / name / store.ABOUT) for name in names}


def run_case(case: Case, budget: Budget, folder: Path, report: Report) -> tuple[float, str]:
    """Run a case and write its outcome. Return its seconds, and the reason if it failed."""
    home, since = folder / CASES / case.name, time.perf_counter()
    if home.exists():
        store.finished(home)
    try:
        outcome = case.outcome(budget, report)
        store.write_frame(home / store.RECORDS, to_frame(outcome.records))
        for name, frame in outcome.frames.items():
            store.write_frame(_frame(home, name), frame)
        seconds = time.perf_counter() - since
        about = {"seconds": seconds, "memory_mib": _peak_memory(), "frames": list(outcome.frames)}
        about |= {"budget": asdict(budget), "host": host(), "versions": versions()}
        store.remove(home / ERROR)
        store.write(home / store.ABOUT, json.dumps(about, indent=1))
        return seconds, ""
    except Exception as error:
        store.write(home / ERROR, traceback.format_exc())
        sentence = " ".join(f"{type(error).__name__}: {error}".split())
        return time.perf_counter() - since, f"{sentence} (in full: {home / ERROR})"


def _read(folder: Path, case: str) -> Outcome:
    home = folder / CASES / case
    frames = {
        name: store.read_frame(_frame(home, name)) for name in store.read_json(home / store.ABOUT)["frames"]
    }
    return Outcome(from_frame(store.read_frame(home / store.RECORDS)), frames)


def _frame(home: Path, name: str) -> Path:
    path = home / f"{name}.parquet"
    if path.parent != home or path.name == store.RECORDS:
        raise ValueError(
            f"the name of a frame must be a plain file name other than 'records', but got {name!r}"
        )
    return path


def _peak_memory() -> float | None:
    """Peak memory of this process in MiB; None if the platform does not report it."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _described(held: dict[str, Any]) -> str:
    """A study and its budget in words, from a settings file."""
    how = "quick, " if held.get("quick") else ""
    on = f", bars {', '.join(held['bars'])}" if held.get("bars") else ""
    return (
        f"{held.get('study', 'something else')} ({how}seeds {held.get('seeds')}, seed {held.get('seed')}{on})"
    )
