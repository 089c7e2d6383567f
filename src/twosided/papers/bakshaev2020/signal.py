"""A signal of the next move (Bakshaev 2020, section 8): SAC uses it where it helps and ignores it where it is noise."""

import numpy as np
import polars as pl

from twosided.hedging.exact import hedging_optimum
from twosided.hedging.market import HedgingMarket
from twosided.papers.bakshaev2020 import UNIT
from twosided.papers.bakshaev2020.common import CLOSE, actions, hedging, judged_steps, learner, taught
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
    greater,
    mean,
    within,
)
from twosided.papers.learning import difference, exact, fit, judge_in_turn, over_drawings
from twosided.plots import figure_lines

CORRELATIONS = (0.0, 0.25, 0.5)
"""Of the signal with the first move that a hedge can catch."""
SIGNALS = np.linspace(-2.5, 2.5, 41)


def signal(budget: Budget, tell: Tell) -> Outcome:
    """SAC that sees the signal beside the best policy that sees the position alone, on the same chance."""
    config = learner(budget)
    blind = hedging_optimum(hedging(), num_volatilities=2, num_trends=1)
    records, frames = exact(BLIND, value=blind.position_value), []
    for correlation in CORRELATIONS:
        scenario = hedging(market=HedgingMarket(signal_correlation=correlation))
        policies, _ = fit(taught(scenario, config), config, budget, tell)
        names = {name_of("SAC", correlation): policies}, {name_of(BLIND, correlation): blind.policy}
        records += judge_in_turn(scenario, *names, budget, tell, judged_steps(budget))
        nothing = np.zeros(SIGNALS.size)
        seen = np.stack([nothing, SIGNALS], axis=1)
        rows = np.stack([actions(policy, nothing, signal=seen)["hedge"] for policy in policies])
        frames.append(
            pl.DataFrame(
                {
                    "signal": SIGNALS,
                    "hedge": rows.mean(0),
                    "hedge_error": rows.std(0, ddof=min(1, len(rows) - 1)) / np.sqrt(len(rows)),
                    "who": [f"ρ = {correlation:g}"] * SIGNALS.size,
                }
            )
        )
        # A unit more of signal moves the hedge by so much.
        for i, row in enumerate(rows):
            records += exact(f"{name_of('SAC', correlation)}, seed {i}", slope=np.polyfit(SIGNALS, row, 1)[0])
    return Outcome(records, {"hedges": pl.concat(frames)})


BLIND = "sees the position alone"


def name_of(name: str, correlation: float) -> str:
    return f"{name}, ρ = {correlation:g}"


def shown(found: Outcomes) -> list[Table | Figure]:
    rows = []
    for correlation in CORRELATIONS:
        own, blind = (name_of(name, correlation) for name in ("SAC", BLIND))
        cells = (
            Cell(over_drawings(found, "signal", own, "reward"), digits=3),
            Cell(over_drawings(found, "signal", blind, "reward"), digits=3),
            Cell(difference(found, "signal", own, blind, "reward"), digits=3),
            Cell(over_drawings(found, "signal", own, "sharpe").times(100)),
            Cell(over_drawings(found, "signal", blind, "sharpe").times(100)),
            Cell(slope(found, correlation)),
        )
        rows.append(Row(f"ρ = {correlation:g}", cells))
    note = (
        f"{UNIT} At γ = 0.001; beside it the exact policy that sees the position alone, on the same chance."
    )
    figure = figure_lines(
        found.frame("signal", "hedges"),
        "signal",
        {"hedge": "hedge of no position, units"},
        "who",
        x_title="signal, deviations",
    )
    columns = ("reward", "position alone", "more", "Sharpe, %", "position alone, %", "slope")
    return [
        Table(columns, tuple(rows), note),
        Figure("What it does about the signal", "Mean of seeds with its 95% band.", figure),
    ]


def uses(found: Outcomes) -> Finding:
    own, blind = (name_of(name, CORRELATIONS[-1]) for name in ("SAC", BLIND))
    return greater(
        over_drawings(found, "signal", own, "reward"),
        over_drawings(found, "signal", blind, "reward"),
        difference=difference(found, "signal", own, blind, "reward"),
        names=(f"the reward with a signal of ρ = {CORRELATIONS[-1]:g}", "of the position alone"),
    )


def slope(found: Outcomes, correlation: float) -> Estimate:
    """Units that the hedge of no position moves for a deviation of the signal."""
    cases = [f"{name_of('SAC', correlation)}, seed {i}" for i in range(found.budget.seeds)]
    return mean([found.record("signal", case, "slope").value for case in cases])


def ignores(found: Outcomes) -> Finding:
    most = slope(found, CORRELATIONS[-1]).value
    noise = slope(found, CORRELATIONS[0])
    return within(noise, 0.0, 0.1 * most, name="units of hedge for a deviation of noise")


def loses_little(found: Outcomes) -> Finding:
    value = found.record("signal", BLIND, "value").value
    own, blind = (name_of(name, CORRELATIONS[0]) for name in ("SAC", BLIND))
    gap = difference(found, "signal", blind, own, "reward").times(100 / abs(value))
    return within(gap, 0.0, CLOSE, name="what SAC loses where the signal is noise, %,")


CASES = (Case("signal", signal),)

ITEMS = (
    Item(
        "signal",
        "A signal of the next move",
        "The idea of section 8.",
        ("signal",),
        shown,
        (
            Claim("section 8", "The learner uses a signal that helps.", uses),
            Claim("this project", "Noise moves its hedge by less than a tenth of that.", ignores),
            Claim("this project", "It loses less than 5% where the signal is noise.", loses_little),
        ),
    ),
)
