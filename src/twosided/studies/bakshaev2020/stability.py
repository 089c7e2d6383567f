"""What the paper complains of at last (section 8): hedges that swing between their limits, and later epochs."""

import dataclasses
import time

import polars as pl

from twosided.evaluation import evaluate, trace
from twosided.exact.hedging import hedging_optimum
from twosided.learn.train import Progress, policies_of
from twosided.plots import figure_lines
from twosided.records import find
from twosided.studies.bakshaev2020 import PAPERS_SAC, PAPERS_SECONDS
from twosided.studies.bakshaev2020.common import (
    CLOSE,
    COLUMNS,
    PAPERS,
    PAPERS_WEIGHT,
    POSITIONS,
    actions,
    curves,
    dashboard,
    figure_curves,
    followed,
    hedging,
    judged_steps,
    learner,
    of_paths,
    path_cells,
    taught,
)
from twosided.studies.base import (
    Budget,
    Case,
    Cell,
    Claim,
    Estimate,
    Figure,
    Finding,
    Item,
    Outcome,
    Outcomes,
    Row,
    Table,
    Tell,
    within,
)
from twosided.studies.learning import exact, fit
from twosided.types import Policy

LONGER = 10
"""Times the training."""


def stability(budget: Budget, tell: Tell) -> Outcome:
    """Ten times the training, looked at all along: does the hedge ever get worse again?"""
    scenario, config = hedging(), learner(budget)
    longer = dataclasses.replace(config, steps=LONGER * config.steps)
    best = hedging_optimum(scenario, volatilities=2, trends=1).policy
    steps = judged_steps(budget)
    rows: list[dict[str, float]] = []

    def reward(policy: Policy) -> float:
        return find(evaluate(scenario, {"": policy}, budget.seed, steps), "", "reward").value

    most = reward(best)

    def look(progress: Progress) -> None:
        for i, policy in enumerate(policies_of(scenario, longer, progress.states, budget.seeds)):
            rows.append(
                {
                    "seed": i,
                    "trainings": LONGER * progress.iteration / progress.iterations,
                    "gap": 100 * (most - reward(policy)) / abs(most),
                }
            )

    fit(taught(scenario, longer), longer, budget, tell, 20, look)
    worst = max(row["gap"] for row in rows if row["trainings"] >= 1)
    return Outcome(exact("SAC", worst=worst), {"gaps": pl.DataFrame(rows)})


def as_printed(budget: Budget, tell: Tell) -> Outcome:
    """The paper's own network and settings, one seed."""
    scenario = hedging(PAPERS_WEIGHT)
    config = dataclasses.replace(PAPERS, hidden=(64, 64), steps=1000) if budget.quick else PAPERS
    one = dataclasses.replace(budget, seeds=1)
    since = time.perf_counter()
    (policy,), curve = fit(scenario, config, one, tell)
    records = exact("paper", seconds=time.perf_counter() - since)
    tell("playing in the paper's market")
    steps = trace(followed(), policy, budget.seed, 64 if budget.quick else 512)
    records += of_paths("paper", steps)
    hedges = curves(POSITIONS, "hedge", {"the paper’s settings": actions(policy, POSITIONS)["hedge"][None]})
    return Outcome(records, {"curve": curve, "hedges": hedges, "trace": steps.filter(pl.col("path") == 0)})


def longer(found: Outcomes) -> list[Table | Figure]:
    figure = figure_lines(
        found.frame("stability", "gaps"),
        "trainings",
        {"gap": "gap to the exact policy, %"},
        "seed",
        x_title="lengths of the usual training",
        levels={"5%": CLOSE},
    )
    return [
        Figure("Ten times the training", "Every look at the policy at its mode, on the same chance.", figure)
    ]


def stays(found: Outcomes) -> Finding:
    worst = Estimate(found.record("stability", "SAC", "worst").value)
    return within(
        worst, 0.0, CLOSE, name="the largest gap of any seed at any look after the usual training, %,"
    )


def settings(found: Outcomes) -> list[Table | Figure]:
    seconds = Cell(Estimate(found.record("as-printed", "paper", "seconds").value), PAPERS_SECONDS, digits=0)
    row = Row("SAC as the paper sets it", (*path_cells(found, "as-printed", "paper", PAPERS_SAC), seconds))
    note = "One seed, in the paper’s market; columns as for the makers that hedge by a rule. Theirs: the paper’s code."
    figure = figure_curves(found.frame("as-printed", "hedges"), "hedge")
    return [
        Table((*COLUMNS, "seconds of training"), (row,), note),
        Figure("What it does", "At each position.", figure),
        dashboard("An episode of it", found.frame("as-printed", "trace")),
    ]


CASES = (Case("stability", stability), Case("as-printed", as_printed))

ITEMS = (
    Item(
        "stability",
        "Ten times the training",
        "Section 8 says that later epochs are unstable.",
        ("stability",),
        longer,
        (Claim("this project", "Nothing gets worse again in ten times the training.", stays),),
    ),
    Item(
        "as-printed",
        "The paper’s settings",
        "Networks of 1024 x 1024, 6,000 steps at 7e-6, rewards as they are.",
        ("as-printed",),
        settings,
    ),
)
