"""Action spaces, and cells that group observations for tables."""

import abc
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Int


class Box(eqx.Module):
    """Continuous action space: an interval for every leaf of the action."""

    low: Any
    """Action of the lower bounds."""
    high: Any
    """Action of the upper bounds."""


class Discrete(eqx.Module):
    """Finite action space: a list of actions, stacked on the leading axis of every leaf."""

    actions: Any
    """The actions, leaves with a leading axis of actions."""

    @property
    def size(self) -> int:
        """Number of actions."""
        return jax.tree.leaves(self.actions)[0].shape[0]


class Cells(eqx.Module):
    """Partition of the observations into a finite number of cells, the rows of a table."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Number of cells."""

    @abc.abstractmethod
    def __call__(self, observation: Any) -> Int[Array, "..."]:
        """Index of the cell that contains an observation."""

    @property
    @abc.abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Name of each cell for readers."""
