"""Rolling volatility against NumPy, and spreads by hand, with and without their clamp."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.hedging.spreads import RollingVolatility, StochasticSpread, apply_skew


def volatility_states(prices, window, path_mean=None):
    state = RollingVolatility.initial(jnp.asarray(prices[0]), window, path_mean)
    states = [state]
    for price in prices[1:]:
        states.append(state := state.update(jnp.asarray(price)))
    return states


def test_rolling_volatility_is_the_standard_deviation_of_the_last_prices():
    prices = 100 + np.cumsum(np.random.default_rng(0).normal(size=25)).astype(np.float32)
    states = volatility_states(prices, 6)
    expected = [np.std(prices[max(0, i - 5) : i + 1], ddof=1) for i in range(1, 25)]
    np.testing.assert_allclose([s.rolling for s in states[1:]], expected, rtol=1e-5)
    np.testing.assert_allclose(
        [s.mean for s in states[1:]], np.cumsum(expected) / np.arange(1, 25), rtol=1e-5
    )
    assert (float(states[0].rolling), float(states[0].relative)) == (0.0, 1.0)


def test_mean_is_that_of_the_whole_path_if_it_is_known():
    states = volatility_states(np.array([100.0, 101.0, 99.0]), 5, jnp.asarray(2.0))
    assert [float(s.mean) for s in states] == [2.0] * 3
    assert float(states[1].relative) == pytest.approx(np.sqrt(0.5) / 2)


def test_several_assets_equal_each_asset_alone():
    prices = 100 + np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)
    joint = volatility_states(prices, 4)[-1]
    for k in range(3):
        alone = volatility_states(prices[:, k], 4)[-1]
        assert float(joint.rolling[k]) == pytest.approx(float(alone.rolling), rel=1e-6)
        assert float(joint.mean[k]) == pytest.approx(float(alone.mean), rel=1e-6)


VOLATILITY = RollingVolatility(
    jnp.zeros(3), jnp.asarray(9.0), jnp.asarray(0.8), jnp.asarray(1.0), jnp.asarray(0.0)
)


def test_half_spreads_match_hand_calculation():
    normals, mid = jnp.array([0.0, 2.0]), jnp.asarray(200.0)
    unclamped = StochasticSpread(multiplier=0.5, noise_std=0.3, clamp=False)
    np.testing.assert_allclose(
        unclamped.half_spread(normals, mid, VOLATILITY), [0.5 * 1.8, 0.5 * (0.8 + np.exp(0.6))], rtol=1e-6
    )
    scaled = StochasticSpread(multiplier=0.5, noise_std=0.3, clamp=False, noise_scales_with_mid=True)
    np.testing.assert_allclose(scaled.half_spread(normals, mid, VOLATILITY)[0], 0.5 * 2.8, rtol=1e-6)
    clamped = StochasticSpread(multiplier=0.5, noise_std=0.3, clamp_low=2.0)
    np.testing.assert_allclose(
        clamped.half_spread(normals, mid, VOLATILITY), [0.5 * 2.0, 0.5 * 2.5], rtol=1e-6
    )


def test_spread_with_scaling_noise_is_proportional_to_the_midprice():
    spread, normals = StochasticSpread(noise_scales_with_mid=True), jnp.array([0.4, -1.0])
    doubled = jax.tree.map(lambda x: 2 * x, VOLATILITY)
    one, two = (
        spread.half_spread(normals, jnp.asarray(m), v) for m, v in ((100.0, VOLATILITY), (200.0, doubled))
    )
    np.testing.assert_allclose(two, 2 * one, rtol=1e-6)


@pytest.mark.parametrize(
    ("skew", "sides"),
    [(0.0, [1.0, 2.0]), (0.25, [1.0, 1.5]), (-0.25, [0.75, 2.0]), (1.0, [1.0, 0.0]), (-1.0, [0.0, 2.0])],
)
def test_skew_tightens_one_side(skew, sides):
    np.testing.assert_allclose(apply_skew(jnp.array([1.0, 2.0]), jnp.asarray(skew)), sides)


@pytest.mark.parametrize("name", ["multiplier", "noise_std", "noise_median", "clamp_low"])
def test_invalid_parameters_raise(name):
    with pytest.raises(ValueError, match=f"^{name} must be at least 0 and finite, but got -1.0$"):
        StochasticSpread(**{name: -1.0})
    with pytest.raises(
        ValueError, match=r"^clamp_high must be at least clamp_low \(0.1\) and finite, but got 0.05$"
    ):
        StochasticSpread(clamp_high=0.05)
