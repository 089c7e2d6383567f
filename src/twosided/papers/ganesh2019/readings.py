"""What a case of the study found, read as the paper has it: PnL a step, times 100, at a midprice of 100."""

from twosided.core.records import MEAN
from twosided.papers.base import Estimate, Outcomes

PARTS = ("spread", "inventory", "hedge", "total")
UNIT = "PnL a step × 100."
NOTHING = Estimate(0.0)
NAMES = {
    "persistent-0.5": "PersistentQuoter(−0.5)",
    "persistent-0": "PersistentQuoter(0)",
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
