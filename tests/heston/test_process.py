"""Heston schemes: steps against quadrature and hand calculations, paths against the exact moments of the model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.heston.moments import (
    call_price,
    integrated_variance_moments,
    return_cumulants,
    variance_moments,
)
from twosided.heston.process import Heston, HestonEuler, HestonShock, HestonState, VarianceDistribution
from twosided.prices import GeometricBrownian, PriceState

# E f(Z) by a fine midpoint rule, which is accurate for functions with kinks.
Z = (np.arange(4_000) + 0.5) / 250 - 8.0
DENSITY = np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi) / 250


@pytest.mark.parametrize("psi", [1e-6, 0.05, 0.7, 1.49, 1.51, 4.0, 40.0])
def test_variance_distribution_matches_mean_and_variance(psi):
    with jax.enable_x64(True):
        distribution = VarianceDistribution.of(jnp.asarray(0.03), jnp.asarray(psi * 0.03**2))
        drawn = np.asarray(distribution.draw(jnp.asarray(Z)))
        weights, values = (np.asarray(x) for x in distribution.nodes())
        tilt = -3.0
        log_moment = float(distribution.log_moment(tilt)[0])
    assert np.all(drawn >= 0)
    # The edge of the atom falls within one cell of the midpoint rule, which bounds the accuracy.
    np.testing.assert_allclose(DENSITY @ drawn, 0.03, rtol=2e-4)
    np.testing.assert_allclose(DENSITY @ drawn**2 - 0.03**2, psi * 0.03**2, rtol=1e-3)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(
        [weights @ values, weights @ values**2], [0.03, (1 + psi) * 0.03**2], rtol=1e-10
    )
    np.testing.assert_allclose(DENSITY @ np.exp(tilt * drawn), np.exp(log_moment), rtol=1e-5)


def test_step_is_finite_for_a_variance_near_zero():
    """Parameters of a wide posterior: above a relative variance of 3e7, 1 - p rounds to 0 in single precision."""
    process = Heston(
        initial_variance=0.0, mean_reversion=0.01, long_run_variance=0.001, vol_of_vol=40.0, time_step=2e-7
    )
    state = process.reset(HestonShock(jnp.zeros(()), jnp.zeros(())))
    shocks = HestonShock(jnp.linspace(-9.0, 9.0, 181), jnp.zeros(181))
    after = jax.vmap(process.step, (None, 0))(state, shocks)
    assert np.isfinite(after.variance).all() and np.isfinite(after.mid).all()
    assert float(after.variance[0]) == 0.0 and float(after.variance[-1]) > 0.0


# Steps of a quarter, from a variance far above zero (quadratic) and near it (exponential).
@pytest.mark.parametrize("variance", [0.3, 0.002])
@pytest.mark.parametrize("correlation", [-0.8, 0.4])
def test_change_moments_match_the_step(variance, correlation):
    process = Heston(
        drift=0.2,
        mean_reversion=1.5,
        long_run_variance=0.05,
        vol_of_vol=0.9,
        correlation=correlation,
        time_step=0.25,
    )
    with jax.enable_x64(True):
        state = HestonState(jnp.asarray(80.0, float), jnp.asarray(variance, float))
        change = process.change_moments(state)
        # A coarse rule suffices for the price's normal: integrated over the other one, the functions have no kinks.
        z = (np.arange(200) + 0.5) / 12.5 - 8.0
        weight = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / 12.5
        step = jax.vmap(
            jax.vmap(lambda a, b: process.step(state, HestonShock(a, b)).mid, (None, 0)), (0, None)
        )
        changes = np.asarray(step(jnp.asarray(Z), jnp.asarray(z))) - 80.0
    found = [DENSITY @ f @ weight for f in (changes, changes**2, np.minimum(changes, 0.0))]
    # Martingale correction: the mean is exact.
    assert float(change.mean) == pytest.approx(80 * np.expm1(0.05), rel=1e-9)
    np.testing.assert_allclose(
        found, [float(x) for x in (change.mean, change.mean_square, change.downside)], rtol=5e-3
    )


@pytest.mark.parametrize("scheme", [Heston, HestonEuler])
def test_schemes_converge_to_geometric_brownian_motion_for_small_vol_of_vol(scheme):
    with jax.enable_x64(True):
        calm = scheme(
            drift=0.3,
            initial_variance=0.09,
            long_run_variance=0.09,
            vol_of_vol=1e-6,
            correlation=0.0,
            time_step=0.1,
        )
        plain, start = GeometricBrownian(100.0, 0.3, 0.3, 0.1), PriceState(jnp.asarray(100.0, float))
        state = calm.reset(HestonShock(jnp.zeros(()), jnp.zeros(())))
        for z in (-2.0, 0.1, 1.7):
            stepped = calm.step(state, HestonShock(jnp.asarray(0.4, float), jnp.asarray(z, float)))
            assert float(stepped.mid) == pytest.approx(float(plain.step(start, z).mid), rel=1e-5)
        for a, b in zip(
            *(jax.tree.leaves(p.change_moments(s)) for p, s in ((calm, state), (plain, start))), strict=True
        ):
            assert float(a) == pytest.approx(float(b), rel=1e-4)


def test_euler_step_by_hand():
    process = HestonEuler(
        drift=0.1,
        mean_reversion=2.0,
        long_run_variance=0.04,
        vol_of_vol=0.5,
        correlation=-0.6,
        time_step=0.25,
    )
    shock = HestonShock(jnp.float32(1.0), jnp.float32(0.5))
    after = process.step(HestonState(jnp.float32(50.0), jnp.float32(0.16)), shock)
    # √(0.16/4) = 0.2; -0.6 + 0.8/2 = -0.2
    assert float(after.mid) == pytest.approx(50 * np.exp((0.1 - 0.08) / 4 - 0.04), rel=1e-6)
    assert float(after.variance) == pytest.approx(0.16 + 2 * (0.04 - 0.16) / 4 + 0.5 * 0.2, rel=1e-6)
    # A negative variance counts as 0: there is no noise, and it drifts back.
    after = process.step(HestonState(jnp.float32(50.0), jnp.float32(-0.01)), shock)
    assert float(after.mid) == pytest.approx(50 * np.exp(0.1 / 4), rel=1e-6)
    assert float(after.variance) == pytest.approx(-0.01 + 2 * 0.04 / 4, rel=1e-5)


def simulate_paths(process, steps, number, seed):
    """Return log returns, final variances and integrated variances (by the trapezoidal rule)."""

    @jax.jit
    def run(key):
        shocks = process.shocks(key, (steps, number))
        start = jax.vmap(process.reset)(jax.tree.map(lambda leaf: leaf[0], shocks))

        def one(carry, shock):
            state, integral = carry
            after = jax.vmap(process.step)(state, shock)
            total = jnp.maximum(state.variance, 0) + jnp.maximum(after.variance, 0)
            return (after, integral + total * process.time_step / 2), None

        (last, integral), _ = jax.lax.scan(one, (start, jnp.zeros(number)), shocks)
        return jnp.log(last.mid / start.mid), last.variance, integral

    return [np.asarray(x, float) for x in run(jax.random.key(seed))]


def mean_matches(samples, exact, errors=4.5):
    """Whether the sample mean is within a number of standard errors of the exact mean."""
    return abs(samples.mean() - exact) < errors * samples.std() / np.sqrt(samples.size)


@pytest.mark.parametrize(
    ("process", "steps"),
    [
        (Heston(initial_variance=0.09, drift=0.1, vol_of_vol=0.6, correlation=-0.7, time_step=1 / 16), 32),
        # Feller's condition is far from met: 2 κ θ = 0.04 < σ² = 1.
        (Heston(mean_reversion=0.5, vol_of_vol=1.0, correlation=-0.9, time_step=1 / 8), 80),
        (
            HestonEuler(
                initial_variance=0.09, drift=0.1, vol_of_vol=0.6, correlation=-0.7, time_step=1 / 128
            ),
            256,
        ),
    ],
    ids=["quadratic-exponential", "beyond Feller", "Euler"],
)
def test_paths_match_exact_moments(process, steps):
    """4.5 standard errors, 8 comparisons per case: a false alarm in one of 20,000 runs."""
    time = steps * process.time_step
    returns, variance, integral = simulate_paths(process, steps, 60_000, seed=1)
    exact, exact_integral, cumulants = (
        variance_moments(process, time),
        integrated_variance_moments(process, time),
        return_cumulants(process, time),
    )
    assert mean_matches(variance, exact.mean)
    assert mean_matches((variance - exact.mean) ** 2, exact.variance)
    assert mean_matches(integral, exact_integral.mean)
    assert mean_matches((integral - exact_integral.mean) ** 2, exact_integral.variance)
    assert mean_matches(np.exp(returns), np.exp(process.drift * time))
    assert mean_matches(returns, cumulants[0])
    assert mean_matches((returns - cumulants[0]) ** 2, cumulants[1])
    assert mean_matches((returns - cumulants[0]) ** 3, cumulants[2])


def test_simulated_calls_match_exact_prices_in_andersens_first_case():
    """With steps of an eighth of a year, at which the scheme's bias is below a cent."""
    process = Heston(mean_reversion=0.5, vol_of_vol=1.0, correlation=-0.9, time_step=1 / 8)
    returns, _, _ = simulate_paths(process, 80, 60_000, seed=2)
    for strike in (70.0, 100.0, 140.0):
        assert mean_matches(np.maximum(100 * np.exp(returns) - strike, 0), call_price(process, strike, 10.0))


def test_signal_correlates_with_the_independent_price_innovation():
    process = Heston()
    shock = process.shocks(jax.random.key(0), (1_000,))
    correlated = process.correlated(shock, jnp.ones(1_000), 0.6)
    np.testing.assert_allclose(correlated.price, 0.6 + 0.8 * shock.price, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(correlated.variance, shock.variance)


@pytest.mark.parametrize("scheme", [Heston, HestonEuler])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean_reversion": 0.0}, "mean_reversion must be positive and finite, but got 0"),
        ({"long_run_variance": -0.1}, "long_run_variance must be positive and finite, but got -0.1"),
        ({"vol_of_vol": np.inf}, "vol_of_vol must be positive and finite, but got inf"),
        ({"correlation": -1.0}, r"correlation must be in \(-1, 1\), but got -1"),
        ({"initial_variance": -0.01}, "initial_variance must be at least 0 and finite, but got -0.01"),
        ({"time_step": 0.0}, "time_step must be positive and finite, but got 0"),
    ],
)
def test_bad_parameters_are_refused(scheme, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        scheme(**arguments)
