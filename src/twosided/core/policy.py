"""Protocol of a policy: a rule from observations to actions.

    shocks(key, shape)               random inputs drawn in advance, with leading axes (time, paths)
    init()                           -> policy state
    act(shock, state, observation)   -> action, policy state

A policy is written for one maker on one path. As in a market, random inputs are drawn in advance, and `act` is
deterministic given them.
"""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray


class Policy(eqx.Module):
    """Rule from a maker's observations to its actions; it may have a state."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """Draw the random inputs of many steps, with the given leading axes; None for a deterministic policy."""

    @abc.abstractmethod
    def init(self) -> Any:
        """Return the initial policy state, which carries over from one episode to the next; None if stateless."""

    @abc.abstractmethod
    def act(self, shock: Any, state: Any, observation: Any) -> tuple[Any, Any]:
        """Return the action of one maker for its observation, and the next policy state."""


class StatelessPolicy(Policy):
    """Deterministic policy without a state: the action is a function of the observation."""

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> None:
        return None

    def init(self) -> None:
        return None
