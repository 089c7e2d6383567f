"""Exact optima: the largest expected value that a policy can have in a scenario, where it is known.

`optimum` is the public function. It calls the method `optimum` of the scenario's market.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from twosided.core.policy import Policy

if TYPE_CHECKING:
    from twosided.core.scenario import Scenario


class NotExact(ValueError):
    """No exact answer is known for a scenario; the message is one sentence with the reason."""


def require_finite(what: str, *values: ArrayLike) -> None:
    """Raise NotExact if one of the values is not finite."""
    if not all(np.isfinite(value).all() for value in values):
        raise NotExact(f"{what} overflows: the parameters of the scenario are too large")


@dataclass(frozen=True)
class Optimum:
    """Exact optimum of a scenario, and a policy that attains it or approaches it."""

    value: float
    """Largest expected value of the metric that a policy can have, per step; `source` states what is proven."""
    metric: Literal["pnl_total", "reward"]
    """Metric that the value measures: the learner's own total PnL in currency, or its reward."""
    policy: Policy
    """Policy that attains the value, or comes close to a supremum that is not attained."""
    source: str
    """Derivation of the value, in one or two sentences."""
    name: str = "exact optimum"
    """Name of the policy in records, tables and pages."""
    attained: bool = True
    """Whether a policy attains the value; if not, policies can come arbitrarily close to it."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Values of other metrics at the optimum, by name, such as epsilon_buy_mean."""


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
