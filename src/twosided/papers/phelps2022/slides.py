"""Tables and figures of the slides of Phelps (2022): printed, simulated and exact values."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import polars as pl

from twosided.core.records import Parameter
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
from twosided.papers.phelps2022.cases import CELLS, SEEDS, training_days
from twosided.plots import figure_arrows, figure_lines, figure_table

ACTIONS = (-1, 0, 1)
"""Changes of the quote, in ticks."""
ACTION_LABELS = ("Δp = −1", "Δp = 0", "Δp = 1")
IMBALANCES = range(-LIMIT, LIMIT + 1)
TOLERANCE = 0.5
"""Largest distance of a learned Q from the exact one, which is near −6 there, in ticks."""
AGREEMENT = 3.0
"""Largest distance of a sampled value from the exact one, in standard errors."""


def day(found: Outcomes) -> list[Table | Figure]:
    steps = found.frame("day", "day")
    prices = pl.concat(
        [
            steps.select("time", pl.col("price").alias("ticks"), series=pl.lit("p*, the fundamental price")),
            steps.select("time", pl.col("quote").alias("ticks"), series=pl.lit("pᵐ, the maker’s")),
        ]
    )
    rest = steps.with_columns(series=pl.lit("π₂"))
    orders = found.frame("day", "uninformed").with_columns(series=pl.lit("uninformed traders alone"))
    reward = Estimate(found.record("day", "reward", threshold=2).value)
    row = Row("π₂", (Cell(reward, ONE_DAY["2"]), Cell(reward.times(150), -165.0, digits=0)))
    note = "A single day is a small sample: the slides show two different days. Reward in ticks."
    return [
        Figure("Prices", "p* moves at random; the quote follows.", _lines(prices, {"ticks": "price, ticks"})),
        Figure(
            "Imbalance and reward",
            "I, orders since the last change of quote, and the reward of each step.",
            _lines(rest, {"imbalance": "imbalance, units", "reward": "reward, ticks"}),
        ),
        Figure(
            "Orders of uninformed traders",
            "Their sum, on a day without other traders.",
            _lines(orders, {"orders": "orders, units"}),
        ),
        Table(("reward per step", "over the day"), (row,), note),
    ]


def _lines(frame: pl.DataFrame, panels: Mapping[str, str]):
    return figure_lines(frame, "time", panels, "series", x_title="event")


def values(found: Outcomes) -> list[Table | Figure]:
    rows = [Row(f"π{h}", (Cell(_value(found, h), VALUES[h], _exact_value(found, h), 5),)) for h in VALUES]
    return [Table(("v(π)",), tuple(rows), f"{UNIT} The paper’s are means of 1,000 days.")]


def _value(found: Outcomes, h: int) -> Estimate:
    return found.estimate("values", "reward", threshold=h, method="sampled")


def _exact_value(found: Outcomes, h: int) -> float:
    return found.record("values", "reward", threshold=h, method="exact").value


def sampled_right(found: Outcomes) -> Finding:
    findings = []
    for h in VALUES:
        ours = _value(found, h)
        reach = AGREEMENT * (ours.error or 0.0)
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
        for imbalance in range(-h, h + 1):
            ours, exact = (
                found.record("states", "value", threshold=h, method=method, imbalance=imbalance)
                for method in ("sampled", "exact")
            )
            cell = Cell(Estimate(ours.value, ours.error), printed[imbalance], exact.value, 4)
            rows.append(Row(f"{imbalance}".replace("-", "−"), (cell,)))
        tables.append(Table(("v(s)",), tuple(rows), UNIT, f"π{h}, by imbalance"))
    return tables


def states_have_the_mean_of_the_day(found: Outcomes) -> Finding:
    """The slides' code selects rewards by the imbalances of another day, so all states have the mean of the day."""
    return all_of(
        within(
            Estimate(value),
            _exact_value(found, h),
            0.03,
            name=f"the paper’s, π{h} at {imbalance},".replace("-", "−"),
            digits=3,
        )
        for h, printed in STATE_VALUES.items()
        for imbalance, value in printed.items()
    )


