"""What Ganesh et al. (2019) printed, to stand beside our numbers, and the competitors that they trained against.

PnL in their tables is a step's, times 100, at a midprice that this project takes as 100.
"""

from dataclasses import dataclass

COMPETITORS = {
    "persistent-0": "persistent",
    "persistent-0.5": "persistent:epsilon_buy=-0.5,epsilon_sell=-0.5",
    "random-1": "random:low=-1,high=1",
    "random-0.5": "random:low=-0.5,high=0.5",
}
"""Short names of the paper's fixed competitors: Persistent(0), Persistent(-0.5), Unif[-1, 1], Unif[-0.5, 0.5]."""


@dataclass(frozen=True)
class Published:
    """A number that the paper prints."""

    metric: str
    """The metric of ours that it stands beside."""
    value: float
    """In the metric's unit, per step and not times 100."""
    source: str


def _table_1(spread: float, inventory: float, hedge: float, total: float) -> tuple[Published, ...]:
    parts = {"spread": spread, "inventory": inventory, "hedge": hedge, "total": total}
    return tuple(Published(f"excess_{part}_over_1", value / 100, "table 1") for part, value in parts.items())


def _table_3(sell: float, sell_std: float, buy: float, buy_std: float) -> tuple[Published, ...]:
    sides = {"epsilon_sell": (sell, sell_std), "epsilon_buy": (buy, buy_std)}
    return tuple(
        Published(f"{side}_{moment}", value, "table 3")
        for side, values in sides.items()
        for moment, value in zip(("mean", "std"), values, strict=True)
    )


PUBLISHED = {
    "persistent-0": _table_1(74.20, 0.20, 1.80, 76.20) + _table_3(-0.22, 0.15, -0.22, 0.13),
    "persistent-0.5": _table_1(21.60, 0.40, 8.10, 29.30) + _table_3(-0.60, 0.16, -0.60, 0.16),
    "random-0.5": _table_1(33.90, 0.40, 25.50, 59.70) + _table_3(-0.20, 0.15, -0.20, 0.15),
    "random-1": _table_1(24.00, -0.70, 30.80, 54.10) + _table_3(-0.03, 0.14, -0.03, 0.22),
}
"""The RL agent of the paper against each competitor: average excess PnL a step, and its epsilons."""
