"""What the paper complains of at last (section 8): hedges that swing between their limits, and later epochs."""

import dataclasses
import time

import polars as pl

from twosided.core.evaluation import evaluate, trace
from twosided.core.policy import Policy
from twosided.core.records import Record, find
from twosided.hedging.exact import hedging_optimum
from twosided.learn.train import Progress, policies_of, train
from twosided.papers.bakshaev2020 import PAPERS_SAC, PAPERS_SECONDS
from twosided.papers.bakshaev2020.common import (
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
from twosided.papers.base import (
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
from twosided.papers.learning import exact, fit
from twosided.plots import figure_lines

LONGER = 10
"""Times the training."""


def stability(budget: Budget, tell: Tell) -> Outcome:
    """Ten times the training, looked at all along: does the hedge ever get worse again?"""
    scenario, config = hedging(), learner(budget)
    longer = dataclasses.replace(config, steps=LONGER * config.steps)
    best = hedging_optimum(scenario, num_volatilities=2, num_trends=1).policy
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


def until_theirs(budget: Budget, tell: Tell) -> Outcome:
    """Our settings, one seed, until the policy does in the paper's market what the paper's did there."""
    scenario, config = hedging(), learner(budget)
    since = time.perf_counter()
    records: list[Record] = []

    def look(progress: Progress) -> bool:
        nonlocal records
        now = time.perf_counter()
        (policy,) = policies_of(scenario, config, progress.states, 1)
        records = of_paths("ours", trace(followed(), policy, budget.seed, 64 if budget.quick else 512))
        sharpe, size = (find(records, "ours", name).value for name in ("sharpe", "position"))
        records += exact("ours", seconds=now - since, steps=float(progress.curve["steps"][0]))
        tell(f"{progress.curve['steps'][0]:.0f} steps, a Sharpe ratio of {sharpe:.1f}%")
        return sharpe >= PAPERS_SAC["sharpe"] and size <= PAPERS_SAC["position"]

    tell("compiling")
    train(taught(scenario, config), config, budget.seed, 1, 50, None, look)
    return Outcome(records)


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
    rows = []
    for label, case, name in (
        ("as the paper sets it", "as-printed", "paper"),
        ("as set here, until as good", "as-ours", "ours"),
    ):
        seconds = Cell(Estimate(found.record(case, name, "seconds").value), PAPERS_SECONDS, digits=0)
        rows.append(Row(label, (*path_cells(found, case, name, PAPERS_SAC), seconds)))
    note = (
        "One seed each, in the paper’s market; columns as for the makers that hedge by a rule. Theirs: the paper’s "
        f"code. Ours took {found.record('as-ours', 'ours', 'steps').value:,.0f} steps of the market; its seconds have "
        "compiling in them, and looks at the policy."
    )
    figure = figure_curves(found.frame("as-printed", "hedges"), "hedge")
    return [
        Table((*COLUMNS, "seconds of training"), tuple(rows), note),
        Figure("What it does", "At each position.", figure),
        dashboard("An episode of it", found.frame("as-printed", "trace")),
    ]


CASES = (Case("as-ours", until_theirs), Case("stability", stability), Case("as-printed", as_printed))

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
        ("as-printed", "as-ours"),
        settings,
    ),
)
