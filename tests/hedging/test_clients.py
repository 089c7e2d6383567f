"""Client flow: rates by hand, the distribution of trades, and their correlation with the price."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.hedging.clients import PoissonClients, RollingReturns
from twosided.hedging.spreads import RollingVolatility

VOLATILITY = RollingVolatility(
    jnp.zeros(3), jnp.asarray(9.0), jnp.asarray(0.5), jnp.asarray(1.0), jnp.asarray(0.0)
)
NUM_DRAWS = 200_000


def test_rate_is_proportional_to_relative_volatility():
    assert float(PoissonClients(scale=100.0, floor=0.2).rate(VOLATILITY)) == pytest.approx(70.0)


def test_mean_return_is_over_the_return_window():
    clients = PoissonClients(return_window=3)
    returns = clients.initial_returns(jnp.asarray(100.0))
    means = []
    for value in (0.3, -0.6, 0.9, 1.2):
        returns = clients.update_returns(returns, jnp.asarray(value))
        means.append(float(returns.mean))
    np.testing.assert_allclose(means, [0.3, -0.15, 0.2, 0.5], rtol=1e-6)


def sample_trades(clients, returns, rate=80.0, return_std=0.01):
    normals = jax.random.normal(jax.random.key(0), (NUM_DRAWS, 3))

    def trade(normal, value):
        returns = RollingReturns(value[None], jnp.asarray(1.0))
        return clients.trades(normal, jnp.asarray(rate), returns, return_std)

    return np.asarray(jax.vmap(trade)(normals, returns), float)


def test_sales_and_purchases_are_poisson_with_the_imbalance_of_the_return():
    trades = sample_trades(PoissonClients(sensitivity=10.0), jnp.full(NUM_DRAWS, 0.02))
    for side, rate in ((0, 80 * 0.8), (1, 80 * 1.2)):
        assert abs(trades[:, side].mean() - rate) < 4 * np.sqrt(rate / NUM_DRAWS)
        assert abs(trades[:, side].var() - rate) < 4 * rate * np.sqrt(2 / NUM_DRAWS)
    assert abs(np.corrcoef(trades.T)[0, 1]) < 4 / np.sqrt(NUM_DRAWS)


def test_rates_are_not_negative():
    trades = sample_trades(PoissonClients(sensitivity=10.0), jnp.full(NUM_DRAWS, -0.2))
    assert trades[:, 1].max() == 0
    assert abs(trades[:, 0].mean() - 240) < 4 * np.sqrt(240 / NUM_DRAWS)


@pytest.mark.parametrize("correlation", [0.6, -0.6, 0.0])
def test_net_flow_has_the_given_correlation_with_returns(correlation):
    returns = 0.01 * jax.random.normal(jax.random.key(1), (NUM_DRAWS,))
    trades = sample_trades(PoissonClients(correlation=correlation, sensitivity=5.0), returns)
    net = trades[:, 1] - trades[:, 0]
    # Var[net] = 2 R + (2 R β σ_r)², the Poisson part and the imbalance's part, of which the latter is correlated.
    expected = correlation * 8.0 / np.sqrt(160 + 64)
    assert np.corrcoef(net, returns)[0, 1] == pytest.approx(expected, abs=4 / np.sqrt(NUM_DRAWS))
    assert net.var() == pytest.approx(160 + 64, rel=4 * np.sqrt(3 / NUM_DRAWS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": -1.0}, "scale must be at least 0 and finite, but got -1.0"),
        ({"correlation": 1.5}, r"correlation must be in \[-1, 1\], but got 1.5"),
        ({"sensitivity": np.inf}, "sensitivity must be finite, but got inf"),
        ({"return_window": 0}, "return_window must be from 1 to 1000, but got 0"),
    ],
)
def test_invalid_parameters_raise(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        PoissonClients(**arguments)
