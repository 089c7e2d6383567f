"""A run: settings to trained policies, their verdict and a page, in a folder that survives anything.

Training is saved after every chunk with its curve, in one file; a run that was stopped, by Ctrl-C, kill -9 or a
power cut, goes on from there with the same bits as if it had never stopped. What is finished is never done
again. While it goes on it can be looked at: its curves, and some episodes of the best policy so far.
"""

import dataclasses
import json
import math
import os
import platform
import time
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import polars as pl

from twosided.core import store
from twosided.core.errors import Refusal
from twosided.core.evaluation import evaluate, trace
from twosided.core.optimum import NotExact, Optimum, optimum
from twosided.learn.base import Learner
from twosided.learn.ppo import PPO
from twosided.learn.train import Progress, blank, policies_of, train
from twosided.core.market import Market
from twosided.core.scenario import Scenario, check_horizon
from twosided.core.rollout import episodes
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter
from twosided.learn.tables import TabularPolicy
from twosided.core.records import MEAN, Record, find, from_frame, mean_of_cases, to_frame
from twosided.core.reward import Reward, TotalPnL
from twosided.core.names import kebab
from twosided.settings import load
from twosided.core.policy import Policy
from twosided.core.validation import check, check_seed


@dataclass(frozen=True)
class TrainSettings:
    """Train a market maker, judge it and write its page."""

    market: Market = DealerMarket()
    """The rules of trade; the number of makers follows from the competitors."""
    competitors: tuple[Policy, ...] = (PersistentQuoter(),)
    """Who sits in the other seats; repeat for several."""
    reward: Reward = TotalPnL()
    """What the learner maximises."""
    horizon: int = 200
    """Steps in an episode."""
    # What a maker wins in this market does not change what it can win next, and its inventory is worth
    # nothing in expectation: looking no further than the step loses nothing and hears no noise of others.
    learner: Learner = PPO(discount=0.0)
    """How the policy is found."""
    references: tuple[Policy, ...] = ()
    """Makers that are judged beside the trained ones; repeat for several."""
    exact: bool = True
    """Solve for the exact optimum first, where one is known; in the hedging market that takes half a minute."""
    seeds: int = 3
    """Independent trainings, side by side."""
    seed: int = 0
    """Decides everything that is random."""
    chunks: int = 20
    """Parts that training is cut into, each saved at its end."""
    evaluation_steps: int = 10_000_000
    """Market steps that each policy is judged on, on chance that it was not trained on."""

    def __post_init__(self):
        check_horizon(self.horizon)
        check_seed(self.seed)
        for name in ("seeds", "chunks", "evaluation_steps"):
            value = getattr(self, name)
            check(name, value, "at least 1", value >= 1)

    @property
    def scenario(self) -> Scenario:
        return scenario_of(self.market, self.competitors, self.reward, self.horizon)


class RunError(Refusal):
    """One sentence on why a run cannot start or go on."""


@dataclass(frozen=True)
class Verdict:
    """What a run found, as plain data: all that a table or a page needs."""

    records: list[Record]
    curve: pl.DataFrame
    """A row a chunk and seed: seed, steps, score, gap (null without an optimum), the learner's own metrics."""
    trace: pl.DataFrame
    """Of the best seed: the one that is paid most."""
    about: dict[str, Any]
    """seconds a part, host, versions, `traced`: the seed that the trace is of; and `optimum`: value, of which
    metric, the case that reaches it, quotes; or why there is none; and `table`, where that is what was learned."""


@dataclass
class Stop:
    """Set to ask a run to stop after the chunk that it is in."""

    asked: bool = False


MISFITS = (AttributeError, IndexError, TypeError, ValueError)
"""What parts that are made for different markets raise when they meet."""

Watch = Callable[[str, Progress | None, float], None]
"""Told of each stage by name and, while training, of the progress and the mean optimality gap in percent."""

Look = Callable[[Verdict], None]
"""Shown a run that goes on as far as it has come: its curve and its trace, no records yet."""

LOOKING = 20
"""Looking at a run that goes on takes no more than one part of its time in so many."""


def scenario_of(
    market: Market, competitors: tuple[Policy, ...], reward: Reward = TotalPnL(), horizon: int = 200
) -> Scenario:
    """The scenario with a learner's seat beside the competitors'. Raises RunError."""
    if competitors and not market.takes_competitors:
        kind = kebab(type(market).__name__)
        raise RunError(f"{kind} takes no competitors, but got {len(competitors)}")
    try:
        market = dataclasses.replace(market, num_makers=1 + len(competitors))
        return Scenario(market, competitors, reward, horizon)
    except ValueError as error:
        raise RunError(str(error)) from error


