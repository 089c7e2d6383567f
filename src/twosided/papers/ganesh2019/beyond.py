"""Beyond the paper: what knowing the client earns (its section 7), and makers that learn at once."""

import polars as pl

from twosided.core.records import MEAN
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
from twosided.papers.ganesh2019.readings import UNIT, own
from twosided.plots import figure_lines


def tiers(found: Outcomes) -> list[Table | Figure]:
    rows = []
    for name in ("one price", "by tier"):
        case = f"{name}, {MEAN}"
        best = 100 * found.record("tiers", f"{name}, exact", "pnl_total").value
        gap = _of_seeds(found, case, "optimality_gap")
        rows.append(
            Row(name, (Cell(_of_seeds(found, case, "pnl_total", 100), exact=best), Cell(gap, digits=1)))
        )
    note = f"{UNIT} Exact: the supremum over all policies, which follow the book that they see."
    return [Table(("total", "gap, %"), tuple(rows), note)]


def knowing_earns(found: Outcomes) -> Finding:
    apart, one = (_of_seeds(found, f"{name}, {MEAN}", "pnl_total", 100) for name in ("by tier", "one price"))
    return greater(apart, one, names=("a price for each tier earns", "one for all"))


def _of_seeds(found: Outcomes, case: str, metric: str, scale: float = 1.0) -> Estimate:
    """A mean of seeds whose case has a longer name."""
    estimate = found.estimate("tiers", case, metric, scale=scale)
    return Estimate(estimate.value, estimate.error, found.budget.seeds - 1)


def duel(found: Outcomes) -> list[Table | Figure]:
    quotes = found.frame("duel", "quotes").with_columns(
        who=pl.format("seed {}, maker {}", pl.col("seed"), pl.col("maker"))
    )
    figure = figure_lines(
        quotes,
        "steps",
        {"epsilon": "mean ε of both sides"},
        "who",
        x_title="market steps of training, a seed",
    )
    collusive = 100 * found.record("duel", "collusive", "pnl_total").value
    rows = [Row(f"maker {maker}", _seat(found, maker)) for maker in (0, 1)]
    note = (
        f"{UNIT} Response: the better of two to the first seed’s other maker, which stays as it is, one trained from "
        "scratch, one from where the seat itself stands. Exact: what all orders are worth at the other’s own mean ε; "
        f"nobody wins more. Two makers that both asked ε = 1 would earn {collusive:.0f} each, two that gave everything "
        "away nothing."
    )
    columns = ("PnL, mean of seeds", "PnL, first seed", "its best response", "exploitability")
    return [
        Figure("What two learners ask", "Each pair learns at once, from scratch.", figure),
        Table(columns, tuple(rows), note),
    ]


def _seat(found: Outcomes, maker: int) -> tuple[Cell, ...]:
    trained, response = _trained(found, maker), _response(found, maker)
    most = 100 * found.record("duel", f"response {maker}", "pnl_total").value
    return (
        Cell(found.estimate("duel", MEAN, "pnl_total", maker, 100)),
        Cell(trained),
        Cell(response, exact=most),
        Cell(response.minus(trained), exact=most - trained.value),
    )


def _trained(found: Outcomes, maker: int) -> Estimate:
    return own(found, "duel", f"response {maker}, trained on, as trained")


def _response(found: Outcomes, maker: int) -> Estimate:
    ways = (own(found, "duel", f"response {maker}, {way}, {MEAN}") for way in ("from scratch", "trained on"))
    best = max(ways, key=lambda estimate: estimate.value)
    return Estimate(best.value, best.error, found.budget.seeds - 1)


def competitive(found: Outcomes) -> Finding:
    """Nearer to giving everything away than to the spread of the exchange."""
    return greater(
        Estimate(-0.5),
        found.estimate("duel", MEAN, "epsilon_buy_mean"),
        names=("half of the exchange’s spread, ε = −0.5", "the mean ε of two learners"),
    )


def exploitable(found: Outcomes) -> Finding:
    gain = _response(found, 0).minus(_trained(found, 0))
    return within(gain, 0.0, 1.0, name="what a best response to the pair would earn more, × 100,")


ITEMS = (
    Item(
        "tiers",
        "What knowing the client earns",
        "Fourteen investors who know nothing and six who know the next move, against Unif[−0.5, 0.5]; hedging is free.",
        ("tiers",),
        tiers,
        (Claim("this project", "A maker that knows who asks earns more.", knowing_earns),),
    ),
    Item(
        "two-learners",
        "Two makers that learn at once",
        "Independent PPO in both seats of the same market.",
        ("duel",),
        duel,
        (
            Claim("this project", "Two learners end nearer to competition than to collusion.", competitive),
            Claim("this project", "What they end in is an equilibrium to within 1 (PnL × 100).", exploitable),
        ),
    ),
)
