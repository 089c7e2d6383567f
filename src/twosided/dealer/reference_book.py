"""The reference book: the exchange next door, whose spread curve prices every quote and every hedge.

A snapshot of the book has K levels a side, the same on both sides (Ganesh et al. 2019, appendix 7.2):

    level n costs       s_0 / 2 + n · tick            n = 0..K-1, as a fraction of the mid
    and holds           v(n) = λ · v(0) · shape(n)    shape(0) = 1
    s_0                 normal(mean, std), clipped to [min, max]
    v(0)                gamma with mean 1
    shape(n)            1 + a n + b n², (a, b) bivariate normal, floored so that no level is empty

A trade of size v walks the levels; what lies beyond the last one trades at its price. `S_ref(v)` is the
average cost of a unit of it over the mid, a fraction of the mid; v · S_ref(v) is convex in v.

Units: spreads, ticks and S_ref are fractions of the mid (1e-4 is one basis point); volumes are in units
of trade, the size of a unit investor's order being 1.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.core.numeric import Scalar
from twosided.core.validation import check, is_at_least, is_positive


class BookShock(eqx.Module):
    """What chance decides about one snapshot; leading axes free."""

    spread: Float[Array, "*batch"]
    """Standard normal."""
    best_volume: Float[Array, "*batch"]
    """v(0), gamma with mean 1."""
    shape: Float[Array, "*batch 2"]
    """Two independent standard normals, for the linear and the quadratic coefficient."""


class Snapshot(eqx.Module):
    """One side of the book at one moment (both sides are the same)."""

    spread: Float[Array, "*batch"]
    """s_0, best ask less best bid, a fraction of the mid."""
    volumes: Float[Array, "*batch levels"]
    """What each level holds, in units of trade."""
    tick: Float[Array, "*batch"]
    """Distance between levels, a fraction of the mid."""

    @property
    def levels(self) -> Float[Array, "*batch levels"]:
        """The price of each level over the mid, a fraction of the mid."""
        steps = jnp.arange(self.volumes.shape[-1], dtype=self.volumes.dtype)
        return self.spread[..., None] / 2 + jnp.asarray(self.tick)[..., None] * steps

    def cost(self, size: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """v · S_ref(v): what taking the size costs over the mid, a fraction of the mid times units.

        The marginal price is the last level's, less one tick for each level that the size does not
        exhaust, so that only the K - 1 inner boundaries are needed:
        cost(v) = a_0 v + tick Σ_{k=1}^{K-1} max(v - Σ_{j<k} n_j, 0).
        """
        # Level by level: XLA compiles a running sum along a short axis to something several times slower.
        rest, beyond = size, jnp.zeros_like(size)
        for level in range(self.volumes.shape[-1] - 1):
            rest = rest - self.volumes[..., level]
            beyond = beyond + jnp.maximum(rest, 0.0)
        return self.spread / 2 * size + self.tick * beyond

    def spread_curve(self, size: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """S_ref(v), the average over a size v > 0; S_ref(0) = s_0 / 2."""
        positive = size > 0
        safe = jnp.where(positive, size, 1.0)
        return jnp.where(positive, self.cost(safe) / safe, self.spread / 2)


class ReferenceBook(eqx.Module):
    """The statistical law of the exchange's book (Ganesh et al. 2019, appendix 7.2)."""

    spread_mean: Scalar = 1e-4
    """Mean of the quoted spread s_0 before clipping, fraction of the mid."""
    spread_std: Scalar = 0.5e-4
    """Standard deviation of s_0 before clipping, fraction of the mid."""
    spread_min: Scalar = 1e-5
    """Smallest s_0, fraction of the mid."""
    spread_max: Scalar = 2.5e-4
    """Largest s_0, fraction of the mid."""
    tick: Scalar = 1e-4
    """Distance between two levels, fraction of the mid."""
    best_volume_shape: Scalar = 1.524253
    """Shape k of the gamma law of the best level's volume, whose mean is 1."""
    depth_linear: Scalar = -0.064361
    """Mean of a in the depth shape 1 + a n + b n²."""
    depth_quadratic: Scalar = -0.000732
    """Mean of b in the depth shape 1 + a n + b n²."""
    depth_linear_std: Scalar = 0.182515
    """Standard deviation of a across snapshots."""
    depth_quadratic_std: Scalar = 0.019566
    """Standard deviation of b across snapshots."""
    depth_correlation: Scalar = -0.99708
    """Correlation of a and b across snapshots, in [-1, 1]."""
    depth_floor: Scalar = 0.05
    """Smallest value of the depth shape, so that no level is empty."""
    volume_scale: Scalar = 0.178941
    """λ, mean volume of the best level in units of trade (one unit is one investor's order)."""
    num_levels: int = eqx.field(static=True, default=10)
    """Number of levels a side, K."""

    def __check_init__(self):
        check("spread_mean", self.spread_mean, "positive and finite", lambda: is_positive(self.spread_mean))
        check("spread_std", self.spread_std, "at least 0 and finite", lambda: is_at_least(self.spread_std, 0))
        check("spread_min", self.spread_min, "positive and finite", lambda: is_positive(self.spread_min))
        check(
            "spread_max",
            self.spread_max,
            f"at least spread_min ({self.spread_min}) and finite",
            lambda: is_at_least(self.spread_max, self.spread_min),
        )
        shape = self.best_volume_shape
        check("best_volume_shape", shape, "from 0.01 to 1e6", lambda: (shape >= 0.01) & (shape <= 1e6))
        for name in ("tick", "depth_floor", "volume_scale"):
            value = getattr(self, name)
            check(name, value, "positive and finite", lambda value=value: is_positive(value))
        for name in ("depth_linear", "depth_quadratic"):
            value = getattr(self, name)
            check(name, value, "finite", lambda value=value: np.isfinite(value))
        for name in ("depth_linear_std", "depth_quadratic_std"):
            value = getattr(self, name)
            check(name, value, "at least 0 and finite", lambda value=value: is_at_least(value, 0))
        correlation = self.depth_correlation
        check("depth_correlation", correlation, "in [-1, 1]", lambda: abs(correlation) <= 1)
        # The bound keeps a slip of the finger in a file from asking for all of a machine's memory.
        check("num_levels", self.num_levels, "from 1 to 1000", 1 <= self.num_levels <= 1000)

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> BookShock:
        """What decides snapshots, for any leading axes."""
        draws = jax.random.normal(key, (4, *shape))
        return BookShock(
            spread=draws[0],
            best_volume=gamma_from_normal(self.best_volume_shape, draws[1]),
            shape=jnp.moveaxis(draws[2:], 0, -1),
        )

    def snapshot(self, shock: BookShock) -> Snapshot:
        """The book that a shock decides."""
        spread = jnp.clip(self.spread_mean + self.spread_std * shock.spread, self.spread_min, self.spread_max)
        first, second = shock.shape[..., 0], shock.shape[..., 1]
        rho = self.depth_correlation
        linear = self.depth_linear + self.depth_linear_std * first
        quadratic = self.depth_quadratic + self.depth_quadratic_std * (
            rho * first + jnp.sqrt(1 - jnp.square(rho)) * second
        )
        n = jnp.arange(self.num_levels, dtype=spread.dtype)
        shape = 1 + linear[..., None] * n + quadratic[..., None] * n**2
        volumes = self.volume_scale * shock.best_volume[..., None] * jnp.maximum(shape, self.depth_floor)
        return Snapshot(spread=spread, volumes=volumes, tick=jnp.broadcast_to(self.tick, spread.shape))


