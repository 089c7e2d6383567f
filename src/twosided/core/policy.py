"""Protocol of a policy: from an observation to an action.

As in a market, randomness is separate from the rule: `shocks` draws the random inputs of many steps in one call, and
`act` is deterministic given them.
"""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray


class Policy(eqx.Module):
    """Rule by which a maker acts on its observations, with a state of its own if it needs one."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """Draw the random inputs of many steps, with the given leading axes; None for a deterministic policy."""

    @abc.abstractmethod
    def init(self) -> Any:
        """Return the policy state before the first step. It outlives episodes; None for a stateless policy."""

    @abc.abstractmethod
    def act(self, shock: Any, state: Any, observation: Any) -> tuple[Any, Any]:
        """Return the action of one maker for its observation, and the policy state."""


class StatelessPolicy(Policy):
    """Deterministic policy without a state: the action is a function of the observation."""

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> None:
        return None

    def init(self) -> None:
        return None
