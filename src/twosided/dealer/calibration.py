"""Calibration of the reference book to order-book snapshots (Ganesh et al. 2019, appendix 7.2).

Both sides of every snapshot are samples of one model. V(n) is the volume of level n = 0..K-1. Levels are counted from
the best one, whatever their distance in ticks; a missing level has volume 0. The model is

    V(n) = E[V(0)] · v(0) · shape(n),   v(0) gamma with mean 1,   shape(n) = max(1 + a n + b n², floor)

with v(0) and (a, b) independent. The estimators are:

    v(0)        maximum likelihood of the gamma distribution for V(0) / mean V(0)
    E[(a, b)]   least squares of E[shape(n)], floor included, to the ratio of means, mean V(n) / mean V(0), with value 1
                at n = 0, so that the mean volumes of the model are those of the data, smoothed by the polynomial
    Cov(a, b)   V(n) = V(0) shape(n) is a regression through the origin with a random slope, so that
                Cov(shape) = mean[(V - V(0) s)(V - V(0) s)'] / mean[V(0)²],   s = mean V / mean V(0),
                projected on (n, n²)
    s_0         the mean and standard deviation before clipping for which the clipped normal has the mean and standard
                deviation of the data; the bounds are the smallest and the largest spread in the data
    tick        the mean distance between neighbouring levels

Fitting (a, b) to the shape of each snapshot, V(n) / V(0), is avoided: the ratio explodes if V(0) is nearly empty, and
its mean does not reproduce the mean volumes. No estimator above divides by the V(0) of a single snapshot, and all are
consistent under the model.

Standard errors are from a block bootstrap. Snapshots a few milliseconds apart are almost the same, so standard errors
for independent samples (from the Fisher information of the gamma distribution, for example) would be several times too
small. Units are those of `ReferenceBook`. The volume scale λ is determined by `solve_volume_scale`.
"""

import math
from dataclasses import dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import optimize, special, stats

from twosided.core.bootstrap import block_bootstrap, block_length
from twosided.core.errors import Refusal
from twosided.data.content import DataError
from twosided.data.order_books import BookSnapshots
from twosided.dealer.reference_book import BookShock, ReferenceBook, gamma_from_normal

PAPER_TARGET = 4.7e-4
"""E[S_ref(1)] of the default book, as a fraction of the mid; a unit trade takes about ten levels."""

MIN_SNAPSHOTS = 20
"""Smallest number of two-sided snapshots that can be fitted."""
MAX_GAMMA_SHAPE = 1e4
"""Upper bound of the gamma shape, at which v(0) has a standard deviation of 1%."""
MAX_SPREAD_STD = 10.0
"""Upper bound of the standard deviation of s_0 before clipping, in units of spread_max - spread_min."""


@dataclass(frozen=True)
class BookFit:
    """Fit of a `ReferenceBook` to snapshots."""

    estimates: dict[str, float]
    """Estimates by field of ReferenceBook, except volume_scale."""
    standard_errors: dict[str, float]
    """Block-bootstrap standard errors by field. There are none for spread_min and spread_max, nor for parameters that
    one or two levels do not determine."""
    independent_standard_error: float
    """Standard error of best_volume_shape for independent samples, for comparison."""
    block_length: int
    """Block length of the bootstrap, in snapshots."""
    num_levels: int
    """K, levels per side."""
    depth_floor: float
    """Lower bound of the depth shape."""
    mean_best_volume: float
    """Mean V(0) in the units of the file. Divided by the size of a unit trade, if that is known, it is λ."""
    rows_read: int
    """Number of snapshots read."""
    rows_used: int
    """Number of snapshots outside trading halts that have both a bid and an ask."""
    sources: tuple[str, ...]
    """Names of the files."""
    mean_shape: Float[ndarray, "levels"]
    """Mean V(n) / mean V(0) in the data."""
    fitted_shape: Float[ndarray, "levels"]
    """E[shape(n)] of the fitted model."""
    fitted_shape_std: Float[ndarray, "levels"]
    """Standard deviation of 1 + a n + b n² in the fitted model."""
    sample_shapes: Float[ndarray, "samples levels"]
    """V(n) / V(0) of a few snapshots, sampled with weight V(0), so that their expectation is mean_shape."""
    best_volumes: Float[ndarray, "volumes"]
    """V(0) / mean V(0) of at most 20,000 evenly spaced snapshots, both sides."""
    spreads: Float[ndarray, "spreads"]
    """s_0 of the same snapshots, as a fraction of the mid."""
    spread_moments: tuple[float, float]
    """Mean and standard deviation of s_0 over all snapshots, hence after clipping."""


