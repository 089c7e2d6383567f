"""A training run: from settings to trained policies, their evaluation and a trace, in one folder.

Training saves a checkpoint after every chunk, with the learning curve, in one file. A run that was stopped, by Ctrl-C,
kill -9 or a power cut, resumes from its checkpoint with the same bits as an uninterrupted run. A finished stage never
runs again. While a run is training, a snapshot shows its learning curve and some episodes of the best policy so far.
"""

import dataclasses
import json
import math
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twosided.core import store
from twosided.core.evaluation import evaluate, trace
from twosided.core.optimum import NotExact, Optimum, optimum, stored
from twosided.core.policy import Policy
from twosided.core.records import MEAN, find, mean_of_cases, to_frame
from twosided.core.scenario import Scenario
from twosided.learn.tables import TabularPolicy
from twosided.learn.train import Progress, policies_of, state_shapes, train
from twosided.runs.provenance import host, versions
from twosided.runs.results import RunResults, curve_frame
from twosided.runs.settings import RunError, TrainSettings, check_fit, named
from twosided.settings import load


@dataclass
class StopFlag:
    """Flag that asks a run to stop after its current chunk."""

    is_set: bool = False

    def set(self) -> None:
        """Ask the run to stop."""
        self.is_set = True


ProgressCallback = Callable[[str, Progress | None, float], None]
"""Called at every stage with its name and, during training, with the progress and the mean optimality gap in
percent."""

SnapshotCallback = Callable[[RunResults], None]
"""Called during training with the results so far: the learning curve and a trace, no records yet."""

SNAPSHOT_INTERVAL = 20
"""Shortest time between two snapshots, as a multiple of the time that a snapshot takes."""

OPTIMUM_DISABLED = "the exact optimum was not requested"


def run(
    settings: TrainSettings,
    text: str,
    folder: Path,
    stop: StopFlag | None = None,
    on_progress: ProgressCallback | None = None,
    on_snapshot: SnapshotCallback | None = None,
) -> bool:
    """Run what is left of a training run. Return False if it was asked to stop before its end.

    `text` is the settings as TOML and identifies the run: a folder holds one run. `on_snapshot` is called after the
    first chunk and then from time to time. Raises RunError and StoreError.
    """
    on_progress = on_progress or (lambda stage, progress, gap: None)
    stop = stop or StopFlag()
    _claim(folder, text)
    if (folder / store.ABOUT).exists():
        return True
    scenario, tested, seconds = settings.scenario, settings.test_scenario, {}
    references = named(settings.references)
    check_fit(scenario, references.values(), settings.learner)
    on_progress("preparing", None, math.nan)
    best, described = _optimum(tested) if settings.exact else (None, {"why_not": OPTIMUM_DISABLED})

    def begin_stage(stage: str) -> None:
        if stop.is_set:
            raise KeyboardInterrupt
        on_progress(stage, None, math.nan)

    settings.learner.prepare(scenario, begin_stage)
    snapshots = _Snapshots(settings, on_snapshot) if on_snapshot else None
    policies = _train(settings, folder, best, stop, on_progress, seconds, snapshots)
    if policies is None or stop.is_set:
        return False

    cases = {f"seed {i}": policy for i, policy in enumerate(policies)}
    evaluated = cases | ({best.name: best.policy} if best else {}) | references
    started = time.perf_counter()
    records = evaluate(
        tested,
        evaluated,
        seed=settings.seed,
        steps=settings.evaluation_steps,
        optimum=best,
        progress=lambda case: begin_stage(f"evaluating {case}"),
    )
    records = [dataclasses.replace(record, data=settings.data) for record in records]
    records += mean_of_cases(records, list(cases), MEAN)
    seconds["evaluation"] = time.perf_counter() - started
    store.write_frame(folder / store.RECORDS, to_frame(records))
    traced = max(cases, key=lambda case: find(records, case, "reward").value)
    store.write_frame(folder / store.TRACE, trace(tested, cases[traced], seed=settings.seed))
    about = {
        "optimum": described,
        "table": _table(cases[traced]),
        "traced": traced,
        "seconds": seconds,
        "host": host(),
        "versions": versions(),
    }
    store.write(folder / store.ABOUT, json.dumps(about, indent=1))
    return True