def pairs(found: Outcomes) -> list[Table | Figure]:
    rows = []
    for imbalance in IMBALANCES:
        change = int(np.sign(imbalance)) if abs(imbalance) == 2 else 0
        by_episode = _pair(found, "threshold", imbalance, change, average="by episode")
        pooled = _pair(found, "threshold", imbalance, change, average="pooled")
        exact = _pair(found, "threshold", imbalance, change, method="exact").value
        cells = (
            Cell(by_episode, PAIR_VALUES[imbalance, change], digits=4),
            Cell(pooled, exact=exact, digits=4),
        )
        rows.append(Row(f"{imbalance}, Δp = {change}".replace("-", "−"), cells))
    note = f"{UNIT} Only these pairs occur. A mean of days’ means gives every day the same weight, so it differs."
    return [Table(("mean of days’ means", "pooled"), tuple(rows), note, "Q(s, a) of π₂")]


def _pair(found: Outcomes, policy: str, imbalance: int, change: int, **parameters: str) -> Estimate:
    """Q of a policy at an imbalance and a change of quote."""
    pair = {"policy": policy, "imbalance": imbalance, "change": change}
    return found.estimate("pairs", "action_value", **pair, **parameters)


def exploring(found: Outcomes) -> list[Table | Figure]:
    tables: list[Table | Figure] = []
    names = {
        "reversed": "As printed: it lowers the quote after buy orders and raises it after sell orders",
        "exploring": "As intended: π₂ with exploration",
    }
    for name, title in names.items():
        rows = []
        for imbalance, printed in zip(IMBALANCES, EXPLORED, strict=True):
            cells = []
            for change, paper in zip(ACTIONS, printed, strict=True):
                ours = _pair(found, name, imbalance, change, average="pooled")
                exact = _pair(found, name, imbalance, change, method="exact").value
                cells.append(Cell(ours, paper if name == "reversed" else None, exact, 3))
            rows.append(Row(str(imbalance).replace("-", "−"), tuple(cells)))
        tables.append(
            Table(ACTION_LABELS, tuple(rows), f"{UNIT} The paper’s is the mean of days’ means.", title)
        )
    return tables


def signs_are_reversed(found: Outcomes) -> Finding:
    """All of the printed values are close to those of the policy with reversed signs."""
    worst = max(
        abs(paper - _pair(found, "reversed", imbalance, change, average="by episode").value)
        for imbalance, printed in zip(IMBALANCES, EXPLORED, strict=True)
        for change, paper in zip(ACTIONS, printed, strict=True)
    )
    return within(
        Estimate(worst),
        0.0,
        0.75,
        name="the largest difference of the paper’s values from ours with reversed signs",
    )


def iteration(found: Outcomes) -> list[Table | Figure]:
    frame = found.frame("iteration", "iterations")
    rows = []
    for row in frame.iter_rows(named=True):
        end = {0: "not within the limit", 1: "converges"}.get(row["cycle"], f"a cycle of {row['cycle']}")
        last = " ".join(f"{change:+d}" for change in row["last"]).replace("-", "−")
        label = f"{row['method']}, from {row['first']}: {end}, at {last}"
        cells = (
            Cell(Estimate(row["improvements"]), digits=0),
            Cell(Estimate(row["value"]), digits=5),
        )
        rows.append(Row(label, cells))
    note = (
        "The last policy’s changes of quote at imbalances −2 to 2, and its value without exploration, ticks per step. "
        "Policies are evaluated with ε = 0.1 and γ = 0."
    )
    return [Table(("improvements", "value"), tuple(rows), note)]


def iteration_converges(found: Outcomes) -> Finding:
    """The statement of slide 1.7 for this market, with exact values."""
    exact = found.frame("iteration", "iterations").filter(pl.col("method") == "exact")
    longest = Estimate(float(exact["cycle"].max()))  # pyright: ignore[reportArgumentType]
    return within(longest, 1.0, 0.0, name="policies in the longest cycle", digits=0)


