"""Bars from substeps: any price process, stepped finely, seen as open, high, low and close.

Between substeps nothing is seen, so that the high of n substeps falls short of the path's own by about
0.58 σ √(Δ/n) (Broadie, Glasserman & Kou 1997), and the low likewise.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twosided.data.bars import OHLC, OHLC_FIELDS, Bars
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


def simulate_bars(
    process: PriceProcess,
    number: int,
    *,
    substeps: int = 4,
    seconds: float = 60.0,
    half_spread: float = 0.0,
    start: float = 1.6e9,
    seed: int = 0,
) -> tuple[Bars, Any]:
    """Bars of a process, each of `substeps` of its steps; and its states at the end of each bar.

    With a half-spread, in currency, bid and ask stand around the price.
    """
    state, shocks = _start(process, (number, substeps), seed)
    states, bar = _run(process, state, shocks)
    price = OHLC(*(np.asarray(getattr(bar, name), float) for name in OHLC_FIELDS))
    time = start + seconds * np.arange(number)
    if not half_spread:
        return Bars(time, price, seconds, sources=("simulated",)), states
    bid, ask = (OHLC(*(getattr(price, name) + side * half_spread for name in OHLC_FIELDS)) for side in (-1, 1))
    return Bars(time, price, seconds, bid, ask, sources=("simulated",)), states


def _start(process: PriceProcess, shape: tuple[int, int], seed: int) -> tuple[Any, Any]:
    first, rest = jax.random.split(jax.random.key(seed))
    return process.reset(process.shocks(first, ())), process.shocks(rest, shape)


@jax.jit
def _run(process: PriceProcess, state: Any, shocks: Any) -> tuple[Any, Any]:
    def one(state, shock):
        after, bar = bar_of(process, state, shock)
        return after, (after, bar)

    return jax.lax.scan(one, state, shocks)[1]
