"""Estimates from the study's cases in the paper's units: PnL per step, times 100, at a midprice of 100."""

from collections.abc import Mapping

from twosided.core.records import Parameter
from twosided.papers.base import Estimate, Outcomes
from twosided.papers.ganesh2019.cases import LEARNER, OPTIMUM

SCALE = 100.0
"""Factor of PnL in the paper's tables."""
PARTS = ("spread", "inventory", "hedge", "total")
UNIT = "PnL per step × 100."
ZERO = Estimate(0.0)
NAMES = {
    "persistent-0.5": "PersistentQuoter(−0.5)",
    "persistent-0": "PersistentQuoter(0)",
    "random-0.5": "Unif[−0.5, 0.5]",
    "random-1": "Unif[−1, 1]",
}
"""Labels of the fixed competitors."""


def learner(found: Outcomes, case: str, metric: str, maker: int = 0) -> Estimate:
    """Return a metric of the learner, mean of its seeds."""
    return found.mean(case, metric, **LEARNER, maker=maker)


def excess(found: Outcomes, case: str, part: str = "total", /, **parameters: Parameter) -> Estimate:
    """PnL of a maker in excess of the competitor's, times 100; of the learner's mean if no parameters are given."""
    return _scaled(found, case, f"excess_{part}_over_1", parameters)


def own(found: Outcomes, case: str, part: str = "total", /, **parameters: Parameter) -> Estimate:
    """PnL of a maker, times 100; of the learner's mean if no parameters are given."""
    return _scaled(found, case, f"pnl_{part}", parameters)


def _scaled(found: Outcomes, case: str, metric: str, parameters: Mapping[str, Parameter]) -> Estimate:
    ours = found.estimate(case, metric, **parameters) if parameters else learner(found, case, metric)
    return ours.times(SCALE)


def exact(found: Outcomes, case: str, metric: str, scale: float = 1.0) -> float:
    """Return an exact value of the case."""
    return scale * found.record(case, metric, **OPTIMUM).value
