"""Simulated bars: open, high, low and close over substeps of any price process.

The price is not observed between substeps, so the high over n substeps is below that of the continuous path by about
0.58 σ √(Δ/n), with Δ the length of a bar (Broadie, Glasserman & Kou 1997). The low is above by as much.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from twosided.core.numeric import HostArray
from twosided.data.bars import OHLC, OHLC_FIELDS, YEAR, Bars
from twosided.prices.process import PriceProcess


class Bar(eqx.Module):
    """Open, high, low and close of an interval, in currency."""

    open: Float[HostArray, "*batch"]
    """Price at the start, which is the close of the previous bar."""
    high: Float[HostArray, "*batch"]
    low: Float[HostArray, "*batch"]
    close: Float[HostArray, "*batch"]


def step_bar(process: PriceProcess, state: Any, shocks: Any) -> tuple[Any, Bar]:
    """Simulate one bar: one step of the process for each shock along the first axis. Return the final state and the
    bar.

    The process's `time_step` is the length of a substep. Use `jax.vmap` for batches.
    """

    def substep(carry, shock):
        state, high, low = carry
        after = process.step(state, shock)
        return (after, jnp.maximum(high, after.mid), jnp.minimum(low, after.mid)), None

    (after, high, low), _ = jax.lax.scan(substep, (state, state.mid, state.mid), shocks)
    return after, Bar(open=state.mid, high=high, low=low, close=after.mid)


def simulate_bars(
    process: PriceProcess,
    num_bars: int,
    *,
    substeps: int = 4,
    seconds: float = 60.0,
    half_spread: float = 0.0,
    start: float = 1.6e9,
    seed: int = 0,
) -> tuple[Bars, Any]:
    """Simulate bars of `substeps` steps of the process each. Return the bars, and the states at the end of each bar.

    Bars have a length of `seconds` and begin at `start`, in seconds since 1970 UTC. With a `half_spread`, in currency,
    bid and ask prices are the simulated price less and plus it.
    """
    state, shocks = _start(process, (num_bars, substeps), seed)
    states, bar = _run(process, state, shocks)
    price = OHLC(*(np.asarray(getattr(bar, name), float) for name in OHLC_FIELDS))
    time = start + seconds * np.arange(num_bars)
    # Simulated bars go on around the clock.
    years = float((time[-1] - time[0]) / YEAR / (num_bars - 1)) if num_bars > 1 else seconds / YEAR
    sources = ("simulated",)
    if not half_spread:
        return Bars(time, price, seconds, sources=sources, known_years_per_bar=years), states
    bid, ask = (
        OHLC(*(getattr(price, name) + side * half_spread for name in OHLC_FIELDS)) for side in (-1, 1)
    )
    return Bars(time, price, seconds, bid, ask, sources=sources, known_years_per_bar=years), states


def _start(process: PriceProcess, shape: tuple[int, int], seed: int) -> tuple[Any, Any]:
    key_reset, key_steps = jax.random.split(jax.random.key(seed))
    return process.reset(process.shocks(key_reset, ())), process.shocks(key_steps, shape)


@jax.jit
def _run(process: PriceProcess, state: Any, shocks: Any) -> tuple[Any, Any]:
    def scan_step(state, shock):
        after, bar = step_bar(process, state, shock)
        return after, (after, bar)

    return jax.lax.scan(scan_step, state, shocks)[1]
