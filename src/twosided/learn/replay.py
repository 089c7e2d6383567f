"""Replay buffer: the most recent experience in a ring buffer of fixed size, sampled uniformly.

    add     the n oldest rows are overwritten by n new ones:  row (next + i) mod capacity,  i = 0 ... n - 1
    sample  independent uniform draws, with replacement, from the rows written so far

The cost of both depends on the number of rows that they touch and not on the capacity, because a compiled loop updates
the buffer in place. The buffer is plain data and part of the training state, so a checkpoint holds it.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray


class ReplayBuffer(eqx.Module):
    """Ring buffer of the most recently added rows. A row is a tree of arrays."""

    rows: Any
    """Rows; leaves have a leading axis of length capacity."""
    next: Int[Array, ""]
    """Index of the next row to write."""
    size: Int[Array, ""]
    """Number of rows written so far, at most the capacity."""

    @classmethod
    def empty(cls, capacity: int, row: Any) -> "ReplayBuffer":
        """Return an empty buffer. `row` is one row, or its shapes."""
        rows = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), row)
        return cls(rows, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    @property
    def capacity(self) -> int:
        """Largest number of rows that the buffer holds."""
        return jax.tree.leaves(self.rows)[0].shape[0]

    def add(self, rows: Any) -> "ReplayBuffer":
        """Return the buffer with rows added; leaves have a leading axis no longer than the capacity."""
        count = jax.tree.leaves(rows)[0].shape[0]
        assert count <= self.capacity, "more rows than the buffer holds"
        places = (self.next + jnp.arange(count)) % self.capacity
        # One more row is written out of bounds, where it is dropped. XLA writes a single row by an operation that it
        # may duplicate where rows are sampled from the buffer as it was before, which copies the whole buffer.
        places = jnp.append(places, self.capacity)

        def write(buffer: Array, new: Array) -> Array:
            return buffer.at[places].set(jnp.concatenate([new, new[:1]]), mode="drop", unique_indices=True)

        return ReplayBuffer(
            rows=jax.tree.map(write, self.rows, rows),
            next=(self.next + count) % self.capacity,
            size=jnp.minimum(self.size + count, self.capacity),
        )

    def sample(self, key: PRNGKeyArray, count: int) -> Any:
        """Return `count` rows drawn independently and uniformly. The buffer must not be empty."""
        places = jax.random.randint(key, (count,), 0, self.size)
        return jax.tree.map(lambda leaf: leaf.at[places].get(mode="promise_in_bounds"), self.rows)
