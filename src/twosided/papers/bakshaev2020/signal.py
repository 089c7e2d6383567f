"""A signal of the next move (Bakshaev 2020, section 8): SAC uses it if it helps and ignores it if it is noise."""

import numpy as np
import polars as pl

from twosided.core.records import Parameter
from twosided.hedging.exact import hedging_optimum
from twosided.hedging.market import HedgingMarket
from twosided.papers.bakshaev2020 import UNIT
from twosided.papers.bakshaev2020.common import (
    MAX_GAP,
    actions,
    evaluation_steps,
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
    greater,
    records_of,
    within,
)
from twosided.papers.learning import (
    difference,
    evaluate_replications,
    labelled,
    over_replications,
    train_policies,
)
from twosided.plots import figure_lines

CORRELATIONS = (0.0, 0.25, 0.5)
"""Correlations of the signal with the first price move after a hedge."""
SIGNALS = np.linspace(-2.5, 2.5, 41)


def signal(budget: Budget, report: Report) -> Outcome:
    """Evaluate SAC with the signal, and the optimal policy of the position alone, on common random numbers."""
    config = learner(budget)
    blind = hedging_optimum(hedging(), num_volatilities=2, num_trends=1)
    records, frames = records_of({"policy": "optimum"}, value=blind.position_value), []
    for correlation in CORRELATIONS:
        scenario = hedging(market=HedgingMarket(signal_correlation=correlation))
        policies, _ = train_policies(training_scenario(scenario, config), config, budget, report)
        sac, optimum = (_maker(policy, correlation) for policy in ("SAC", "optimum"))
        records += evaluate_replications(
            scenario, [(sac, policies)], [(optimum, blind.policy)], budget, report, evaluation_steps(budget)
        )
        nothing = np.zeros(SIGNALS.size)
        seen = np.stack([nothing, SIGNALS], axis=1)
        rows = np.stack([actions(policy, nothing, signal=seen)["hedge"] for policy in policies])
        frames.append(
            pl.DataFrame(
                {
                    "signal": SIGNALS,
                    "hedge": rows.mean(0),
                    "hedge_error": rows.std(0, ddof=min(1, len(rows) - 1)) / np.sqrt(len(rows)),
                    "correlation": [correlation] * SIGNALS.size,
                }
            )
        )
        # Change of the hedge per unit of the signal.
        for i, row in enumerate(rows):
            records += records_of({**sac, "replication": i}, slope=np.polyfit(SIGNALS, row, 1)[0])
    return Outcome(records, {"hedges": pl.concat(frames)})


def _maker(policy: str, correlation: float) -> dict[str, Parameter]:
    return {"policy": policy, "correlation": correlation}


def _label(correlation: float) -> str:
    return f"ρ = {correlation:g}"


def _gain(found: Outcomes, correlation: float) -> Estimate:
    """Reward of SAC less that of the optimal policy that observes only the position."""
    sac, optimum = (_maker(policy, correlation) for policy in ("SAC", "optimum"))
    return difference(found, "signal", "reward", sac, optimum)


def shown(found: Outcomes) -> list[Table | Figure]:
    rows = []
    for correlation in CORRELATIONS:
        own, blind = (_maker(policy, correlation) for policy in ("SAC", "optimum"))
        cells = (
            Cell(over_replications(found, "signal", "reward", **own), digits=3),
            Cell(over_replications(found, "signal", "reward", **blind), digits=3),
            Cell(_gain(found, correlation), digits=3),
            Cell(over_replications(found, "signal", "sharpe", **own).times(100)),
            Cell(over_replications(found, "signal", "sharpe", **blind).times(100)),
            Cell(slope(found, correlation)),
        )
        rows.append(Row(_label(correlation), cells))
    note = f"{UNIT} At γ = 0.001, with the exact policy of the position alone, on common random numbers."
    figure = figure_lines(
        labelled(found.frame("signal", "hedges"), _label, "correlation"),
        "signal",
        {"hedge": "hedge at no position, units"},
        "series",
        x_title="signal, standard deviations",
    )
    columns = ("reward", "position alone", "gain", "Sharpe, %", "position alone, %", "slope")
    return [
        Table(columns, tuple(rows), note),
        Figure("Hedge by signal", "Mean of seeds with its 95% band.", figure),
    ]


def uses(found: Outcomes) -> Finding:
    own, blind = (_maker(policy, CORRELATIONS[-1]) for policy in ("SAC", "optimum"))
    return greater(
        over_replications(found, "signal", "reward", **own),
        over_replications(found, "signal", "reward", **blind),
        difference=_gain(found, CORRELATIONS[-1]),
        names=(f"the reward with a signal of {_label(CORRELATIONS[-1])}", "with the position alone"),
    )


def slope(found: Outcomes, correlation: float) -> Estimate:
    """Change of the hedge at no position, in units, per standard deviation of the signal."""
    return over_replications(found, "signal", "slope", **_maker("SAC", correlation))


def ignores(found: Outcomes) -> Finding:
    most = slope(found, CORRELATIONS[-1]).value
    noise = slope(found, CORRELATIONS[0])
    return within(noise, 0.0, 0.1 * most, name="units of hedge per standard deviation of noise")


def loses_little(found: Outcomes) -> Finding:
    value = found.record("signal", "value", policy="optimum").value
    own, blind = (_maker(policy, CORRELATIONS[0]) for policy in ("SAC", "optimum"))
    gap = difference(found, "signal", "reward", blind, own).times(100 / abs(value))
    return within(gap, 0.0, MAX_GAP, name="the loss of SAC if the signal is noise, %,")


CASES = (Case("signal", signal),)

ITEMS = (
    Item(
        "signal",
        "A signal of the next move",
        "An idea of section 8.",
        ("signal",),
        shown,
        (
            Claim("section 8", "The learner uses a signal that helps.", uses),
            Claim("this project", "Its hedge responds to noise by less than a tenth of that.", ignores),
            Claim("this project", "It loses less than 5% if the signal is noise.", loses_little),
        ),
    ),
)
