"""What the slides of Phelps (2022) show, cell by cell, with ours and the exact values beside it."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import polars as pl

from twosided.electronic.market import CHANGES
from twosided.learn.online import greedy
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
from twosided.papers.phelps2022 import (
    EXPLORED,
    GREEDY,
    LEARNED,
    LEARNED_DAY,
    LIMIT,
    ONE_DAY,
    PAIR_VALUES,
    STATE_VALUES,
    UNIT,
    VALUES,
)
from twosided.papers.phelps2022.cases import CELLS, SEEDS
from twosided.plots import figure_arrows, figure_lines, figure_table

ACTIONS = ("Δp = −1", "Δp = 0", "Δp = 1")
IMBALANCES = range(-LIMIT, LIMIT + 1)
NEAR = 0.5
"""Ticks that a learned Q may be from the exact one, which is near −6 there."""
AGREES = 3.0
"""Standard errors that a sampled value may be from the exact one."""


def day(found: Outcomes) -> list[Table | Figure]:
    steps = found.frame("day", "day")
    prices = pl.concat(
        [
            steps.select("time", pl.col("price").alias("ticks"), what=pl.lit("p*, the fundamental price")),
            steps.select("time", pl.col("quote").alias("ticks"), what=pl.lit("pᵐ, the maker’s")),
        ]
    )
    rest = steps.with_columns(what=pl.lit("π₂"))
    orders = found.frame("day", "uninformed").with_columns(what=pl.lit("uninformed traders alone"))
    reward = Estimate(found.record("day", "day", "reward").value)
    row = Row("π₂", (Cell(reward, ONE_DAY["2"]), Cell(reward.times(150), -165.0, digits=0)))
    note = "A single day says little: the slides’ own are two different ones. Reward in ticks."
    return [
        Figure("Prices", "p* moves by chance, the maker follows.", _lines(prices, {"ticks": "price, ticks"})),
        Figure(
            "Imbalance and reward",
            "I, orders since the last change of quote, and what each step paid.",
            _lines(rest, {"imbalance": "imbalance, units", "reward": "reward, ticks"}),
        ),
        Figure(
            "Orders of uninformed traders",
            "Their sum, on a day without others.",
            _lines(orders, {"orders": "orders, units"}),
        ),
        Table(("reward a step", "over the day"), (row,), note),
    ]


def _lines(frame: pl.DataFrame, panels: Mapping[str, str]):
    return figure_lines(frame, "time", panels, "what", x_title="event")


def values(found: Outcomes) -> list[Table | Figure]:
    rows = [Row(f"π{h}", (Cell(_value(found, h), VALUES[h], _exact_value(found, h), 5),)) for h in VALUES]
    return [Table(("v(π)",), tuple(rows), f"{UNIT} Theirs are means of 1,000 days.")]


def _value(found: Outcomes, h: int) -> Estimate:
    return found.estimate("values", f"threshold {h}", "reward")


def _exact_value(found: Outcomes, h: int) -> float:
    return found.record("values", f"exact {h}", "reward").value


def sampled_right(found: Outcomes) -> Finding:
    findings = []
    for h in VALUES:
        ours = _value(found, h)
        reach = AGREES * (ours.error or 0.0)
        findings.append(within(Estimate(ours.value), _exact_value(found, h), reach, digits=5))
    return all_of(findings)


def lower_is_better(found: Outcomes) -> Finding:
    names = {h: f"v(π{h})" for h in VALUES}
    return all_of(
        greater(_value(found, h), _value(found, h + 1), names=(names[h], names[h + 1]), digits=4)
        for h in (1, 2)
    )


def states(found: Outcomes) -> list[Table | Figure]:
    tables = []
    for h, printed in STATE_VALUES.items():
        rows = []
        for i, imbalance in enumerate(range(-h, h + 1)):
            ours, exact = (
                found.record("states", f"{case} {h}", f"{i}, 0") for case in ("threshold", "exact")
            )
            cell = Cell(Estimate(ours.value, ours.error), printed[imbalance], exact.value, 4)
            rows.append(Row(f"{imbalance}".replace("-", "−"), (cell,)))
        tables.append(Table(("v(s)",), tuple(rows), UNIT, f"π{h}, by imbalance"))
    return tables


def masks(found: Outcomes) -> Finding:
    """The slides' code picks rewards by the imbalances of another day, so all its states have the mean of the day."""
    return all_of(
        within(
            Estimate(value),
            _exact_value(found, h),
            0.03,
            name=f"theirs, π{h} at {imbalance},".replace("-", "−"),
            digits=3,
        )
        for h, printed in STATE_VALUES.items()
        for imbalance, value in printed.items()
    )


