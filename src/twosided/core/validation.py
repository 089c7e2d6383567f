"""Checks of parameters: one sentence that names the parameter, the constraint and the value."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer


def is_concrete(*values: Any) -> bool:
    """Return whether no value is traced by JAX, so that the values can be compared."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def check(name: str, value: Any, constraint: str, holds: Any) -> None:
    """Raise ValueError with one sentence if a parameter violates a constraint.

    `holds` is the condition, or a function of no arguments that evaluates it where a traced value would fail. Traced
    and abstract values are not checked, nor are conditions that involve them.
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
    """Raise ValueError if the seed is out of range."""
    check("seed", seed, "at least 0 and below 2^31", 0 <= seed < 2**31)


def is_positive(value: Any) -> Any:
    """Whether values are finite and positive, elementwise."""
    return np.isfinite(value) & (np.asarray(value) > 0)


def is_at_least(value: Any, bound: Any) -> Any:
    """Whether values are finite and at least a bound, elementwise."""
    return np.isfinite(value) & (np.asarray(value) >= bound)
