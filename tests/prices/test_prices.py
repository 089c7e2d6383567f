"""Brownian prices: moments against their formulas, by quadrature (exact) and by sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.prices import Bachelier, GeometricBrownian, PriceState

# Large moves: at the defaults a step moves the price by 1e-3.
GEOMETRIC = GeometricBrownian(initial=50.0, drift=0.4, volatility=0.6, time_step=0.25)
ARITHMETIC = Bachelier(initial=50.0, drift=-8.0, volatility=12.0, time_step=0.25)
PROCESSES = [pytest.param(GEOMETRIC, id="geometric"), pytest.param(ARITHMETIC, id="arithmetic")]

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
"""E f(Z) = Σ weight f(node) for a standard normal Z; exact for polynomials up to degree 79."""
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def step_at_nodes(process, mid):
    with jax.enable_x64(True):
        state = PriceState(mid=jnp.asarray(mid, float))
        after = jax.vmap(lambda shock: process.step(state, shock))(jnp.asarray(NODES))
        return np.asarray(after.mid), float(process.change_moments(state).mean)


def test_geometric_moments_are_exact():
    mid, (after, expected_change) = 80.0, step_at_nodes(GEOMETRIC, 80.0)
    growth, variance = np.exp(0.4 * 0.25), 0.6**2 * 0.25
    assert WEIGHTS @ after == pytest.approx(mid * growth, rel=1e-12)
    assert WEIGHTS @ after**2 == pytest.approx((mid * growth) ** 2 * np.exp(variance), rel=1e-12)
    log_return = np.log(after / mid)
    mean_log_return = WEIGHTS @ log_return
    assert mean_log_return == pytest.approx((0.4 - 0.6**2 / 2) * 0.25, rel=1e-12)
    assert WEIGHTS @ (log_return - mean_log_return) ** 2 == pytest.approx(variance, rel=1e-12)
    assert expected_change == pytest.approx(mid * (growth - 1), rel=1e-12)


def test_arithmetic_moments_are_exact():
    mid, (after, expected_change) = 80.0, step_at_nodes(ARITHMETIC, 80.0)
    assert WEIGHTS @ after == pytest.approx(mid - 8.0 * 0.25, rel=1e-13)
    assert WEIGHTS @ (after - WEIGHTS @ after) ** 2 == pytest.approx(12.0**2 * 0.25, rel=1e-12)
    assert expected_change == pytest.approx(-8.0 * 0.25, rel=1e-13)


@pytest.mark.parametrize("process", PROCESSES)
def test_expected_change_matches_quadrature(process):
    for mid in (0.5, 80.0):
        after, expected_change = step_at_nodes(process, mid)
        assert WEIGHTS @ after - mid == pytest.approx(expected_change, rel=1e-10)


@pytest.mark.parametrize("process", PROCESSES)
def test_change_moments_match_quadrature(process):
    with jax.enable_x64(True):
        moments = process.change_moments(PriceState(mid=jnp.asarray(80.0, float)))
    after, _ = step_at_nodes(process, 80.0)
    assert WEIGHTS @ (after - 80.0) ** 2 == pytest.approx(float(moments.mean_square), rel=1e-10)
    # Gauss-Hermite quadrature is inaccurate at a kink, so the downside is integrated by a fine midpoint rule.
    z = (np.arange(400_000) + 0.5) / 25_000 - 8.0
    with jax.enable_x64(True):
        change = (
            np.asarray(jax.vmap(lambda shock: process.step(PriceState(jnp.asarray(80.0)), shock).mid)(z))
            - 80.0
        )
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / 25_000
    assert density @ np.minimum(change, 0.0) == pytest.approx(float(moments.downside), rel=1e-7)


@pytest.mark.parametrize(
    "process", [GeometricBrownian(), Bachelier(), GeometricBrownian(volatility=0.0, drift=-1.0)]
)
def test_change_moments_are_accurate_in_float32(process):
    single = process.change_moments(PriceState(mid=jnp.float32(100.0)))
    with jax.enable_x64(True):
        double = process.change_moments(PriceState(mid=jnp.asarray(100.0, float)))
    for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(double), strict=True):
        assert a.dtype == jnp.float32
        assert float(a) == pytest.approx(float(b), rel=1e-5)


@pytest.mark.parametrize("process", PROCESSES)
def test_zero_volatility_moves_by_drift_only(process):
    deterministic = type(process)(initial=50.0, drift=process.drift, volatility=0.0, time_step=0.25)
    after, expected_change = step_at_nodes(deterministic, 80.0)
    np.testing.assert_allclose(after - 80.0, expected_change, rtol=1e-12)


@pytest.mark.parametrize("process", [GeometricBrownian(), Bachelier()])
def test_price_without_drift_is_a_martingale(process):
    after, expected_change = step_at_nodes(process, 100.0)
    assert expected_change == 0.0
    assert WEIGHTS @ after == pytest.approx(100.0, rel=1e-14)


@pytest.mark.parametrize("process", PROCESSES)
def test_episode_starts_at_initial_price(process):
    assert process.reset(jnp.float32(1.7)).mid == 50.0


def test_small_drift_is_accurate_in_float32():
    # exp(μ Δ) - 1 at μ Δ = 1e-9 is 0 in float32 unless it is computed as expm1.
    process = GeometricBrownian(drift=1e-6, time_step=1e-3)
    mean = process.change_moments(PriceState(mid=jnp.float32(100.0))).mean
    assert mean.dtype == jnp.float32
    assert float(mean) == pytest.approx(1e-7, rel=1e-6)


@pytest.mark.parametrize("process", PROCESSES)
def test_sampled_paths_match_the_moments_of_the_process(process):
    steps, paths = 16, 20_000

    @jax.jit
    def last(key):
        shocks = process.shocks(key, (steps, paths))
        start = jax.vmap(process.reset)(shocks[0])
        state, _ = jax.lax.scan(lambda s, z: (jax.vmap(process.step)(s, z), None), start, shocks)
        return state.mid

    mid, years = np.asarray(last(jax.random.key(3)), float), steps * 0.25
    if isinstance(process, GeometricBrownian):
        x, mean, variance = np.log(mid / 50.0), (0.4 - 0.6**2 / 2) * years, 0.6**2 * years
    else:
        x, mean, variance = mid - 50.0, -8.0 * years, 12.0**2 * years
    # x is normal. Tolerances are 4 standard errors: of the mean, and of the variance, which is √(2 / n) of it.
    assert abs(x.mean() - mean) < 4 * np.sqrt(variance / paths)
    assert abs(x.var() - variance) < 4 * np.sqrt(2 / paths) * variance


def test_shocks_are_independent_over_time_and_paths():
    shocks = np.asarray(GEOMETRIC.shocks(jax.random.key(0), (200, 200)), float)
    # The correlation of neighbours over 39,800 pairs has a standard error of 0.005.
    for a, b in [(shocks[1:], shocks[:-1]), (shocks[:, 1:], shocks[:, :-1])]:
        assert abs((a * b).mean()) < 4 / np.sqrt(a.size)


@pytest.mark.parametrize("process", [GeometricBrownian, Bachelier])
@pytest.mark.parametrize(
    ("field", "value", "constraint"),
    [
        ("initial", 0.0, "positive and finite"),
        ("initial", np.inf, "positive and finite"),
        ("drift", np.nan, "finite"),
        ("volatility", -0.1, "at least 0 and finite"),
        ("time_step", 0.0, "positive and finite"),
    ],
)
def test_invalid_parameters_raise(process, field, value, constraint):
    with pytest.raises(ValueError, match=f"^{field} must be {constraint}, but got {value}$"):
        process(**{field: value})