def named(policies: Iterable[Policy]) -> dict[str, Policy]:
    """Policies by their kinds: fractional, fractional 2."""
    found: dict[str, Policy] = {}
    for policy in policies:
        name = kebab(type(policy).__name__).replace("-", " ")
        alike = sum(type(other) is type(policy) for other in found.values())
        found[f"{name} {alike + 1}" if alike else name] = policy
    return found


def check_fit(scenario: Scenario, policies: Iterable[Policy] = (), learner: Learner | None = None) -> None:
    """Try a step of each policy and the start of the learner, on shapes alone.

    Raises RunError where they, the competitors or the reward are made for another market.
    """
    key, kind = jax.random.key(0), type(scenario.market).__name__

    def first(policy: Policy) -> Any:
        return episodes(scenario, policy, key, 1, lambda observation, memory, step: step.reward)

    for policy in policies:
        try:
            eqx.filter_eval_shape(first, policy)
        except MISFITS as error:
            who = f"{type(policy).__name__} cannot play in {kind}"
            raise RunError(f"{who} with these parts: {_in_short(error)}") from error
    if learner is not None:
        try:
            eqx.filter_eval_shape(learner.begin, scenario, key)
        except MISFITS as error:
            who = f"{type(learner).__name__} cannot learn in {kind}"
            raise RunError(f"{who} with these parts: {_in_short(error)}") from error


def run(
    settings: TrainSettings,
    text: str,
    folder: Path,
    stop: Stop | None = None,
    watch: Watch | None = None,
    look: Look | None = None,
) -> bool:
    """Do a run, or what is left of it; False if it stopped before its end because it was asked to.

    `text` is the settings as TOML and the run's identity: a folder holds one run. `look` is shown the run after its
    first chunk and then from time to time. Raises RunError and StoreError.
    """
    watch = watch or (lambda stage, progress, gap: None)
    _claim(folder, text)
    if (folder / store.ABOUT).exists():
        return True
    scenario, clock = settings.scenario, {}
    references = named(settings.references)
    check_fit(scenario, references.values(), settings.learner)
    watch("preparing", None, math.nan)
    best, described = _optimum(scenario) if settings.exact else (None, {"why_not": NOT_ASKED})
    stop = stop or Stop()

    def going_on(stage: str) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        watch(stage, None, math.nan)

    settings.learner.prepare(scenario, going_on)
    looking = _Looking(settings, look) if look else None
    policies = _train(settings, folder, best, stop, watch, clock, looking)
    if policies is None or stop.asked:
        return False

    cases = {f"seed {i}": policy for i, policy in enumerate(policies)}
    judged = cases | ({best.name: best.policy} if best else {}) | references
    since = time.perf_counter()
    records = evaluate(
        scenario,
        judged,
        seed=settings.seed,
        steps=settings.evaluation_steps,
        optimum=best,
        progress=lambda case: going_on(f"judging {case}"),
    )
    records += mean_of_cases(records, list(cases), MEAN)
    clock["evaluation"] = time.perf_counter() - since
    store.write_frame(folder / store.RECORDS, to_frame(records))
    traced = max(cases, key=lambda case: find(records, case, "reward").value)
    store.write_frame(folder / store.TRACE, trace(scenario, cases[traced], seed=settings.seed))
    about = {
        "optimum": described,
        "table": _table(cases[traced]),
        "traced": traced,
        "seconds": clock,
        "host": host(),
        "versions": versions(),
    }
    store.write(folder / store.ABOUT, json.dumps(about, indent=1))
    return True


def read_verdict(folder: Path) -> Verdict:
    """What a finished run found. Raises RunError and StoreError."""
    if not (folder / store.SETTINGS).exists():
        raise RunError(f"{folder} is not a run: it has no {store.SETTINGS}")
    if not (folder / store.ABOUT).exists():
        raise RunError(f"the run in {folder} is not finished; go on with: twosided train --resume {folder}")
    return Verdict(
        records=from_frame(store.read_frame(folder / store.RECORDS)),
        curve=_curve_frame(store.read_header(folder / store.CHECKPOINT)["curve"]),
        trace=store.read_frame(folder / store.TRACE),
        about=store.read_json(folder / store.ABOUT),
    )


def trained_policies(settings: TrainSettings, folder: Path) -> dict[str, Policy]:
    """The policies of a run as they stand, one a seed, at their best. Raises StoreError."""
    states = store.read_checkpoint(
        folder / store.CHECKPOINT, blank(settings.scenario, settings.learner, settings.seed, settings.seeds)
    )
    policies = policies_of(settings.scenario, settings.learner, states, settings.seeds)
    return {f"seed {i}": policy for i, policy in enumerate(policies)}