def _claim(folder: Path, text: str) -> None:
    """Reserve the folder for this run. Raises RunError or StoreError if it holds something else."""
    if not store.claim(folder, text, "run") and load(folder / store.SETTINGS) != tomllib.loads(text):
        raise RunError(f"{folder} holds a run with other settings; choose another --out, or remove it")


def _optimum(scenario: Scenario) -> tuple[Optimum | None, dict[str, Any]]:
    """Return the exact optimum, and its description for the run's files."""
    try:
        best = optimum(scenario)
    except NotExact as error:
        return None, {"why_not": str(error)}
    return best, dict(stored(best))


def _table(policy: Policy) -> dict[str, Any] | None:
    """Return the cells, actions and probabilities of a tabular policy as plain data; None for another policy."""
    if not isinstance(policy, TabularPolicy):
        return None
    parts = {name: np.ravel(leaf) for name, leaf in dataclasses.asdict(policy.actions.actions).items()}
    names = [
        ", ".join(f"{name} {value:+g}".replace("-", "−") for name, value in zip(parts, values, strict=True))
        for values in zip(*parts.values(), strict=True)
    ]
    (first, *others) = parts.values()
    return {
        "cells": list(policy.cells.labels),
        "actions": names,
        "values": None if others else first.tolist(),
        "probabilities": np.asarray(policy.table).tolist(),
    }


def _train(
    settings: TrainSettings,
    folder: Path,
    best: Optimum | None,
    stop: StopFlag,
    on_progress: ProgressCallback,
    seconds: dict[str, float],
    snapshots: "_Snapshots | None",
) -> tuple[Policy, ...] | None:
    """Train from the checkpoint, if there is one. Return the policies, or None if training stopped before its end."""
    scenario, learner = settings.scenario, settings.learner
    path = folder / store.CHECKPOINT
    rows, resume, seconds_before = [], None, 0.0
    if path.exists():
        header = store.read_header(path)
        states = store.read_checkpoint(path, state_shapes(scenario, learner, settings.seed, settings.seeds))
        resume = Progress(header["iteration"], learner.iterations, states, {})
        rows, seconds_before = header["curve"], header["seconds"]
    started = time.perf_counter()

    def after_chunk(progress: Progress) -> bool:
        gaps = np.full(settings.seeds, np.nan)
        if best and best.value:
            reached = progress.curve["eval_pnl" if best.metric == "pnl_total" else "eval_reward"]
            gaps = 100 * (best.value - reached) / abs(best.value)
        for i in range(settings.seeds):
            row = {name: float(values[i]) for name, values in progress.curve.items()}
            rows.append({"seed": i, "optimality_gap": None if np.isnan(gaps[i]) else float(gaps[i]), **row})
        total = seconds_before + time.perf_counter() - started
        header = {
            "iteration": progress.iteration,
            "iterations": progress.iterations,
            "seconds": total,
            "curve": rows,
        }
        store.write_checkpoint(path, progress.states, header)
        on_progress("training", progress, float(gaps.mean()))
        if snapshots is not None and progress.iteration < progress.iterations:
            snapshots.after_chunk(progress, rows)
        return stop.is_set

    on_progress("training", resume, math.nan)
    policies, progress = train(
        scenario, learner, settings.seed, settings.seeds, settings.chunks, resume, after_chunk
    )
    seconds["training"] = seconds_before + time.perf_counter() - started
    return policies if progress.iteration >= progress.iterations else None


class _Snapshots:
    """Snapshots of a run that is training, taken as often as SNAPSHOT_INTERVAL allows."""

    def __init__(self, settings: TrainSettings, on_snapshot: SnapshotCallback):
        self.settings, self.on_snapshot = settings, on_snapshot
        self.next = -math.inf

    def after_chunk(self, progress: Progress, rows: list[dict[str, Any]]) -> None:
        started = time.perf_counter()
        if started < self.next:
            return
        settings, best = self.settings, int(np.argmax(progress.curve["eval_reward"]))
        policies = policies_of(settings.scenario, settings.learner, progress.states, settings.seeds)
        steps = trace(settings.test_scenario, policies[best], seed=settings.seed)
        done = progress.iteration / progress.iterations
        self.on_snapshot(RunResults([], curve_frame(rows), steps, {"traced": f"seed {best}", "done": done}))
        now = time.perf_counter()
        self.next = now + SNAPSHOT_INTERVAL * (now - started)
