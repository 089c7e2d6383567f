"""Block bootstrap: standard errors of dependent observations."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


def block_bootstrap(
    moments: Float[ndarray, "n moments"], length: int, resamples: int, seed: int
) -> Float[ndarray, "resamples moments"]:
    """Return the means of resamples by the circular block bootstrap.

    Blocks of `length` rows start at uniformly drawn rows, and wrap around from the last row to the first.
    """
    n = len(moments)
    sums = np.cumsum(np.concatenate([np.zeros_like(moments[:1]), moments, moments[:length]]), axis=0)
    blocks = math.ceil(n / length)
    starts = np.random.default_rng(seed).integers(n, size=(resamples, blocks))
    return (sums[starts + length] - sums[starts]).sum(axis=1) / (blocks * length)


def block_resamples(n: int, length: int, resamples: int, seed: int) -> Iterator[Int[ndarray, "n"]]:
    """Yield the indices of each resample of `block_bootstrap`, for statistics other than a mean."""
    starts = np.random.default_rng(seed).integers(n, size=(resamples, math.ceil(n / length)))
    for row in starts:
        yield ((row[:, None] + np.arange(length)) % n).ravel()[:n]


def block_length(series: Float[ndarray, "n"]) -> int:
    """Return the optimal length of a circular block for the variance of a mean.

    Politis and White (2004), as corrected by Patton, Politis and White (2009); at most a tenth of the series, so that
    enough blocks are left to resample.
    """
    n = len(series)
    x = series - series.mean()
    if not x.any():
        return 1
    size = 2 ** math.ceil(math.log2(2 * n))
    covariance = np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2, size)[:n] / n
    # First lag after which a run of correlations stays within noise.
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    noise = 2 * math.sqrt(math.log10(n) / n)
    quiet = np.convolve(np.abs(covariance[1:]) / covariance[0] < noise, np.ones(run), "valid") == run
    reach = 2 * max(1, int(np.argmax(quiet)) if quiet.any() else n // 4)
    lags = np.arange(1, min(reach, n - 1) + 1)
    window = np.clip(2 * (1 - lags / reach), 0, 1)
    tail = window * covariance[lags]
    spectrum = covariance[0] + 2 * tail.sum()
    bend = 2 * (lags * tail).sum()
    if spectrum <= 0:
        return max(1, n // 10)
    return int(np.clip(math.ceil((1.5 * (bend / spectrum) ** 2 * n) ** (1 / 3)), 1, max(1, n // 10)))
