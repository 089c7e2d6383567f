"""Skewing the price (Bakshaev 2020, section 5): the elasticity from which it is profitable, and SAC with skew."""

from collections.abc import Callable

import numpy as np
import polars as pl

from twosided.core.evaluation import trace
from twosided.core.records import Parameter
from twosided.core.scenario import Scenario
from twosided.hedging.exact import hedging_optimum
from twosided.hedging.market import HedgingMarket
from twosided.papers.bakshaev2020 import UNIT
from twosided.papers.bakshaev2020.common import (
    POLICY_LABELS,
    POSITIONS,
    actions,
    curves,
    dashboard,
    evaluation_steps,
    figure_curves,
    hedging,
    learner,
    training_scenario,
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
from twosided.plots import figure_lines, figure_side_by_side

BETAS = (0.5, 30.0, 60.0, 90.0, 120.0, 180.0)
"""Elasticities of demand to compare."""
PAYS, INERT = 120.0, 0.5
"""Elasticity at which skewing is profitable, and the paper's elasticity, at which it has no effect."""
GRID = {"num_volatilities": 2, "num_trends": 1}
"""Price bins of the dynamic program. The policy that observes only the position does not depend on them."""


def scenario_of(beta: float, skews: bool = True) -> Scenario:
    return hedging(market=HedgingMarket(allow_skew=skews, elasticity=beta))


def curve(budget: Budget, report: Report) -> Outcome:
    """The optimum with and without skew, for each elasticity, on common random numbers."""
    report("the optimum without skew")
    plain, records = hedging_optimum(scenario_of(PAYS, False), **GRID), []
    for beta in BETAS:
        report(f"β = {beta:g}")
        scenario = scenario_of(beta)
        best = hedging_optimum(scenario, **GRID, num_skews=11)
        records += records_of(_maker("optimum", True, beta), value=best.position_value)
        records += records_of(_maker("optimum", False, beta), value=plain.position_value)
        for skews, policy in ((True, best.policy), (False, plain.policy)):
            makers = [(_maker("optimum", skews, beta), policy)]
            records += evaluate_replications(
                scenario, [], makers, budget, report, evaluation_steps(budget) // 2
            )
    return Outcome(records)


def _maker(policy: str, skews: bool, beta: float) -> dict[str, Parameter]:
    return {"policy": policy, "skews": skews, "elasticity": beta}


def _label(policy: str, skews: bool) -> str:
    return f"{POLICY_LABELS[policy]} {'with skew' if skews else 'without'}"


def learned(beta: float) -> Callable[[Budget, Report], Outcome]:
    """SAC and the exact policies, each with and without skew, on common random numbers."""

    def run(budget: Budget, report: Report) -> Outcome:
        learned, best = [], []
        hedges: list[tuple[Parameters, np.ndarray]] = []
        skews: list[tuple[Parameters, np.ndarray]] = []
        for can_skew in (True, False):
            scenario = scenario_of(beta, can_skew)
            config = learner(budget, actions=1 + can_skew)
            optimum, sac = (_maker(policy, can_skew, beta) for policy in ("optimum", "SAC"))
            report(f"the optimum {'with' if can_skew else 'without'} skew")
            best.append((optimum, hedging_optimum(scenario, **GRID).policy))
            policies, _ = train_policies(training_scenario(scenario, config), config, budget, report)
            learned.append((sac, policies))
        scenario = scenario_of(beta)
        records = evaluate_replications(scenario, learned, best, budget, report, evaluation_steps(budget))
        for maker, policies in (*learned, *((maker, (policy,)) for maker, policy in best)):
            done = [actions(policy, POSITIONS) for policy in policies]
            hedges.append((maker, np.stack([action["hedge"] for action in done])))
            if "skew" in done[0]:
                skews.append((maker, np.stack([action["skew"] for action in done])))
        frames = {
            "hedges": curves(POSITIONS, "hedge", hedges),
            "skews": curves(POSITIONS, "skew", skews),
            "traces": pl.concat(
                [
                    trace(scenario, policies[0], budget.seed, 1).with_columns(skews=pl.lit(maker["skews"]))
                    for maker, policies in learned
                ],
                how="diagonal",
            ),
        }
        return Outcome(records, frames)

    return run


def over_betas(found: Outcomes) -> list[Table | Figure]:
    rows, points = [], []
    for beta in BETAS:
        gain = _gain(found, "skew-curve", "optimum", beta)
        cells = (*_cells(found, _maker("optimum", True, beta)), Cell(gain))
        rows.append(Row(f"β = {beta:g}", cells))
        points.append(
            {"beta": beta, "gain": gain.value, "gain_error": gain.error, "series": "the exact policies"}
        )
    cells = (*_cells(found, _maker("optimum", False, BETAS[0])), Cell(None))
    rows.append(Row("without skew", cells))
    for beta in (INERT, PAYS):
        gain = _gain(found, learned_case(beta), "SAC", beta)
        points.append({"beta": beta, "gain": gain.value, "gain_error": gain.error, "series": "SAC"})
    figure = figure_lines(
        pl.DataFrame(points),
        "beta",
        {"gain": "Sharpe ratio with skew less that without, %"},
        "series",
        x_title="β, elasticity of demand",
    )
    note = (
        f"{UNIT} Optimal policies of the position alone, at γ = 0.001, on common random numbers; exact: the value "
        "of the dynamic program. Sharpe ratios are of a step, in percent."
    )
    return [
        Table(("reward", "Sharpe, %", "gain over no skew, %"), tuple(rows), note),
        Figure("The gain from skewing", "With a 95% band.", figure),
    ]


def _cells(found: Outcomes, maker: Parameters) -> tuple[Cell, Cell]:
    """Cells of the reward and the Sharpe ratio of an exact policy."""
    value = found.record("skew-curve", "value", **maker).value
    return (
        Cell(over_replications(found, "skew-curve", "reward", **maker), exact=value, digits=3),
        Cell(over_replications(found, "skew-curve", "sharpe", **maker).times(100)),
    )


def _gain(found: Outcomes, case: str, policy: str, beta: float) -> Estimate:
    """Sharpe ratio with skew less that without, in percent."""
    own, plain = (_maker(policy, skews, beta) for skews in (True, False))
    return difference(found, case, "sharpe", own, plain).times(100)


def learned_case(beta: float) -> str:
    return select_one(CASES, elasticity=beta)


def shown(beta: float) -> Callable[[Outcomes], list[Table | Figure]]:
    def content(found: Outcomes) -> list[Table | Figure]:
        case, rows = learned_case(beta), []
        for policy in POLICY_LABELS:
            for skews in (True, False):
                maker = _maker(policy, skews, beta)
                sharpe = over_replications(found, case, "sharpe", **maker).times(100)
                metrics = {"reward": 3, "pnl_total": 3, "inventory_std": 1}
                cells = [
                    Cell(over_replications(found, case, metric, **maker), digits=digits)
                    for metric, digits in metrics.items()
                ]
                rows.append(Row(_label(policy, skews), (*cells, Cell(sharpe))))
        note = f"{UNIT} At γ = 0.001, on common random numbers. Standard deviation of the position in units."
        parts: list[Table | Figure] = [Table(("reward", "PnL", "position", "Sharpe, %"), tuple(rows), note)]
        for name in ("hedge", "skew"):
            figure = figure_curves(found.frame(case, f"{name}s"), name, _label, "policy", "skews")
            parts.append(Figure(f"The {name} at β = {beta:g}", "Mean of seeds with its 95% band.", figure))
        traces = found.frame(case, "traces")
        sides = {_label("SAC", skews): traces.filter(pl.col("skews") == skews) for skews in (True, False)}
        parts.append(
            Figure(
                "Figure 6",
                "The first seed of each, on the same prices.",
                figure_side_by_side(sides, position="net_position"),
            )
        )
        parts.append(dashboard("The dashboard with skew", sides[_label("SAC", True)]))
        return parts

    return content


def pays(found: Outcomes) -> Finding:
    return _compared(found, PAYS)


def pays_at_the_papers(found: Outcomes) -> Finding:
    return _compared(found, INERT)


def _compared(found: Outcomes, beta: float) -> Finding:
    case = learned_case(beta)
    own, plain = (
        over_replications(found, case, "sharpe", **_maker("SAC", skews, beta)).times(100)
        for skews in (True, False)
    )
    gain = _gain(found, case, "SAC", beta)
    return greater(own, plain, difference=gain, names=("the Sharpe ratio with skew, %,", "without"))


def inert(found: Outcomes) -> Finding:
    gain = _gain(found, "skew-curve", "optimum", INERT)
    return within(gain, 0.0, 0.1, name="the gain of the optimal skew in the Sharpe ratio, %,", digits=3)


CASES = (
    Case("skew-curve", curve),
    *(Case(dash_case("skew", beta), learned(beta), {"elasticity": beta}) for beta in (PAYS, INERT)),
)

ITEMS = (
    Item(
        "skew-curve",
        "The elasticity from which skewing pays",
        "By elasticity of demand.",
        ("skew-curve", learned_case(PAYS), learned_case(INERT)),
        over_betas,
        (Claim("this project", f"At the paper’s β of {INERT:g} the optimal skew adds nothing.", inert),),
    ),
    Item(
        "skew",
        "With skew and without",
        f"Figure 6, at β = {PAYS:g}.",
        (learned_case(PAYS),),
        shown(PAYS),
        (Claim("section 5", "The model with skew has the higher Sharpe ratio.", pays),),
    ),
    Item(
        "skew-inert",
        "With skew and without, as in the paper",
        f"At β = {INERT:g}.",
        (learned_case(INERT),),
        shown(INERT),
        (Claim("section 5", "The model with skew has the higher Sharpe ratio.", pays_at_the_papers),),
    ),
)
