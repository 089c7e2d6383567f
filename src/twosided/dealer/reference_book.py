"""The exchange's limit order book, whose spread curve S_ref is the reference for all quotes and hedges.

A snapshot of the book has K levels per side, the same on both sides (Ganesh et al. 2019, appendix 7.2):

    price of level n     s_0 / 2 + n · tick            n = 0..K-1, over the mid, as a fraction of the mid
    volume of level n    v(n) = λ · v(0) · shape(n)    shape(0) = 1
    s_0                  normal(mean, std), clipped to [min, max]
    v(0)                 gamma with mean 1
    shape(n)             1 + a n + b n², (a, b) bivariate normal, floored so that no level is empty

A trade of size v takes the levels in order; the part beyond the last level trades at the price of the last level.
`S_ref(v)` is the average cost per unit over the mid, as a fraction of the mid. v · S_ref(v) is convex in v.

Units: spreads, ticks and S_ref are fractions of the mid (1e-4 is one basis point). Volumes are in units of trade; the
order of a unit investor has size 1.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from twosided.core.numeric import HostArray, Scalar
from twosided.core.validation import check, is_at_least, is_positive


class BookShock(eqx.Module):
    """Random draws of a snapshot, with any leading axes."""

    spread: Float[Array, "*batch"]
    """Standard normal of s_0."""
    best_volume: Float[Array, "*batch"]
    """v(0), gamma with mean 1."""
    shape: Float[Array, "*batch 2"]
    """Two independent standard normals, from which a and b are formed."""


class Snapshot(eqx.Module):
    """One side of the book at one time; both sides are the same."""

    spread: Float[Array, "*batch"]
    """Quoted spread s_0, best ask less best bid, as a fraction of the mid."""
    volumes: Float[Array, "*batch levels"]
    """Volume of each level, in units of trade."""
    tick: Float[ArrayLike, "*batch"]
    """Distance between neighbouring levels, as a fraction of the mid."""

    @property
    def level_prices(self) -> Float[Array, "*batch levels"]:
        """Price of each level over the mid, as a fraction of the mid."""
        steps = jnp.arange(self.volumes.shape[-1], dtype=self.volumes.dtype)
        return self.spread[..., None] / 2 + jnp.asarray(self.tick)[..., None] * steps

    def cost(self, size: Float[HostArray, "..."]) -> Float[Array, "..."]:
        """Return v · S_ref(v), the cost of a trade of size v over the mid, as a fraction of the mid times units.

        Sizes of any shape are broadcast with the snapshot. The marginal price is s_0 / 2 at the best level and rises by
        one tick at each boundary between levels, so that

            cost(v) = s_0 / 2 · v + tick Σ_{k=1}^{K-1} max(v - V_k, 0),    V_k the volume of levels 0..k-1
        """
        # A loop over levels, because XLA compiles a cumulative sum along a short axis to slower code.
        rest, beyond = size, jnp.zeros_like(size)
        for level in range(self.volumes.shape[-1] - 1):
            rest = rest - self.volumes[..., level]
            beyond = beyond + jnp.maximum(rest, 0.0)
        return self.spread / 2 * size + self.tick * beyond

    def spread_curve(self, size: Float[HostArray, "..."]) -> Float[Array, "..."]:
        """Return S_ref(v), the average cost per unit of a trade of size v; S_ref(0) = s_0 / 2."""
        positive = size > 0
        safe = jnp.where(positive, size, 1.0)
        return jnp.where(positive, self.cost(safe) / safe, self.spread / 2)


class ReferenceBook(eqx.Module):
    """Statistical model of the exchange's order book (Ganesh et al. 2019, appendix 7.2)."""

    spread_mean: Scalar = 1e-4
    """Mean of the quoted spread s_0 before clipping, as a fraction of the mid."""
    spread_std: Scalar = 0.5e-4
    """Standard deviation of s_0 before clipping, as a fraction of the mid."""
    spread_min: Scalar = 1e-5
    """Lower bound of s_0, as a fraction of the mid."""
    spread_max: Scalar = 2.5e-4
    """Upper bound of s_0, as a fraction of the mid."""
    tick: Scalar = 1e-4
    """Distance between neighbouring levels, as a fraction of the mid."""
    best_volume_shape: Scalar = 1.524253
    """Shape parameter k of v(0), gamma-distributed with mean 1, from 0.01 to 1e6."""
    depth_linear: Scalar = -0.064361
    """Mean of a in the depth shape 1 + a n + b n²."""
    depth_quadratic: Scalar = -0.000732
    """Mean of b in the depth shape 1 + a n + b n²."""
    depth_linear_std: Scalar = 0.182515
    """Standard deviation of a over snapshots."""
    depth_quadratic_std: Scalar = 0.019566
    """Standard deviation of b over snapshots."""
    depth_correlation: Scalar = -0.99708
    """Correlation of a and b over snapshots, in [-1, 1]."""
    depth_floor: Scalar = 0.05
    """Lower bound of the depth shape, so that no level is empty."""
    volume_scale: Scalar = 0.178941
    """λ, mean volume of the best level, in units of trade; the order of a unit investor is one unit."""
    num_levels: int = eqx.field(static=True, default=10)
    """K, number of levels per side, from 1 to 1000."""

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
        # The upper bound keeps a typing error in a settings file from exhausting the memory of the machine.
        check("num_levels", self.num_levels, "from 1 to 1000", 1 <= self.num_levels <= 1000)

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> BookShock:
        """Draw the random inputs of snapshots, with the given leading axes."""
        draws = jax.random.normal(key, (4, *shape))
        return BookShock(
            spread=draws[0],
            best_volume=gamma_from_normal(self.best_volume_shape, draws[1]),
            shape=jnp.moveaxis(draws[2:], 0, -1),
        )

    def snapshot(self, shock: BookShock) -> Snapshot:
        """Return the snapshot determined by the random draws."""
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
    """Return gamma variables of mean 1 and shape k, by transforming standard normals with the quantile function.

    G(z) = F⁻¹(Φ(z)), where F is the distribution function of the gamma distribution with shape k and scale 1/k, is
    tabulated on a grid of z in [-6, 6] and interpolated linearly. Rejection sampling is about a hundred times slower
    on a CPU, and can be neither vmapped over k nor differentiated. For |z| <= 5 the error is at most 1e-4 standard
    deviations for k in [1.5, 200] and 6e-4 for k in [0.5, 1.5], largest in the far right tail
    (tests/dealer/test_reference_book.py).

    F is integrated from the density of u = log G, on a grid of u, by the corrected trapezoidal rule

        f(u) ∝ exp(k (u - e^u)),   ∫ f over a cell = h/2 (f_0 + f_1) - h²/12 (f'_1 - f'_0) + O(h⁵),   f' = k (1 - e^u) f

    which compiles and runs in less than half the time of incomplete gamma functions, and loses no digits to
    cancellation for large k.
    """
    # Lower end of the grid: the bound F(G) <= (k G)^k / Γ(k + 1), tight as G goes to 0; for large k, the cube of a
    # normal (Wilson & Hilferty 1931).
    near_zero = (_LOG_TAIL + jax.scipy.special.gammaln(shape + 1)) / shape - jnp.log(shape)
    root = 1 - 1 / (9 * shape) - (_TABLE_END + 1) / (3 * jnp.sqrt(shape))
    lowest = jnp.maximum(near_zero, 3 * jnp.log(jnp.maximum(root, 1e-30)))
    u, step = jnp.linspace(lowest, jnp.log(_max_gamma(shape)), knots, retstep=True)
    excess = jnp.expm1(u)
    density = jnp.exp(shape * (u - excess))
    slope = -shape * excess * density
    cells = step / 2 * (density[1:] + density[:-1]) - jnp.square(step) / 12 * (slope[1:] - slope[:-1])
    # The rule is negative where f falls by more than a factor e^6 in a cell; f is negligible there.
    cells = jnp.maximum(cells, 0.0)
    # Summed from both ends, so that neither tail loses digits; below the grid f is e^{ku}, with integral f / k.
    below = jnp.cumsum(jnp.concatenate([density[:1] / shape, cells]))
    above = jnp.append(jnp.cumsum(cells[::-1])[::-1], 0.0)
    probability = jnp.minimum(below, above) / below[-1]
    # Φ⁻¹(0) is minus infinity, and so is its slope, which would make every gradient NaN.
    inside = probability > 0
    tail = jnp.where(inside, jax.scipy.special.ndtri(jnp.where(inside, probability, 0.5)), -jnp.inf)
    z_of_u = jnp.where(below < above, tail, -tail)
    grid = jnp.linspace(-_TABLE_END, _TABLE_END, knots, dtype=normal.dtype)
    table = jnp.exp(jnp.interp(grid, z_of_u, u)).astype(normal.dtype)
    position = jnp.clip((normal + _TABLE_END) * ((knots - 1) / (2 * _TABLE_END)), 0, knots - 1)
    left = jnp.minimum(position.astype(jnp.int32), knots - 2)
    weight = position - left
    return table[left] + weight * (table[left + 1] - table[left])


_TABLE_END = 6.0
"""Half-width of the table in standard deviations; a normal is outside it once in 500 million draws."""
_LOG_TAIL = -20.8
"""Lower bound of log Φ(-_TABLE_END)."""


def _max_gamma(shape: Scalar):
    """Upper bound, for every shape, of the quantile at Φ(_TABLE_END) of the gamma distribution with mean 1."""
    return 1 + 7 / jnp.sqrt(shape) + 25.0 / shape
