"""Bars to blocks of returns.

A block is `size` log returns one after the other, over δ = size · Δ years. What is kept of it is its return, and the
sum of squares of its returns about their mean: where the variance moves little within a block, nothing else says
anything of it.

Returns over gaps (bars missing, nights, weekends) are left out, and the variance stands still meanwhile: time is that
of trading. Years are those of `Bars.years_per_bar` unless the caller knows better.
"""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from twosided.core.errors import Refusal
from twosided.core.validation import check
from twosided.data.bars import Bars

FEWEST = 20
"""Blocks that a calibration needs."""


class Blocks(eqx.Module):
    """What blocks of returns say; in years."""

    move: Float[Array, "blocks"]
    """Log return over √δ."""
    squares: Float[Array, "blocks"]
    """Sum of squares of its returns about their mean, over Δ: V times a χ²."""
    freedom: Float[Array, ""]
    """The χ²'s degrees of freedom, size - 1."""
    length: Float[Array, ""]
    """δ, years."""

    def __len__(self) -> int:
        return self.move.shape[0]

    @property
    def number(self) -> Float[Array, ""]:
        """Returns in a block."""
        return self.freedom + 1

    @property
    def total(self) -> Float[Array, "blocks"]:
        """Sum of squares of a block's returns about 0, over Δ: n V in the mean."""
        return self.squares + jnp.square(self.move)


@dataclass(frozen=True)
class Sample:
    """The blocks of some bars, and where they come from."""

    blocks: Blocks
    size: int
    """Returns in a block."""
    years_per_bar: float
    """Δ."""
    time: Float[ndarray, "blocks"]
    """Of the last bar of each block, seconds since 1970 UTC."""
    returns: Float[ndarray, "returns"]
    """Those that are in blocks."""
    bars: int
    gaps: int
    """Returns left out because bars are missing before them."""
    rest: int
    """Oldest returns left out because they do not fill a block."""
    sources: tuple[str, ...]


def blocks_of(
    bars: Bars, *, size: int | None = None, most: int = 1000, years_per_bar: float | None = None
) -> Sample:
    """Blocks of the closes' log returns; of a size that makes at most `most` of them unless one is given."""
    if size is not None:
        check("block", size, "at least 1", size >= 1)
    if years_per_bar is None:
        years_per_bar = bars.years_per_bar
    check("years_per_bar", years_per_bar, "positive and finite", 0 < years_per_bar < np.inf)
    kept = bars.contiguous[1:]
    time, returns = bars.time[1:][kept], bars.returns
    if size is None:
        size = max(1, -(-len(returns) // most))
    number = len(returns) // size
    if number < FEWEST:
        raise Refusal(
            f"{' and '.join(bars.sources)}: {len(returns)} returns make {number} blocks of {size}, where a calibration"
            f" needs {FEWEST}"
        )
    if not returns.any():
        raise Refusal(f"{' and '.join(bars.sources)}: the price never moves, so that there is nothing to fit")
    rest = len(returns) - number * size
    returns, time = returns[rest:], time[rest:]
    return Sample(
        blocks=make_blocks(returns.reshape(number, size), years_per_bar),
        size=size,
        years_per_bar=years_per_bar,
        time=time.reshape(number, size)[:, -1],
        returns=returns,
        bars=len(bars),
        gaps=int(np.sum(~kept)),
        rest=rest,
        sources=bars.sources,
    )


def make_blocks(returns: Float[ndarray, "blocks size"], years: float) -> Blocks:
    """Blocks of returns of intervals of so many years."""
    size = returns.shape[1]
    squares = np.square(returns - returns.mean(1, keepdims=True)).sum(1) / years
    return Blocks(
        move=jnp.asarray(returns.sum(1) / np.sqrt(size * years)),
        squares=jnp.asarray(squares),
        freedom=jnp.asarray(size - 1.0),
        length=jnp.asarray(size * years),
    )


def variance_path(blocks: Blocks, window: int = 30) -> Float[ndarray, "blocks"]:
    """A rough variance around every block, from the squares of about `window` returns on either side."""
    number, total = float(blocks.number), np.asarray(blocks.total, float)
    reach = max(1, round(window / number))
    sums = np.cumsum(np.concatenate([[0.0], total]))
    at = np.arange(len(total))
    low, high = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(total))
    means = (sums[high] - sums[low]) / ((high - low) * number)
    # A quiet stretch of a coarse price may have no squares at all.
    return np.maximum(means, 0.02 * total.mean() / number)
