"""Metric catalogue: names, labels, units, scales and meaning of the metrics of a record.

Every market describes its metrics (`Market.metrics`), and tables and pages show them in the catalogue's order and
units. A metric that the catalogue does not list is shown under its own name, unscaled.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from twosided.core.formatting import with_error

PARTS = {
    "total": "total PnL",
    "spread": "spread PnL",
    "hedge": "hedge PnL",
    "inventory": "inventory PnL",
    "fees": "fees",
}
"""Labels of total PnL and its parts."""
BRIEF = 3
"""Significant digits of a number in a sentence, on a card or in the table of a terminal."""


@dataclass(frozen=True)
class Metric:
    """Presentation of one metric."""

    name: str
    """Name in records, such as pnl_total."""
    label: str
    """Name for readers."""
    unit: str = ""
    """Unit of the displayed number: the recorded value times `scale`."""
    scale: float = 1.0
    """Displayed number per recorded unit."""
    digits: int | None = None
    """Decimals of the displayed number; None chooses them by its size and its standard error."""
    meaning: str = ""
    """Definition in one sentence."""
    short: str = ""
    """Heading of its column in the table of a terminal; empty if it has none there."""
    card: bool = False
    """Whether it is shown at the top of a page."""
    optional: bool = False
    """Whether tables omit it when it is 0 for every policy."""

    def text(self, value: float, error: float | None = None, brief: bool = False) -> tuple[str, str]:
        """Return a recorded value and its standard error as displayed; the error is empty if it rounds to 0."""
        error = None if error is None else abs(self.scale) * error
        return with_error(self.scale * value, error, self.digits, BRIEF if brief else None)


@dataclass(frozen=True)
class MetricGroup:
    """Group of related metrics, with a sentence on how to read them."""

    title: str
    note: str
    metrics: tuple[Metric, ...] = ()


GAP = Metric(
    "optimality_gap",
    "optimality gap",
    "%",
    digits=2,
    meaning="Shortfall from the exact optimum, in percent of the optimum: 100 (optimum − value) / |optimum|.",
    short="gap %",
    card=True,
)
MARKET_SHARE = Metric(
    "market_share",
    "market share",
    "%",
    100.0,
    1,
    meaning="Share of all client volume that the maker trades.",
    short="share %",
    card=True,
)
SHARPE = Metric(
    "sharpe",
    "Sharpe ratio",
    "per step",
    digits=3,
    meaning="Mean over standard deviation of the PnL of a step, not annualised.",
)
REWARD = Metric("reward", "reward", "per step", meaning="Mean reward of a step.")
TERMINATIONS = Metric(
    "termination_rate",
    "episodes terminated",
    "%",
    100.0,
    1,
    meaning="Share of episodes that the market ended before the horizon, such as by a breach of a limit.",
    optional=True,
)
OTHER = MetricGroup("Other", "Metrics that the market’s catalogue does not list, as recorded.")


def standard_groups(
    scale: float = 1.0,
    unit: str = "currency",
    digits: int | None = None,
    unit_note: str = "",
    competitors: int = 0,
) -> tuple[MetricGroup, ...]:
    """Return the groups of the metrics that every market has.

    Money is displayed times `scale` in `unit`, with `digits` decimals; `unit_note` is a sentence that defines the
    unit. `competitors` is the number of other makers, over each of which there are metrics of excess PnL.
    """
    money: dict[str, Any] = {"unit": f"{unit} per step", "scale": scale, "digits": digits}
    pnl = tuple(Metric(f"pnl_{part}", label, **money) for part, label in PARTS.items())
    total, spread, hedge, inventory, fees = pnl
    earnings = MetricGroup(
        "PnL by source",
        "Spread PnL is earned on client trades, relative to the midprice. Hedge PnL is the cost of trading on the "
        "exchange to reduce inventory. Inventory PnL is the revaluation of the position when the midprice moves. "
        f"{unit_note}".strip(),
        (
            replace(total, meaning="Sum of all parts of PnL.", short="PnL", card=True),
            replace(spread, short="spread"),
            replace(hedge, short="hedge", optional=True),
            replace(inventory, short="inventory"),
            replace(fees, short="fees", optional=True),
        ),
    )
    alone = competitors == 0
    sharpe = replace(SHARPE, card=alone, short="Sharpe" if alone else "")
    inventory_pnl = Metric("inventory_pnl_std", "inventory PnL, std", **money)
    return (
        MetricGroup("Distance from the optimum", "0 is optimal.", (GAP,)),
        earnings,
        MetricGroup(
            "Reward and efficiency",
            "The learner maximises the reward.",
            (REWARD, sharpe, *(() if alone else (MARKET_SHARE,))),
        ),
        *(_excess_group(seat, competitors, money) for seat in range(1, competitors + 1)),
        MetricGroup(
            "Inventory",
            "Position after each step, positive if long. A larger position loses more in an adverse price move.",
            (
                Metric("inventory_mean", "inventory, mean", "units"),
                Metric("inventory_std", "inventory, std", "units"),
                Metric("inventory_min", "inventory, minimum", "units"),
                Metric("inventory_max", "inventory, maximum", "units"),
                inventory_pnl,
            ),
        ),
        _episode_group(unit, scale),
    )


def mean_and_std(
    name: str, label: str, unit: str = "", scale: float = 1.0, digits: int | None = None
) -> tuple[Metric, Metric]:
    """Return the metrics of the mean and the standard deviation of a part of the action."""
    return (
        Metric(f"{name}_mean", f"{label}, mean", unit, scale, digits),
        Metric(f"{name}_std", f"{label}, std", unit, scale, digits),
    )


def by_name(groups: Iterable[MetricGroup]) -> dict[str, Metric]:
    """Return the metrics of a catalogue by name."""
    return {metric.name: metric for group in groups for metric in group.metrics}


def find_metric(groups: Iterable[MetricGroup], name: str) -> Metric:
    """Return a metric of a catalogue, or one with its own name as label if the catalogue does not list it."""
    return by_name(groups).get(name) or Metric(name, name.replace("_", " "))


def _episode_group(unit: str, scale: float) -> MetricGroup:
    """Return the metrics of whole episodes."""
    money: dict[str, Any] = {"unit": unit, "scale": scale}
    quantiles = (
        Metric(f"episode_pnl_q{percent:02}", f"PnL, {percent}% quantile", **money)
        for percent in (5, 25, 50, 75, 95)
    )
    return MetricGroup(
        "Episodes",
        "Total PnL of an episode, and the position at its end.",
        (
            Metric("episode_pnl_total", "PnL, mean", **money),
            Metric("episode_pnl_std", "PnL, std", **money),
            *quantiles,
            Metric("final_inventory_mean", "final inventory, mean", "units"),
            Metric("final_inventory_std", "final inventory, std", "units"),
            TERMINATIONS,
            Metric("episodes", "number of episodes"),
        ),
    )


def _excess_group(seat: int, competitors: int, money: dict[str, Any]) -> MetricGroup:
    """Return the metrics of PnL in excess of the competitor in a seat."""
    competitor = "the competitor" if competitors == 1 else f"competitor {seat}"
    metrics = tuple(
        Metric(f"excess_{part}_over_{seat}", f"excess {label}", optional=part in ("hedge", "fees"), **money)
        for part, label in PARTS.items()
    )
    meaning = f"Total PnL minus that of {competitor}."
    first = replace(metrics[0], meaning=meaning, card=competitors == 1)
    return MetricGroup(f"Excess over {competitor}", f"PnL minus that of {competitor}.", (first, *metrics[1:]))
