"""Hedging one asset (Bakshaev 2020, sections 3.6 and 4): fixed hedgers, SAC and the exact optimum."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from twosided.evaluation import evaluate, trace
from twosided.exact.hedging import hedging_optimum
from twosided.learn.train import Progress, policies_of
from twosided.markets.bakshaev2020 import single_asset
from twosided.markets.base import Scenario
from twosided.plots import figure_lines
from twosided.policies.hedgers import Dummy, Fractional, Unhedged
from twosided.records import find
from twosided.studies.bakshaev2020 import DUMMY, HALF, PAPERS_SAC, UNHEDGED, UNIT
from twosided.studies.bakshaev2020.common import (
    PAPERS,
    PNL_COUNTS,
    actions,
    hedging,
    judged_steps,
    learner,
    of_paths,
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
    all_of,
    greater,
    mean,
    within,
)
from twosided.studies.learning import (
    difference,
    exact,
    fit,
    judge_in_turn,
    over_drawings,
)
from twosided.types import Policy

WEIGHTS = (3.0, 1e-2, PNL_COUNTS)
"""γ of the penalty: the paper's, and two at which PnL counts."""
FRACTIONS = tuple(round(0.1 * k, 1) for k in range(2, 11))
"""Of the position, that hedgers take off in a step."""
POSITIONS = np.arange(-64.0, 65.0)
"""Units, of the curve of hedges."""
LONGER = 10
"""Times the training, to look for late instability."""
CLOSE = 5.0
"""Percent of the optimum's value."""


def reference(budget: Budget, tell: Tell) -> Outcome:
    """Figures 2 and 3: makers that hedge by rules in the paper's market, followed to the end."""
    scenario = followed()
    makers: dict[str, Policy] = {"unhedged": Unhedged(), "dummy": Dummy()}
    makers |= {f"fraction {x}": Fractional(x) for x in FRACTIONS}
    records, frames = [], {}
    for name, maker in makers.items():
        tell(name)
        steps = trace(scenario, maker, budget.seed, 64 if budget.quick else 512)
        records += of_paths(name, steps)
        if name in ("unhedged", "dummy"):
            frames[name] = steps.filter(pl.col("path") == 0)
    return Outcome(records, frames)


def followed() -> Scenario:
    """The paper's scenario, where no breach ends an episode: the unhedged position has one in most."""
    scenario = single_asset()
    return dataclasses.replace(scenario, market=dataclasses.replace(scenario.market, breach=1e9))


def learned(weight: float) -> Callable[[Budget, Tell], Outcome]:
    """Figures 4 and 5: SAC beside the exact optimum, and every fixed hedger on the same chance."""

    def run(budget: Budget, tell: Tell) -> Outcome:
        scenario, config = hedging(weight), learner(budget)
        tell("solving the dynamic program")
        best = hedging_optimum(scenario)
        records = exact("exact", reward=best.position_value, informed=best.value, refinement=best.refinement)
        since = time.perf_counter()
        policies, curve = fit(taught(scenario, config), config, budget, tell)
        records += exact("SAC", seconds=time.perf_counter() - since)
        others: dict[str, Policy] = {f"fraction {x}": Fractional(x) for x in FRACTIONS}
        others |= {"exact": best.policy}
        records += judge_in_turn(scenario, {"SAC": policies}, others, budget, tell, judged_steps(budget))
        paths = 64 if budget.quick else 512
        tell("playing in the paper's market")
        traces = {"SAC": trace(followed(), policies[0], budget.seed, paths)}
        traces["exact"] = trace(followed(), best.policy, budget.seed, paths)
        for name, steps in traces.items():
            records += of_paths(f"{name}, the paper’s market", steps)
        for i, policy in enumerate(policies):
            records += of_paths(f"SAC, seed {i}", trace(scenario, policy, budget.seed, 64))
        records += of_paths("exact, played", trace(scenario, best.policy, budget.seed, 64))
        hedges = np.stack([actions(policy, POSITIONS)["hedge"] for policy in policies])
        frames = {
            "curve": curve,
            "hedges": curves(
                POSITIONS, "hedge", {"SAC": hedges, "exact": actions(best.policy, POSITIONS)["hedge"][None]}
            ),
            "trace": traces["SAC"].filter(pl.col("path") == 0),
        }
        return Outcome(records, frames)

    return run


