"""The words every room shares: array aliases, profit and loss, transitions, and the sign conventions.

Everything is from the market maker's side. Inventory > 0 is long. A buy by the maker happens at its bid, a
sale at its ask; a half-spread is positive when it earns. Each market states its units of time and price
once; volatility is per square root of that unit of time.
"""

import abc
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Int


class Box(eqx.Module):
    """Continuous actions: an interval for every leaf of the action."""

    low: Any
    high: Any


class Discrete(eqx.Module):
    """A finite list of actions, stacked on the leading axis of every leaf."""

    actions: Any

    @property
    def size(self) -> int:
        return jax.tree.leaves(self.actions)[0].shape[0]


class Cells(eqx.Module):
    """A division of what is observed into a finite number of cells: the rows of a table."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """How many there are."""

    @abc.abstractmethod
    def __call__(self, observation: Any) -> Int[Array, "..."]:
        """The number of the cell that an observation is in."""

    @property
    @abc.abstractmethod
    def labels(self) -> tuple[str, ...]:
        """What each cell is, in words."""