def fit_book(
    snapshots: BookSnapshots,
    *,
    levels: int = 10,
    depth_floor: float = 0.05,
    resamples: int = 200,
    seed: int = 0,
) -> BookFit:
    """Fit the model to the best `levels` levels per side, or to all if there are fewer.

    Raises DataError if fewer than 20 snapshots have both a bid and an ask.
    """
    names = " and ".join(snapshots.sources)
    levels = min(levels, snapshots.num_levels)
    used = (snapshots.ask_size[:, 0] > 0) & (snapshots.bid_size[:, 0] > 0)
    if used.sum() < MIN_SNAPSHOTS:
        raise DataError(
            f"{names}: a fit needs at least {MIN_SNAPSHOTS} snapshots with both a bid and an ask, but got {used.sum()}"
        )
    ask, bid = snapshots.ask_price[used, :levels], snapshots.bid_price[used, :levels]
    mid = (ask[:, 0] + bid[:, 0]) / 2
    spread = (ask[:, 0] - bid[:, 0]) / mid
    gaps = np.concatenate([np.diff(ask, axis=1), -np.diff(bid, axis=1)], axis=1) / mid[:, None]
    volumes = np.stack([snapshots.ask_size[used, :levels], snapshots.bid_size[used, :levels]], axis=1)
    mean_best_volume = float(volumes[..., 0].mean())
    volumes = volumes / mean_best_volume

    estimator = _Estimator(levels, depth_floor, float(spread.min()), float(spread.max()))
    moments = estimator.moments(volumes, spread, gaps)
    estimates = estimator.estimate(moments.mean(axis=0))
    block = max(block_length(series) for series in (volumes[..., 0].mean(1), volumes.sum((1, 2)), spread))
    draws = [estimator.estimate(mean) for mean in block_bootstrap(moments, block, resamples, seed)]
    estimated = [name for name in estimates if name not in estimator.undetermined]
    errors = {name: float(np.std([draw[name] for draw in draws], ddof=1)) for name in estimated}
    shape, shape_std = estimator.floored_shape(estimates)
    k = estimates["best_volume_shape"]
    rng = np.random.default_rng(seed)
    sides = volumes.reshape(-1, levels)
    drawn = sides[rng.choice(len(sides), size=40, p=sides[:, 0] / sides[:, 0].sum())]
    thin = slice(None, None, math.ceil(len(spread) / 20_000))
    return BookFit(
        estimates=estimates | {"spread_min": estimator.spread_min, "spread_max": estimator.spread_max},
        standard_errors=errors,
        independent_standard_error=float((len(sides) * (special.polygamma(1, k) - 1 / k)) ** -0.5),
        block_length=block,
        num_levels=levels,
        depth_floor=depth_floor,
        mean_best_volume=mean_best_volume,
        rows_read=snapshots.rows_read,
        rows_used=len(spread),
        sources=snapshots.sources,
        mean_shape=volumes.mean((0, 1)),
        fitted_shape=shape,
        fitted_shape_std=shape_std,
        sample_shapes=drawn / drawn[:, :1],
        best_volumes=volumes[thin, :, 0].ravel(),
        spreads=spread[thin],
        spread_moments=(float(spread.mean()), float(spread.std())),
    )


