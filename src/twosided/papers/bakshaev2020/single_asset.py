"""Hedging one asset (Bakshaev 2020, sections 3.6 and 4): hedgers by a rule, SAC and the exact optimum."""

import time
from collections.abc import Callable

import numpy as np
import polars as pl

from twosided.core.evaluation import trace
from twosided.core.policy import Policy
from twosided.core.records import Parameter
from twosided.hedging.exact import hedging_optimum
from twosided.hedging.hedgers import FractionalHedger, FullHedger, NoHedger
from twosided.papers.bakshaev2020 import FULL_HEDGE, HALF_HEDGE, UNHEDGED, UNIT
from twosided.papers.bakshaev2020.common import (
    COLUMNS,
    MAX_GAP,
    PAPER_WEIGHT,
    POLICY_LABELS,
    POSITIONS,
    SMALL_WEIGHT,
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
    all_of,
    dash_case,
    greater,
    records_of,
    select_one,
    within,
)
from twosided.papers.learning import (
    Parameters,
    difference,
    evaluate_replications,
    over_replications,
    train_policies,
)
from twosided.plots import figure_lines

WEIGHTS = (PAPER_WEIGHT, 1e-2, SMALL_WEIGHT)
"""γ of the penalty: the paper's, and two at which PnL matters."""
FRACTIONS = tuple(round(0.1 * k, 1) for k in range(2, 11))
"""Fractions of the position that are hedged in a step."""
SAC_MAKER: Parameters = {"policy": "SAC"}
OPTIMUM: Parameters = {"policy": "optimum"}
EXACT: Parameters = {"policy": "optimum", "method": "exact"}
"""Values by dynamic programming, without simulation."""


def fraction(x: float) -> dict[str, Parameter]:
    """Parameters of a maker that hedges a fraction of the position."""
    return {"policy": "fraction", "fraction": x}


def reference(budget: Budget, report: Report) -> Outcome:
    """Evaluate rule-based hedgers in the paper's market without breaches (figures 2 and 3)."""
    scenario = without_breaches()
    makers: list[tuple[Parameters, Policy]] = [
        ({"policy": "unhedged"}, NoHedger()),
        ({"policy": "full"}, FullHedger()),
        *((fraction(x), FractionalHedger(x)) for x in FRACTIONS),
    ]
    records, frames = [], {}
    for parameters, maker in makers:
        report(_label(parameters))
        steps = trace(scenario, maker, budget.seed, 64 if budget.quick else 512)
        records += of_paths(parameters, steps)
        if "fraction" not in parameters:
            frames[str(parameters["policy"])] = steps.filter(pl.col("path") == 0)
    return Outcome(records, frames)


def learned(weight: float) -> Callable[[Budget, Report], Outcome]:
    """Evaluate SAC, the exact optimum and fractional hedgers on common random numbers (figures 4 and 5)."""

    def run(budget: Budget, report: Report) -> Outcome:
        scenario, config = hedging(weight), learner(budget)
        report("solving the dynamic program")
        best = hedging_optimum(scenario)
        records = records_of(
            EXACT, reward=best.position_value, informed=best.value, refinement=best.refinement
        )
        since, spent = time.perf_counter(), time.process_time()
        policies, curve = train_policies(training_scenario(scenario, config), config, budget, report)
        seconds = {"seconds": time.perf_counter() - since, "processor_seconds": time.process_time() - spent}
        records += records_of(SAC_MAKER, **seconds)
        others: list[tuple[Parameters, Policy]] = [(fraction(x), FractionalHedger(x)) for x in FRACTIONS]
        others.append((OPTIMUM, best.policy))
        records += evaluate_replications(
            scenario, [(SAC_MAKER, policies)], others, budget, report, evaluation_steps(budget)
        )
        paths = 64 if budget.quick else 512
        report("simulating the paper's market")
        steps = trace(without_breaches(), policies[0], budget.seed, paths)
        best_steps = trace(without_breaches(), best.policy, budget.seed, paths)
        records += of_paths({**SAC_MAKER, "market": "paper"}, steps)
        records += of_paths({**OPTIMUM, "market": "paper"}, best_steps)
        for i, policy in enumerate(policies):
            own = {**SAC_MAKER, "market": "study", "replication": i}
            records += of_paths(own, trace(scenario, policy, budget.seed, 64))
        records += of_paths({**OPTIMUM, "market": "study"}, trace(scenario, best.policy, budget.seed, 64))
        hedges = np.stack([actions(policy, POSITIONS)["hedge"] for policy in policies])
        best_hedge = actions(best.policy, POSITIONS)["hedge"][None]
        frames = {
            "curve": curve,
            "hedges": curves(POSITIONS, "hedge", [(SAC_MAKER, hedges), (OPTIMUM, best_hedge)]),
            "trace": steps.filter(pl.col("path") == 0),
        }
        return Outcome(records, frames)

    return run


