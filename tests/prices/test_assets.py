"""Correlated assets: correlations, and moments of positions against quadrature and sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.prices.assets import EqualCorrelation, GeneralCorrelation

MATRIX = np.array([[1.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 1.0]])
VOLATILE = {"drift": 0.4, "volatility": 0.6, "time_step": 0.25}


@pytest.mark.parametrize("correlation", [0.0, 0.9, 1.0, -0.5])
def test_equal_correlation_gives_the_correlation_matrix(correlation):
    prices = EqualCorrelation(num_assets=3, correlation=correlation)
    root = np.asarray(jax.vmap(prices._correlate)(jnp.eye(3)))
    expected = np.full((3, 3), correlation) + (1 - correlation) * np.eye(3)
    np.testing.assert_allclose(root.T @ root, expected, atol=1e-6)


def test_two_assets_can_be_perfectly_anticorrelated():
    prices = EqualCorrelation(num_assets=2, correlation=-1.0)
    z = prices._correlate(jnp.array([0.3, -1.1]))
    assert float(z[0]) == pytest.approx(-float(z[1]))


def test_general_correlation_factor_reproduces_matrix_including_singular():
    for matrix in (MATRIX, np.ones((4, 4))):
        factor = np.asarray(GeneralCorrelation.from_matrix(matrix).factor, float)
        np.testing.assert_allclose(factor @ factor.T, matrix, atol=1e-6)


@pytest.mark.parametrize(
    "prices",
    [
        EqualCorrelation(num_assets=3, correlation=0.4, **VOLATILE),
        GeneralCorrelation.from_matrix(MATRIX, **VOLATILE),
    ],
    ids=["equal", "general"],
)
def test_position_moments_match_quadrature(prices):
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    weights = weights / weights.sum()
    grid = np.stack([axis.ravel() for axis in np.meshgrid(nodes, nodes, nodes)], -1)
    weight = np.prod(np.stack([axis.ravel() for axis in np.meshgrid(weights, weights, weights)], -1), -1)
    position = np.array([3.0, -1.0, 0.5])
    with jax.enable_x64(True):
        state = prices.reset(jnp.zeros(3))
        mean, square = prices.position_moments(state, jnp.asarray(position))
        after = np.asarray(jax.vmap(lambda z: prices.step(state, z).mid)(jnp.asarray(grid)))
    change = (after - 100.0) @ position
    assert weight @ change == pytest.approx(float(mean), rel=1e-5)
    assert weight @ change**2 == pytest.approx(float(square), rel=1e-5)


def test_perfect_hedge_has_zero_variance():
    prices = EqualCorrelation(num_assets=2, correlation=1.0)
    state = prices.reset(jnp.zeros(2))
    assert float(prices.position_moments(state, jnp.array([1.0, -1.0]))[1]) == pytest.approx(0.0, abs=1e-6)


def test_sampled_correlations_of_many_assets():
    for assets in (10, 100):
        prices = EqualCorrelation(num_assets=assets, correlation=0.5)
        shocks = prices.shocks(jax.random.key(0), (400, 50))
        state = jax.vmap(jax.vmap(prices.reset))(shocks)
        returns = jnp.log(jax.vmap(jax.vmap(prices.step))(state, shocks).mid / 100).reshape(-1, assets)
        estimates = np.corrcoef(np.asarray(returns, float).T)[np.triu_indices(assets, 1)]
        # Each estimate has a standard deviation of (1 - ρ²) / √n; their mean is more precise.
        assert abs(estimates.mean() - 0.5) < 0.01
        assert np.abs(estimates - 0.5).max() < 5.5 * 0.75 / np.sqrt(20_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_assets": 0}, "num_assets must be from 1 to 10000, but got 0"),
        ({"num_assets": 3, "correlation": -0.6}, r"correlation must be in \[-0.5, 1\], but got -0.6"),
        ({"volatility": -1.0}, "volatility must be at least 0 and finite, but got -1.0"),
    ],
)
def test_invalid_parameters_raise(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        EqualCorrelation(**arguments)


@pytest.mark.parametrize(
    "matrix", [np.ones((2, 3)), [[1.0, 0.5], [0.4, 1.0]], [[1.0, 2.0], [2.0, 1.0]], [[2.0]]]
)
def test_invalid_correlation_matrix_raises(matrix):
    with pytest.raises(
        ValueError, match=r"^correlations must be a symmetric matrix with ones on its diagonal"
    ):
        GeneralCorrelation.from_matrix(matrix)
