"""Metric catalogue: what the metrics of a record are called, their units, scales and meaning.

A market describes its own metrics (`Market.metrics`); tables and pages ask it and know no metric by name but
the generic
ones here. A metric that the catalogue does not list is shown under its own name, unscaled.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

PARTS = {
    "total": "total",
    "spread": "from the spread",
    "hedge": "from hedging",
    "inventory": "from inventory",
    "fees": "from fees",
}
"""Labels of the parts of PnL."""


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
    """Decimals of the displayed number; None chooses them by its size."""
    meaning: str = ""
    """One sentence that defines it."""


@dataclass(frozen=True)
class MetricGroup:
    """Metrics that answer one question, with a sentence on how to read them."""

    title: str
    note: str
    metrics: tuple[Metric, ...] = ()

    def scaled(self, scale: float, unit: str, digits: int | None = None) -> "MetricGroup":
        """The same group, every metric displayed times `scale` in another unit."""
        metrics = tuple(replace(m, scale=scale, unit=unit, digits=digits) for m in self.metrics)
        return replace(self, metrics=metrics)


GAP = MetricGroup(
    "Distance from the optimum",
    "Shortfall from the exact optimum, of total PnL or of the reward, in percent of the optimum. 0 is optimal.",
    (
        Metric(
            "optimality_gap", "optimality gap", "%", digits=2, meaning="100 (optimum - value) / |optimum|."
        ),
    ),
)
EARNINGS = MetricGroup(
    "Earnings by source",
    "PnL per step. Spread PnL is earned from clients over the midprice; hedging pays the exchange to shed inventory; "
    "inventory PnL is the revaluation of the position as the price moves.",
    tuple(Metric(f"pnl_{part}", label, "currency per step") for part, label in PARTS.items()),
)
REWARD = MetricGroup(
    "Reward",
    "The learner's objective, per step.",
    (Metric("reward", "reward", "per step", meaning="Mean reward per step."),),
)
EFFICIENCY = MetricGroup(
    "Efficiency",
    "Market share is the maker's part of all client volume; the Sharpe ratio is the mean of a step's PnL over its "
    "standard deviation, not annualised.",
    (
        Metric("market_share", "market share", "%", 100.0, 1),
        Metric("sharpe", "Sharpe ratio of a step", "", digits=3),
    ),
)
INVENTORY = MetricGroup(
    "Inventory",
    "Position after each step, in units of trade; positive is long. The further it is from 0, the more a "
    "price move can "
    "cost.",
    (
        Metric("inventory_mean", "inventory, mean", "units"),
        Metric("inventory_std", "inventory, std", "units"),
        Metric("inventory_min", "inventory, minimum", "units", digits=0),
        Metric("inventory_max", "inventory, maximum", "units", digits=0),
        Metric("inventory_pnl_std", "inventory PnL of a step, std", "currency"),
        Metric("termination_rate", "episodes terminated by a breach", "%", 100.0, 1),
    ),
)
OTHER = MetricGroup("Other", "As recorded, in the market's own units.")


def excess_group(
    competitor: int, competitors: int, scale: float = 1.0, unit: str = "currency per step"
) -> MetricGroup:
    """PnL in excess of a competitor's, part by part; `competitor` is its seat."""
    name = "the competitor" if competitors == 1 else f"competitor {competitor}"
    return MetricGroup(
        f"Excess over {name}",
        f"PnL per step less that of {name}.",
        tuple(
            Metric(f"excess_{part}_over_{competitor}", label, unit, scale) for part, label in PARTS.items()
        ),
    )


def standard_groups(
    scale: float = 1.0, unit: str = "currency per step", competitors: int = 0
) -> tuple[MetricGroup, ...]:
    """Groups of the metrics that every market has, money per step displayed times `scale` in a unit."""
    excess = (excess_group(seat, competitors, scale, unit) for seat in range(1, competitors + 1))
    return (GAP, EARNINGS.scaled(scale, unit), REWARD, EFFICIENCY, *excess, INVENTORY)


def by_name(groups: Iterable[MetricGroup]) -> dict[str, Metric]:
    """Metrics of a catalogue by name."""
    return {metric.name: metric for group in groups for metric in group.metrics}
