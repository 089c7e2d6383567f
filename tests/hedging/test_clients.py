"""Client flow: rates by hand, the law of what trades, and its correlation with the price."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.hedging.clients import PoissonClients, Returns
from twosided.hedging.spreads import RollingVolatility

CALM = RollingVolatility(jnp.zeros(3), jnp.asarray(9.0), jnp.asarray(0.5), jnp.asarray(1.0), jnp.asarray(0.0))
NUMBER = 200_000


def test_the_rate_follows_volatility():
    assert float(PoissonClients(scale=100.0, floor=0.2).rate(CALM)) == pytest.approx(70.0)


def test_returns_are_smoothed_over_the_last_ones():
    clients, returns = PoissonClients(smoothing=3), PoissonClients(smoothing=3).start(jnp.asarray(100.0))
    means = []
    for value in (0.3, -0.6, 0.9, 1.2):
        returns = clients.after(returns, jnp.asarray(value))
        means.append(float(returns.mean))
    np.testing.assert_allclose(means, [0.3, -0.15, 0.2, 0.5], rtol=1e-6)


def drawn(clients, returns, rate=80.0, deviation=0.01):
    normals = jax.random.normal(jax.random.key(0), (NUMBER, 3))
    trade = jax.vmap(
        lambda z, r: clients.trades(z, jnp.asarray(rate), Returns(r[None], jnp.asarray(1.0)), deviation)
    )
    return np.asarray(trade(normals, returns), float)


def test_both_sides_are_poisson_at_the_imbalance_of_the_return():
    trades = drawn(PoissonClients(sensitivity=10.0), jnp.full(NUMBER, 0.02))
    for side, rate in ((0, 80 * 0.8), (1, 80 * 1.2)):
        assert abs(trades[:, side].mean() - rate) < 4 * np.sqrt(rate / NUMBER)
        assert abs(trades[:, side].var() - rate) < 4 * rate * np.sqrt(2 / NUMBER)
    assert abs(np.corrcoef(trades.T)[0, 1]) < 4 / np.sqrt(NUMBER)


def test_a_side_cannot_be_less_than_empty():
    trades = drawn(PoissonClients(sensitivity=10.0), jnp.full(NUMBER, -0.2))
    assert trades[:, 1].max() == 0
    assert abs(trades[:, 0].mean() - 240) < 4 * np.sqrt(240 / NUMBER)


@pytest.mark.parametrize("correlation", [0.6, -0.6, 0.0])
def test_the_imbalance_has_its_correlation_with_the_price(correlation):
    returns = 0.01 * jax.random.normal(jax.random.key(1), (NUMBER,))
    trades = drawn(PoissonClients(correlation=correlation, sensitivity=5.0), returns)
    net = trades[:, 1] - trades[:, 0]
    # Var = E[Poisson part] + (2 R β σ_r)², of which the imbalance's part is correlated.
    expected = correlation * 8.0 / np.sqrt(160 + 64)
    assert np.corrcoef(net, returns)[0, 1] == pytest.approx(expected, abs=4 / np.sqrt(NUMBER))
    assert net.var() == pytest.approx(160 + 64, rel=4 * np.sqrt(3 / NUMBER))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"scale": -1.0}, "scale must be at least 0 and finite, but got -1.0"),
        ({"correlation": 1.5}, r"correlation must be in \[-1, 1\], but got 1.5"),
        ({"sensitivity": np.inf}, "sensitivity must be finite, but got inf"),
        ({"smoothing": 0}, "smoothing must be from 1 to 1000, but got 0"),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        PoissonClients(**arguments)
