"""Protocol of a market: the rules of trade that join a price, an order flow and the makers' quotes.

    shocks(key, shape)          random inputs drawn in advance, with leading axes (time, paths)
    reset(shock)                -> state, observation
    step(state, action, shock)  -> state, Transition

A market is written for one path and `num_makers` seats; `step` is deterministic given its shock.
"""

import abc
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
from jaxtyping import PRNGKeyArray

from twosided.core.dashboard import Dashboard
from twosided.core.metrics import MetricGroup, standard_groups
from twosided.core.optimum import NotExact, Optimum
from twosided.core.spaces import Box, Cells, Discrete
from twosided.core.transition import Transition

if TYPE_CHECKING:
    from twosided.core.scenario import Scenario


class Market(eqx.Module):
    """Rules of trade that join a price, an order flow and the makers' quotes.

    A market implements `action_space`, `shocks`, `reset` and `step`. The other members have defaults: a market
    overrides those for which it has more to offer.
    """

    num_makers: eqx.AbstractVar[int]
    takes_competitors: ClassVar[bool] = True
    """Whether other makers can compete with the learner; False where the market has one seat."""
    extras: ClassVar[type | None] = None
    """Type of `Transition.extras`; None where the market reports nothing beyond a transition's fields."""

    @property
    @abc.abstractmethod
    def action_space(self) -> Box | Discrete:
        """What one maker can do."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """What chance decides and no maker can, with the given leading axes."""

    @abc.abstractmethod
    def reset(self, shock: Any) -> tuple[Any, Any]:
        """The state and the observation at the start of an episode.

        Whatever of the shock decides the start is also what the step with the same shock leaves behind it, so
        an episode that ends in a step is followed by one that starts from that step's shock.
        """

    @abc.abstractmethod
    def step(self, state: Any, action: Any, shock: Any) -> tuple[Any, Transition]:
        """One step of all makers; leaves of the action have a leading axis of makers."""

    @property
    def cells(self) -> Cells | None:
        """Default grouping of observations for tabular learners; None where the learner must be given one."""
        return None

    def optimum(self, scenario: "Scenario") -> Optimum:
        """Return the exact optimum of a scenario of this market. Raises NotExact where none is known."""
        raise NotExact(f"no exact optimum is known for {type(self).__name__}")

    def trace_columns(self, transition: Transition) -> dict[str, Any]:
        """Columns that a trace of this market has beside the generic ones, for every maker."""
        return {}

    def metrics(self) -> tuple[MetricGroup, ...]:
        """Metric catalogue, in the order of display."""
        return standard_groups(competitors=self.num_makers - 1)

    def dashboard(self) -> Dashboard:
        """Figures of this market."""
        return Dashboard()
