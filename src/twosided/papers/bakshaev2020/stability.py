"""Instabilities that the paper reports (section 8): hedges that swing between their limits, and later epochs."""

import dataclasses
import time

import polars as pl

from twosided.core.evaluation import evaluate, trace
from twosided.core.policy import Policy
from twosided.core.records import Record, find
from twosided.hedging.exact import hedging_optimum
from twosided.learn.train import Progress, policies_of, train
from twosided.papers.bakshaev2020 import PAPER_SAC, PAPER_SECONDS
from twosided.papers.bakshaev2020.common import (
    COLUMNS,
    MAX_GAP,
    PAPER,
    PAPER_WEIGHT,
    POSITIONS,
    actions,
    curves,
    dashboard,
    evaluation_steps,
    figure_curves,
    hedging,
    learner,
    of_paths,
    path_cells,
    training_scenario,
    without_breaches,
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
    Report,
    Row,
    Table,
    records_of,
    within,
)
from twosided.papers.learning import Parameters, train_policies
from twosided.plots import figure_lines

LONGER = 10
"""Length of the long training, in lengths of the usual one."""
PAPER_SETTINGS: Parameters = {"policy": "SAC", "settings": "paper"}
OUR_SETTINGS: Parameters = {"policy": "SAC", "settings": "ours"}
SETTINGS_LABELS = {"paper": "the paper’s settings"}


def stability(budget: Budget, report: Report) -> Outcome:
    """Train ten times as long as usual, and evaluate throughout whether the policy gets worse again."""
    scenario, config = hedging(), learner(budget)
    longer = dataclasses.replace(config, total_timesteps=LONGER * config.total_timesteps)
    best = hedging_optimum(scenario, num_volatilities=2, num_trends=1).policy
    steps = evaluation_steps(budget)
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

    train_policies(training_scenario(scenario, longer), longer, budget, report, 20, look)
    worst = max(row["gap"] for row in rows if row["trainings"] >= 1)
    return Outcome(records_of({"policy": "SAC"}, worst_gap=worst), {"gaps": pl.DataFrame(rows)})


def as_printed(budget: Budget, report: Report) -> Outcome:
    """Train one seed with the paper's network and settings."""
    scenario = hedging(PAPER_WEIGHT)
    config = (
        dataclasses.replace(PAPER, hidden_sizes=(64, 64), total_timesteps=1000) if budget.quick else PAPER
    )
    one = dataclasses.replace(budget, seeds=1)
    since = time.perf_counter()
    (policy,), curve = train_policies(scenario, config, one, report)
    records = records_of(PAPER_SETTINGS, seconds=time.perf_counter() - since)
    report("simulating the paper's market")
    steps = trace(without_breaches(), policy, budget.seed, 64 if budget.quick else 512)
    records += of_paths(PAPER_SETTINGS, steps)
    hedges = curves(POSITIONS, "hedge", [(PAPER_SETTINGS, actions(policy, POSITIONS)["hedge"][None])])
    return Outcome(records, {"curve": curve, "hedges": hedges, "trace": steps.filter(pl.col("path") == 0)})


def until_as_good(budget: Budget, report: Report) -> Outcome:
    """Train one seed with our settings until its policy is as good as the paper's in the paper's market.

    Training ends when its Sharpe ratio is at least as high and its mean position at most as large.
    """
    scenario, config = hedging(), learner(budget)
    since = time.perf_counter()
    records: list[Record] = []

    def look(progress: Progress) -> bool:
        nonlocal records
        now = time.perf_counter()
        (policy,) = policies_of(scenario, config, progress.states, 1)
        records = of_paths(
            OUR_SETTINGS, trace(without_breaches(), policy, budget.seed, 64 if budget.quick else 512)
        )
        reached = {record.metric: record.value for record in records}
        sharpe, size = reached["path_sharpe"], reached["path_position"]
        records += records_of(OUR_SETTINGS, seconds=now - since, steps=float(progress.curve["timesteps"][0]))
        report(f"{progress.curve['timesteps'][0]:.0f} steps, a Sharpe ratio of {sharpe:.1f}%")
        return sharpe >= PAPER_SAC["path_sharpe"] and size <= PAPER_SAC["path_position"]

    report("compiling")
    train(training_scenario(scenario, config), config, budget.seed, 1, 50, None, look)
    return Outcome(records)


def longer(found: Outcomes) -> list[Table | Figure]:
    figure = figure_lines(
        found.frame("stability", "gaps"),
        "trainings",
        {"gap": "gap to the exact policy, %"},
        "seed",
        x_title="multiples of the usual training",
        levels={"5%": MAX_GAP},
    )
    return [
        Figure(
            "Ten times the training",
            "Evaluations of the policy at its mode, on common random numbers.",
            figure,
        )
    ]


def stays_close(found: Outcomes) -> Finding:
    worst = Estimate(found.record("stability", "worst_gap").value)
    return within(
        worst, 0.0, MAX_GAP, name="the largest gap of any seed in any evaluation after the usual training, %,"
    )


def settings(found: Outcomes) -> list[Table | Figure]:
    rows = []
    for label, case in (
        ("the paper’s settings", "paper-settings"),
        ("our settings, until as good", "our-settings"),
    ):
        seconds = Cell(Estimate(found.record(case, "seconds").value), PAPER_SECONDS, digits=0)
        rows.append(Row(label, (*path_cells(found, case, PAPER_SAC), seconds)))
    note = (
        "One seed each, in the paper’s market; columns as in the table of hedgers by a rule. Published: results of "
        f"the paper’s code. Ours took {found.record('our-settings', 'steps').value:,.0f} steps of the market; its "
        "seconds include compilation and evaluation of the policy."
    )
    figure = figure_curves(
        found.frame("paper-settings", "hedges"), "hedge", SETTINGS_LABELS.__getitem__, "settings"
    )
    return [
        Table((*COLUMNS, "seconds of training"), tuple(rows), note),
        Figure("Hedge by position", "The policy with the paper’s settings.", figure),
        dashboard("An episode with the paper’s settings", found.frame("paper-settings", "trace")),
    ]


CASES = (
    Case("our-settings", until_as_good),
    Case("stability", stability),
    Case("paper-settings", as_printed),
)

ITEMS = (
    Item(
        "stability",
        "Ten times the training",
        "Section 8 says that later epochs are unstable.",
        ("stability",),
        longer,
        (Claim("this project", "No policy gets worse again in ten times the training.", stays_close),),
    ),
    Item(
        "as-printed",
        "The paper’s settings",
        "Networks of 1024 x 1024, 6,000 steps at 7e-6, unscaled rewards.",
        ("paper-settings", "our-settings"),
        settings,
    ),
)
