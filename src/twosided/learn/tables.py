"""Policies of finite lists: what a maker of the electronic market does in each of a few situations.

A finite policy is the probabilities of its actions given what is observed, so what it does can be enumerated
(`twosided.electronic.exact`) as well as sampled. A table has a row for each cell, and cells divide what is observed:
the imbalance clipped to ±2, say, as in the tables of Phelps (2022).

    threshold policy π_h   raise the quote where I ≥ h, lower it where I ≤ -h, else leave it
    exploration            with probability ε any action, all alike:  (1 - ε) π(a | s) + ε / |A|
"""

import abc
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from twosided.core.numeric import Scalar
from twosided.core.policy import Policy
from twosided.core.scenario import Scenario
from twosided.core.spaces import Cells, Discrete


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


def cells_of(scenario: Scenario, cells: Cells | None) -> Cells:
    """The learner's cells, or else the market's default. Raises ValueError if there are none."""
    found = scenario.market.cells if cells is None else cells
    if found is None:
        raise ValueError(f"cells must be given: {type(scenario.market).__name__} has no default for tables")
    return found
