"""Bars from substeps: any price process, stepped finely, seen as open, high, low and close.

Between substeps nothing is seen, so that the high of n substeps falls short of the path's own by about
0.58 σ √(Δ/n) (Broadie, Glasserman & Kou 1997), and the low likewise.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from twosided.prices.process import PriceProcess


class Bar(eqx.Module):
    """Prices of an interval, in currency."""

    open: Float[Array, "*batch"]
    """Where it starts: the close of the bar before."""
    high: Float[Array, "*batch"]
    low: Float[Array, "*batch"]
    close: Float[Array, "*batch"]


def bar_of(process: PriceProcess, state: Any, shocks: Any) -> tuple[Any, Bar]:
    """The state after a bar, and the bar: a step of the process for each of the shocks along their first axis.

    The process's `time_step` is that of a substep. Batches go by `jax.vmap`.
    """

    def substep(carry, shock):
        state, high, low = carry
        after = process.step(state, shock)
        return (after, jnp.maximum(high, after.mid), jnp.minimum(low, after.mid)), None

    (after, high, low), _ = jax.lax.scan(substep, (state, state.mid, state.mid), shocks)
    return after, Bar(open=state.mid, high=high, low=low, close=after.mid)