def pairs(found: Outcomes) -> list[Table | Figure]:
    rows = []
    for imbalance in IMBALANCES:
        change = int(np.sign(imbalance)) if abs(imbalance) == 2 else 0
        entry = f"{imbalance + LIMIT}, {change + 1}"
        cells = []
        for average, theirs in (("by episode", PAIR_VALUES[imbalance, change]), ("pooled", None)):
            record = found.record("pairs", f"threshold 2, {average}", entry)
            exact = found.record("pairs", "threshold 2, exact", entry).value if average == "pooled" else None
            cells.append(Cell(Estimate(record.value, record.error), theirs, exact, 4))
        rows.append(Row(f"{imbalance}, Δp = {change}".replace("-", "−"), tuple(cells)))
    note = f"{UNIT} Only these pairs occur. A mean of days’ means weighs every day alike, so it is another number."
    return [Table(("mean of days’ means", "pooled"), tuple(rows), note, "Q(s, a) of π₂")]


def exploring(found: Outcomes) -> list[Table | Figure]:
    tables: list[Table | Figure] = []
    names = {
        "turned round": "As printed: it lowers its quote where it is bought from, and raises it where it is sold to",
        "exploring": "As meant: π₂ that explores",
    }
    for name, title in names.items():
        rows = []
        for i, imbalance in enumerate(IMBALANCES):
            cells = []
            for j in range(3):
                record = found.record("pairs", f"{name}, pooled", f"{i}, {j}")
                exact = found.record("pairs", f"{name}, exact", f"{i}, {j}").value
                theirs = EXPLORED[i][j] if name == "turned round" else None
                cells.append(Cell(Estimate(record.value, record.error), theirs, exact, 3))
            rows.append(Row(str(imbalance).replace("-", "−"), tuple(cells)))
        tables.append(Table(ACTIONS, tuple(rows), f"{UNIT} Theirs is the mean of days’ means.", title))
    return tables


def turned_round(found: Outcomes) -> Finding:
    """Each of their values is nearer to the policy with its signs turned round than to the one that is meant."""
    worst = max(
        abs(EXPLORED[i][j] - found.record("pairs", "turned round, by episode", f"{i}, {j}").value)
        for i in range(5)
        for j in range(3)
    )
    return within(
        Estimate(worst),
        0.0,
        0.75,
        name="the largest difference of theirs to ours with the signs turned round",
    )


def iteration(found: Outcomes) -> list[Table | Figure]:
    frame = found.frame("iteration", "iterations")
    rows = []
    for row in frame.iter_rows(named=True):
        end = {0: "not within the limit", 1: "stays"}.get(row["circle"], f"a circle of {row['circle']}")
        label = f"{row['values']}, from {row['first']}: {end}, at {row['last'].replace('-', '−')}"
        cells = (
            Cell(Estimate(row["improvements"]), digits=0),
            Cell(Estimate(row["worth"]), digits=5),
        )
        rows.append(Row(label, cells))
    note = (
        "The last policy’s changes of quote at imbalances −2 to 2, and its worth without exploring, ticks a step. "
        "Policies explore with 0.1 while they are evaluated, at γ = 0."
    )
    return [Table(("improvements", "worth"), tuple(rows), note)]


def circles(found: Outcomes) -> Finding:
    """The promise of slide 1.7 for this market, with exact values."""
    known = found.frame("iteration", "iterations").filter(pl.col("values") == "exact")
    longest = Estimate(float(known["circle"].max()))  # pyright: ignore[reportArgumentType]
    return within(longest, 1.0, 0.0, name="policies in the longest circle", digits=0)


