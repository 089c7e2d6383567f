"""The words every room shares: array aliases, profit and loss, transitions, and the sign conventions.

Everything is from the market maker's side. Inventory > 0 is long. A buy by the maker happens at its bid, a
sale at its ask; a half-spread is positive when it earns. Each market states its units of time and price
once; volatility is per square root of that unit of time.
"""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer


def is_concrete(*values: Any) -> bool:
    """Whether the values can be compared now, that is, none is being traced by JAX."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def check(name: str, value: Any, constraint: str, holds: Any) -> None:
    """Refuse a parameter in one sentence; traced and abstract values are not checked, nor what is held against them.

    `holds` is the condition, evaluated by the caller, or a function of no arguments where evaluating it
    on a traced value would fail. Raises ValueError.
    """
    concrete = isinstance(value, (int, float, np.ndarray, np.generic, jax.Array, tuple, list, str))
    if not concrete or not is_concrete(value):
        return
    satisfied: Any = holds() if callable(holds) else holds
    if is_concrete(satisfied) and not bool(np.all(satisfied)):
        raise ValueError(f"{name} must be {constraint}, but got {_show(value)}")


def _show(value: Any) -> str:
    return repr(value if isinstance(value, (int, float, str, tuple, list)) else np.asarray(value).tolist())


def check_seed(seed: int) -> None:
    """Raises ValueError for what is no seed."""
    check("seed", seed, "at least 0 and below 2^31", 0 <= seed < 2**31)


def is_positive(value: Any) -> Any:
    return np.isfinite(value) & (np.asarray(value) > 0)


def is_at_least(value: Any, bound: Any) -> Any:
    return np.isfinite(value) & (np.asarray(value) >= bound)
