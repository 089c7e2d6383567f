"""Policies of finite lists: what a maker of the electronic market does in each of a few situations.

A finite policy is the probabilities of its actions given what is observed, so what it does can be enumerated
(`twosided.exact.electronic`) as well as sampled. A table has a row for each cell, and cells divide what is observed:
the imbalance clipped to ±2, say, as in the tables of Phelps (2022).

    threshold policy π_h   raise the quote where I ≥ h, lower it where I ≤ -h, else leave it
    exploration            with probability ε any action, all alike:  (1 - ε) π(a | s) + ε / |A|
"""

import abc
import itertools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from twosided.markets.electronic import CHANGES, ElectronicAction
from twosided.types import Discrete, Policy, Scalar, check


class FinitePolicy(Policy):
    """Draws one of a finite list of actions with probabilities that depend on the observation alone."""

    @property
    @abc.abstractmethod
    def space(self) -> Discrete:
        """The list of its actions."""

    @abc.abstractmethod
    def probabilities(self, observation: Any) -> Float[Array, "actions"]:
        """Of each action, given what is observed."""

    def shocks(self, key, shape):
        return jax.random.uniform(key, shape)

    def init(self):
        return None

    def act(self, shock, memory, observation):
        return chosen(self.space, drawn(self.probabilities(observation), shock)), memory


def drawn(probabilities: Float[Array, "actions"], uniform: Float[Array, ""]) -> Float[Array, "actions"]:
    """1 at the action that a uniform draws."""
    size = probabilities.shape[0]
    until = (jnp.tril(jnp.ones((size, size)), -1) * probabilities).sum(1)
    begun = (until <= uniform).astype(probabilities.dtype)
    return begun - jnp.append(begun[1:], 0.0)


def chosen(space: Discrete, choice: Float[Array, "actions"]) -> Any:
    """The action at which there is a 1. A sum, since an index would be a program of its own, and slow in a loop."""
    return jax.tree.map(lambda leaf: jnp.tensordot(choice, leaf, 1), space.actions)


def explored(probabilities: Float[Array, "*n actions"], epsilon: Scalar) -> Float[Array, "*n actions"]:
    """The same with a share ε of all actions alike."""
    return (1 - epsilon) * probabilities + epsilon / probabilities.shape[-1]


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


class _ClippedCells(Cells):
    """One whole number of either sign, clipped."""

    limit: int = eqx.field(static=True, default=2)
    """What larger values are not told from, on either side, in units or ticks."""

    def __check_init__(self):
        check("limit", self.limit, "from 1 to 1000", 1 <= self.limit <= 1000)

    @property
    def size(self):
        return 2 * self.limit + 1

    @abc.abstractmethod
    def value(self, observation: Any) -> Float[Array, "..."]:
        """What is clipped."""

    def __call__(self, observation):
        return _clipped(self.value(observation), self.limit)

    @property
    def labels(self):
        """From the lowest to the highest, the ends saying what they hold."""
        inner = [str(value).replace("-", "−") for value in range(1 - self.limit, self.limit)]
        return (f"≤ −{self.limit}", *inner, f"≥ {self.limit}")


class ImbalanceCells(_ClippedCells):
    """The imbalance, in units."""

    def value(self, observation):
        return observation.imbalance


class InventoryCells(_ClippedCells):
    """The inventory, in units."""

    def value(self, observation):
        return observation.inventory


class MispricingCells(_ClippedCells):
    """What the quote is off by, in ticks: for a maker that sees the fundamental price."""

    def value(self, observation):
        return observation.mispricing


class SpreadCells(Cells):
    """The maker's own spread, clipped."""

    widest: int = eqx.field(static=True, default=4)
    """Largest spread that is told from larger ones, in ticks."""

    def __check_init__(self):
        check("widest", self.widest, "from 1 to 1000", 1 <= self.widest <= 1000)

    @property
    def size(self):
        return self.widest + 1

    def __call__(self, observation):
        return jnp.clip(jnp.floor(observation.spread), 0, self.widest).astype(jnp.int32)

    @property
    def labels(self):
        return (*map(str, range(self.widest)), f"≥ {self.widest}")


