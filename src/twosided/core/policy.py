"""The words every room shares: array aliases, profit and loss, transitions, and the sign conventions.

Everything is from the market maker's side. Inventory > 0 is long. A buy by the maker happens at its bid, a
sale at its ask; a half-spread is positive when it earns. Each market states its units of time and price
once; volatility is per square root of that unit of time.
"""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray


class Policy(eqx.Module):
    """What a maker does with what it sees.

    As in a market, chance stands apart from the rule: `shocks` draws whatever randomness the policy needs for
    many steps in one call, and `act` is deterministic given it.
    """

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """What chance decides about the actions, with the given leading axes; None if nothing."""

    @abc.abstractmethod
    def init(self) -> Any:
        """The memory before the first step. It outlives episodes; None if the policy has none."""

    @abc.abstractmethod
    def act(self, shock: Any, memory: Any, observation: Any) -> tuple[Any, Any]:
        """The action of one maker for its observation, and the memory."""


class StatelessPolicy(Policy):
    """A policy that remembers nothing and draws nothing: what it does is a function of what it sees."""

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> None:
        return None

    def init(self) -> None:
        return None