def gamma_from_normal(
    shape: Scalar, normal: Float[Array, "*batch"], knots: int = 2048
) -> Float[Array, "*batch"]:
    """Gamma variables of mean 1, as the quantile function at Φ(normal).

    G(z) = F⁻¹(Φ(z)) with F the gamma law of the given shape k and scale 1/k, tabulated on a grid of z in
    [-6, 6] and interpolated. A rejection sampler costs a hundred times more on a CPU, and it cannot be
    vmapped over k or differentiated. For |z| <= 5 the table is within 1e-4 deviations for k in [1.5, 200] and
    within 6e-4 for k in [0.5, 1.5], where the far tail is the worst (tests/test_book.py).

    F is summed up from its density, of u = log G on a grid of its own,

        f(u) ∝ exp(k (u - e^u)),   ∫ f over a cell = h/2 (f_0 + f_1) - h²/12 (f'_1 - f'_0) + O(h⁵),   f' = k (1 - e^u) f

    which compiles in less than half the time of incomplete gamma functions, runs in half, and keeps its digits for
    large k, where theirs cancel.
    """
    # F(G) <= (k G)^k / Γ(k + 1), with equality as G goes to 0, gives the lower end; where k is large the cube of a
    # normal does (Wilson & Hilferty 1931).
    near_zero = (_LOG_SMALLEST + jax.scipy.special.gammaln(shape + 1)) / shape - jnp.log(shape)
    root = 1 - 1 / (9 * shape) - (_REACH + 1) / (3 * jnp.sqrt(shape))
    lowest = jnp.maximum(near_zero, 3 * jnp.log(jnp.maximum(root, 1e-30)))
    u, step = jnp.linspace(lowest, jnp.log(_largest_gamma(shape)), knots, retstep=True)
    excess = jnp.expm1(u)
    density = jnp.exp(shape * (u - excess))
    slope = -shape * excess * density
    cells = step / 2 * (density[1:] + density[:-1]) - jnp.square(step) / 12 * (slope[1:] - slope[:-1])
    # Where f falls by more than a factor e^6 in a cell the rule is below 0, and f is nothing.
    cells = jnp.maximum(cells, 0.0)
    # From both ends, so that neither tail loses its digits; below the grid f is e^{ku}, whose integral is f / k.
    below = jnp.cumsum(jnp.concatenate([density[:1] / shape, cells]))
    above = jnp.append(jnp.cumsum(cells[::-1])[::-1], 0.0)
    tail = jax.scipy.special.ndtri(jnp.minimum(below, above) / below[-1])
    z_of_u = jnp.where(below < above, tail, -tail)
    grid = jnp.linspace(-_REACH, _REACH, knots, dtype=normal.dtype)
    table = jnp.exp(jnp.interp(grid, z_of_u, u)).astype(normal.dtype)
    position = jnp.clip((normal + _REACH) * ((knots - 1) / (2 * _REACH)), 0, knots - 1)
    left = jnp.minimum(position.astype(jnp.int32), knots - 2)
    weight = position - left
    return table[left] + weight * (table[left + 1] - table[left])


_REACH = 6.0
"""The table ends at ± this many deviations, where a normal is once in 500 million draws."""
_LOG_SMALLEST = -20.8
"""Less than log Φ(-_REACH)."""


def _largest_gamma(shape: Scalar):
    """Beyond the quantile at Φ(_REACH) of the gamma law of mean 1, for every shape."""
    return 1 + 7 / jnp.sqrt(shape) + 25.0 / shape
