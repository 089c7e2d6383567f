"""Merton jumps and GARCH: moments against quadrature and sampling, and the limits of Brownian motion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from twosided.prices import Garch, GeometricBrownian, MertonJumps, PriceState
from twosided.prices.garch import GarchState
from twosided.prices.merton import JumpShock

MERTON = MertonJumps(
    initial=50.0, drift=0.4, volatility=0.3, jump_rate=2.0, jump_mean=-0.1, jump_std=0.2, time_step=0.25
)
GARCH = Garch(initial=50.0, drift=0.4, volatility=0.6, alpha=0.2, beta=0.7, time_step=0.25)
# E f(Z) by a fine midpoint rule, which is accurate despite the kink of min(x, 0).
Z = (np.arange(40_000) + 0.5) / 2_500 - 8.0
DENSITY = np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi) / 2_500


def test_merton_change_moments_match_its_steps():
    mid, rate = 80.0, 0.5
    with jax.enable_x64(True):
        state = PriceState(jnp.asarray(mid, float))
        moments = MERTON.change_moments(state)
        expected = np.zeros(3)
        for number in range(14):
            # The normal whose Poisson quantile is this number. Given the number, the log return is one normal.
            poisson = stats.poisson(rate)
            normal = stats.norm.ppf((poisson.cdf(number) + poisson.cdf(number - 1)) / 2)
            std = np.sqrt(0.3**2 * 0.25 + number * 0.2**2)
            share = np.sqrt(0.3**2 * 0.25) / std
            shock = JumpShock(
                share * jnp.asarray(Z), jnp.full(Z.shape, normal), np.sqrt(1 - share**2) * jnp.asarray(Z)
            )
            change = np.asarray(jax.vmap(lambda s: MERTON.step(state, s).mid)(shock)) - mid
            given = [DENSITY @ f for f in (change, change**2, np.minimum(change, 0.0))]
            expected += poisson.pmf(number) * np.array(given)
    np.testing.assert_allclose(
        expected, [float(x) for x in (moments.mean, moments.mean_square, moments.downside)], rtol=2e-6
    )
    assert expected[0] == pytest.approx(mid * np.expm1(0.1), rel=1e-6)


def test_merton_without_jumps_equals_geometric_brownian_motion():
    process = MertonJumps(initial=50.0, drift=0.4, volatility=0.6, jump_rate=0.0, time_step=0.25)
    brownian, state = GeometricBrownian(50.0, 0.4, 0.6, 0.25), PriceState(jnp.asarray(80.0))
    z = jnp.linspace(-3.0, 3.0, 13)
    jumps = jax.vmap(lambda x: process.step(state, JumpShock(x, x, x)).mid)(z)
    np.testing.assert_allclose(jumps, jax.vmap(lambda x: brownian.step(state, x).mid)(z), rtol=1e-6)
    for a, b in zip(*(jax.tree.leaves(p.change_moments(state)) for p in (process, brownian)), strict=True):
        assert float(a) == pytest.approx(float(b), rel=1e-6)


def test_garch_change_moments_are_log_normal_given_variance():
    with jax.enable_x64(True):
        state = GarchState(jnp.asarray(80.0, float), jnp.asarray(0.04, float))
        moments = GARCH.change_moments(state)
        after = jax.vmap(lambda z: GARCH.step(state, z))(jnp.asarray(Z))
    change, variance = np.asarray(after.mid) - 80.0, np.asarray(after.variance)
    expected = [DENSITY @ f for f in (change, change**2, np.minimum(change, 0.0))]
    np.testing.assert_allclose(
        expected, [float(x) for x in (moments.mean, moments.mean_square, moments.downside)], rtol=1e-6
    )
    # h' = (1 - α - β) σ² Δ + (α Z² + β) h
    assert DENSITY @ variance == pytest.approx(0.1 * 0.09 + 0.9 * 0.04, rel=1e-8)
    assert DENSITY @ (variance - DENSITY @ variance) ** 2 == pytest.approx(2 * (0.2 * 0.04) ** 2, rel=1e-6)


def test_garch_with_zero_alpha_and_beta_equals_geometric_brownian_motion():
    process = Garch(initial=50.0, drift=0.4, volatility=0.6, alpha=0.0, beta=0.0, time_step=0.25)
    brownian = GeometricBrownian(50.0, 0.4, 0.6, 0.25)
    state, other = process.reset(jnp.float32(0.0)), brownian.reset(jnp.float32(0.0))
    for shock in (0.3, -1.2, 2.0):
        state, other = process.step(state, jnp.float32(shock)), brownian.step(other, jnp.float32(shock))
        assert float(state.mid) == pytest.approx(float(other.mid), rel=1e-6)
        assert float(state.variance) == pytest.approx(0.09, rel=1e-6)


@pytest.mark.parametrize("process", [MertonJumps(), Garch()], ids=["merton", "garch"])
def test_paths_without_drift_are_martingales_with_fat_tails(process):
    steps, paths = 64, 20_000

    @jax.jit
    def returns(key):
        shocks = process.shocks(key, (steps, paths))
        start = jax.vmap(process.reset)(jax.tree.map(lambda leaf: leaf[0], shocks))

        def scan_step(state, shock):
            after = jax.vmap(process.step)(state, shock)
            return after, jnp.log(after.mid / state.mid)

        return jax.lax.scan(scan_step, start, shocks)[1]

    log_returns = np.asarray(returns(jax.random.key(1)), float)
    last = 100 * np.exp(log_returns.sum(0))
    assert abs(last.mean() - 100) < 4 * last.std() / np.sqrt(paths)
    variance = (0.15**2 + (5 * 0.03**2 if isinstance(process, MertonJumps) else 0)) / 512
    square = log_returns**2
    by_path = square.mean(0)
    assert abs(by_path.mean() - variance) < 4 * by_path.std() / np.sqrt(paths)
    # The kurtosis exceeds 3 by far more than its standard error of about √(24 / n).
    assert (log_returns**4).mean() / square.mean() ** 2 > 3.1
    autocorrelation = np.corrcoef(square[:-1].ravel(), square[1:].ravel())[0, 1]
    clusters = isinstance(process, Garch)
    assert autocorrelation > 0.05 if clusters else abs(autocorrelation) < 5 / np.sqrt(square[1:].size)


@pytest.mark.parametrize("process", [MERTON, GARCH, GeometricBrownian()], ids=["merton", "garch", "brownian"])
def test_correlated_shock_has_the_given_correlation_with_the_signal(process):
    shocks = process.shocks(jax.random.key(0), (40_000,))
    signal = jax.random.normal(jax.random.key(1), (40_000,))
    correlated = process.correlated(shocks, signal, 0.6)
    innovations = [getattr(s, "diffusion", s) for s in (shocks, correlated)]
    np.testing.assert_allclose(innovations[1], 0.6 * signal + 0.8 * innovations[0], rtol=1e-5, atol=1e-6)
    assert abs(np.std(innovations[1]) - 1) < 4 / np.sqrt(2 * 40_000)


@pytest.mark.parametrize(
    ("process", "arguments", "message"),
    [
        (
            MertonJumps,
            {"jump_rate": 600.0},
            r"jump_rate must be from 0 to one jump per step \(1 / time_step\), but got 600",
        ),
        (MertonJumps, {"jump_std": -1.0}, "jump_std must be at least 0 and finite, but got -1"),
        (MertonJumps, {"jump_mean": np.nan}, "jump_mean must be finite, but got nan"),
        (Garch, {"alpha": 1.0}, r"alpha must be in \[0, 1\), but got 1"),
        (
            Garch,
            {"alpha": 0.5, "beta": 0.5},
            r"beta must be at least 0 and below 1 - alpha \(0.5\)",
        ),
    ],
)
def test_invalid_parameters_raise(process, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        process(**arguments)