class CombinedCells(Cells):
    """Every combination of the cells of several divisions, the last of them running fastest."""

    parts: tuple[Cells, ...] = (ImbalanceCells(), SpreadCells())
    """One at least."""

    def __check_init__(self):
        check("parts", self.parts, "one or more of them", len(self.parts) > 0)

    @property
    def size(self):
        return math.prod(part.size for part in self.parts)

    def __call__(self, observation):
        place = jnp.zeros((), jnp.int32)
        for part in self.parts:
            place = place * part.size + part(observation)
        return place

    @property
    def labels(self):
        names = [type(part).__name__.removesuffix("Cells").lower() for part in self.parts]
        several = itertools.product(*(part.labels for part in self.parts))
        return tuple(
            ", ".join(f"{name} {label}" for name, label in zip(names, labels, strict=True))
            for labels in several
        )


class TabularPolicy(FinitePolicy):
    """A table of probabilities, a row a cell and a column an action."""

    table: Float[Array, "cells actions"]
    cells: Cells
    actions: Discrete

    @property
    def space(self):
        return self.actions

    def probabilities(self, observation):
        return self.table[self.cells(observation)]


class Threshold(FinitePolicy):
    """Raises the quote by a tick once the imbalance reaches a threshold, and lowers it on the other side."""

    threshold: int = 2
    """h, the imbalance that moves the quote, in units."""
    epsilon: Scalar = 0.0
    """Probability that it draws any change instead, all alike."""

    def __check_init__(self):
        check("threshold", self.threshold, "a whole number of at least 1", lambda: _is_whole(self.threshold))
        _check_epsilon(self.epsilon)

    @property
    def space(self):
        return quote_changes()

    def probabilities(self, observation):
        imbalance = observation.imbalance
        rise, fall = imbalance >= self.threshold, imbalance <= -self.threshold
        change = rise.astype(imbalance.dtype) - fall.astype(imbalance.dtype)
        return explored(_certain(change), self.epsilon)


class Table(FinitePolicy):
    """Changes the quote by what a table has for the imbalance, clipped to the table."""

    changes: tuple[float, ...] = (-1.0, -1.0, 0.0, 1.0, 1.0)
    """Change of the quote in ticks, -1, 0 or 1, at each imbalance from the lowest to the highest; an odd number."""
    epsilon: Scalar = 0.0
    """Probability that it draws any change instead, all alike."""

    def __check_init__(self):
        check("changes", self.changes, "an odd number of them", len(self.changes) % 2 == 1)
        check("changes", self.changes, "-1, 0 or 1 each", lambda: np.isin(self.changes, CHANGES))
        _check_epsilon(self.epsilon)

    @property
    def space(self):
        return quote_changes()

    def probabilities(self, observation):
        row = _clipped(observation.imbalance, len(self.changes) // 2)
        change = jnp.asarray(self.changes, observation.imbalance.dtype)[row]
        return explored(_certain(change), self.epsilon)


def quote_changes() -> Discrete:
    """What the maker of one price can do."""
    return Discrete(ElectronicAction(jnp.asarray(CHANGES)))


def _certain(change: Float[Array, ""]) -> Float[Array, "actions"]:
    return (jnp.asarray(CHANGES, change.dtype) == change).astype(change.dtype)


def _clipped(value: Float[Array, "..."], limit: int) -> Int[Array, "..."]:
    return jnp.clip(jnp.round(value), -limit, limit).astype(jnp.int32) + limit


def _is_whole(value: Any) -> Any:
    return np.isfinite(value) & (np.asarray(value) >= 1) & (np.floor(value) == value)


def _check_epsilon(epsilon: Scalar) -> None:
    check("epsilon", epsilon, "in [0, 1]", lambda: 0 <= epsilon <= 1)
