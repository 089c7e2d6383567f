"""Skewing the price (Bakshaev 2020, section 5): from which elasticity on it pays, and whether SAC finds it."""

from collections.abc import Callable

import numpy as np
import polars as pl

from twosided.core.evaluation import trace
from twosided.core.scenario import Scenario
from twosided.hedging.exact import hedging_optimum
from twosided.hedging.market import HedgingMarket
from twosided.hedging.plots import figure_side_by_side
from twosided.papers.bakshaev2020 import UNIT
from twosided.papers.bakshaev2020.common import (
    POSITIONS,
    actions,
    curves,
    dashboard,
    figure_curves,
    hedging,
    judged_steps,
    learner,
    taught,
)
from twosided.papers.base import (
    Budget,
    Case,
    Cell,
    Claim,
    Figure,
    Finding,
    Item,
    Outcome,
    Outcomes,
    Row,
    Table,
    Tell,
    greater,
    within,
)
from twosided.papers.learning import difference, exact, fit, judge_in_turn, over_drawings
from twosided.plots import figure_lines

BETAS = (0.5, 30.0, 60.0, 90.0, 120.0, 180.0)
"""Elasticities of the curve."""
PAYS, INERT = 120.0, 0.5
"""One at which skew pays, and the paper's."""
WITH, WITHOUT = "with skew", "without"
GRID = {"num_volatilities": 2, "num_trends": 1}
"""Bins of the price for programs whose policy sees the position alone: it is the same whatever they are."""


def scenario_of(beta: float, skews: bool = True) -> Scenario:
    return hedging(market=HedgingMarket(allow_skew=skews, elasticity=beta))


