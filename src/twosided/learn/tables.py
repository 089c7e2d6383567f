"""Tabular policies: probabilities over a finite list of actions, given the observation.

Because a finite policy gives the probability of every action, it can be evaluated exactly
(`twosided.electronic.exact`) as well as by simulation. A table has one row per cell, and cells partition the
observations: for example by the imbalance clipped to ±2, as in the tables of Phelps (2022).

    threshold policy π_h   raise the quote where I ≥ h, lower it where I ≤ -h, otherwise leave it
    ε-soft policy          with probability ε an action drawn uniformly:  (1 - ε) π(a | s) + ε / |A|
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
    """Policy that draws from a finite list of actions with probabilities that depend on the observation alone."""

    @property
    @abc.abstractmethod
    def space(self) -> Discrete:
        """List of actions."""

    @abc.abstractmethod
    def probabilities(self, observation: Any) -> Float[Array, "actions"]:
        """Return the probability of each action, given the observation."""

    def shocks(self, key, shape):
        return jax.random.uniform(key, shape)

    def init(self):
        return None

    def act(self, shock, state, observation):
        return select_action(self.space, sample_one_hot(self.probabilities(observation), shock)), state


def sample_one_hot(
    probabilities: Float[Array, "actions"], uniform: Float[Array, ""]
) -> Float[Array, "actions"]:
    """Draw an action by inversion of a uniform number, as a one-hot vector."""
    size = probabilities.shape[0]
    below = (jnp.tril(jnp.ones((size, size)), -1) * probabilities).sum(1)
    reached = (below <= uniform).astype(probabilities.dtype)
    return reached - jnp.append(reached[1:], 0.0)


def select_action(space: Discrete, choice: Float[Array, "actions"]) -> Any:
    """Return the action of a one-hot vector.

    A sum over all actions, because indexing compiles to a separate operation that is slow inside a loop.
    """
    return jax.tree.map(lambda leaf: jnp.tensordot(choice, leaf, 1), space.actions)


def epsilon_soft(probabilities: Float[Array, "*n actions"], epsilon: Scalar) -> Float[Array, "*n actions"]:
    """Return the mixture of the probabilities with a share ε of the uniform distribution."""
    return (1 - epsilon) * probabilities + epsilon / probabilities.shape[-1]


class TabularPolicy(FinitePolicy):
    """Table of action probabilities, with one row per cell and one column per action."""

    table: Float[Array, "cells actions"]
    """Probability of each action in each cell."""
    cells: Cells
    """Grouping of observations into rows."""
    actions: Discrete
    """List of actions, the columns."""

    @property
    def space(self):
        return self.actions

    def probabilities(self, observation):
        return self.table[self.cells(observation)]


def cells_or_default(scenario: Scenario, cells: Cells | None) -> Cells:
    """Return the cells, or the market's default where they are None. Raises ValueError if the market has no default."""
    found = scenario.market.cells if cells is None else cells
    if found is None:
        raise ValueError(f"cells must be given, because {type(scenario.market).__name__} has no default")
    return found