def curves(x: np.ndarray, name: str, of: dict[str, np.ndarray]) -> pl.DataFrame:
    """Curves over positions, each a mean over rows with its standard error; `who` names them."""
    frames = []
    for who, rows in of.items():
        error = rows.std(0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.zeros(x.size)
        columns = {"position": x, name: rows.mean(0).astype(float), f"{name}_error": error.astype(float)}
        frames.append(pl.DataFrame(columns).with_columns(who=pl.lit(who)))
    return pl.concat(frames)


def stability(budget: Budget, tell: Tell) -> Outcome:
    """Ten times the training, looked at all along: does the hedge ever get worse again?"""
    scenario, config = hedging(), learner(budget)
    longer = dataclasses.replace(config, steps=LONGER * config.steps)
    best = hedging_optimum(scenario, volatilities=2, trends=1).policy
    steps = judged_steps(budget) // 5
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
    scenario = hedging(WEIGHTS[0])
    config = dataclasses.replace(PAPERS, hidden=(64, 64), steps=1000) if budget.quick else PAPERS
    one = dataclasses.replace(budget, seeds=1)
    since = time.perf_counter()
    (policy,), curve = fit(scenario, config, one, tell)
    records = exact("paper", seconds=time.perf_counter() - since)
    tell("playing in the paper's market")
    steps = trace(followed(), policy, budget.seed, 64 if budget.quick else 512)
    records += of_paths("paper", steps)
    hedges = curves(POSITIONS, "hedge", {"the paper’s settings": actions(policy, POSITIONS)["hedge"][None]})
    return Outcome(records, {"curve": curve, "hedges": hedges})


def hedgers(found: Outcomes) -> list[Table | Figure]:
    theirs = {"unhedged": UNHEDGED, "dummy": DUMMY, "fraction 0.5": HALF}
    rows = [
        Row(name, _paths(found, "reference", name, theirs.get(name, {})))
        for name in ("unhedged", "dummy", *(f"fraction {x}" for x in FRACTIONS))
    ]
    note = (
        "PnL of a path of 511 steps in currency, its deviation from path to path, the Sharpe ratio of a step in "
        "percent, the mean size of the position in units, and how many steps in a hundred swing from a hedge of full "
        "size to one the other way. Theirs: the paper’s code. A fraction hedges so much of the position on every step, "
        "32 units at most; the dummy all of it."
    )
    figures = [
        _money(found.frame("reference", "dummy"), "Figure 2: the dummy hedger"),
        _money(found.frame("reference", "unhedged"), "Figure 3: nothing is hedged"),
    ]
    return [Table(COLUMNS, tuple(rows), note), *figures]


COLUMNS = ("PnL", "deviation", "Sharpe, %", "position", "swings, %")


def _paths(found: Outcomes, case: str, name: str, theirs: dict[str, float]) -> tuple[Cell, ...]:
    metrics = {"pnl": 0, "pnl_deviation": 0, "sharpe": 1, "position": 1, "swings": 2}
    return tuple(Cell(found.estimate(case, name, m), theirs.get(m), digits=d) for m, d in metrics.items())


def _money(steps: pl.DataFrame, title: str) -> Figure:
    """What one path earned so far, by part."""
    parts = {
        "pnl_spread": "clients",
        "pnl_hedge": "hedges",
        "pnl_inventory": "the market",
        "pnl_total": "net",
    }
    long = pl.concat(
        steps.select("time", pl.col(column).cum_sum().alias("money"), what=pl.lit(name))
        for column, name in parts.items()
    )
    figure = figure_lines(long, "time", {"money": "earned so far, currency"}, "what", x_title="step")
    return Figure(title, "What one path earned so far, and from what.", figure)


def unhedged_is_worst(found: Outcomes) -> Finding:
    dummy, idle = (found.estimate("reference", name, "sharpe") for name in ("dummy", "unhedged"))
    return greater(dummy, idle, names=("the dummy’s Sharpe ratio, %,", "without hedges"), digits=1)


def optimum(found: Outcomes) -> list[Table | Figure]:
    rows, parts = [], []
    for weight in WEIGHTS:
        case = learned_case(weight)
        value = found.record(case, "exact", "reward").value
        digits = 0 if abs(value) > 100 else 3
        best = best_fraction(found, weight)
        cells = (
            Cell(over_drawings(found, case, "SAC", "reward"), exact=value, digits=digits),
            Cell(over_drawings(found, case, "exact", "reward"), digits=digits),
            Cell(gap(found, weight)),
            Cell(over_drawings(found, case, "SAC", "sharpe").times(100), digits=2),
            Cell(over_drawings(found, case, "exact", "sharpe").times(100), digits=2),
            Cell(over_drawings(found, case, best, "sharpe").times(100), digits=2),
            Cell(swings(found, weight), exact=found.record(case, "exact, played", "swings").value),
            Cell(Estimate(found.record(case, "SAC", "seconds").value), digits=0),
        )
        rows.append(Row(f"γ = {weight:g}", cells))
        parts.append(
            Figure(
                f"The hedge at γ = {weight:g}",
                "Mean of seeds with its 95% band, and the best by dynamic programming.",
                figure_lines(
                    found.frame(case, "hedges"),
                    "position",
                    {"hedge": "hedge, units"},
                    "who",
                    x_title="position before it, units",
                ),
            )
        )
    columns = (
        "reward",
        "the exact policy",
        "gap, %",
        "Sharpe, %",
        "of the exact",
        "of the best fraction",
        "swings, %",
        "seconds",
    )
    note = (
        f"{UNIT} Exact: the dynamic program’s value of the best policy that sees the position alone; beside it that "
        "policy played. Gap: between both, played on the same chance. Sharpe ratios are of a step. Swings: steps in a "
        "hundred that go from a hedge of full size to one the other way. Seconds: training all seeds."
    )
    return [Table(columns, tuple(rows), note), *parts]


def learned_case(weight: float) -> str:
    return f"learned-{WEIGHTS.index(weight) + 1}"


def gap(found: Outcomes, weight: float) -> Estimate:
    """In percent of the exact value, positive where SAC is worse."""
    case = learned_case(weight)
    value = abs(found.record(case, "exact", "reward").value)
    return difference(found, case, "exact", "SAC", "reward").times(100 / value)


def swings(found: Outcomes, weight: float) -> Estimate:
    case = learned_case(weight)
    return mean([found.record(case, f"SAC, seed {i}", "swings").value for i in range(found.budget.seeds)])


def best_fraction(found: Outcomes, weight: float) -> str:
    """The name of the fractional hedger with the highest Sharpe ratio on the same chance."""
    case, names = learned_case(weight), [f"fraction {x}" for x in FRACTIONS]
    return max(names, key=lambda name: over_drawings(found, case, name, "sharpe").value)


def close(found: Outcomes) -> Finding:
    return all_of(
        within(gap(found, weight), 0.0, CLOSE, name=f"the gap at γ = {weight:g}, %,") for weight in WEIGHTS
    )


def beats_fractions(found: Outcomes) -> Finding:
    findings = []
    for weight in WEIGHTS[1:]:
        case, best = learned_case(weight), best_fraction(found, weight)
        findings.append(
            greater(
                over_drawings(found, case, "SAC", "sharpe").times(100),
                over_drawings(found, case, best, "sharpe").times(100),
                difference=difference(found, case, "SAC", best, "sharpe").times(100),
                names=(f"at γ = {weight:g} SAC", best),
            )
        )
    return all_of(findings)


def learning(found: Outcomes) -> list[Table | Figure]:
    """Figures 4 and 5."""
    parts: list[Table | Figure] = []
    for weight in WEIGHTS:
        case = learned_case(weight)
        levels = {"best": found.record(case, "exact", "reward").value}
        figure = figure_lines(
            found.frame(case, "curve"),
            "steps",
            {"reward": "reward a step, exploring"},
            "seed",
            x_title="market steps of training, a seed",
            levels=levels,
        )
        parts.append(Figure(f"Learning at γ = {weight:g}", "Of the policy that still explores.", figure))
    rows = [
        Row(f"SAC, γ = {w:g}", _paths(found, learned_case(w), "SAC, the paper’s market", {})) for w in WEIGHTS
    ]
    rows += [
        Row(f"exact, γ = {w:g}", _paths(found, learned_case(w), "exact, the paper’s market", {}))
        for w in WEIGHTS
    ]
    rows.append(Row("the paper’s settings", _paths(found, "as-printed", "paper", PAPERS_SAC)))
    note = "As in the table of fixed hedgers; of the first seed. Theirs: the paper’s own SAC."
    parts.insert(0, Table(COLUMNS, tuple(rows), note))
    parts.append(_money(found.frame(learned_case(PNL_COUNTS), "trace"), "Figure 4: SAC at γ = 0.001"))
    return parts


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


def no_swings(found: Outcomes) -> Finding:
    """No more often than the exact policy, to a hundredth of the steps."""
    return all_of(
        within(
            swings(found, weight),
            found.record(learned_case(weight), "exact, played", "swings").value,
            1.0,
            name=f"swings at γ = {weight:g}, %,",
        )
        for weight in WEIGHTS
    )


CASES = (
    Case("reference", reference),
    *(Case(learned_case(weight), learned(weight)) for weight in WEIGHTS),
    Case("stability", stability),
    Case("as-printed", as_printed),
)

ITEMS = (
    Item(
        "hedgers",
        "Makers that hedge by a rule",
        "Figures 2 and 3.",
        ("reference",),
        hedgers,
        (Claim("section 3.6", "Unhedged, PnL has the worst of Sharpe ratios.", unhedged_is_worst),),
    ),
    Item(
        "optimum",
        "SAC and the exact optimum",
        "One asset, by the weight γ of the penalty on its position.",
        tuple(learned_case(weight) for weight in WEIGHTS),
        optimum,
        (
            Claim("this project", "SAC is within 5% of the dynamic program’s value, mean of seeds.", close),
            Claim(
                "this project",
                "Where PnL counts, its Sharpe ratio is above that of the best fractional hedger.",
                beats_fractions,
            ),
            Claim(
                "section 8", "The hedge does not swing between its limits more than the exact one.", no_swings
            ),
        ),
    ),
    Item(
        "learning",
        "Learning to hedge",
        "Figures 4 and 5.",
        (*(learned_case(weight) for weight in WEIGHTS), "as-printed"),
        learning,
    ),
    Item(
        "stability",
        "Ten times the training",
        "Section 8 says that later epochs swing.",
        ("stability",),
        longer,
        (Claim("this project", "Nothing gets worse again in ten times the training.", stays),),
    ),
)
