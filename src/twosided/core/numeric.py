"""Numeric parameters: scalars that are leaves of a pytree, so that one compiled program serves all their values."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

Scalar = float | Float[Array, ""]
"""Numeric parameter: a Python float, or a traced array that can be vmapped and differentiated."""


def as_arrays(tree: Any) -> Any:
    """Return the tree with its floats as arrays, so that a compiled program serves every value of a parameter."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, tree)


FloatArray = NDArray[np.float64]
"""NumPy array in double precision, as exact answers use it."""

if TYPE_CHECKING:  # an array to its users, who call what the types have in common
    FloatValues = FloatArray
    HostArray = Array
else:
    FloatValues = FloatArray | np.float64
    """Array in double precision, or the scalar that NumPy returns for a scalar argument."""
    HostArray = Array | np.ndarray
    """Array of JAX, or one of NumPy that a compiled program holds as a constant or that was copied to the host."""
