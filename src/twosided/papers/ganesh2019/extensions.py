"""Extensions of the paper: the value of knowing the client (its section 7), and two makers that learn at once."""

import polars as pl

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
    greater,
    within,
)
from twosided.papers.ganesh2019.cases import LEARNER, OPTIMUM
from twosided.papers.ganesh2019.estimates import SCALE, UNIT, learner, own
from twosided.plots import figure_lines

TIER_LABELS = {False: "one price", True: "by tier"}


def tiers(found: Outcomes) -> list[Table | Figure]:
    rows = []
    for by_tier, label in TIER_LABELS.items():
        best = SCALE * found.record("tiers", "pnl_total", **OPTIMUM, by_tier=by_tier).value
        gap = found.mean("tiers", "optimality_gap", **LEARNER, by_tier=by_tier)
        rows.append(Row(label, (Cell(_earned(found, by_tier), exact=best), Cell(gap, digits=1))))
    note = f"{UNIT} Exact: the supremum over all policies, which depend on the observed book."
    return [Table(("total", "gap, %"), tuple(rows), note)]


def knowing_earns(found: Outcomes) -> Finding:
    apart, one = (_earned(found, by_tier) for by_tier in (True, False))
    return greater(apart, one, names=("PnL with a price for each tier", "with one price"))


def _earned(found: Outcomes, by_tier: bool) -> Estimate:
    return found.mean("tiers", "pnl_total", **LEARNER, by_tier=by_tier).times(SCALE)


def duel(found: Outcomes) -> list[Table | Figure]:
    quotes = found.frame("duel", "quotes").with_columns(
        series=pl.format("seed {}, maker {}", pl.col("seed"), pl.col("maker"))
    )
    figure = figure_lines(
        quotes,
        "timesteps",
        {"epsilon": "mean ε of both sides"},
        "series",
        x_title="market steps of training, per seed",
    )
    collusive = SCALE * found.record("duel", "pnl_total", policy="collusive").value
    rows = [Row(f"maker {maker}", _seat(found, maker)) for maker in (0, 1)]
    note = (
        f"{UNIT} Best response: the better of two learners against the first seed’s other maker, which is fixed; one "
        "is trained from scratch, one from the seat’s own parameters. Exact: the value of all orders at the other "
        "maker’s mean ε, which is a bound. Two makers at ε = 1 would each earn "
        f"{collusive:.0f}, two at ε = −1 nothing."
    )
    columns = ("PnL, mean of seeds", "PnL, first seed", "its best response", "exploitability")
    return [
        Figure(
            "Quotes of two learners", "Both makers of a pair learn at the same time, from scratch.", figure
        ),
        Table(columns, tuple(rows), note),
    ]


def _seat(found: Outcomes, maker: int) -> tuple[Cell, ...]:
    trained, response = _trained(found, maker), _response(found, maker)
    most = SCALE * found.record("duel", "pnl_total", policy="response", seat=maker, method="bound").value
    return (
        Cell(learner(found, "duel", "pnl_total", maker).times(SCALE)),
        Cell(trained),
        Cell(response, exact=most),
        Cell(response.minus(trained), exact=most - trained.value),
    )


def _trained(found: Outcomes, maker: int) -> Estimate:
    return own(found, "duel", policy="as trained", seat=maker, start="trained")


def _response(found: Outcomes, maker: int) -> Estimate:
    starts = (
        found.mean("duel", "pnl_total", policy="response", seat=maker, start=start).times(SCALE)
        for start in ("scratch", "trained")
    )
    return max(starts, key=lambda estimate: estimate.value)


def competitive(found: Outcomes) -> Finding:
    """Nearer to ε = −1, a spread of zero, than to the spread of the exchange."""
    return greater(
        Estimate(-0.5),
        learner(found, "duel", "epsilon_buy_mean"),
        names=("half of the exchange’s spread, ε = −0.5", "the mean ε of two learners"),
    )


def exploitable(found: Outcomes) -> Finding:
    gain = _response(found, 0).minus(_trained(found, 0))
    return within(gain, 0.0, 1.0, name="gain of a best response to the pair, × 100,")


ITEMS = (
    Item(
        "tiers",
        "The value of knowing the client",
        "Fourteen uninformed investors and six who know the next move, against Unif[−0.5, 0.5]; hedging is free.",
        ("tiers",),
        tiers,
        (Claim("this project", "A maker that knows the client’s tier earns more.", knowing_earns),),
    ),
    Item(
        "two-learners",
        "Two makers that learn at the same time",
        "Independent PPO in both seats of the same market.",
        ("duel",),
        duel,
        (
            Claim("this project", "Two learners end nearer to competition than to collusion.", competitive),
            Claim(
                "this project",
                "Their final policies are an equilibrium to within 1 (PnL × 100).",
                exploitable,
            ),
        ),
    ),
)