def _label(maker: Parameters) -> str:
    """Label of a maker that hedges by a rule."""
    labels = {"unhedged": "unhedged", "full": "full hedger"}
    return f"fraction {maker['fraction']}" if "fraction" in maker else labels[str(maker["policy"])]


def hedgers(found: Outcomes) -> list[Table | Figure]:
    makers = [
        ({"policy": "unhedged"}, UNHEDGED),
        ({"policy": "full"}, FULL_HEDGE),
        *((fraction(x), HALF_HEDGE if x == 0.5 else {}) for x in FRACTIONS),
    ]
    rows = [Row(_label(maker), path_cells(found, "reference", printed, **maker)) for maker, printed in makers]
    note = (
        "PnL of a path of 511 steps in currency, its standard deviation over paths, the Sharpe ratio of a step in "
        "percent, the mean size of the position in units, and the percentage of steps that swing from a hedge of full "
        "size to one in the other direction. Published: results of the paper’s code. A fraction hedges that part of "
        "the position in every step, 32 units at most; the full hedger hedges all of it."
    )
    figures = [
        dashboard("Figure 2: the full hedger", found.frame("reference", "full")),
        dashboard("Figure 3: no hedges", found.frame("reference", "unhedged")),
    ]
    return [Table(COLUMNS, tuple(rows), note), *figures]


def unhedged_is_worst(found: Outcomes) -> Finding:
    full, unhedged = (
        found.estimate("reference", "path_sharpe", policy=policy) for policy in ("full", "unhedged")
    )
    return greater(full, unhedged, names=("the full hedger’s Sharpe ratio, %,", "without hedges"), digits=1)


def optimum(found: Outcomes) -> list[Table | Figure]:
    rows, parts = [], []
    for weight in WEIGHTS:
        case = learned_case(weight)
        value = found.record(case, "reward", **EXACT).value
        digits = 0 if abs(value) > 100 else 3
        best = fraction(best_fraction(found, weight))
        cells = (
            Cell(over_replications(found, case, "reward", **SAC_MAKER), exact=value, digits=digits),
            Cell(over_replications(found, case, "reward", **OPTIMUM), digits=digits),
            Cell(gap(found, weight)),
            Cell(over_replications(found, case, "sharpe", **SAC_MAKER).times(100), digits=2),
            Cell(over_replications(found, case, "sharpe", **OPTIMUM).times(100), digits=2),
            Cell(over_replications(found, case, "sharpe", **best).times(100), digits=2),
            Cell(swings(found, weight), exact=optimal_swings(found, weight)),
            Cell(Estimate(found.record(case, "seconds", **SAC_MAKER).value), digits=0),
            Cell(Estimate(found.record(case, "processor_seconds", **SAC_MAKER).value), digits=0),
        )
        rows.append(Row(f"γ = {weight:g}", cells))
        parts.append(
            Figure(
                f"The hedge at γ = {weight:g}",
                "Mean of seeds with its 95% band, and the optimum by dynamic programming.",
                figure_curves(found.frame(case, "hedges"), "hedge", POLICY_LABELS.__getitem__, "policy"),
            )
        )
    columns = (
        "reward",
        "exact policy",
        "gap, %",
        "Sharpe, %",
        "exact policy, %",
        "best fraction, %",
        "swings, %",
        "seconds",
        "processor seconds",
    )
    note = (
        f"{UNIT} Exact: the dynamic program’s value of the optimal policy of the position alone, and the simulation "
        "of that policy. Gap: between both in simulation, on common random numbers. Sharpe ratios are of a step. "
        "Swings: percentage of steps from a hedge of full size to one in the other direction. Seconds: training of all "
        "seeds, by the clock and of all processors."
    )
    return [Table(columns, tuple(rows), note), *parts]


def learned_case(weight: float) -> str:
    return select_one(CASES, weight=weight)


