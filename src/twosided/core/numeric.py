"""The words every room shares: array aliases, profit and loss, transitions, and the sign conventions.

Everything is from the market maker's side. Inventory > 0 is long. A buy by the maker happens at its bid, a
sale at its ask; a half-spread is positive when it earns. Each market states its units of time and price
once; volatility is per square root of that unit of time.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

Scalar = float | Float[Array, ""]
"""A numeric parameter: a Python float, or a traced array so that it can be vmapped and differentiated."""


def as_arrays(tree: Any) -> Any:
    """Floats as arrays, so that a compiled program serves every value of a parameter."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, tree)


Array = NDArray[np.float64]
