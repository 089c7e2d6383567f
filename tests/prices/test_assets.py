"""Correlated assets: correlations and moments of positions, in closed form against enumeration and sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.prices.assets import AnyCorrelation, EqualCorrelation

MATRIX = np.array([[1.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 1.0]])
WILD = {"drift": 0.4, "volatility": 0.6, "time_step": 0.25}


@pytest.mark.parametrize("correlation", [0.0, 0.9, 1.0, -0.5])
def test_equal_correlations_are_what_they_say(correlation):
    prices = EqualCorrelation(assets=3, correlation=correlation)
    mixing = np.asarray(jax.vmap(prices._correlated)(jnp.eye(3)))
    expected = np.full((3, 3), correlation) + (1 - correlation) * np.eye(3)
    np.testing.assert_allclose(mixing.T @ mixing, expected, atol=1e-6)


def test_two_assets_may_move_against_each_other():
    prices = EqualCorrelation(assets=2, correlation=-1.0)
    z = prices._correlated(jnp.array([0.3, -1.1]))
    assert float(z[0]) == pytest.approx(-float(z[1]))


def test_any_correlations_are_what_they_say_and_may_be_singular():
    for matrix in (MATRIX, np.ones((4, 4))):
        root = np.asarray(AnyCorrelation.of(matrix).root, float)
        np.testing.assert_allclose(root @ root.T, matrix, atol=1e-6)


@pytest.mark.parametrize(
    "prices",
    [EqualCorrelation(assets=3, correlation=0.4, **WILD), AnyCorrelation.of(MATRIX, **WILD)],
    ids=["equal", "any"],
)
def test_moments_of_a_position_are_those_of_its_change(prices):
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    weights = weights / weights.sum()
    grid = np.stack([axis.ravel() for axis in np.meshgrid(nodes, nodes, nodes)], -1)
    weight = np.prod(np.stack([axis.ravel() for axis in np.meshgrid(weights, weights, weights)], -1), -1)
    position = np.array([3.0, -1.0, 0.5])
    with jax.enable_x64(True):
        state = prices.reset(jnp.zeros(3))
        mean, square = prices.change(state, jnp.asarray(position))
        after = np.asarray(jax.vmap(lambda z: prices.step(state, z).mid)(jnp.asarray(grid)))
    change = (after - 100.0) @ position
    assert weight @ change == pytest.approx(float(mean), rel=1e-5)
    assert weight @ change**2 == pytest.approx(float(square), rel=1e-5)


def test_a_perfect_hedge_has_no_variance():
    prices = EqualCorrelation(assets=2, correlation=1.0)
    state = prices.reset(jnp.zeros(2))
    assert float(prices.change(state, jnp.array([1.0, -1.0]))[1]) == pytest.approx(0.0, abs=1e-6)


def test_ten_and_a_hundred_assets():
    for assets in (10, 100):
        prices = EqualCorrelation(assets=assets, correlation=0.5)
        shocks = prices.shocks(jax.random.key(0), (400, 50))
        state = jax.vmap(jax.vmap(prices.reset))(shocks)
        moved = jnp.log(jax.vmap(jax.vmap(prices.step))(state, shocks).mid / 100).reshape(-1, assets)
        found = np.corrcoef(np.asarray(moved, float).T)[np.triu_indices(assets, 1)]
        # Each has a deviation of (1 - ρ²) / √n; the mean of them is closer.
        assert abs(found.mean() - 0.5) < 0.01
        assert np.abs(found - 0.5).max() < 5.5 * 0.75 / np.sqrt(20_000)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"assets": 0}, "assets must be from 1 to 10000, but got 0"),
        ({"assets": 3, "correlation": -0.6}, r"correlation must be in \[-0.5, 1\], but got -0.6"),
        ({"volatility": -1.0}, "volatility must be at least 0 and finite, but got -1.0"),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        EqualCorrelation(**arguments)


@pytest.mark.parametrize(
    "matrix", [np.ones((2, 3)), [[1.0, 0.5], [0.4, 1.0]], [[1.0, 2.0], [2.0, 1.0]], [[2.0]]]
)
def test_what_is_no_correlation_matrix_is_refused(matrix):
    with pytest.raises(
        ValueError, match=r"^correlations must be a symmetric matrix with ones on its diagonal"
    ):
        AnyCorrelation.of(matrix)
