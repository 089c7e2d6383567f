"""Exact optima: the most that any policy can earn in a scenario, where it is known.

`optimum` is the one public door: it asks the scenario's market, which owns its exact answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypedDict

from twosided.core.policy import Policy

if TYPE_CHECKING:
    from twosided.core.scenario import Scenario


class NotExact(ValueError):
    """One sentence on why a scenario has no exact answer."""


@dataclass(frozen=True)
class Optimum:
    """Exact optimum of a scenario, and a policy that attains it or approaches it."""

    value: float
    """Largest expected value of the metric that a policy can have, per step."""
    metric: Literal["pnl_total", "reward"]
    """Quantity that the value is of: the learner's own total PnL in currency, or its reward."""
    policy: Policy
    """Policy that attains the value; where it is a supremum, one that comes close."""
    source: str
    """Where the value comes from, in one or two sentences for a reader."""
    name: str = "exact optimum"
    """Name of the policy in records, tables and pages."""
    attained: bool = True
    """Whether a policy attains the value; if not, the value is a supremum that policies approach."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Values of other metrics that the optimum fixes, by name, such as epsilon_buy_mean."""


class StoredOptimum(TypedDict):
    """An optimum as the files of a run store it: everything but the policy."""

    value: float
    metric: str
    source: str
    name: str
    attained: bool
    metrics: dict[str, float]


def stored(optimum: Optimum) -> StoredOptimum:
    """Return an optimum without its policy, as plain data."""
    return StoredOptimum(
        value=optimum.value,
        metric=optimum.metric,
        source=optimum.source,
        name=optimum.name,
        attained=optimum.attained,
        metrics=dict(optimum.metrics),
    )


def optimum(scenario: "Scenario") -> Optimum:
    """Return the exact optimum of a scenario. Raises NotExact with the reason where none is known."""
    return scenario.market.optimum(scenario)
