"""Results of a run, read from its folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from twosided.core import store
from twosided.core.policy import Policy
from twosided.core.records import Record, from_frame
from twosided.learn.train import policies_of, state_shapes
from twosided.runs.settings import RunError, TrainSettings


@dataclass(frozen=True)
class RunResults:
    """Results of a run as plain data: everything that a table or a page needs."""

    records: list[Record]
    """Evaluation of the policies; empty while the run is training."""
    curve: pl.DataFrame
    """Learning curve, one row per chunk and seed: seed, timesteps, eval_pnl, eval_reward, optimality_gap (null without
    an optimum), and the learner's own metrics."""
    trace: pl.DataFrame
    """Trace of the best seed, the one with the highest reward."""
    about: dict[str, Any]
    """Description of the run: `seconds` per stage, `host`, `versions`; `traced`, the seed of the trace; `optimum`,
    with its value, metric and policy, or `why_not`; `table`, the policy where a table was learned; and, while the run
    is training, `done`, the completed fraction."""


def read_results(folder: Path) -> RunResults:
    """Return the results of a finished run. Raises RunError and StoreError."""
    if not (folder / store.SETTINGS).exists():
        raise RunError(f"{folder} is not a run: it has no {store.SETTINGS}")
    if not (folder / store.ABOUT).exists():
        raise RunError(
            f"the run in {folder} is not finished; resume it with: twosided train --resume {folder}"
        )
    return RunResults(
        records=from_frame(store.read_frame(folder / store.RECORDS)),
        curve=curve_frame(store.read_header(folder / store.CHECKPOINT)["curve"]),
        trace=store.read_frame(folder / store.TRACE),
        about=store.read_json(folder / store.ABOUT),
    )


def trained_policies(settings: TrainSettings, folder: Path) -> dict[str, Policy]:
    """Return the trained policies of a run, one per seed, from its last checkpoint. Raises StoreError."""
    states = store.read_checkpoint(
        folder / store.CHECKPOINT,
        state_shapes(settings.scenario, settings.learner, settings.seed, settings.seeds),
    )
    policies = policies_of(settings.scenario, settings.learner, states, settings.seeds)
    return {f"seed {i}": policy for i, policy in enumerate(policies)}


def curve_frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Return the rows of a learning curve as a table."""
    return pl.DataFrame(rows, infer_schema_length=None)