def reference_book(
    fit: BookFit, *, spread_from: ReferenceBook | None = None, target: float | None = None
) -> ReferenceBook:
    """Return the book of a fit, with volumes scaled so that E[S_ref(1)] is the target (default: `default_target`).

    Spread and tick are both taken from the data by default, because a tick below the exchange's would place levels
    within the rounding of the quoted spread. `spread_from=ReferenceBook()` takes both from the paper instead, and only
    the volumes from the data.
    """
    values = dict(fit.estimates)
    if spread_from is not None:
        names = ("spread_mean", "spread_std", "spread_min", "spread_max", "tick")
        values |= {name: float(getattr(spread_from, name)) for name in names}
    book = ReferenceBook(**values, depth_floor=fit.depth_floor, num_levels=fit.num_levels, volume_scale=1.0)
    if fit.num_levels == 1:  # any size costs the half-spread, whatever the scale
        return book
    scale = solve_volume_scale(book, default_target(book) if target is None else target)
    return replace(book, volume_scale=scale)


def default_target(book: ReferenceBook) -> float:
    """Return the E[S_ref(1)] at the same relative position between its bounds as 4.7 bp within (0.5, 9.5) bp."""
    paper = ReferenceBook()
    share = (PAPER_TARGET - mean_spread(paper) / 2) / (float(paper.tick) * (paper.num_levels - 1))
    return mean_spread(book) / 2 + share * float(book.tick) * (book.num_levels - 1)


def mean_spread(book: ReferenceBook) -> float:
    """Return E[s_0] after clipping, as a fraction of the mid."""
    low, high = float(book.spread_min), float(book.spread_max)
    return _clipped_normal(float(book.spread_mean), float(book.spread_std), low, high)[0]


def solve_volume_scale(book: ReferenceBook, target: float = PAPER_TARGET, log2_points: int = 16) -> float:
    """Return the volume scale λ for which E[S_ref(1)] = target, a fraction of the mid; the book's own λ is ignored.

    E[S_ref(1)] decreases in λ from E[s_0]/2 + (K - 1) tick to E[s_0]/2. The expectation is over 2^16 Sobol' points in
    double precision, the same for every λ. The relative error of λ is about 1e-4, or 1e-3 for targets within a few
    percent of the bounds (compared with 2^20 points). Raises Refusal for a target outside the bounds.
    """
    uniforms = stats.qmc.Sobol(4, scramble=False).random_base2(log2_points) + 0.5 ** (log2_points + 1)
    with jax.enable_x64(True):
        normals = jnp.asarray(special.ndtri(uniforms))
        shock = BookShock(
            spread=normals[:, 0],
            best_volume=gamma_from_normal(book.best_volume_shape, normals[:, 1]),
            shape=normals[:, 2:],
        )

        @jax.jit
        def cost_of_unit(scale):
            scaled = eqx.tree_at(lambda b: b.volume_scale, book, scale)
            return scaled.snapshot(shock).spread_curve(jnp.ones(len(normals))).mean()

        def excess(log_scale: float) -> float:
            return float(cost_of_unit(math.exp(log_scale))) / target - 1

        least, most = math.log(1e-9), math.log(1e9)
        if not (target > 0 and excess(most) < 0 < excess(least)):
            low, high = (float(cost_of_unit(math.exp(end))) for end in (most, least))
            raise Refusal(
                f"target, E[S_ref(1)], must be between {low:.4g} (large volumes) and {high:.4g} (small volumes), but"
                f" got {target:.4g}"
            )
        return math.exp(optimize.brentq(excess, least, most, xtol=1e-12))  # pyright: ignore[reportArgumentType]


def sample_curves(
    book: ReferenceBook, sizes: Float[ndarray, "sizes"], samples: int = 30, seed: int = 0
) -> Float[ndarray, "samples sizes"]:
    """Return S_ref(v) of simulated snapshots, as fractions of the mid, at the sizes v in units of trade."""
    snapshot = book.snapshot(book.shocks(jax.random.key(seed), (samples,)))
    curves = jax.vmap(lambda size: snapshot.spread_curve(jnp.full(samples, size)))(jnp.asarray(sizes))
    return np.asarray(curves).T


# --- Estimation from mean moments ---