def learned(found: Outcomes) -> list[Table | Figure]:
    out: list[Table | Figure] = []
    days = training_days(found.budget)
    first = {"settings": "listing", "days": 1, "replication": 0}
    listing, ours = ({"settings": name, "days": days, "replications": SEEDS} for name in ("listing", "ours"))
    for parameters, title, printed in (
        (first, "The listing, after one day: its first learner", LEARNED_DAY),
        (listing, f"The listing, after 5,000 days: mean of {SEEDS} learners", LEARNED),
        (ours, f"SARSA(λ), after 5,000 days: mean of {SEEDS} learners", None),
    ):
        rows = []
        for i, label in enumerate(CELLS.labels):
            cells = []
            for j, change in enumerate(ACTIONS):
                entry = {"imbalance": IMBALANCES[i], "change": change}
                own = found.estimate("learning", "action_value", **parameters, **entry)
                exact = None if parameters is first else _limit(found, parameters["settings"], entry)
                cells.append(Cell(own, printed[i][j] if printed else None, exact, 3))
            rows.append(Row(label, tuple(cells)))
        note = f"{UNIT} Exact: the limit of the first learner’s table under its final policy."
        out.append(Table(ACTION_LABELS, tuple(rows), note, title))
    for name, title in (("listing", "The listing"), ("ours", "SARSA(λ)")):
        q = np.array(
            [
                [found.record("learning", "action_value", **entry).value for entry in row]
                for row in _entries(name, days)
            ]
        )
        out.append(
            Figure(
                f"{title}: the first learner’s table",
                "The best action of each row is framed.",
                figure_table(q, CELLS.labels, ACTION_LABELS),
            )
        )
        arrows = figure_arrows(np.asarray(greedy(jnp.asarray(q))), CHANGES, CELLS.labels)
        out.append(Figure(f"{title}: its greedy policy", "By imbalance.", arrows))
    final = found.frame("learning", "final")
    prices = pl.concat(
        [
            final.select("time", pl.col("mid").alias("ticks"), series=pl.lit("p*")),
            final.select("time", pl.col("bid").alias("ticks"), series=pl.lit("pᵐ")),
        ]
    )
    rewards = final.with_columns(series=pl.lit("SARSA(λ)"))
    out.append(Figure("The prices of a day after learning", "", _lines(prices, {"ticks": "price, ticks"})))
    out.append(Figure("Its rewards", "", _lines(rewards, {"pnl_spread": "reward, ticks"})))
    return out


def _entries(settings: str, days: int) -> list[list[dict[str, Parameter]]]:
    """Parameters of the entries of the first learner's table."""
    own: dict[str, Parameter] = {"settings": settings, "days": days, "replication": 0}
    return [[{**own, "imbalance": i, "change": change} for change in ACTIONS] for i in IMBALANCES]


def _limit(found: Outcomes, settings: Parameter, entry: Mapping[str, Parameter]) -> float | None:
    """The limit of an entry of the first learner's table, if it has one."""
    asked = {"settings": settings, **entry}.items()
    limits = (r for r in found["learning"].records if r.metric == "limit")
    return next((r.value for r in limits if asked <= r.parameters.items()), None)


def near_the_limit(found: Outcomes) -> Finding:
    """Entries of rarer imbalances are still close to the initial table."""
    worst = max(
        found.record("learning", "max_distance", settings="ours", imbalance=imbalance, change=change).value
        for imbalance in (-1, 0, 1)
        for change in ACTIONS
    )
    return within(
        Estimate(worst), 0.0, TOLERANCE, name="the largest distance of an entry of any learner, in ticks,"
    )


def printed_table_has_printed_policy(found: Outcomes) -> Finding:
    """The greedy policy of their table is one of the optimal tables."""
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
                "this project",
                "Sampled values are within 3 standard errors of the exact ones.",
                sampled_right,
            ),
        ),
    ),
    Item(
        "states",
        "The value of states",
        "Slide 1.5.6.",
        ("states", "values"),
        states,
        (
            Claim(
                "this project",
                "The values printed for each state are the mean of the day.",
                states_have_the_mean_of_the_day,
            ),
        ),
    ),
    Item("pairs", "The value of state-action pairs", "Slide 1.5.8.", ("pairs",), pairs),
    Item(
        "exploration",
        "The value of an exploring policy",
        "Slides 1.5.9 and 1.5.10.",
        ("pairs",),
        exploring,
        (Claim("this project", "The slides’ exploring policy has reversed signs.", signs_are_reversed),),
    ),
    Item(
        "policy-iteration",
        "Policy iteration",
        "Slide 1.7.",
        ("iteration",),
        iteration,
        (Claim("slide 1.7", "Policies and values converge.", iteration_converges),),
    ),
    Item(
        "sarsa",
        "SARSA",
        "Slides 1.15 to 1.19.",
        ("learning",),
        learned,
        (
            Claim(
                "slide 1.17",
                "The greedy policy is that of the printed table.",
                printed_table_has_printed_policy,
            ),
            Claim(
                "this project",
                f"Where |I| ≤ 1, every learner’s Q is within {TOLERANCE:g} ticks of the exact one of its policy.",
                near_the_limit,
            ),
        ),
    ),
)
