"""Rolling volatility against pandas' definition by NumPy, spreads by hand, and their clamp."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.hedging.spreads import RollingVolatility, StochasticSpread, skewed


def followed(prices, window, whole=None):
    state = RollingVolatility.start(jnp.asarray(prices[0]), window, whole)
    states = [state]
    for price in prices[1:]:
        states.append(state := state.after(jnp.asarray(price)))
    return states


def test_rolling_volatility_is_the_deviation_of_the_last_prices():
    prices = 100 + np.cumsum(np.random.default_rng(0).normal(size=25)).astype(np.float32)
    states = followed(prices, 6)
    levels = [np.std(prices[max(0, i - 5) : i + 1], ddof=1) for i in range(1, 25)]
    np.testing.assert_allclose([s.level for s in states[1:]], levels, rtol=1e-5)
    np.testing.assert_allclose([s.mean for s in states[1:]], np.cumsum(levels) / np.arange(1, 25), rtol=1e-5)
    assert (float(states[0].level), float(states[0].relative)) == (0.0, 1.0)


def test_the_whole_paths_mean_stands_where_it_is_known():
    states = followed(np.array([100.0, 101.0, 99.0]), 5, jnp.asarray(2.0))
    assert [float(s.mean) for s in states] == [2.0] * 3
    assert float(states[1].relative) == pytest.approx(np.sqrt(0.5) / 2)


def test_several_assets_are_each_on_their_own():
    prices = 100 + np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)
    joint_policy = followed(prices, 4)[-1]
    for k in range(3):
        alone = followed(prices[:, k], 4)[-1]
        assert float(joint_policy.level[k]) == pytest.approx(float(alone.level), rel=1e-6)
        assert float(joint_policy.mean[k]) == pytest.approx(float(alone.mean), rel=1e-6)


VOLATILITY = RollingVolatility(
    jnp.zeros(3), jnp.asarray(9.0), jnp.asarray(0.8), jnp.asarray(1.0), jnp.asarray(0.0)
)


def test_spreads_by_hand():
    normals, mid = jnp.array([0.0, 2.0]), jnp.asarray(200.0)
    free = StochasticSpread(multiplier=0.5, noise=0.3, clamp=False)
    np.testing.assert_allclose(
        free.half(normals, mid, VOLATILITY), [0.5 * 1.8, 0.5 * (0.8 + np.exp(0.6))], rtol=1e-6
    )
    scaled = StochasticSpread(multiplier=0.5, noise=0.3, clamp=False, relative=True)
    np.testing.assert_allclose(scaled.half(normals, mid, VOLATILITY)[0], 0.5 * 2.8, rtol=1e-6)
    clamped = StochasticSpread(multiplier=0.5, noise=0.3, clamp_low=2.0)
    np.testing.assert_allclose(clamped.half(normals, mid, VOLATILITY), [0.5 * 2.0, 0.5 * 2.5], rtol=1e-6)


def test_the_scale_free_form_has_no_scale():
    spread, normals = StochasticSpread(relative=True), jnp.array([0.4, -1.0])
    doubled = jax.tree.map(lambda x: 2 * x, VOLATILITY)
    one, two = (spread.half(normals, jnp.asarray(m), v) for m, v in ((100.0, VOLATILITY), (200.0, doubled)))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-6)


@pytest.mark.parametrize(
    ("skew", "sides"),
    [(0.0, [1.0, 2.0]), (0.25, [1.0, 1.5]), (-0.25, [0.75, 2.0]), (1.0, [1.0, 0.0]), (-1.0, [0.0, 2.0])],
)
def test_a_skew_tightens_one_side(skew, sides):
    np.testing.assert_allclose(skewed(jnp.array([1.0, 2.0]), jnp.asarray(skew)), sides)


@pytest.mark.parametrize("name", ["multiplier", "noise", "median", "clamp_low"])
def test_bad_input(name):
    with pytest.raises(ValueError, match=f"^{name} must be at least 0 and finite, but got -1.0$"):
        StochasticSpread(**{name: -1.0})
    with pytest.raises(
        ValueError, match=r"^clamp_high must be at least clamp_low \(0.1\) and finite, but got 0.05$"
    ):
        StochasticSpread(clamp_high=0.05)
