"""The law of the reference book from order-book snapshots (Ganesh et al. 2019, appendix 7.2).

Both sides of every snapshot are samples of one law. V(n) is the volume of the n-th level, n = 0..K-1, counted
from the best (not by its distance in ticks; a level that is not there holds 0), and

    V(n) = E[V(0)] · v(0) · shape(n),   v(0) gamma with mean 1,   shape(n) = max(1 + a n + b n², floor)

with v(0) and (a, b) independent. They are estimated so:

    v(0)        maximum likelihood of the gamma law for V(0) / mean V(0)
    E[(a, b)]   least squares of E[shape(n)] to the ratio of means, mean V(n) / mean V(0), through 1 at n = 0:
                the model's mean volumes are the data's as smoothed by the polynomial, the floor included
    Cov(a, b)   V(n) = V(0) shape(n) is a regression through the origin with a random slope, so that
                Cov(shape) = mean[(V - V(0) s)(V - V(0) s)'] / mean[V(0)²],   s = mean V / mean V(0),
                projected on (n, n²)
    s_0         the mean and deviation before clipping which give the clipped law the data's, between the
                smallest and the largest spread of the data
    tick        the mean distance between neighbouring levels

The shape of each snapshot, V(n) / V(0), would be the obvious way to the law of (a, b), but it explodes
wherever V(0) is nearly empty, and its mean is not the ratio that makes mean volumes right. Nothing above
divides by a snapshot's own V(0), and all of it is consistent under the law.

Standard errors are a block bootstrap's: books a millisecond apart are nearly the same, so that errors for
independent samples (from the information of the gamma law, say) are several times too small. Units are those
of `ReferenceBook`; the scale of volumes, λ, is found by `solve_volume_scale`.
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
from twosided.data.order_books import BookSnapshots
from twosided.data.tables import DataError
from twosided.dealer.reference_book import BookShock, ReferenceBook, gamma_from_normal

PAPER_TARGET = 4.7e-4
"""E[S_ref(1)] of the default book, fraction of the mid: a unit trade sweeps about its ten levels."""

MIN_SNAPSHOTS = 20
LARGEST_GAMMA_SHAPE = 1e4
"""A best volume that varies by less than 1% is as good as constant."""
LARGEST_SPREAD_DEVIATION = 10.0
"""Of s_0 before clipping, over the distance of its bounds: there, all but 1 in 25 are clipped."""


@dataclass(frozen=True)
class BookFit:
    """What snapshots say of a `ReferenceBook`."""

    estimates: dict[str, float]
    """By the names of ReferenceBook's fields; volume_scale is not among them."""
    standard_errors: dict[str, float]
    """Of the estimates, by block bootstrap; the smallest and the largest spread have none, nor has what one
    or two levels leave open."""
    independent_error: float
    """Standard error of best_volume_shape if all samples were independent, for comparison."""
    block_length: int
    """Snapshots in a block of the bootstrap."""
    num_levels: int
    depth_floor: float
    mean_best_volume: float
    """Mean V(0) in the file's units; over the size of a unit trade, where that is known, it is λ."""
    rows_read: int
    rows_used: int
    """Those outside trading halts with both a bid and an ask."""
    sources: tuple[str, ...]
    mean_shape: Float[ndarray, "levels"]
    """mean V(n) / mean V(0) in the data."""
    fitted_shape: Float[ndarray, "levels"]
    """E[shape(n)] of the fit."""
    fitted_shape_std: Float[ndarray, "levels"]
    """Standard deviation of 1 + a n + b n² of the fit."""
    sample_shapes: Float[ndarray, "samples levels"]
    """V(n) / V(0) of a few snapshots, drawn with weight V(0), so that mean_shape is their expectation."""
    best_volumes: Float[ndarray, "volumes"]
    """V(0) / mean V(0), at most 20,000 evenly spaced ones."""
    spreads: Float[ndarray, "spreads"]
    """s_0, fraction of the mid, likewise."""
    spread_moments: tuple[float, float]
    """Mean and standard deviation of all s_0 in the data, as they are after clipping."""


