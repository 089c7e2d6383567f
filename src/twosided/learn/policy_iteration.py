"""Policy iteration: evaluate a policy, improve it greedily, and repeat until the policy does not change.

If the cells are the states of a Markov process, each policy is at least as good as the one before it and the iteration
ends at the optimum (Sutton and Barto 2018, section 4.3). A maker of the electronic market observes the imbalance, which
is not such a state, because the values of a cell depend on the policy. The theorem then does not apply, and the
iteration may enter a cycle; the result reports its length.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from twosided.core.spaces import Cells, Discrete
from twosided.core.validation import check
from twosided.learn.tables import TabularPolicy, epsilon_soft

ActionValues = Callable[[TabularPolicy], Float[ndarray, "cells actions"]]
"""Function that evaluates a policy: Q, exact or sampled, with NaN for pairs that do not occur."""


@dataclass(frozen=True)
class PolicyIteration:
    """Result of policy iteration: the policies in order."""

    choices: tuple[tuple[int, ...], ...]
    """Index of the action of each cell, for each policy."""
    cycle_length: int
    """Length of the final cycle of policies: 1 if the last policy is its own improvement, 0 if none was found."""

    @property
    def converged(self) -> bool:
        """Whether the last policy is its own improvement."""
        return self.cycle_length == 1

    def __str__(self) -> str:
        if self.converged:
            return f"policy iteration converged after {len(self.choices) - 1} improvements"
        if self.cycle_length:
            return (
                f"policy iteration entered a cycle of {self.cycle_length} policies: the cells are not the states of a "
                "Markov process"
            )
        return f"policy iteration did not converge within {len(self.choices) - 1} improvements"


def policy_iteration(
    action_values: ActionValues,
    cells: Cells,
    space: Discrete,
    first: Int[ndarray, "cells"],
    epsilon: float = 0.1,
    max_improvements: int = 50,
    margin: float = 1e-9,
) -> PolicyIteration:
    """Improve a policy until one occurs again, at most `max_improvements` times.

    `first` holds the index of the initial action of each cell. The evaluated policies are ε-soft with `epsilon`, so
    that all actions have values. An action is replaced only by one that is better by more than `margin`.
    """
    check("epsilon", epsilon, "in [0, 1]", 0 <= epsilon <= 1)
    check("max_improvements", max_improvements, "at least 1", max_improvements >= 1)
    found = [np.asarray(first, int)]
    for _ in range(max_improvements):
        policy = TabularPolicy(epsilon_soft(jnp.eye(space.size)[found[-1]], epsilon), cells, space)
        found.append(improve(action_values(policy), found[-1], margin))
        for back in range(1, len(found)):
            if np.array_equal(found[-1], found[-1 - back]):
                return _result(found, back)
    return _result(found, 0)


def improve(
    values: Float[ndarray, "cells actions"], choices: Int[ndarray, "cells"], margin: float = 0.0
) -> Int[ndarray, "cells"]:
    """Return the best action of each cell.

    The current choice stays where no action is better by more than the margin. Actions without a value (NaN) are never
    chosen.
    """
    known = np.where(np.isnan(values), -np.inf, values)
    current = np.take_along_axis(known, choices[:, None], 1)[:, 0]
    return np.where(known.max(1) > current + margin, known.argmax(1), choices)


def _result(found: list[ndarray], cycle_length: int) -> PolicyIteration:
    return PolicyIteration(tuple(tuple(int(choice) for choice in choices) for choices in found), cycle_length)