def curve(budget: Budget, tell: Tell) -> Outcome:
    """The best with skew and without, for each elasticity, on the same chance."""
    tell("the best without skew")
    plain, records = hedging_optimum(scenario_of(PAYS, False), **GRID), []
    for beta in BETAS:
        tell(f"β = {beta:g}")
        scenario = scenario_of(beta)
        best = hedging_optimum(scenario, **GRID, num_skews=11)
        records += exact(name_of(WITH, beta), value=best.position_value)
        records += exact(name_of(WITHOUT, beta), value=plain.position_value)
        for name, policy in ((WITH, best.policy), (WITHOUT, plain.policy)):
            played = {name_of(name, beta): policy}
            records += judge_in_turn(scenario, {}, played, budget, tell, judged_steps(budget) // 2)
    return Outcome(records)


def name_of(name: str, beta: float) -> str:
    return f"{name}, β = {beta:g}"


def learned(beta: float) -> Callable[[Budget, Tell], Outcome]:
    """SAC with skew and without it, beside the exact policies of both, on the same chance."""

    def run(budget: Budget, tell: Tell) -> Outcome:
        policies, hedges, skews, best = {}, {}, {}, {}
        for name, can in ((WITH, True), (WITHOUT, False)):
            scenario = scenario_of(beta, can)
            config = learner(budget, actions=1 + can)
            tell(f"the best {name}")
            best[f"exact {name}"] = hedging_optimum(scenario, **GRID).policy
            policies[f"SAC {name}"], _ = fit(taught(scenario, config), config, budget, tell)
        scenario = scenario_of(beta)
        records = judge_in_turn(scenario, policies, best, budget, tell, judged_steps(budget))
        for name, those in (policies | {name: (policy,) for name, policy in best.items()}).items():
            done = [actions(policy, POSITIONS) for policy in those]
            hedges[name] = np.stack([act["hedge"] for act in done])
            if "skew" in done[0]:
                skews[name] = np.stack([act["skew"] for act in done])
        frames = {
            "hedges": curves(POSITIONS, "hedge", hedges),
            "skews": curves(POSITIONS, "skew", skews),
            "traces": pl.concat(
                [
                    trace(scenario, those[0], budget.seed, 1).with_columns(who=pl.lit(name))
                    for name, those in policies.items()
                ],
                how="diagonal",
            ),
        }
        return Outcome(records, frames)

    return run


def over_betas(found: Outcomes) -> list[Table | Figure]:
    rows, points = [], []
    for beta in BETAS:
        own, plain = name_of(WITH, beta), name_of(WITHOUT, beta)
        value = found.record("skew-curve", own, "value").value
        gain = difference(found, "skew-curve", own, plain, "sharpe").times(100)
        cells = (
            Cell(over_drawings(found, "skew-curve", own, "reward"), exact=value, digits=3),
            Cell(over_drawings(found, "skew-curve", own, "sharpe").times(100)),
            Cell(gain),
        )
        rows.append(Row(f"β = {beta:g}", cells))
        points.append(
            {"beta": beta, "gain": gain.value, "gain_error": gain.error, "who": "the exact policies"}
        )
    plain = name_of(WITHOUT, BETAS[0])
    cells = (
        Cell(
            over_drawings(found, "skew-curve", plain, "reward"),
            exact=found.record("skew-curve", plain, "value").value,
            digits=3,
        ),
        Cell(over_drawings(found, "skew-curve", plain, "sharpe").times(100)),
        Cell(None),
    )
    rows.append(Row("without skew", cells))
    for beta in (INERT, PAYS):
        gain = difference(found, case_of(beta), f"SAC {WITH}", f"SAC {WITHOUT}", "sharpe").times(100)
        points.append({"beta": beta, "gain": gain.value, "gain_error": gain.error, "who": "SAC"})
    figure = figure_lines(
        pl.DataFrame(points),
        "beta",
        {"gain": "Sharpe ratio with skew less that without, %"},
        "who",
        x_title="β, elasticity of demand",
    )
    note = (
        f"{UNIT} Best policies that see the position alone, at γ = 0.001, played on common chance; exact: what the "
        "program says. Sharpe ratios are of a step, in percent."
    )
    return [
        Table(("reward", "Sharpe, %", "more than without, %"), tuple(rows), note),
        Figure("What skew is worth", "With a 95% band.", figure),
    ]


def case_of(beta: float) -> str:
    return "skew" if beta == PAYS else "skew-inert"


def shown(beta: float) -> Callable[[Outcomes], list[Table | Figure]]:
    def content(found: Outcomes) -> list[Table | Figure]:
        case, rows = case_of(beta), []
        for name in (f"SAC {WITH}", f"SAC {WITHOUT}", f"exact {WITH}", f"exact {WITHOUT}"):
            sharpe = over_drawings(found, case, name, "sharpe").times(100)
            metrics = {"reward": 3, "pnl_total": 3, "inventory_std": 1}
            cells = [Cell(over_drawings(found, case, name, m), digits=d) for m, d in metrics.items()]
            rows.append(Row(name, (*cells, Cell(sharpe))))
        note = f"{UNIT} At γ = 0.001, every pair on the same chance. Deviation of the position in units."
        parts: list[Table | Figure] = [Table(("reward", "PnL", "position", "Sharpe, %"), tuple(rows), note)]
        for name in ("hedge", "skew"):
            figure = figure_curves(found.frame(case, f"{name}s"), name)
            parts.append(Figure(f"The {name} at β = {beta:g}", "Mean of seeds with its 95% band.", figure))
        traces = found.frame(case, "traces")
        sides = {
            name: traces.filter(pl.col("who") == name) for name in traces["who"].unique(maintain_order=True)
        }
        parts.append(
            Figure("Figure 6", "The first seed of each on the same prices.", figure_side_by_side(sides))
        )
        parts.append(dashboard("The dashboard with skew", sides[f"SAC {WITH}"]))
        return parts

    return content


def pays(found: Outcomes) -> Finding:
    return _compared(found, PAYS)


def pays_at_the_papers(found: Outcomes) -> Finding:
    return _compared(found, INERT)


def _compared(found: Outcomes, beta: float) -> Finding:
    names, case = (f"SAC {WITH}", f"SAC {WITHOUT}"), case_of(beta)
    own, plain = (over_drawings(found, case, name, "sharpe").times(100) for name in names)
    apart = difference(found, case, *names, "sharpe").times(100)
    return greater(own, plain, difference=apart, names=("the Sharpe ratio with skew, %,", "without"))


def inert(found: Outcomes) -> Finding:
    own, plain = (name_of(name, INERT) for name in (WITH, WITHOUT))
    gain = difference(found, "skew-curve", own, plain, "sharpe").times(100)
    return within(gain, 0.0, 0.1, name="what the best skew adds to the Sharpe ratio, %,", digits=3)


CASES = (
    Case("skew-curve", curve),
    Case("skew", learned(PAYS)),
    Case("skew-inert", learned(INERT)),
)

ITEMS = (
    Item(
        "skew-curve",
        "From where skew pays",
        "By elasticity of demand.",
        ("skew-curve", "skew", "skew-inert"),
        over_betas,
        (Claim("this project", f"At the paper’s β of {INERT:g} the best skew is worth nothing.", inert),),
    ),
    Item(
        "skew",
        "With skew and without",
        f"Figure 6, at β = {PAYS:g}.",
        ("skew",),
        shown(PAYS),
        (Claim("section 5", "The model with skew has the higher Sharpe ratio.", pays),),
    ),
    Item(
        "skew-inert",
        "With skew and without, as in the paper",
        f"At β = {INERT:g}.",
        ("skew-inert",),
        shown(INERT),
        (Claim("section 5", "The model with skew has the higher Sharpe ratio.", pays_at_the_papers),),
    ),
)
