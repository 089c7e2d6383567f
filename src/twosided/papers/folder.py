"""The folder of a study: what its cases found, kept so that nothing finished is ever done again.

    settings.toml                the study and its budget: a folder holds one of each
    cases/NAME/records.parquet   what the case found
    cases/NAME/FRAME.parquet     each of its tables
    cases/NAME/about.json        seconds, memory, versions; written last, so it marks a finished case
    cases/NAME/error.txt         why a case failed, until it succeeds
    report.html                  the page

Every file is whole or not there (store.py), whenever the process that writes it is killed.
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
from twosided.papers.base import Budget, Case, Outcome, Outcomes, Tell
from twosided.runs.provenance import host, versions
from twosided.runs.settings import RunError

CASES, ERROR = "cases", "error.txt"


def claim(folder: Path, study: str, budget: Budget) -> None:
    """Make the folder this study's own, with this budget. Raises RunError or StoreError if it is another's.

    Files of bars may come later, but not be changed for others.
    """
    text = f'study = "{study}"\nquick = {str(budget.quick).lower()}\nseeds = {budget.seeds}\nseed = {budget.seed}\n'
    if budget.bars:
        text += f"bars = {json.dumps(budget.bars)}\n"
    if store.claim(folder, text, "study"):
        return
    path = folder / store.SETTINGS
    try:
        held = tomllib.loads(store.read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{path} is not TOML: {error}") from None
    asked = tomllib.loads(text)
    if {"bars": asked.get("bars")} | held != {"bars": held.get("bars")} | asked:
        raise RunError(f"{folder} holds {_said(held)}; choose another --out, or remove it")
    if "bars" in asked and "bars" not in held:
        store.write(path, text)


def finished(folder: Path, case: str) -> bool:
    """Whether a case has been run to its end."""
    return (folder / CASES / case / store.ABOUT).exists()


def read_outcomes(folder: Path, cases: Sequence[Case], budget: Budget) -> Outcomes:
    """The outcomes of those of these cases that are finished. Raises StoreError."""
    of = {case.name: _read(folder, case.name) for case in cases if finished(folder, case.name)}
    return Outcomes(of, budget)


def read_about(folder: Path, cases: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """How those of these cases that are finished were made: seconds, memory_mib, host, versions. Raises StoreError."""
    names = [case.name for case in cases if finished(folder, case.name)]
    return {name: store.read_json(folder / CASES / name / store.ABOUT) for name in names}


def do(case: Case, budget: Budget, folder: Path, tell: Tell) -> tuple[float, str]:
    """Run a case and keep what it found; its seconds, and why it failed if it did."""
    home, since = folder / CASES / case.name, time.perf_counter()
    if home.exists():
        store.finished(home)
    try:
        outcome = case.run(budget, tell)
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
        raise ValueError(f"the name of a frame must be a plain one and not 'records', but got {name!r}")
    return path


def _peak_memory() -> float | None:
    """The most memory, in MiB, that this process has held at any time; None where nobody counts."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _said(held: dict[str, Any]) -> str:
    """A study and its budget, as a settings file has them."""
    how = "quick, " if held.get("quick") else ""
    on = f", bars {', '.join(held['bars'])}" if held.get("bars") else ""
    return (
        f"{held.get('study', 'something else')} ({how}seeds {held.get('seeds')}, seed {held.get('seed')}{on})"
    )
