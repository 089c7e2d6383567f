"""Policy iteration: the value of a policy, a policy that is greedy in it, its value, and so on until nothing changes.

Where cells are states of a Markov process each policy is at least as good as the one before, and the iteration ends
with the best (Sutton and Barto 2018, section 4.3). A maker of the electronic market sees the imbalance, which is not
one: what a cell means depends on the policy. The theorem does not hold, the iteration may go round in a circle, and
then it says so.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from twosided.core.spaces import Cells, Discrete
from twosided.core.validation import check
from twosided.learn.tables import TabularPolicy, explored

ActionValues = Callable[[TabularPolicy], Float[ndarray, "cells actions"]]
"""Q of a policy, exact or sampled; NaN for what it never does."""


@dataclass(frozen=True)
class Iteration:
    """The policies that were found, one after the other."""

    choices: tuple[tuple[int, ...], ...]
    """The action of each cell, of each policy in turn."""
    circle: int
    """Policies in the circle that the last ones go round in; 1 if the last one improves on itself, that is, stays."""

    @property
    def converged(self) -> bool:
        return self.circle == 1

    def __str__(self) -> str:
        if self.converged:
            return f"policy iteration converged after {len(self.choices) - 1} improvements"
        if self.circle:
            return (
                f"policy iteration goes round in a circle of {self.circle} policies: the cells are not states of a "
                "Markov process"
            )
        return f"policy iteration did not end within {len(self.choices) - 1} improvements"


def policy_iteration(
    action_values: ActionValues,
    cells: Cells,
    space: Discrete,
    first: Int[ndarray, "cells"],
    epsilon: float = 0.1,
    most: int = 50,
    margin: float = 1e-9,
) -> Iteration:
    """Improve until a policy comes again, `most` times at the most.

    The policies that are evaluated explore with `epsilon`, so that all actions have values. An action is left only
    for one that is better by more than `margin`.
    """
    check("epsilon", epsilon, "in [0, 1]", 0 <= epsilon <= 1)
    check("most", most, "at least 1", most >= 1)
    found = [np.asarray(first, int)]
    for _ in range(most):
        policy = TabularPolicy(explored(jnp.eye(space.size)[found[-1]], epsilon), cells, space)
        found.append(improved(action_values(policy), found[-1], margin))
        for back in range(1, len(found)):
            if np.array_equal(found[-1], found[-1 - back]):
                return _told(found, back)
    return _told(found, 0)


def improved(
    values: Float[ndarray, "cells actions"], choices: Int[ndarray, "cells"], margin: float = 0.0
) -> Int[ndarray, "cells"]:
    """The best action of each cell; the one that was chosen where none is better by more than a margin, or known."""
    known = np.where(np.isnan(values), -np.inf, values)
    mine = np.take_along_axis(known, choices[:, None], 1)[:, 0]
    return np.where(known.max(1) > mine + margin, known.argmax(1), choices)


def _told(found: list[ndarray], circle: int) -> Iteration:
    return Iteration(tuple(tuple(int(choice) for choice in choices) for choices in found), circle)
