"""Standard errors over blocks of one history.

A market that replays a recorded history has one sample of it, however many episodes are run: episodes overlap, and all
of them share the same prices. The steps of an evaluation are therefore grouped by their place in the history, in K
contiguous blocks that are longer than an episode, and the blocks are the sample. With S_k the sum of a quantity over
the steps in block k, and N_k their number, a mean and its variance are

    m = Σ S_k / Σ N_k,    var(m) = K / (K - 1) Σ (S_k - m N_k)² / (Σ N_k)²

with K - 1 degrees of freedom. Few long blocks with Student's quantile cover better than many short ones if the
quantity is autocorrelated, because neighbouring blocks are then less dependent.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray

from twosided.core.scenario import Scenario, Step

MAX_BLOCKS = 20
"""Largest number of blocks."""
MIN_BLOCKS = 6
"""Smallest number of blocks for which there is an error."""
EPISODES = 2
"""Shortest block, in episodes: an episode can make the steps of one block depend on those of the next."""
PASS_BLOCKS, PASS_STEPS = 10, 30
"""Largest number of blocks of a single pass through a history, and the shortest block, in steps."""
ROUNDING = 1e-6
"""Errors below this fraction of the value are rounding in float32, and reported as 0."""

PLACE = "place"
"""Recorded beside the quantities of a step in a market with a history: 1 plus its place there."""


@dataclass(frozen=True)
class Blocks:
    """Blocks of a history."""

    number: int
    """K; 0 if the history is too short."""
    span: int
    """Steps of the history that episodes reach."""
    starts: int
    """Places where episodes start."""
    over: str
    """Sample that errors are over; without blocks, the reason why there is no error."""

    def sums(self, place: Int[Array, "time paths"], steps: Any) -> tuple[Any, Float[Array, "blocks"]]:
        """Return the sums over the steps in each block, leaves (blocks, makers), and the number of steps.

        `place` is 1 plus the place in the history, or 0 after the end of an episode; those steps count in the last
        block, where the history ends.
        """
        block = jnp.where(place == 0, self.number - 1, (place - 1) * self.number // self.span)
        member = jax.nn.one_hot(block.ravel(), self.number)

        # A product of matrices, because a scatter is not reproducible on a GPU.
        def total(leaf: Array) -> Array:
            return jnp.matmul(
                member.T, leaf.reshape(member.shape[0], -1), precision=jax.lax.Precision.HIGHEST
            )

        return jax.tree.map(total, steps), member.sum(0)

    def of_starts(self, start: Int[ndarray, "paths"]) -> Int[ndarray, "paths"]:
        """Return the block in which each episode starts."""
        return start.astype(np.int64) * self.number // self.starts


def history_blocks(scenario: Scenario) -> Blocks | None:
    """Return the blocks of a scenario's history; None in a market without a history."""
    history, horizon = scenario.market.history, scenario.horizon
    if history is None:
        return None
    span = min(history.steps, history.starts - 1 + horizon)
    if history.starts == 1:
        number, shortest, unit = min(PASS_BLOCKS, span // PASS_STEPS), PASS_STEPS, ""
    else:
        shortest = EPISODES * min(horizon, span)
        number, unit = min(MAX_BLOCKS, span // shortest), f", {EPISODES} episodes,"
    if number < MIN_BLOCKS:
        reason = (
            f"no error: it needs {MIN_BLOCKS} blocks of {shortest} steps{unit} but episodes reach {span} steps of"
            " one history"
        )
        return Blocks(0, span, history.starts, reason)
    return Blocks(number, span, history.starts, f"{number} blocks of one history")


def place_of(step: Step) -> dict[str, Any]:
    """Return 1 plus the place of a step in the history under PLACE; nothing in a market without a history."""
    return {} if step.place is None else {PLACE: step.place + 1}


def rounded_off(value: float, error: float | None) -> float | None:
    """Return an error, or 0 where it is no more than the rounding of the value."""
    return error if error is None or error > ROUNDING * abs(value) else 0.0


def block_values(
    sums: Float[ndarray, "blocks *makers"], counts: Float[ndarray, "blocks"]
) -> Float[ndarray, "blocks *makers"]:
    """Return K values that have the mean Σ S_k / Σ N_k, and whose standard error as independent values is its error:
    m + K (S_k - m N_k) / Σ N_k."""
    total = counts.sum()
    mean, weight = sums.sum(0) / total, counts.reshape(-1, *[1] * (sums.ndim - 1))
    return mean + len(counts) * (sums - mean * weight) / total
