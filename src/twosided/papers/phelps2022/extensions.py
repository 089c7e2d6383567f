"""Extensions of the slides of Phelps (2022): more learners, the optimum, a changing market, a bid and an ask."""

import numpy as np
import polars as pl

from twosided.electronic.market import CHANGES
from twosided.papers.base import (
    Cell,
    Claim,
    Estimate,
    Figure,
    Finding,
    Item,
    Outcomes,
    Row,
    Table,
    all_of,
    greater,
    within,
)
from twosided.papers.phelps2022 import LIMIT, UNIT
from twosided.papers.phelps2022.cases import (
    CELLS,
    CHARGES,
    INFORMED,
    LEARNERS,
    QUALITIES,
    SEEDS,
    TIE_TOLERANCE,
)
from twosided.plots import figure_arrows, figure_best, figure_lines

LEARNER_LABELS = {
    "sarsa-listing": "SARSA, as in the slides",
    "sarsa-lambda": "SARSA(λ)",
    "sarsa-0": "SARSA(0)",
    "expected-sarsa": "expected SARSA",
    "q-learning": "Q-learning",
    "actor-critic": "actor-critic",
    "monte-carlo": "Monte Carlo control",
}
MARKET_LABELS = {"slides": "as in the slides", "uninformed": "mostly uninformed"}


def learners(found: Outcomes) -> list[Table | Figure]:
    best = found.record("learners", "value", learner="optimum").value
    rows = []
    for name in LEARNERS:
        share = 100 * found.record("learners", "optimal_share", learner=name).value
        worst = found.record("learners", "value_min", learner=name).value
        cells = (
            Cell(Estimate(share), digits=0),
            Cell(found.estimate("learners", "value", learner=name), exact=best, digits=4),
            Cell(Estimate(worst), digits=4),
        )
        rows.append(Row(LEARNER_LABELS[name], cells))
    note = f"5,000 days each, {SEEDS} learners; exact values of the greedy policies, in ticks per step."
    return [Table(("optimal, %", "value, mean", "value, lowest"), tuple(rows), note)]


def every_learner(found: Outcomes) -> Finding:
    share = found.record("learners", "optimal_share", learner="sarsa-lambda").value
    return within(Estimate(100 * share), 100.0, 0.0, name="percent of learners that are optimal", digits=0)


def not_every_learner(found: Outcomes) -> Finding:
    share = found.record("learners", "optimal_share", learner="sarsa-listing").value
    return within(Estimate(100 * share), 100.0, 0.0, name="percent of learners that are optimal", digits=0)


def optimum(found: Outcomes) -> list[Table | Figure]:
    changes = [
        found.record("optimum", "change", solution="best table", imbalance=imbalance).value
        for imbalance in range(-LIMIT, LIMIT + 1)
    ]
    names = {
        "best table": "best table of the imbalance clipped to ±2",
        "price before the event": "optimum that observes p* before each event",
        "price after the event": "optimum that observes p* after each event",
        "value of information": "value of observing p* before each event",
    }
    rows = [
        Row(
            label,
            tuple(
                Cell(Estimate(found.record("optimum", metric, solution=name).value), digits=d)
                for metric, d in (("value", 5), ("bound", 9))
            ),
        )
        for name, label in names.items()
    ]
    tied, tables = (
        int(found.record("optimum", metric, solution="best table").value) for metric in ("tied", "tables")
    )
    note = f"{UNIT} Of {tables} tables {tied} are optimal: they differ only at imbalances that never occur."
    policy = (np.array(changes)[:, None] == np.array(CHANGES)).astype(float)
    grid = found.frame("optimum", "map")
    rates, informed = (grid[name].unique().sort().to_list() for name in ("uninformed", "informed"))
    order = grid.sort("uninformed", "informed", "threshold")["value"].to_numpy()
    values = order.reshape(len(rates), len(informed), 3)
    best = figure_best(values, rates, informed, ("h = 1", "h = 2", "h = 3"), "λ_u", "λ_i")
    return [
        Table(("value", "error bound"), tuple(rows), note),
        Figure("An optimal policy", "One of the tied tables.", figure_arrows(policy, CHANGES, CELLS.labels)),
        Figure("The best threshold by order rates", "A high threshold pays with few informed traders.", best),
    ]


def threshold_1_is_best(found: Outcomes) -> Finding:
    one = found.record("optimum", "value", solution="threshold", threshold=1).value
    best = found.record("optimum", "value", solution="best table").value
    return within(Estimate(one), best, TIE_TOLERANCE, name="v(π1)", digits=7)


def adaptation(found: Outcomes) -> list[Table | Figure]:
    frame = found.frame("adaptation", "adaptation").with_columns(
        series=pl.lit("greedy policy of the first learner, exact")
    )
    rows = []
    for name, label in MARKET_LABELS.items():
        best, share = (
            found.record("adaptation", metric, market=name).value for metric in ("optimum", "optimal_share")
        )
        before = found.record("adaptation", "value_without_adapting", market=name).value
        rows.append(
            Row(
                label,
                (
                    Cell(found.estimate("adaptation", "value", market=name), exact=best, digits=4),
                    Cell(Estimate(before), digits=4),
                    Cell(Estimate(100 * share), digits=0),
                ),
            )
        )
    note = "Exact values of the greedy policies at the end of each market, and of those at the end of the first market."
    figure = figure_lines(frame, "days", {"value": "value, ticks per step"}, "series", x_title="days")
    return [
        Table(("value", "without adapting", "optimal, %"), tuple(rows), f"{UNIT} {note}"),
        Figure("A market that changes half-way", "The maker does not observe the change.", figure),
    ]


