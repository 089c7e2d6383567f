"""Protocol of a market: the rules of trade that join a price, an order flow and the makers' quotes.

    shocks(key, shape)          random inputs drawn in advance, with leading axes (time, paths)
    reset(shock)                -> state, observation
    step(state, action, shock)  -> state, Transition

A market is written for one path and `num_makers` seats; `step` is deterministic given its shock.
"""

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import equinox as eqx
from jaxtyping import Array, Int, PRNGKeyArray

from twosided.core.dashboard import Dashboard
from twosided.core.metrics import MetricGroup, standard_groups
from twosided.core.optimum import NotExact, Optimum
from twosided.core.spaces import Box, Cells, Discrete
from twosided.core.transition import Transition

if TYPE_CHECKING:
    from twosided.core.scenario import Scenario


Part = Literal["train", "test"]
"""Part of recorded data."""


@dataclass(frozen=True)
class History:
    """Finite history that a market replays."""

    steps: int
    """Number of steps."""
    starts: int
    """Number of places where an episode can start, from the first step on."""


class Market(eqx.Module):
    """Rules of trade that join a price, an order flow and the makers' quotes.

    A market implements `action_space`, `shocks`, `reset` and `step`. The other members have defaults, which a market
    may override.
    """

    num_makers: eqx.AbstractVar[int]
    takes_competitors: ClassVar[bool] = True
    """Whether the market has seats for competitors."""
    extras: ClassVar[type | None] = None
    """Type of `Transition.extras`; None if the market has no extras."""

    @property
    @abc.abstractmethod
    def action_space(self) -> Box | Discrete:
        """Action space of one maker."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """Draw the random inputs of steps, which do not depend on actions, with the given leading axes."""

    @abc.abstractmethod
    def reset(self, shock: Any) -> tuple[Any, Any]:
        """Return the state and the observation at the start of an episode.

        After an episode ends, the next one is reset with the shock of the last step. A random quantity of the start,
        such as the order book, must therefore be the one that a step with this shock draws for the state after it.
        """

    @abc.abstractmethod
    def step(self, state: Any, action: Any, shock: Any) -> tuple[Any, Transition]:
        """Return the next state and the transition; leaves of the action have a leading axis of makers."""

    @property
    def cells(self) -> Cells | None:
        """Default grouping of observations for tabular learners; None if there is no default."""
        return None

    def optimum(self, scenario: "Scenario") -> Optimum:
        """Return the exact optimum of a scenario of this market. Raises NotExact where none is known."""
        raise NotExact(f"no exact optimum is known for {type(self).__name__}")

    @property
    def history(self) -> History | None:
        """Recorded history that all episodes are taken from; None where every episode is simulated.

        Episodes of one history are not independent: standard errors are then over blocks of it.
        """
        return None

    def place(self, state: Any) -> Int[Array, ""]:
        """Return the place in the history of the next step, from 0. Raises ValueError without a history."""
        raise ValueError(f"{type(self).__name__} has no history")

    def part(self, part: Part) -> "Market":
        """Return the market on the part of its recorded data that learners train on, or on the part that is held out to
        test them; the market itself where it has no recorded data, or holds none out."""
        return self

    def trace_columns(self, transition: Transition) -> dict[str, Any]:
        """Return the market's own columns of a trace, for every maker."""
        return {}

    def metrics(self) -> tuple[MetricGroup, ...]:
        """Metric catalogue, in the order of display."""
        return standard_groups(competitors=self.num_makers - 1)

    def dashboard(self) -> Dashboard:
        """Figures of this market."""
        return Dashboard()
