"""What every learner is: a configuration that begins, advances in compiled chunks and yields a policy."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Int, PRNGKeyArray

from twosided.markets.base import Scenario
from twosided.types import Policy


class Learner(eqx.Module):
    """A way to find a policy for the learner's seat of a scenario.

    All three methods are pure, so they can be compiled, and mapped over keys (seeds) and over any numeric
    parameter of the learner.
    """

    @property
    @abc.abstractmethod
    def iterations(self) -> int:
        """Updates of the whole training."""

    @property
    @abc.abstractmethod
    def steps_per_iteration(self) -> int:
        """Market steps that an iteration takes."""

    @abc.abstractmethod
    def begin(self, scenario: Scenario, key: PRNGKeyArray) -> Any:
        """The state before the first iteration: everything that training needs to go on."""

    @abc.abstractmethod
    def train_chunk(
        self, scenario: Scenario, state: Any, iterations: Int[Array, ""]
    ) -> tuple[Any, dict[str, Any]]:
        """A number of iterations (traced, so that one program serves all), and means of what they tell."""

    @abc.abstractmethod
    def policy(self, scenario: Scenario, state: Any, explore: bool = False) -> Policy:
        """The policy as it stands: at its best, or as it explores."""
