"""Reference book: gamma quantiles against SciPy, costs against a level-by-level walk, moments of the default book."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from twosided.dealer.reference_book import BookShock, ReferenceBook, Snapshot, gamma_from_normal

# Gamma variables from normals.

gamma_of = eqx.filter_jit(gamma_from_normal)
slope_of_gamma = jax.jit(jax.jacrev(gamma_from_normal))


def gamma_quantile(shape, z):
    """F⁻¹(Φ(z)) for the gamma distribution of mean 1, from the smaller tail."""
    gamma = stats.gamma(shape, scale=1 / shape)
    return np.where(z < 0, gamma.ppf(stats.norm.cdf(z)), gamma.isf(stats.norm.sf(z)))


# Bounds of the interpolation error with 2,048 knots, largest in the far right tail, as stated in the docstring of
# gamma_from_normal. For shapes below 1/2 the tail is steeper.
@pytest.mark.parametrize(
    ("shape", "bound"),
    [(0.2, 5e-3), (0.5, 6e-4), (1.0, 6e-4), (1.5, 1e-4), (1.524253, 1e-4), (4.0, 1e-4), (200.0, 1e-4)],
)
def test_gamma_quantiles_match_scipy_within_stated_error(shape, bound):
    z = np.linspace(-5.0, 5.0, 4001)
    error = np.abs(
        np.asarray(gamma_from_normal(jnp.float32(shape), jnp.float32(z))) - gamma_quantile(shape, z)
    )
    assert error.max() < bound / np.sqrt(shape)


def test_gamma_moments_match_mean_1_and_variance_1_over_k():
    # Moments of the interpolated distribution, by quadrature over the normal.
    z = np.linspace(-6.0, 6.0, 100_001)
    weight = stats.norm.pdf(z) / stats.norm.pdf(z).sum()
    for shape in (0.5, 1.524253, 20.0):
        x = np.asarray(gamma_of(jnp.float32(shape), jnp.float32(z)), float)
        assert weight @ x == pytest.approx(1.0, abs=1e-5 * shape**-0.5)
        assert weight @ (x - 1) ** 2 == pytest.approx(1 / shape, rel=2e-4)


@pytest.mark.parametrize("shape", [0.01, 0.2, 1.0, 1e6])
def test_gamma_is_finite_and_nondecreasing_beyond_the_table(shape):
    z = jnp.concatenate([jnp.float32([-40.0]), jnp.linspace(-7.0, 7.0, 2001), jnp.float32([40.0])])
    x = np.asarray(gamma_of(jnp.float32(shape), z))
    assert np.isfinite(x).all() and (x >= 0).all()
    assert (np.diff(x) >= -1e-6 * x[1:]).all()


def test_gamma_can_be_vmapped_over_the_shape():
    z, shapes = jnp.linspace(-4.0, 4.0, 9), jnp.float32([0.2, 1.5, 30.0])
    mapped = jax.jit(jax.vmap(gamma_from_normal, (0, None)))(shapes, z)
    for row, shape in zip(mapped, shapes, strict=True):
        np.testing.assert_allclose(row, gamma_of(shape, z), rtol=2e-5)


@pytest.mark.parametrize("shape", [0.5, 1.524253, 50.0])
def test_gamma_gradient_in_the_shape_matches_finite_differences(shape):
    z = np.linspace(-2.0, 3.0, 6)
    h = 1e-4 * shape
    expected = (gamma_quantile(shape + h, z) - gamma_quantile(shape - h, z)) / (2 * h)
    derivative = slope_of_gamma(jnp.float32(shape), jnp.float32(z))
    # The knots depend on the shape, so the derivative of the interpolation is less accurate than its value.
    np.testing.assert_allclose(derivative, expected, rtol=1e-2, atol=3e-3 * np.abs(expected).max())


# Cost of a trade.


def walk(spread, volumes, tick, size):
    """Cost of taking a size level by level; the part beyond the last level trades at its price."""
    cost, rest = 0.0, size
    for n, volume in enumerate(volumes):
        taken = rest if n == len(volumes) - 1 else min(rest, volume)
        cost += taken * (spread / 2 + n * tick)
        rest -= taken
    return cost


volumes_of_a_side = st.lists(st.floats(1e-3, 5.0), min_size=1, max_size=6)
sizes = st.just(0.0) | st.floats(1e-9, 40.0)


@given(volumes_of_a_side, st.floats(1e-5, 3e-4), sizes, st.floats(1e-5, 1e-3))
def test_cost_matches_level_by_level_walk(volumes, spread, size, tick):
    with jax.enable_x64(True):
        book = Snapshot(jnp.asarray(spread), jnp.asarray(volumes), jnp.asarray(tick))
        cost = float(book.cost(jnp.asarray(size)))
        average = float(book.spread_curve(jnp.asarray(size)))
    expected = walk(spread, volumes, tick, size)
    # float64, and sums of at most six terms no larger than size · last price.
    assert cost == pytest.approx(expected, abs=1e-14 * (1 + size) * (spread + 6 * tick))
    assert average == pytest.approx(expected / size if size > 0 else spread / 2, rel=1e-9)


def test_cost_at_level_boundaries():
    book = Snapshot(jnp.float32(2e-4), jnp.array([0.5, 1.0, 2.0]), jnp.float32(1e-4))
    sizes = np.array([0.0, 0.25, 0.5, 1.0, 1.5, 3.5, 100.0])
    expected = np.array([0.0, 0.25, 0.5, 1.5, 2.5, 8.5, 8.5 + 3 * 96.5]) * 1e-4
    np.testing.assert_allclose(jax.vmap(book.cost)(jnp.float32(sizes)), expected, rtol=1e-6)
    np.testing.assert_allclose(book.level_prices, [1e-4, 2e-4, 3e-4], rtol=1e-6)


def test_marginal_price_beyond_the_last_level_is_its_price():
    book = ReferenceBook().snapshot(ReferenceBook().shocks(jax.random.key(0), ()))
    beyond = float(book.volumes.sum()) + 1.0
    marginal = (float(book.cost(jnp.float32(beyond + 8.0))) - float(book.cost(jnp.float32(beyond)))) / 8.0
    assert marginal == pytest.approx(float(book.level_prices[-1]), rel=1e-4)


def test_cost_is_convex_and_average_cost_rises_from_half_the_spread():
    book = ReferenceBook().snapshot(ReferenceBook().shocks(jax.random.key(1), (50,)))
    sizes = np.linspace(0.0, 6.0, 241)
    cost, average = (
        np.asarray(jax.vmap(of)(jnp.broadcast_to(jnp.float32(sizes)[:, None], (241, 50))), float)
        for of in (book.cost, book.spread_curve)
    )
    rounding = 1e-6 * cost.max()
    assert (np.diff(cost, 2, axis=0) >= -rounding).all()
    assert (np.diff(average, axis=0) >= -1e-6 * average.max()).all()
    np.testing.assert_array_equal(average[0], np.asarray(book.spread / 2))
    np.testing.assert_allclose(average[1:] * sizes[1:, None], cost[1:], rtol=1e-6)


def test_spread_curve_gradient_is_finite_at_size_0():
    book = Snapshot(jnp.float32(2e-4), jnp.array([0.5, 1.0, 2.0]), jnp.float32(1e-4))
    assert jax.grad(book.spread_curve)(jnp.float32(0.0)) == 0.0


# Distribution of the book.


@pytest.fixture(scope="module")
def default_snapshots():
    book = ReferenceBook()
    snapshots = jax.jit(lambda key: book.snapshot(book.shocks(key, (400_000,))))(jax.random.key(11))
    return jax.tree.map(lambda leaf: np.asarray(leaf, float), snapshots)


def within(sample, mean, errors=4.0):
    return abs(sample.mean() - mean) < errors * sample.std() / np.sqrt(sample.size)


def test_unit_trade_in_default_book_costs_4_7_basis_points(default_snapshots):
    cost = np.array(jax.vmap(lambda s: s.spread_curve(jnp.float32(1.0)))(default_snapshots), float)
    assert within(cost, 4.7e-4)
    # The standard error is small enough to distinguish 4.70 from 4.72.
    assert cost.std() / np.sqrt(cost.size) < 0.005e-4


def test_spread_is_clipped_normal(default_snapshots):
    book, spread = ReferenceBook(), default_snapshots.spread
    low, high = (book.spread_min - 1e-4) / 0.5e-4, (book.spread_max - 1e-4) / 0.5e-4
    below, above = stats.norm.cdf(low), stats.norm.sf(high)
    inside = 1 - below - above
    kept = stats.truncnorm(low, high, loc=1e-4, scale=0.5e-4)
    assert spread.min() == pytest.approx(1e-5, rel=1e-6)
    assert spread.max() == pytest.approx(2.5e-4, rel=1e-6)
    assert within(spread, below * 1e-5 + above * 2.5e-4 + inside * kept.mean())
    assert within(spread**2, below * 1e-5**2 + above * 2.5e-4**2 + inside * kept.moment(2))
    assert within((spread < 1.0001e-5).astype(float), below)


def test_best_volume_is_gamma(default_snapshots):
    book, best = ReferenceBook(), default_snapshots.volumes[:, 0]
    scaled = best / book.volume_scale
    assert within(scaled, 1.0)
    assert within((scaled - 1) ** 2, 1 / book.best_volume_shape)
    # 40,000 independent draws; one seed in 1,000 has a smaller p-value.
    assert (
        stats.kstest(scaled[:40_000], stats.gamma(book.best_volume_shape, scale=1 / 1.524253).cdf).pvalue
        > 1e-3
    )


def test_depth_shape_mean_matches_floored_normal(default_snapshots):
    book, n = ReferenceBook(), np.arange(10)
    shape = default_snapshots.volumes / default_snapshots.volumes[:, :1]
    assert shape.min() == pytest.approx(book.depth_floor, rel=1e-5)
    # 1 + a n + b n² is normal at each level, with the covariance of (a, b), and then floored.
    mean = 1 + book.depth_linear * n + book.depth_quadratic * n**2
    cross = book.depth_correlation * book.depth_linear_std * book.depth_quadratic_std
    variance = (book.depth_linear_std * n) ** 2 + 2 * cross * n**3 + (book.depth_quadratic_std * n**2) ** 2
    for level in (1, 4, 9):
        normal = stats.norm(mean[level], np.sqrt(variance[level]))
        below = normal.cdf(book.depth_floor)
        kept = stats.truncnorm(
            (book.depth_floor - normal.mean()) / normal.std(), np.inf, normal.mean(), normal.std()
        )
        assert within(shape[:, level], below * book.depth_floor + (1 - below) * kept.mean())


def test_book_is_deterministic_with_zero_standard_deviations():
    book = ReferenceBook(spread_std=0.0, depth_linear_std=0.0, depth_quadratic_std=0.0, num_levels=4)
    snapshot = book.snapshot(BookShock(jnp.float32(2.0), jnp.float32(1.5), jnp.float32([3.0, -3.0])))
    n = np.arange(4)
    assert snapshot.spread == np.float32(1e-4)
    shape = 1 + book.depth_linear * n + book.depth_quadratic * n**2
    np.testing.assert_allclose(snapshot.volumes, book.volume_scale * 1.5 * shape, rtol=1e-6)


def test_book_of_one_level_costs_half_the_spread_for_any_size():
    book = ReferenceBook(num_levels=1).snapshot(ReferenceBook().shocks(jax.random.key(0), ()))
    for size in (0.01, 1.0, 1000.0):
        assert book.spread_curve(jnp.float32(size)) == pytest.approx(float(book.spread) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("field", "value", "constraint"),
    [
        ("spread_mean", 0.0, "positive and finite"),
        ("spread_std", -1e-5, "at least 0 and finite"),
        ("spread_max", 1e-6, r"at least spread_min \(1e-05\) and finite"),
        ("spread_max", np.inf, r"at least spread_min \(1e-05\) and finite"),
        ("tick", np.nan, "positive and finite"),
        ("best_volume_shape", 0.0, "from 0.01 to 1e6"),
        ("depth_linear", np.nan, "finite"),
        ("depth_quadratic_std", -0.1, "at least 0 and finite"),
        ("depth_correlation", -1.01, r"in \[-1, 1\]"),
        ("depth_correlation", np.nan, r"in \[-1, 1\]"),
        ("depth_floor", 0.0, "positive and finite"),
        ("volume_scale", -1.0, "positive and finite"),
        ("num_levels", 0, "from 1 to 1000"),
    ],
)
def test_invalid_parameters_are_rejected(field, value, constraint):
    with pytest.raises(ValueError, match=f"^{field} must be {constraint}, but got {value}$"):
        ReferenceBook(**{field: value})