def fit_book(
    snapshots: BookSnapshots,
    *,
    levels: int = 10,
    depth_floor: float = 0.05,
    resamples: int = 200,
    seed: int = 0,
) -> BookFit:
    """Fit the law to the best `levels` levels a side, or all there are; raises DataError if it cannot."""
    names = " and ".join(snapshots.sources)
    levels = min(levels, snapshots.num_levels)
    used = (snapshots.ask_size[:, 0] > 0) & (snapshots.bid_size[:, 0] > 0)
    if used.sum() < MIN_SNAPSHOTS:
        raise DataError(
            f"{names}: {used.sum()} snapshots with both a bid and an ask, where a fit needs {MIN_SNAPSHOTS}"
        )
    ask, bid = snapshots.ask_price[used, :levels], snapshots.bid_price[used, :levels]
    mid = (ask[:, 0] + bid[:, 0]) / 2
    spread = (ask[:, 0] - bid[:, 0]) / mid
    gaps = np.concatenate([np.diff(ask, axis=1), -np.diff(bid, axis=1)], axis=1) / mid[:, None]
    volumes = np.stack([snapshots.ask_size[used, :levels], snapshots.bid_size[used, :levels]], axis=1)
    mean_best_volume = float(volumes[..., 0].mean())
    volumes = volumes / mean_best_volume

    law = _Law(levels, depth_floor, float(spread.min()), float(spread.max()))
    moments = law.moments(volumes, spread, gaps)
    estimates = law.estimate(moments.mean(axis=0))
    block = max(block_length(series) for series in (volumes[..., 0].mean(1), volumes.sum((1, 2)), spread))
    draws = [law.estimate(mean) for mean in block_bootstrap(moments, block, resamples, seed)]
    estimated = [name for name in estimates if name not in law.assumed]
    errors = {name: float(np.std([draw[name] for draw in draws], ddof=1)) for name in estimated}
    shape, shape_std = law.floored_shape(estimates)
    k = estimates["best_volume_shape"]
    rng = np.random.default_rng(seed)
    sides = volumes.reshape(-1, levels)
    drawn = sides[rng.choice(len(sides), size=40, p=sides[:, 0] / sides[:, 0].sum())]
    thin = slice(None, None, math.ceil(len(spread) / 20_000))
    return BookFit(
        estimates=estimates | {"spread_min": law.spread_min, "spread_max": law.spread_max},
        standard_errors=errors,
        independent_error=float((len(sides) * (special.polygamma(1, k) - 1 / k)) ** -0.5),
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
    fit: BookFit, *, spread_of: ReferenceBook | None = None, target: float | None = None
) -> ReferenceBook:
    """The book of a fit, its volumes scaled so that E[S_ref(1)] is the target (`default_target` if None).

    Spread and tick are the data's own, which belong together: a tick below the exchange's would put levels
    within the quoted spread's own rounding. `spread_of=ReferenceBook()` gives the paper's instead, with the
    data's volumes.
    """
    values = dict(fit.estimates)
    if spread_of is not None:
        names = ("spread_mean", "spread_std", "spread_min", "spread_max", "tick")
        values |= {name: float(getattr(spread_of, name)) for name in names}
    book = ReferenceBook(**values, depth_floor=fit.depth_floor, num_levels=fit.num_levels, volume_scale=1.0)
    if fit.num_levels == 1:  # any size costs the half-spread, so that no scale is needed
        return book
    scale = solve_volume_scale(book, default_target(book) if target is None else target)
    return replace(book, volume_scale=scale)


def default_target(book: ReferenceBook) -> float:
    """The E[S_ref(1)] as far between its bounds as the paper's is, 4.7 bp of (0.5 bp, 9.5 bp)."""
    paper = ReferenceBook()
    share = (PAPER_TARGET - mean_spread(paper) / 2) / (float(paper.tick) * (paper.num_levels - 1))
    return mean_spread(book) / 2 + share * float(book.tick) * (book.num_levels - 1)


def mean_spread(book: ReferenceBook) -> float:
    """E[s_0], fraction of the mid."""
    low, high = float(book.spread_min), float(book.spread_max)
    return _clipped_normal(float(book.spread_mean), float(book.spread_std), low, high)[0]


