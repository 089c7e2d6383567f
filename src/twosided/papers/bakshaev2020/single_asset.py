"""Hedging one asset (Bakshaev 2020, sections 3.6 and 4): fixed hedgers, SAC and the exact optimum."""

import time
from collections.abc import Callable

import numpy as np
import polars as pl

from twosided.core.evaluation import trace
from twosided.core.policy import Policy
from twosided.hedging.exact import hedging_optimum
from twosided.hedging.hedgers import FractionalHedger, FullHedger, NoHedger
from twosided.papers.bakshaev2020 import DUMMY, HALF, UNHEDGED, UNIT
from twosided.papers.bakshaev2020.common import (
    CLOSE,
    COLUMNS,
    PAPERS_WEIGHT,
    PNL_COUNTS,
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
    all_of,
    greater,
    mean,
    within,
)
from twosided.papers.learning import difference, exact, fit, judge_in_turn, over_drawings
from twosided.plots import figure_lines

WEIGHTS = (PAPERS_WEIGHT, 1e-2, PNL_COUNTS)
"""γ of the penalty: the paper's, and two at which PnL counts."""
FRACTIONS = tuple(round(0.1 * k, 1) for k in range(2, 11))
"""Of the position, that hedgers take off in a step."""


def reference(budget: Budget, tell: Tell) -> Outcome:
    """Figures 2 and 3: makers that hedge by rules in the paper's market, followed to the end."""
    scenario = followed()
    makers: dict[str, Policy] = {"unhedged": NoHedger(), "dummy": FullHedger()}
    makers |= {f"fraction {x}": FractionalHedger(x) for x in FRACTIONS}
    records, frames = [], {}
    for name, maker in makers.items():
        tell(name)
        steps = trace(scenario, maker, budget.seed, 64 if budget.quick else 512)
        records += of_paths(name, steps)
        if name in ("unhedged", "dummy"):
            frames[name] = steps.filter(pl.col("path") == 0)
    return Outcome(records, frames)


def learned(weight: float) -> Callable[[Budget, Tell], Outcome]:
    """Figures 4 and 5: SAC beside the exact optimum, and every fixed hedger on the same chance."""

    def run(budget: Budget, tell: Tell) -> Outcome:
        scenario, config = hedging(weight), learner(budget)
        tell("solving the dynamic program")
        best = hedging_optimum(scenario)
        records = exact("exact", reward=best.position_value, informed=best.value, refinement=best.refinement)
        since, spent = time.perf_counter(), time.process_time()
        policies, curve = fit(taught(scenario, config), config, budget, tell)
        records += exact("SAC", seconds=time.perf_counter() - since, processor=time.process_time() - spent)
        others: dict[str, Policy] = {f"fraction {x}": FractionalHedger(x) for x in FRACTIONS}
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


def hedgers(found: Outcomes) -> list[Table | Figure]:
    theirs = {"unhedged": UNHEDGED, "dummy": DUMMY, "fraction 0.5": HALF}
    rows = [
        Row(name, path_cells(found, "reference", name, theirs.get(name, {})))
        for name in ("unhedged", "dummy", *(f"fraction {x}" for x in FRACTIONS))
    ]
    note = (
        "PnL of a path of 511 steps in currency, its deviation from path to path, the Sharpe ratio of a step in "
        "percent, the mean size of the position in units, and how many steps in a hundred swing from a hedge of full "
        "size to one the other way. Theirs: the paper’s code. A fraction hedges so much of the position on every step, "
        "32 units at most; the dummy all of it."
    )
    figures = [
        dashboard("Figure 2: the dummy hedger", found.frame("reference", "dummy")),
        dashboard("Figure 3: nothing is hedged", found.frame("reference", "unhedged")),
    ]
    return [Table(COLUMNS, tuple(rows), note), *figures]


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
            Cell(Estimate(found.record(case, "SAC", "processor").value), digits=0),
        )
        rows.append(Row(f"γ = {weight:g}", cells))
        parts.append(
            Figure(
                f"The hedge at γ = {weight:g}",
                "Mean of seeds with its 95% band, and the best by dynamic programming.",
                figure_curves(found.frame(case, "hedges"), "hedge"),
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
        "of processors",
    )
    note = (
        f"{UNIT} Exact: the dynamic program’s value of the best policy that sees the position alone; beside it that "
        "policy played. Gap: between both, played on the same chance. Sharpe ratios are of a step. Swings: steps in a "
        "hundred that go from a hedge of full size to one the other way. Seconds: training all seeds, on the clock and "
        "of all processors."
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
    """Where PnL counts most: with a larger weight even the exact policy holds less than the Sharpe ratio would like."""
    case, best = learned_case(PNL_COUNTS), best_fraction(found, PNL_COUNTS)
    return greater(
        over_drawings(found, case, "SAC", "sharpe").times(100),
        over_drawings(found, case, best, "sharpe").times(100),
        difference=difference(found, case, "SAC", best, "sharpe").times(100),
        names=("the Sharpe ratio of SAC, %,", f"of {best}"),
    )


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
        Row(f"SAC, γ = {w:g}", path_cells(found, learned_case(w), "SAC, the paper’s market", {}))
        for w in WEIGHTS
    ]
    rows += [
        Row(f"exact, γ = {w:g}", path_cells(found, learned_case(w), "exact, the paper’s market", {}))
        for w in WEIGHTS
    ]
    note = "As in the table of fixed hedgers; of the first seed."
    parts.insert(0, Table(COLUMNS, tuple(rows), note))
    parts.append(dashboard("Figure 4: SAC at γ = 0.001", found.frame(learned_case(PNL_COUNTS), "trace")))
    return parts


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
                f"At γ = {PNL_COUNTS:g} its Sharpe ratio is above that of the best fractional hedger.",
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
        tuple(learned_case(weight) for weight in WEIGHTS),
        learning,
    ),
)
