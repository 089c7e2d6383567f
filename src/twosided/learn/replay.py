"""Replay: what was lived lately, in a ring of fixed size, and uniform draws from it.

    add     the n oldest rows give way to n new ones:  row (next + i) mod capacity,  i = 0 ... n - 1
    sample  rows of the ring that were ever written, each as likely as any other, with replacement

Both cost what the rows cost that they touch, whatever the capacity: inside a compiled loop the ring is changed
in place, where it is. It is plain data, a part of the learner's state, so that a checkpoint holds it.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray


class Replay(eqx.Module):
    """The last rows that were added, up to a capacity; a row is a tree of arrays."""

    rows: Any
    """Leaves have a leading axis of the capacity."""
    next: Int[Array, ""]
    """Where the next row goes."""
    size: Int[Array, ""]
    """Rows written so far, at most the capacity."""

    @classmethod
    def empty(cls, capacity: int, row: Any) -> "Replay":
        """Of nothing yet; `row` is one row, or its shapes."""
        rows = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), row)
        return cls(rows, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    @property
    def capacity(self) -> int:
        return jax.tree.leaves(self.rows)[0].shape[0]

    def add(self, rows: Any) -> "Replay":
        """With more rows, leaves with a leading axis of at most the capacity."""
        count = jax.tree.leaves(rows)[0].shape[0]
        assert count <= self.capacity, "more rows than the ring holds"
        places = (self.next + jnp.arange(count)) % self.capacity
        # And a row that goes nowhere: XLA would write a single one by an operation that it may do once more where rows
        # are drawn, from the ring as it was before, and for that it copies all of it.
        places = jnp.append(places, self.capacity)

        def write(ring: Array, new: Array) -> Array:
            return ring.at[places].set(jnp.concatenate([new, new[:1]]), mode="drop", unique_indices=True)

        return Replay(
            rows=jax.tree.map(write, self.rows, rows),
            next=(self.next + count) % self.capacity,
            size=jnp.minimum(self.size + count, self.capacity),
        )

    def sample(self, key: PRNGKeyArray, count: int) -> Any:
        """That many rows, drawn independently; something must have been added."""
        places = jax.random.randint(key, (count,), 0, self.size)
        return jax.tree.map(lambda ring: ring.at[places].get(mode="promise_in_bounds"), self.rows)
