"""Policies of the electronic market with one price, as probabilities of its three actions.

Their exact values follow by enumeration (`twosided.electronic.exact`), and they can be sampled.

    threshold policy π_h   raise the quote where I ≥ h, lower it where I ≤ -h, else leave it
    exploration            with probability ε a uniformly random action:  (1 - ε) π(a | s) + ε / |A|
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twosided.core.numeric import Scalar
from twosided.core.spaces import Discrete
from twosided.core.validation import check
from twosided.electronic.cells import clipped
from twosided.electronic.market import CHANGES, ElectronicAction
from twosided.learn.tables import FinitePolicy, epsilon_soft


class ThresholdPolicy(FinitePolicy):
    """Raises the quote by a tick where the imbalance reaches a threshold, and lowers it where its negative does."""

    threshold: int = 2
    """h, imbalance that moves the quote, in units."""
    epsilon: Scalar = 0.0
    """ε, probability of a uniformly random change instead."""

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
        return epsilon_soft(_one_hot(change), self.epsilon)


class ImbalanceTable(FinitePolicy):
    """Changes the quote by a table's entry for the imbalance, clipped to the table."""

    changes: tuple[float, ...] = (-1.0, -1.0, 0.0, 1.0, 1.0)
    """Change of the quote in ticks (-1, 0 or 1) at each imbalance, from the lowest to the highest; an odd number
    of entries."""
    epsilon: Scalar = 0.0
    """ε, probability of a uniformly random change instead."""

    def __check_init__(self):
        check("changes", self.changes, "an odd number of entries", len(self.changes) % 2 == 1)
        check("changes", self.changes, "-1, 0 or 1 each", lambda: np.isin(self.changes, CHANGES))
        _check_epsilon(self.epsilon)

    @property
    def space(self):
        return quote_changes()

    def probabilities(self, observation):
        row = clipped(observation.imbalance, len(self.changes) // 2)
        change = jnp.asarray(self.changes, observation.imbalance.dtype)[row]
        return epsilon_soft(_one_hot(change), self.epsilon)


def quote_changes() -> Discrete:
    """Return the action space of the market with one price."""
    return Discrete(ElectronicAction(jnp.asarray(CHANGES)))


def _one_hot(change: Float[Array, ""]) -> Float[Array, "actions"]:
    return (jnp.asarray(CHANGES, change.dtype) == change).astype(change.dtype)


def _is_whole(value: Any) -> Any:
    return np.isfinite(value) & (np.asarray(value) >= 1) & (np.floor(value) == value)


def _check_epsilon(epsilon: Scalar) -> None:
    check("epsilon", epsilon, "in [0, 1]", lambda: 0 <= epsilon <= 1)