def host() -> str:
    """The machine in a few words."""
    devices = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, JAX on {devices}"


def versions() -> dict[str, str]:
    """What the numbers were made with."""
    packages = {name: version(name) for name in ("twosided", "jax", "equinox", "optax", "numpy")}
    return {"python": platform.python_version(), **packages}


def _claim(folder: Path, text: str) -> None:
    """Make the folder this run's own. Raises RunError or StoreError if it is another's."""
    if not store.claim(folder, text, "run") and load(folder / store.SETTINGS) != tomllib.loads(text):
        raise RunError(f"{folder} holds a run with other settings; choose another --out, or remove it")


def _table(policy: Policy) -> dict[str, Any] | None:
    """What a policy that is a table of probabilities does, in words and numbers."""
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
        "changes": None if others else first.tolist(),
        "probabilities": np.asarray(policy.table).tolist(),
    }


NOT_ASKED = "the exact optimum was not asked for"


def _optimum(scenario: Scenario) -> tuple[Optimum | None, dict[str, Any]]:
    """The exact optimum, and its description for the run's files."""
    try:
        best = optimum(scenario)
    except NotExact as error:
        return None, {"why_not": str(error)}
    described = {name: getattr(best, name) for name in ("value", "metric", "name", "source", "attained")}
    return best, described | {"metrics": dict(best.metrics)}


def _train(
    settings: TrainSettings,
    folder: Path,
    best: Optimum | None,
    stop: Stop,
    watch: Watch,
    clock: dict[str, float],
    looking: "_Looking | None",
) -> tuple[Policy, ...] | None:
    """The trained policies, or None if training stopped before its end."""
    scenario, learner = settings.scenario, settings.learner
    path = folder / store.CHECKPOINT
    rows, resume, before = [], None, 0.0
    if path.exists():
        header = store.read_header(path)
        states = store.read_checkpoint(path, blank(scenario, learner, settings.seed, settings.seeds))
        resume = Progress(header["iteration"], learner.iterations, states, {})
        rows, before = header["curve"], header["seconds"]
    since = time.perf_counter()

    def after_chunk(progress: Progress) -> bool:
        gaps = np.full(settings.seeds, np.nan)
        if best and best.value:
            reached = progress.curve["score" if best.metric == "pnl_total" else "objective"]
            gaps = 100 * (best.value - reached) / abs(best.value)
        for i in range(settings.seeds):
            row = {name: float(values[i]) for name, values in progress.curve.items()}
            rows.append({"seed": i, "gap": None if np.isnan(gaps[i]) else float(gaps[i]), **row})
        seconds = before + time.perf_counter() - since
        header = {"iteration": progress.iteration, "seconds": seconds, "curve": rows}
        store.write_checkpoint(path, progress.states, header)
        watch("training", progress, float(gaps.mean()))
        if looking is not None and progress.iteration < progress.iterations:
            looking.after_chunk(progress, rows)
        return stop.asked

    watch("training", resume, math.nan)
    policies, progress = train(
        scenario, learner, settings.seed, settings.seeds, settings.chunks, resume, after_chunk
    )
    clock["training"] = before + time.perf_counter() - since
    return policies if progress.iteration >= progress.iterations else None


class _Looking:
    """Shows a run that goes on, as often as its share of the time allows."""

    def __init__(self, settings: TrainSettings, look: Look):
        self.settings, self.look = settings, look
        self.next = -math.inf

    def after_chunk(self, progress: Progress, rows: list[dict[str, Any]]) -> None:
        since = time.perf_counter()
        if since < self.next:
            return
        settings, best = self.settings, int(np.argmax(progress.curve["objective"]))
        policies = policies_of(settings.scenario, settings.learner, progress.states, settings.seeds)
        steps = trace(settings.scenario, policies[best], seed=settings.seed)
        done = progress.iteration / progress.iterations
        self.look(Verdict([], _curve_frame(rows), steps, {"traced": f"seed {best}", "done": done}))
        now = time.perf_counter()
        self.next = now + LOOKING * (now - since)


def _in_short(error: Exception) -> str:
    """The first line of what an error says."""
    line = str(error).strip().partition("\n")[0]
    if "pytree" in line:  # of two makers' actions that do not stack
        line = "its actions are not those of the others"
    return line if len(line) <= 200 else f"{line[:200]}..."


def _curve_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None)