@dataclass(frozen=True)
class _Estimator:
    """Estimators as functions of mean moments, so that a bootstrap resample needs only new means."""

    levels: int
    depth_floor: float
    spread_min: float
    spread_max: float

    @property
    def powers(self) -> Float[ndarray, "levels_but_best coefficients"]:
        """Regressors n and n² at n = 1..K-1; with two levels only n."""
        n = np.arange(1, self.levels)
        return np.stack([n, n**2], axis=1)[:, : self.levels - 1].astype(float)

    @property
    def projection(self) -> Float[ndarray, "2 levels_but_best"]:
        """Least-squares projection of shape(n) - 1 at n = 1..K-1 on the coefficients (a, b)."""
        coefficients = np.zeros((2, self.levels - 1))
        coefficients[: self.levels - 1] = np.linalg.pinv(self.powers)
        return coefficients

    @property
    def undetermined(self) -> set[str]:
        """Parameters not determined by one or two levels; they are set to 0, and the tick to the smallest spread."""
        curvature = {"depth_quadratic", "depth_quadratic_std", "depth_correlation"}
        slope = {"depth_linear", "depth_linear_std", "tick"}
        return curvature | slope if self.levels == 1 else curvature if self.levels == 2 else set()

    def moments(
        self, volumes: ndarray, spread: ndarray, gaps: ndarray
    ) -> Float[ndarray, "snapshots moments"]:
        """Return the moments whose means determine the estimates, averaged over the two sides of each snapshot."""
        best = volumes[..., 0]
        x, y = np.moveaxis(volumes[..., 1:] @ self.projection.T, -1, 0)
        by_side = np.stack([np.log(best), best**2, x * best, y * best, x * x, x * y, y * y], axis=-1)
        width = self.spread_max - self.spread_min
        position = (spread - self.spread_min) / width if width > 0 else np.zeros_like(spread)
        present = np.isfinite(gaps)
        by_row = [position, position**2, np.sum(gaps, axis=1, where=present), present.sum(axis=1)]
        return np.concatenate([volumes.mean(1), by_side.mean(1), np.stack(by_row, axis=1)], axis=1)

    def estimate(self, mean: Float[ndarray, "moments"]) -> dict[str, float]:
        """Return the estimates from mean moments, by field of ReferenceBook."""
        volumes, rest = mean[: self.levels], mean[self.levels :]
        log_best, square, x_best, y_best, xx, xy, yy, position, position_square, gap_sum, gap_count = rest
        shape = volumes / volumes[0]
        # mean[(z - V(0) c)(z - V(0) c)'] / mean[V(0)²] for the coefficients z of V and c of s.
        c = self.projection @ shape[1:]
        cross = np.outer([x_best, y_best], c)
        covariance = (np.array([[xx, xy], [xy, yy]]) - cross - cross.T) / square + np.outer(c, c)
        std = np.sqrt(np.maximum(np.diag(covariance), 0))
        correlation = covariance[0, 1] / std.prod() if std.prod() > 1e-12 else 0.0
        unclipped = self._unclipped_spread(position, math.sqrt(max(position_square - position**2, 0)))
        estimates = {
            "spread_mean": unclipped[0],
            "spread_std": unclipped[1],
            "tick": gap_sum / gap_count if gap_count else self.spread_min,
            "best_volume_shape": gamma_shape(math.log(volumes[0]) - log_best),
            "depth_linear_std": std[0],
            "depth_quadratic_std": std[1],
            "depth_correlation": float(np.clip(correlation, -1, 1)),
        }
        linear, quadratic = self._mean_coefficients(shape, estimates)
        estimates |= {"depth_linear": linear, "depth_quadratic": quadratic}
        return {name: float(value) for name, value in estimates.items()}

    def floored_shape(self, values: dict[str, float]) -> tuple[ndarray, ndarray]:
        """Return E[max(1 + a n + b n², floor)] and the standard deviation of 1 + a n + b n² at every level."""
        n = np.arange(self.levels)
        mean = 1 + values["depth_linear"] * n + values["depth_quadratic"] * n**2
        std_a, std_b = values["depth_linear_std"] * n, values["depth_quadratic_std"] * n**2
        variance = std_a**2 + std_b**2 + 2 * values["depth_correlation"] * std_a * std_b
        std = np.sqrt(np.maximum(variance, 0))
        above = mean - self.depth_floor
        z = np.divide(above, std, out=np.copysign(np.full(self.levels, np.inf), above), where=std > 0)
        return self.depth_floor + above * special.ndtr(z) + std * _normal_density(z), std

    def _mean_coefficients(self, shape: ndarray, values: dict[str, float]) -> ndarray:
        """Least-squares (a, b) of E[shape(n)], floor included, to the shape in the data."""
        count = self.powers.shape[1]
        start = self.projection @ (shape[1:] - 1)
        if count == 0:
            return start

        def residuals(coefficients: ndarray) -> ndarray:
            linear, quadratic = np.append(coefficients, [0.0, 0.0])[:2]
            return (
                self.floored_shape(values | {"depth_linear": linear, "depth_quadratic": quadratic})[0][1:]
                - shape[1:]
            )

        start[:count] = optimize.least_squares(
            residuals, start[:count], x_scale=[1.0, 0.1][:count], method="lm"
        ).x
        return start

    def _unclipped_spread(self, mean: float, std: float) -> tuple[float, float]:
        """Return mean and standard deviation of s_0 before clipping.

        The arguments are those of (s_0 - spread_min) / (spread_max - spread_min) after clipping. A spread that almost
        always equals its minimum would be fitted best by a negative mean. The mean is kept positive: then the mean
        after clipping is still matched, and the standard deviation as closely as possible.
        """
        width = self.spread_max - self.spread_min
        if std == 0:
            return self.spread_min + width * mean, 0.0

        def residuals(x: ndarray) -> list[float]:
            after = _clipped_normal(x[0], math.exp(min(x[1], 5.0)), 0.0, 1.0)
            return [100 * (after[0] - mean), after[1] - std]

        lower = np.array([-0.999999 * self.spread_min / width, math.log(std)])
        upper = np.array([60.0, math.log(MAX_SPREAD_STD)])
        start = [mean, math.log(1.1 * std)]
        # Unconstrained root finding is about ten times as fast and suffices unless a bound is exceeded.
        found = optimize.root(residuals, start, tol=1e-12)
        if not found.success or np.any(found.x < lower) or np.any(found.x > upper):
            bounds = (lower, upper)
            found = optimize.least_squares(
                residuals, start, bounds=bounds, xtol=1e-12, ftol=1e-12, gtol=1e-12
            )
        x = found.x
        return self.spread_min + width * x[0], width * math.exp(x[1])


