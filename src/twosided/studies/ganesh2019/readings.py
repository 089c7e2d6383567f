"""What a case of the study found, read as the paper has it: PnL a step, times 100, at a midprice of 100."""

from twosided.records import MEAN
from twosided.studies.base import (
    Estimate,
    Outcomes,
)

PARTS = ("spread", "inventory", "hedge", "total")
UNIT = "PnL a step × 100."
NOTHING = Estimate(0.0)

TABLE_2 = {
    (0.25, 0): (81.83, 0.14, -0.73, 81.24),
    (0.50, 0): (-7.92, 3.52, -0.00, -4.40),
    (0.25, 1): (94.16, 0.30, -0.37, 94.09),
    (0.50, 1): (4.88, 0.01, 0.74, 5.64),
    (0.25, 2): (93.18, -0.49, -0.22, 92.47),
    (0.50, 2): (23.87, 0.54, 2.02, 26.42),
}
"""By share target and risk aversion: the RL agent's excess by part."""
TABLE_4 = {
    (0.25, 0): (14.64, 0.02, 8.67, 23.33),
    (0.25, 1): (10.34, -0.06, 8.21, 18.48),
    (0.25, 2): (0.61, 0.03, 5.19, 5.83),
    (0.50, 0): (55.7, 0.14, 2.77, 58.61),
    (0.50, 1): (47.75, -0.09, 2.58, 50.23),
    (0.50, 2): (34.01, -0.15, -2.18, 31.68),
}
TABLE_5 = {
    (0.25, 0): (13.85, -0.03, 28.98, 42.81),
    (0.25, 1): (-7.3, -0.1, 28.32, 20.92),
    (0.25, 2): (-21.35, -0.07, 25.66, 4.24),
    (0.50, 0): (28.81, 0.25, 25.38, 54.44),
    (0.50, 1): (20.84, 0.02, 24.88, 45.74),
    (0.50, 2): (17.05, -0.03, 17.19, 34.22),
}
"""By share target and risk aversion: the adaptive maker's excess by part."""
TABLE_6 = {
    "random": (51.36, 0.07, -15.70, 35.73),
    "persistent": (51.43, -0.03, -3.84, 47.57),
    "adaptive 1": (51.39, 0.02, -0.22, 51.19),
    "adaptive 2": (51.34, 0.10, -1.23, 50.21),
    "ignoring 1": (51.53, -0.07, -2.30, 49.17),
    "ignoring 2": (50.56, -0.01, -43.47, 7.08),
}
"""PnL by part under each way of hedging."""
NAMES = {
    "persistent-0.5": "Persistent(−0.5)",
    "persistent-0": "Persistent(0)",
    "random-0.5": "Unif[−0.5, 0.5]",
    "random-1": "Unif[−1, 1]",
}


def excess(found: Outcomes, case: str, of: str = MEAN, part: str = "total") -> Estimate:
    """PnL over the competitor's, times 100."""
    return found.estimate(case, of, f"excess_{part}_over_1", scale=100.0)


def own(found: Outcomes, case: str, of: str, part: str = "total") -> Estimate:
    return found.estimate(case, of, f"pnl_{part}", scale=100.0)


def exact(found: Outcomes, case: str, metric: str, scale: float = 1.0) -> float:
    return scale * found.record(case, "exact", metric).value
