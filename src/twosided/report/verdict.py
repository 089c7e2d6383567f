"""What records say, in the rows, units and words that people read, on the page and on the terminal."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from rich import box
from rich.table import Table
from rich.text import Text

from twosided.core.formatting import SCALE, number
from twosided.core.records import MEAN, Record


@dataclass(frozen=True)
class Row:
    """A metric as it is shown."""

    metric: str
    label: str
    scale: float = 1.0
    digits: int = 2


@dataclass(frozen=True)
class Group:
    """Metrics that answer one question, and a sentence on how to read them."""

    title: str
    note: str
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Results:
    """Records of the judged maker, by case and metric, in the order in which they came."""

    records: Sequence[Record]

    @cached_property
    def of(self) -> dict[tuple[str, str], Record]:
        """By case and metric."""
        return {(record.case, record.metric): record for record in self.records if record.maker == 0}

    @property
    def cases(self) -> list[str]:
        return list(dict.fromkeys(case for case, _ in self.of))

    @property
    def headline(self) -> str | None:
        """The case that speaks for all: the mean of seeds, or else the first."""
        return MEAN if MEAN in self.cases else next(iter(self.cases), None)

    @property
    def has_rivals(self) -> bool:
        """Whether makers compete: where nobody does all trades are the one maker's."""
        return any(record.maker > 0 or record.metric.startswith("excess_") for record in self.records)

    def shown(self, case: str, row: Row) -> tuple[str, str]:
        """A value and its standard error as text; empty where there is none."""
        record = self.of.get((case, row.metric))
        if record is None:
            return "", ""
        return number(row.scale * record.value, row.digits), error(record, row)


PARTS = {
    "total": "total",
    "spread": "from the spread",
    "hedge": "from hedging",
    "inventory": "from inventory",
    "fees": "from fees",
}

DISTANCE = Group(
    "Distance from the best",
    "How far it is below the most that any maker could have here, of total PnL or of what it is paid, in percent of "
    "that. 0 is perfect.",
    (Row("optimality_gap", "optimality gap, %"),),
)
EARNINGS = Group(
    "What it earns, and from what",
    "PnL a step, times 100. Spread is earned from clients over the midprice; hedging is paid to the exchange "
    "to shed inventory; inventory is what the position gained or lost as the price moved.",
    (
        *(Row(f"pnl_{part}", label, SCALE) for part, label in PARTS.items()),
        Row("market_share", "market share, %", 100.0, 1),
        Row("sharpe", "Sharpe ratio of a step", 1.0, 3),
    ),
)
RISK = Group(
    "How much it holds",
    "Inventory in units of trade after each step; above 0 it is long. The further from 0, the more a move of "
    "the price can cost.",
    (
        Row("inventory_mean", "inventory, mean"),
        Row("inventory_std", "inventory, deviation"),
        Row("inventory_min", "inventory, lowest", 1.0, 0),
        Row("inventory_max", "inventory, highest", 1.0, 0),
        Row("inventory_pnl_std", "PnL of inventory in a step, deviation"),
        Row("termination_rate", "episodes that a breach ended, %", 100.0, 1),
    ),
)
QUOTES = Group(
    "How it quotes",
    "ε compares its spread with the exchange’s: 0 is the same, −1 gives it away, +1 asks twice as much.",
    (
        Row("epsilon_buy_mean", "ε on the bid, mean", 1.0, 3),
        Row("epsilon_buy_std", "ε on the bid, deviation", 1.0, 3),
        Row("epsilon_sell_mean", "ε on the ask, mean", 1.0, 3),
        Row("epsilon_sell_std", "ε on the ask, deviation", 1.0, 3),
        Row("hedge_fraction_mean", "fraction hedged, mean", 1.0, 3),
        Row("hedge_fraction_std", "fraction hedged, deviation", 1.0, 3),
    ),
)
HEDGES = Group(
    "How it hedges",
    "Units that it asks the exchange for in a step, bought above 0; a skew above 0 lowers its ask, below 0 it raises "
    "its bid.",
    (
        Row("hedge_mean", "hedge, mean"),
        Row("hedge_std", "hedge, deviation"),
        Row("skew_mean", "skew, mean", 1.0, 3),
        Row("skew_std", "skew, deviation", 1.0, 3),
    ),
)
OTHER = Group("Other", "As recorded, in the market’s own units.")