def two_prices(found: Outcomes) -> list[Table | Figure]:
    settings = {
        f"λ_i = {informed:g}, weight of quality {quality:g}": {"informed": informed, "quality": quality}
        for informed in INFORMED
        for quality in QUALITIES
    }
    note = "on imbalance and spread; λ_p = 0.2, and the informed replace uninformed traders"
    return [_quoting(found, "two-prices", settings, note)]


def inventory(found: Outcomes) -> list[Table | Figure]:
    settings = {f"charge {weight:g} per unit and step": {"charge": weight} for weight in CHARGES}
    note = "on imbalance, inventory and spread; λ_p = 0.2, λ_u = 0.1, λ_i = 0.4"
    return [_quoting(found, "inventory", settings, note)]


def _quoting(found: Outcomes, case: str, settings: dict[str, dict[str, float]], note: str) -> Table:
    """One row per setting: spread, profit and inventory of its makers."""
    rows = []
    for label, parameters in settings.items():
        cells = (
            Cell(found.mean(case, "spread", **parameters)),
            Cell(found.mean(case, "pnl_spread", **parameters), digits=3),
            Cell(found.mean(case, "inventory_std", **parameters)),
        )
        rows.append(Row(label, cells))
    note = f"{UNIT} SARSA(λ) {note}. Spread in ticks, at most 4; standard deviation of inventory in units."
    return Table(("spread", "profit", "inventory std"), tuple(rows), note)


def charge_reduces_inventory(found: Outcomes) -> Finding:
    return greater(
        _charge(found, CHARGES[0], "inventory_std"),
        _charge(found, CHARGES[-1], "inventory_std"),
        names=("standard deviation of inventory without a charge", "with the largest"),
    )


def charge_costs(found: Outcomes) -> Finding:
    return greater(
        _charge(found, CHARGES[0], "pnl_spread"),
        _charge(found, CHARGES[-1], "pnl_spread"),
        names=("profit without a charge", "with the largest"),
        digits=3,
    )


def _charge(found: Outcomes, weight: float, metric: str) -> Estimate:
    return found.mean("inventory", metric, charge=weight)


def _two_prices(found: Outcomes, informed: float, quality: float, metric: str) -> Estimate:
    return found.mean("two-prices", metric, informed=informed, quality=quality)


def quality_narrows(found: Outcomes) -> Finding:
    return all_of(
        greater(
            _two_prices(found, informed, QUALITIES[0], "spread"),
            _two_prices(found, informed, QUALITIES[-1], "spread"),
            names=(f"the spread at λ_i = {informed:g} without a weight", "with the largest"),
        )
        for informed in INFORMED
    )


def quality_costs(found: Outcomes) -> Finding:
    return all_of(
        greater(
            _two_prices(found, informed, QUALITIES[0], "pnl_spread"),
            _two_prices(found, informed, QUALITIES[-1], "pnl_spread"),
            names=(f"profit at λ_i = {informed:g} without a weight", "with the largest"),
            digits=3,
        )
        for informed in INFORMED
    )


def informed_cost(found: Outcomes) -> Finding:
    low, high = INFORMED[0], INFORMED[-1]
    return greater(
        _two_prices(found, low, QUALITIES[0], "pnl_spread"),
        _two_prices(found, high, QUALITIES[0], "pnl_spread"),
        names=(f"profit at λ_i = {low:g}", f"at {high:g}"),
        digits=3,
    )


def adapting_pays(found: Outcomes) -> Finding:
    before = Estimate(found.record("adaptation", "value_without_adapting", market="uninformed").value)
    names = ("value in the changed market", "without adapting")
    return greater(found.estimate("adaptation", "value", market="uninformed"), before, names=names, digits=4)


ITEMS = (
    Item(
        "learners",
        "Learners compared",
        "Extension of the slides.",
        ("learners",),
        learners,
        (
            Claim(
                "slide 1.16", "With the slides’ settings every learner finds the optimum.", not_every_learner
            ),
            Claim("this project", "With our settings every learner does.", every_learner),
        ),
    ),
    Item(
        "optimum",
        "The exact optimum",
        "Extension of the slides.",
        ("optimum",),
        optimum,
        (Claim("this project", "Threshold 1 is optimal among all tables.", threshold_1_is_best),),
    ),
    Item(
        "adaptation",
        "A changing market",
        "Slide 1.20.",
        ("adaptation",),
        adaptation,
        (Claim("slide 1.20", "A maker that keeps learning adapts to a changing market.", adapting_pays),),
    ),
    Item(
        "two-prices",
        "A bid and an ask",
        "The extended model of Chan and Shelton (2001).",
        ("two-prices",),
        two_prices,
        (
            Claim(
                "Chan and Shelton",
                "A reward for quality narrows the spread.",
                quality_narrows,
            ),
            Claim("Chan and Shelton", "Quality costs profit.", quality_costs),
            Claim("Chan and Shelton", "Informed traders cost profit.", informed_cost),
        ),
    ),
    Item(
        "inventory",
        "A charge for inventory",
        "The extended model of Chan and Shelton (2001).",
        ("inventory",),
        inventory,
        (
            Claim(
                "Chan and Shelton",
                "A charge for inventory reduces it.",
                charge_reduces_inventory,
            ),
            Claim("Chan and Shelton", "A smaller inventory costs profit.", charge_costs),
        ),
    ),
)
