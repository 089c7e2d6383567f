"""Blocks of returns, made from bars.

A block is `size` consecutive log returns over δ = size · Δ years. It is summarized by its return and by the sum of the
squared deviations of its returns from their mean. For a variance that is constant within the block, these two
statistics are sufficient.

Returns over gaps (missing bars, nights, weekends) are left out, and the variance is held constant across a gap: time is
trading time. A year is defined by `Bars.years_per_bar` unless the caller gives another value.
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

MIN_BLOCKS = 20
"""Minimum number of blocks for a calibration."""


class Blocks(eqx.Module):
    """Sufficient statistics of blocks of returns; time in years."""

    scaled_return: Float[Array, "blocks"]
    """Log return of the block over √δ."""
    sum_squares: Float[Array, "blocks"]
    """Sum of the squared deviations of its returns from their mean, over Δ: V times a χ² variable."""
    degrees_of_freedom: Float[Array, ""]
    """Degrees of freedom of the χ² variable, size - 1."""
    length: Float[Array, ""]
    """δ, length of a block in years."""

    def __len__(self) -> int:
        return self.scaled_return.shape[0]

    @property
    def returns_per_block(self) -> Float[Array, ""]:
        """Number of returns in a block, n."""
        return self.degrees_of_freedom + 1

    @property
    def total_squares(self) -> Float[Array, "blocks"]:
        """Sum of the squared returns of a block, over Δ; its expectation is n V."""
        return self.sum_squares + jnp.square(self.scaled_return)


@dataclass(frozen=True)
class Sample:
    """Blocks of returns and the bars that they were made from."""

    blocks: Blocks
    """Sufficient statistics of the blocks."""
    size: int
    """Number of returns in a block."""
    years_per_bar: float
    """Δ, length of a bar in years."""
    time: Float[ndarray, "blocks"]
    """Time of the last bar of each block, in seconds since 1970 UTC."""
    returns: Float[ndarray, "returns"]
    """Log returns that are in blocks."""
    num_bars: int
    """Number of bars."""
    num_gaps: int
    """Number of returns left out because bars are missing before them."""
    num_dropped: int
    """Number of oldest returns left out because they do not fill a block."""
    sources: tuple[str, ...]
    """Names of the files or other sources of the bars."""


def make_sample(
    bars: Bars, *, size: int | None = None, max_blocks: int = 1000, years_per_bar: float | None = None
) -> Sample:
    """Group the log returns of the closes into blocks.

    Without a `size`, the smallest one that makes at most `max_blocks` blocks is used. Raises ValueError for a bad
    argument, and Refusal if there are fewer than MIN_BLOCKS blocks or if the price never changes.
    """
    if size is not None:
        check("block", size, "at least 1", size >= 1)
    if years_per_bar is None:
        years_per_bar = bars.years_per_bar
    check("years_per_bar", years_per_bar, "positive and finite", 0 < years_per_bar < np.inf)
    contiguous = bars.contiguous[1:]
    time, returns = bars.time[1:][contiguous], bars.returns
    if size is None:
        size = max(1, -(-len(returns) // max_blocks))
    num_blocks = len(returns) // size
    if num_blocks < MIN_BLOCKS:
        raise Refusal(
            f"{' and '.join(bars.sources)}: {len(returns)} returns make {num_blocks} blocks of {size}, but a"
            f" calibration needs at least {MIN_BLOCKS}"
        )
    if not returns.any():
        raise Refusal(f"{' and '.join(bars.sources)}: the price never changes, so there is nothing to fit")
    num_dropped = len(returns) - num_blocks * size
    returns, time = returns[num_dropped:], time[num_dropped:]
    return Sample(
        blocks=make_blocks(returns.reshape(num_blocks, size), years_per_bar),
        size=size,
        years_per_bar=years_per_bar,
        time=time.reshape(num_blocks, size)[:, -1],
        returns=returns,
        num_bars=len(bars),
        num_gaps=int(np.sum(~contiguous)),
        num_dropped=num_dropped,
        sources=bars.sources,
    )


def make_blocks(returns: Float[ndarray, "blocks size"], years_per_return: float) -> Blocks:
    """Return the sufficient statistics of blocks of log returns over intervals of `years_per_return` years."""
    size = returns.shape[1]
    sum_squares = np.square(returns - returns.mean(1, keepdims=True)).sum(1) / years_per_return
    return Blocks(
        scaled_return=jnp.asarray(returns.sum(1) / np.sqrt(size * years_per_return)),
        sum_squares=jnp.asarray(sum_squares),
        degrees_of_freedom=jnp.asarray(size - 1.0),
        length=jnp.asarray(size * years_per_return),
    )


def realized_variance(blocks: Blocks, window: int = 30) -> Float[ndarray, "blocks"]:
    """Return the realized variance per year around each block, from about `window` returns on either side."""
    number, total = float(blocks.returns_per_block), np.asarray(blocks.total_squares, float)
    reach = max(1, round(window / number))
    sums = np.cumsum(np.concatenate([[0.0], total]))
    index = np.arange(len(total))
    low, high = np.maximum(index - reach, 0), np.minimum(index + reach + 1, len(total))
    means = (sums[high] - sums[low]) / ((high - low) * number)
    # The squared returns of a coarsely quoted price may all be zero over a quiet period.
    return np.maximum(means, 0.02 * total.mean() / number)
