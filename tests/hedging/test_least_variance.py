"""Variance-optimal hedges against value iteration, regression and limits, and in the market."""

import jax.numpy as jnp
import numpy as np
import pytest

from twosided.core.evaluation import evaluate
from twosided.core.scenario import Scenario
from twosided.hedging.hedgers import PortfolioHedger
from twosided.hedging.least_variance import LinearHedger, covariance, hedge_matrix, least_variance
from twosided.hedging.portfolio import PortfolioMarket
from twosided.prices.assets import EqualCorrelation

SIGMA = np.array([[1.0, 0.6, 0.0], [0.6, 2.0, -0.3], [0.0, -0.3, 0.5]])


def test_covariance_matches_closed_form():
    market = PortfolioMarket(EqualCorrelation(num_assets=3, correlation=0.5))
    variance = 0.15**2 / 512
    expected = 1e4 * np.expm1(variance * (0.5 + 0.5 * np.eye(3)))
    np.testing.assert_allclose(covariance(market), expected, rtol=1e-3)


def test_hedge_matrix_matches_value_iteration():
    risk, cost, discount = 0.7, 2.0, 0.9
    value = np.zeros((3, 3))
    for _ in range(400):
        inner = risk * SIGMA + discount * value
        hedge = np.linalg.solve(cost * np.eye(3) + inner, inner)
        remainder = np.eye(3) - hedge
        value = cost * hedge.T @ hedge + remainder.T @ inner @ remainder
    np.testing.assert_allclose(hedge_matrix(SIGMA, risk, cost, discount), hedge, atol=1e-12)


def test_free_hedges_remove_all_risk_and_expensive_hedges_none():
    np.testing.assert_allclose(hedge_matrix(SIGMA, 1.0, 0.0), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(hedge_matrix(SIGMA, 1.0, 1e12), np.zeros((3, 3)), atol=1e-5)


def test_least_variance_hedge_is_a_regression():
    exposure = np.array([3.0, -1.0, 2.0])
    np.testing.assert_allclose(least_variance(exposure, SIGMA, [0, 1, 2]), -exposure, atol=1e-12)
    hedge = least_variance(exposure, SIGMA, [0])
    assert hedge[0] == pytest.approx(-(SIGMA[0] @ exposure) / SIGMA[0, 0])


def test_linear_hedger_with_true_weights_has_least_variance_in_the_market():
    market = PortfolioMarket(weights=(0.8, 0.2), max_hedge=1e3)
    scenario = Scenario(market, (), horizon=40)
    true = LinearHedger(jnp.asarray(hedge_matrix(covariance(market), 1.0, 0.0)), jnp.array([0.8, 0.2]))
    wrong = LinearHedger(true.matrix, jnp.array([0.2, 0.8]))
    policies = {"true": true, "same": PortfolioHedger(weights=(0.8, 0.2)), "wrong": wrong}
    value = {(r.case, r.metric): r.value for r in evaluate(scenario, policies, steps=40_000)}
    assert value["true", "pnl_total"] == pytest.approx(value["same", "pnl_total"], rel=1e-3)
    assert value["true", "inventory_pnl_std"] < 0.9 * value["wrong", "inventory_pnl_std"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"risk": 0.0}, "risk must be positive"),
        ({"cost": -1.0}, "cost must be"),
        ({"discount": 2.0}, "discount must"),
    ],
)
def test_invalid_parameters_raise(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        hedge_matrix(SIGMA, **{"risk": 1.0, "cost": 1.0} | arguments)
