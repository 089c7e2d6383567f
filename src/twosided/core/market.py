"""What every market is, what a learner sees of it, and the one loop over time.

    shocks(key, shape)          what chance decides, with leading axes (time, paths)
    reset(shock)                -> state, observation
    step(state, action, shock)  -> state, Transition

A market is written for one path and `num_makers` seats. A scenario puts a policy in every seat but the
learners', pays a reward and cuts episodes at a horizon. `rollout` scans a scenario over time for many paths;
it is the only loop over time in the project.
"""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray

from twosided.core.spaces import Box, Cells, Discrete
from twosided.core.transition import Transition


class Market(eqx.Module):
    """The rules of trade that join a price, an order flow and the makers' quotes."""

    num_makers: eqx.AbstractVar[int]

    @property
    @abc.abstractmethod
    def action_space(self) -> Box | Discrete:
        """What one maker can do."""

    @property
    def cells(self) -> Cells | None:
        """Default grouping of observations for tabular learners; None where a table needs one that is given."""
        return None

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
