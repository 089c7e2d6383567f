"""Logarithm of the exponential of a tridiagonal matrix applied to a positive vector, without overflow or underflow.

M has a diagonal d of any sign and the same positive number r beside it, so e^{M t} is positive. With s = -min d,

    e^{M t} = (e^{-s h} Σ_m (h^m / m!) (M + s I)^m)^(2^j),    h = t / 2^j,    h (max d + s + 2r) <= MAX_NORM

has no negative terms: sums and products keep the relative accuracy of every entry, however small it is. Each squaring
doubles the relative error, so that it is of the order of 2^j times the rounding of float64; more than MAX_SQUARINGS are
refused. The entries are ordinary numbers if the result shows that nothing that counts was lost by underflow, and
logarithms otherwise, where a product of two matrices takes size³ exponentials.
"""

import itertools
import math

import numpy as np

from twosided.core.numeric import FloatArray
from twosided.core.optimum import NotExact

MAX_NORM = 8.0
"""Largest norm of the matrix in the Taylor series."""
TERMS = 60
"""Terms of the Taylor series of an entry after its first one; the rest is below 8^60 / 60! = 2e-28 of it."""
MAX_SQUARINGS = 32
"""Largest number of squarings, with relative errors of about 1e-6."""
MAX_EXPONENTIALS = 2e10
"""Largest number of exponentials in the products of logarithms."""
LOST = 1e-300
"""Terms below this number are left out of ordinary numbers."""
SMALLEST = 1e-250
"""Smallest entry of a result, relative to 1 and to the largest, to which terms below LOST add nothing."""


def log_exponentials(diagonal: FloatArray, log_off: float, log_end: FloatArray, steps: int) -> FloatArray:
    """Return log(e^{n M} e^{log_end}) for n = steps, ..., 0, one row each.

    M has the given diagonal and e^{log_off} beside it. Raises NotExact if the numbers are too large.
    """
    with np.errstate(over="ignore"):
        norm = float(np.ptp(diagonal)) + 2 * float(np.exp(log_off))
    if not (np.isfinite(norm) and np.isfinite(log_off) and np.isfinite(log_end).all()):
        raise NotExact("the optimum in the limit of short steps overflows: its parameters are too large")
    squarings = max(math.ceil(math.log2(max(norm / MAX_NORM, 1.0))), 0)
    if squarings > MAX_SQUARINGS:
        raise NotExact(
            "the optimum in the limit of short steps is not resolved: penalty, inventory and fill rate of a step are "
            f"too large, by a factor of {norm / MAX_NORM / 2.0**MAX_SQUARINGS:.2g}"
        )
    plain = _plain(diagonal, log_off, log_end, steps, squarings)
    return plain if plain is not None else _logarithmic(diagonal, log_off, log_end, steps, squarings)


def _plain(
    diagonal: FloatArray, log_off: float, log_end: FloatArray, steps: int, squarings: int
) -> FloatArray | None:
    """Return the rows from ordinary numbers; None if some of them could have been lost by underflow."""
    most, off = float(diagonal.max()), float(np.exp(log_off))
    if off < SMALLEST:
        return None
    scale = 0.5**squarings
    shift = float(np.ptp(diagonal))
    size = diagonal.size
    power = one = np.eye(size)
    for term in itertools.count(1):
        neighbours = np.zeros_like(power)
        neighbours[1:] += power[:-1]
        neighbours[:-1] += power[1:]
        power = ((diagonal - most + shift)[:, None] * power + off * neighbours) * (scale / term)
        one = one + power
        if power.max() < LOST:
            break
    one = one * np.exp(-shift * scale)
    log_scale = 0.0
    for _ in range(squarings):
        one = one @ one
        largest = one.max()
        one, log_scale = one / largest, 2 * log_scale + np.log(largest)
    rows = [log_end]
    for _ in range(steps):
        largest = rows[-1].max()
        after = one @ np.exp(rows[-1] - largest)
        if not after.min() > SMALLEST * max(after.max(), 1.0):
            return None
        rows.append(largest + most + log_scale + np.log(after))
    return np.array(rows[::-1])


def _logarithmic(
    diagonal: FloatArray, log_off: float, log_end: FloatArray, steps: int, squarings: int
) -> FloatArray:
    """Return the rows from logarithms of all numbers."""
    size, scale = diagonal.size, 0.5**squarings
    if size**3 * (squarings + 1) + steps * size**2 > MAX_EXPONENTIALS:
        raise NotExact(
            "the optimum in the limit of short steps needs logarithms for these parameters, which take too long for "
            f"{size} inventories and {steps} steps"
        )
    most, shift = float(diagonal.max()), float(np.ptp(diagonal))
    with np.errstate(divide="ignore"):
        log_diagonal = np.log(diagonal - most + shift)[:, None]
        power = one = np.log(np.eye(size))
    beyond = np.full((1, size), -np.inf)
    # All entries of row i of the power m are reached from term |i - j| on.
    for term in range(1, TERMS + size):
        neighbours = np.logaddexp(np.concatenate([power[1:], beyond]), np.concatenate([beyond, power[:-1]]))
        power = np.logaddexp(log_diagonal + power, log_off + neighbours) + math.log(scale / term)
        one = np.logaddexp(one, power)
    one = one - shift * scale
    for _ in range(squarings):
        one = _log_product(one)
    one = one + most
    rows = [log_end]
    for _ in range(steps):
        rows.append(_log_sum(one + rows[-1]))
    return np.array(rows[::-1])


def _log_product(matrix: FloatArray) -> FloatArray:
    """Return the logarithm of the square of a symmetric matrix, given its logarithm."""
    return np.stack([_log_sum(matrix + row) for row in matrix])


def _log_sum(terms: FloatArray) -> FloatArray:
    """Return log Σ e^terms over the last axis."""
    most = terms.max(-1)
    return most + np.log(np.exp(terms - most[..., None]).sum(-1))