def learned(found: Outcomes) -> list[Table | Figure]:
    out: list[Table | Figure] = []
    for name, title, theirs in (
        ("listing, one day", "The listing, after one day: its first learner", LEARNED_DAY),
        ("listing", f"The listing, after 5,000 days: mean of {SEEDS} learners", LEARNED),
        ("ours", f"SARSA(λ), after 5,000 days: mean of {SEEDS} learners", None),
    ):
        rows = []
        for i, label in enumerate(CELLS.labels):
            cells = []
            for j in range(3):
                record = found.record("learning", name, f"{i}, {j}")
                ours = Estimate(record.value, record.error, SEEDS - 1 if record.error else None)
                exact = None
                if name != "listing, one day":
                    exact = _entry(found, f"{name}, exact", i, j)
                cells.append(Cell(ours, theirs[i][j] if theirs else None, exact, 3))
            rows.append(Row(label, tuple(cells)))
        note = f"{UNIT} Exact: what the first learner’s table settles on if its policy stays."
        out.append(Table(ACTIONS, tuple(rows), note, title))
    for name, title in (("listing", "The listing"), ("ours", "SARSA(λ)")):
        q = np.array(
            [
                [found.record("learning", f"{name}, seed 0", f"{i}, {j}").value for j in range(3)]
                for i in range(5)
            ]
        )
        out.append(
            Figure(
                f"{title}: the first learner’s table",
                "The best of each row is framed.",
                figure_table(q, CELLS.labels, ACTIONS),
            )
        )
        arrows = figure_arrows(np.asarray(greedy(jnp.asarray(q))), CHANGES, CELLS.labels)
        out.append(Figure(f"{title}: its greedy policy", "By imbalance.", arrows))
    final = found.frame("learning", "final")
    prices = pl.concat(
        [
            final.select("time", pl.col("mid").alias("ticks"), what=pl.lit("p*")),
            final.select("time", pl.col("bid").alias("ticks"), what=pl.lit("pᵐ")),
        ]
    )
    rewards = final.with_columns(what=pl.lit("SARSA(λ)"))
    out.append(Figure("The prices of a day after learning", "", _lines(prices, {"ticks": "price, ticks"})))
    out.append(Figure("Its rewards", "", _lines(rewards, {"pnl_spread": "reward, ticks"})))
    return out


def _entry(found: Outcomes, case: str, i: int, j: int) -> float | None:
    """A record that there may not be."""
    known = {r.metric: r.value for r in found["learning"].records if r.case == case}
    return known.get(f"{i}, {j}")


def near_what_is_exact(found: Outcomes) -> Finding:
    """Rarer imbalances still have much of the table that they began with."""
    worst = max(
        found.record("learning", "ours, furthest", f"{i}, {j}").value for i in (1, 2, 3) for j in range(3)
    )
    return within(Estimate(worst), 0.0, NEAR, name="the furthest entry of any learner, in ticks,")


def greedy_as_printed(found: Outcomes) -> Finding:
    """What their table makes best is one of the tables that are best."""
    changes = [int(np.argmax(row)) - 1 for row in LEARNED]
    return within(
        Estimate(float(sum(a != b for a, b in zip(changes, GREEDY, strict=True)))),
        0.0,
        0.0,
        name="rows in which the printed table’s best action is not the printed policy’s",
        digits=0,
    )


ITEMS = (
    Item("day", "One day", "Slides 1.3.12 to 1.5.4.", ("day",), day),
    Item(
        "values",
        "The value of a threshold",
        "Slide 1.5.2.",
        ("values",),
        values,
        (
            Claim("slide 1.5.2", "The lower the threshold, the better.", lower_is_better),
            Claim(
                "this project", "Sampled values are the exact ones, within 3 standard errors.", sampled_right
            ),
        ),
    ),
    Item(
        "states",
        "The value of states",
        "Slide 1.5.6.",
        ("states", "values"),
        states,
        (Claim("this project", "What the slides print for each state is the mean of the day.", masks),),
    ),
    Item("pairs", "The value of pairs", "Slide 1.5.8.", ("pairs",), pairs),
    Item(
        "exploration",
        "The values of a policy that explores",
        "Slides 1.5.9 and 1.5.10.",
        ("pairs",),
        exploring,
        (Claim("this project", "The slides’ exploring policy has its signs turned round.", turned_round),),
    ),
    Item(
        "policy-iteration",
        "Policy iteration",
        "Slide 1.7.",
        ("iteration",),
        iteration,
        (Claim("slide 1.7", "Policies and values converge.", circles),),
    ),
    Item(
        "sarsa",
        "SARSA",
        "Slides 1.15 to 1.19.",
        ("learning",),
        learned,
        (
            Claim("slide 1.17", "The greedy policy is that of the printed table.", greedy_as_printed),
            Claim(
                "this project",
                f"Where it comes, |I| ≤ 1, every learner’s Q is within {NEAR:g} ticks of the exact one of its policy.",
                near_what_is_exact,
            ),
        ),
    ),
)