def groups(results: Results) -> list[Group]:
    """What the records hold, as groups of rows; left out is what nobody has, pays (fees) or meets (ends)."""
    held = list(
        dict.fromkeys(metric for _, metric in results.of if not metric.startswith(("episode", "final_")))
    )
    held = [
        metric
        for metric in held
        if not ("fees" in metric or metric == "termination_rate") or _any(results, metric)
    ]
    held = [metric for metric in held if metric != "market_share" or results.has_rivals]
    rivals = sorted({int(m[2]) for metric in held if (m := re.fullmatch(r"excess_(\w+)_over_(\d+)", metric))})
    shown = [DISTANCE, EARNINGS, *(_against(rival, len(rivals)) for rival in rivals), RISK, QUOTES, HEDGES]
    named = {row.metric for group in shown for row in group.rows}
    rest = tuple(Row(metric, metric.replace("_", " "), 1.0, 4) for metric in held if metric not in named)
    shown.append(replace(OTHER, rows=rest))
    shown = [replace(group, rows=tuple(r for r in group.rows if r.metric in held)) for group in shown]
    return [group for group in shown if group.rows]


def error(record: Record, row: Row) -> str:
    """The standard error, shown like its value; empty if there is none, or less than the last digit shows."""
    text = number(abs(row.scale) * (record.error or 0.0), row.digits)
    return text if text.strip("0.–") else ""


def verdict_table(records: Iterable[Record]) -> Table:
    """The verdict for a terminal of 80 columns: a row a case."""
    results = Results(list(records))
    columns = [
        (Row("optimality_gap", "gap %", 1.0, 1), True),
        (Row("pnl_total", "PnL", SCALE, 1), True),
        (Row("pnl_spread", "spread", SCALE, 1), False),
        (Row("pnl_hedge", "hedge", SCALE, 1), False),
        (Row("pnl_inventory", "inventory", SCALE, 1), False),
        (Row("market_share", "share %", 100.0, 1), False)
        if results.has_rivals
        else (Row("sharpe", "Sharpe ×100", 100.0, 1), True),
    ]
    held = {metric for _, metric in results.of}
    columns = [(row, with_error) for row, with_error in columns if row.metric in held]
    note = "PnL a step × 100, in all and by part; ± is a standard error."
    if not results.has_rivals:
        note += "\nSharpe: mean over deviation of a step's PnL."
    if "optimality_gap" in held:
        note += "\ngap: how far it is below the best that any maker could do."
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
        caption=note,
        caption_justify="left",
        caption_style="dim",
    )
    table.add_column("policy", min_width=13, overflow="fold")
    for row, _ in columns:
        table.add_column(row.label, justify="right", no_wrap=True)
    for case in results.cases:
        cells = []
        for row, with_error in columns:
            value, spread = results.shown(case, row)
            cells.append(f"{value} ± {spread}" if with_error and spread else value)
        table.add_row(Text(case), *cells, style="bold" if case == results.headline else None)
    return table


def _any(results: Results, metric: str) -> bool:
    return any(record.value for (_, held), record in results.of.items() if held == metric)


def _against(rival: int, rivals: int) -> Group:
    name = "the competitor" if rivals == 1 else f"competitor {rival}"
    return Group(
        f"More than {name}",
        f"Its PnL a step less that of {name}, times 100.",
        tuple(Row(f"excess_{part}_over_{rival}", label, SCALE) for part, label in PARTS.items()),
    )