def gamma_shape(log_ratio: float) -> float:
    """Return the maximum-likelihood shape k of a gamma distribution, from log mean x - mean log x = log k - ψ(k)."""
    if log_ratio <= math.log(MAX_GAMMA_SHAPE) - special.digamma(MAX_GAMMA_SHAPE):
        return MAX_GAMMA_SHAPE
    # The bracket contains the root because 1/(2k) < log k - ψ(k) < 1/k.
    bracket = (0.4 / log_ratio, 1.1 / log_ratio)
    return float(optimize.brentq(lambda k: math.log(k) - special.digamma(k) - log_ratio, *bracket))  # pyright: ignore[reportArgumentType]


def _normal_density(z):
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _clipped_normal(mean: float, std: float, low: float, high: float) -> tuple[float, float]:
    """Return mean and standard deviation of a normal variable clipped to [low, high]."""
    if std == 0:
        return min(max(mean, low), high), 0.0
    a, b = (low - mean) / std, (high - mean) / std
    below, above = special.ndtr(a), special.ndtr(-b)
    inside = 1 - below - above
    density_a, density_b = _normal_density(a), _normal_density(b)
    # Moments of the standardised variable, clipped to [a, b].
    first = a * below + b * above + density_a - density_b
    second = a * a * below + b * b * above + inside + a * density_a - b * density_b
    return mean + std * first, std * math.sqrt(max(second - first**2, 0.0))