def gap(found: Outcomes, weight: float) -> Estimate:
    """Gap in percent of the exact value, positive if SAC is worse."""
    case = learned_case(weight)
    value = abs(found.record(case, "reward", **EXACT).value)
    return difference(found, case, "reward", OPTIMUM, SAC_MAKER).times(100 / value)


def swings(found: Outcomes, weight: float) -> Estimate:
    case = learned_case(weight)
    return over_replications(found, case, "path_swings", **SAC_MAKER)


def optimal_swings(found: Outcomes, weight: float) -> float:
    return found.record(learned_case(weight), "path_swings", **OPTIMUM, market="study").value


def best_fraction(found: Outcomes, weight: float) -> float:
    """The fraction whose hedger has the highest Sharpe ratio on common random numbers."""
    case = learned_case(weight)
    return max(FRACTIONS, key=lambda x: over_replications(found, case, "sharpe", **fraction(x)).value)


def close(found: Outcomes) -> Finding:
    return all_of(
        within(gap(found, weight), 0.0, MAX_GAP, name=f"the gap at γ = {weight:g}, %,") for weight in WEIGHTS
    )


def beats_fractions(found: Outcomes) -> Finding:
    """At the smallest weight: with a larger one even the exact policy holds less than maximises the Sharpe ratio."""
    case, best = learned_case(SMALL_WEIGHT), fraction(best_fraction(found, SMALL_WEIGHT))
    return greater(
        over_replications(found, case, "sharpe", **SAC_MAKER).times(100),
        over_replications(found, case, "sharpe", **best).times(100),
        difference=difference(found, case, "sharpe", SAC_MAKER, best).times(100),
        names=("the Sharpe ratio of SAC, %,", f"of {_label(best)}"),
    )


def learning(found: Outcomes) -> list[Table | Figure]:
    """Figures 4 and 5."""
    parts: list[Table | Figure] = []
    for weight in WEIGHTS:
        case = learned_case(weight)
        levels = {"optimum": found.record(case, "reward", **EXACT).value}
        figure = figure_lines(
            found.frame(case, "curve"),
            "timesteps",
            {"reward": "reward per step, exploring"},
            "seed",
            x_title="market steps of training, per seed",
            levels=levels,
        )
        parts.append(Figure(f"Learning at γ = {weight:g}", "The policy with exploration.", figure))
    rows = [
        Row(
            f"{POLICY_LABELS[policy]}, γ = {weight:g}",
            path_cells(found, learned_case(weight), policy=policy, market="paper"),
        )
        for policy in ("SAC", "optimum")
        for weight in WEIGHTS
    ]
    note = "Columns as in the table of hedgers by a rule; the first seed."
    parts.insert(0, Table(COLUMNS, tuple(rows), note))
    parts.append(dashboard("Figure 4: SAC at γ = 0.001", found.frame(learned_case(SMALL_WEIGHT), "trace")))
    return parts


def no_swings(found: Outcomes) -> Finding:
    """At most as often as the exact policy, to a percent of the steps."""
    return all_of(
        within(
            swings(found, weight),
            optimal_swings(found, weight),
            1.0,
            name=f"swings at γ = {weight:g}, %,",
        )
        for weight in WEIGHTS
    )


CASES = (
    Case("reference", reference),
    *(Case(dash_case("learned", weight), learned(weight), {"weight": weight}) for weight in WEIGHTS),
)
LEARNED_CASES = tuple(learned_case(weight) for weight in WEIGHTS)

ITEMS = (
    Item(
        "hedgers",
        "Makers that hedge by a rule",
        "Figures 2 and 3.",
        ("reference",),
        hedgers,
        (Claim("section 3.6", "The Sharpe ratio is worst without hedges.", unhedged_is_worst),),
    ),
    Item(
        "optimum",
        "SAC and the exact optimum",
        "One asset, by the weight γ of the penalty on its position.",
        LEARNED_CASES,
        optimum,
        (
            Claim("this project", "SAC is within 5% of the dynamic program’s value, mean of seeds.", close),
            Claim(
                "this project",
                f"At γ = {SMALL_WEIGHT:g} its Sharpe ratio is above that of the best fractional hedger.",
                beats_fractions,
            ),
            Claim(
                "section 8",
                "The hedge does not swing between its limits more often than the exact one.",
                no_swings,
            ),
        ),
    ),
    Item(
        "learning",
        "Learning to hedge",
        "Figures 4 and 5.",
        LEARNED_CASES,
        learning,
    ),
)