def solve_volume_scale(book: ReferenceBook, target: float = PAPER_TARGET, log2_points: int = 16) -> float:
    """The λ with E[S_ref(1)] = target, a fraction of the mid; the book's own λ does not matter.

    E[S_ref(1)] falls in λ from E[s_0]/2 + (K - 1) tick to E[s_0]/2; a target outside is refused. The
    expectation is over 2^16 Sobol points in double precision, the same for every λ, which gives λ to a
    relative 1e-4, or 1e-3 for targets within a few percent of their bounds (measured against 2^20 points).
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
                f"target, E[S_ref(1)], must be between {low:.4g} (levels hold very much) and {high:.4g} (very"
                f" little), but got {target:.4g}"
            )
        return math.exp(optimize.brentq(excess, least, most, xtol=1e-12))  # pyright: ignore[reportArgumentType]


def sample_curves(
    book: ReferenceBook, sizes: Float[ndarray, "sizes"], samples: int = 30, seed: int = 0
) -> Float[ndarray, "samples sizes"]:
    """S_ref at the sizes, in units of trade, for some snapshots that the book generates."""
    snapshot = book.snapshot(book.shocks(jax.random.key(seed), (samples,)))
    curves = jax.vmap(lambda size: snapshot.spread_curve(jnp.full(samples, size)))(jnp.asarray(sizes))
    return np.asarray(curves).T


# --- Estimation from mean moments ---


@dataclass(frozen=True)
class _Law:
    """Estimates as functions of mean moments, so that a resample costs no more than its means."""

    levels: int
    depth_floor: float
    spread_min: float
    spread_max: float

    @property
    def powers(self) -> Float[ndarray, "levels_but_best coefficients"]:
        """n and n² below the best level; two levels determine the linear coefficient only."""
        n = np.arange(1, self.levels)
        return np.stack([n, n**2], axis=1)[:, : self.levels - 1].astype(float)

    @property
    def projection(self) -> Float[ndarray, "2 levels_but_best"]:
        """Least-squares coefficients (a, b) of what stands above 1 at n = 1..K-1."""
        coefficients = np.zeros((2, self.levels - 1))
        coefficients[: self.levels - 1] = np.linalg.pinv(self.powers)
        return coefficients

    @property
    def assumed(self) -> set[str]:
        """Estimates that so few levels say nothing of: they are 0, and the tick the smallest spread."""
        curvature = {"depth_quadratic", "depth_quadratic_std", "depth_correlation"}
        slope = {"depth_linear", "depth_linear_std", "tick"}
        return curvature | slope if self.levels == 1 else curvature if self.levels == 2 else set()

    def moments(
        self, volumes: ndarray, spread: ndarray, gaps: ndarray
    ) -> Float[ndarray, "snapshots moments"]:
        """The terms whose means decide the estimates, averaged over the two sides of each snapshot."""
        best = volumes[..., 0]
        x, y = np.moveaxis(volumes[..., 1:] @ self.projection.T, -1, 0)
        by_side = np.stack([np.log(best), best**2, x * best, y * best, x * x, x * y, y * y], axis=-1)
        width = self.spread_max - self.spread_min
        position = (spread - self.spread_min) / width if width > 0 else np.zeros_like(spread)
        there = np.isfinite(gaps)
        by_row = [position, position**2, np.sum(gaps, axis=1, where=there), there.sum(axis=1)]
        return np.concatenate([volumes.mean(1), by_side.mean(1), np.stack(by_row, axis=1)], axis=1)

    def estimate(self, mean: Float[ndarray, "moments"]) -> dict[str, float]:
        """The estimates, by ReferenceBook's names, from mean moments."""
        volumes, rest = mean[: self.levels], mean[self.levels :]
        log_best, square, x_best, y_best, xx, xy, yy, position, position_square, gap_sum, gap_count = rest
        shape = volumes / volumes[0]
        # mean[(z - V(0) c)(z - V(0) c)'] / mean[V(0)²] for the coefficients z of V and c of s.
        c = self.projection @ shape[1:]
        cross = np.outer([x_best, y_best], c)
        covariance = (np.array([[xx, xy], [xy, yy]]) - cross - cross.T) / square + np.outer(c, c)
        std = np.sqrt(np.maximum(np.diag(covariance), 0))
        correlation = covariance[0, 1] / std.prod() if std.prod() > 1e-12 else 0.0
        spread_law = self._spread_law(position, math.sqrt(max(position_square - position**2, 0)))
        estimates = {
            "spread_mean": spread_law[0],
            "spread_std": spread_law[1],
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
        """E[max(1 + a n + b n², floor)], and the standard deviation without the floor, at every level."""
        n = np.arange(self.levels)
        mean = 1 + values["depth_linear"] * n + values["depth_quadratic"] * n**2
        std_a, std_b = values["depth_linear_std"] * n, values["depth_quadratic_std"] * n**2
        variance = std_a**2 + std_b**2 + 2 * values["depth_correlation"] * std_a * std_b
        std = np.sqrt(np.maximum(variance, 0))
        above = mean - self.depth_floor
        z = np.divide(above, std, out=np.copysign(np.full(self.levels, np.inf), above), where=std > 0)
        return self.depth_floor + above * special.ndtr(z) + std * _normal_density(z), std

    def _mean_coefficients(self, shape: ndarray, values: dict[str, float]) -> ndarray:
        """(a, b) for which E[shape(n)], floor included, is nearest to the data's."""
        count = self.powers.shape[1]
        start = self.projection @ (shape[1:] - 1)
        if count == 0:
            return start

        def misfit(coefficients: ndarray) -> ndarray:
            linear, quadratic = np.append(coefficients, [0.0, 0.0])[:2]
            return (
                self.floored_shape(values | {"depth_linear": linear, "depth_quadratic": quadratic})[0][1:]
                - shape[1:]
            )

        start[:count] = optimize.least_squares(
            misfit, start[:count], x_scale=[1.0, 0.1][:count], method="lm"
        ).x
        return start

    def _spread_law(self, mean: float, std: float) -> tuple[float, float]:
        """The law before clipping of a spread whose position between its bounds has this mean and deviation.

        A mean below 0 would fit best a spread that is nearly always its smallest; it is kept positive. The
        mean after clipping is then still right, the deviation as near as can be.
        """
        width = self.spread_max - self.spread_min
        if std == 0:
            return self.spread_min + width * mean, 0.0

        def misfit(x: ndarray) -> list[float]:
            after = _clipped_normal(x[0], math.exp(min(x[1], 5.0)), 0.0, 1.0)
            return [100 * (after[0] - mean), after[1] - std]

        lowest = np.array([-0.999999 * self.spread_min / width, math.log(std)])
        highest = np.array([60.0, math.log(LARGEST_SPREAD_DEVIATION)])
        start = [mean, math.log(1.1 * std)]
        # Newton's method, ten times as fast, will do unless a bound is met.
        found = optimize.root(misfit, start, tol=1e-12)
        if not found.success or np.any(found.x < lowest) or np.any(found.x > highest):
            bounds = (lowest, highest)
            found = optimize.least_squares(misfit, start, bounds=bounds, xtol=1e-12, ftol=1e-12, gtol=1e-12)
        x = found.x
        return self.spread_min + width * x[0], width * math.exp(x[1])


def gamma_shape(log_ratio: float) -> float:
    """Maximum-likelihood shape k of a gamma law from log mean x - mean log x = log k - ψ(k)."""
    if log_ratio <= math.log(LARGEST_GAMMA_SHAPE) - special.digamma(LARGEST_GAMMA_SHAPE):
        return LARGEST_GAMMA_SHAPE
    # The root is within the bracket because 1/(2k) < log k - ψ(k) < 1/k.
    bracket = (0.4 / log_ratio, 1.1 / log_ratio)
    return float(optimize.brentq(lambda k: math.log(k) - special.digamma(k) - log_ratio, *bracket))  # pyright: ignore[reportArgumentType]


def _normal_density(z):
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _clipped_normal(mean: float, std: float, low: float, high: float) -> tuple[float, float]:
    """Mean and standard deviation of a normal variable clipped to [low, high]."""
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
