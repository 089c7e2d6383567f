"""Bars from substeps: the highs of a walk against Spitzer's identity, and how bars hang together."""

import jax
import jax.numpy as jnp
import numpy as np

from twosided.prices import Bachelier, PriceState
from twosided.prices.bars import Bar, bar_of


def test_a_bar_by_hand():
    process = Bachelier(volatility=1.0, time_step=1.0)
    state, bar = bar_of(process, PriceState(jnp.float32(10.0)), jnp.asarray([1.0, 2.0, -4.0, 0.5]))
    assert [float(x) for x in (bar.open, bar.high, bar.low, bar.close)] == [10.0, 13.0, 9.0, 9.5]
    assert float(state.mid) == 9.5


def test_highs_and_lows_are_those_of_a_normal_walk():
    """Spitzer: E[max of n steps of a walk] = Σ_k E[S_k⁺] / k, and E[S_k⁺] = √(k / 2π) for normal steps."""
    n, number = 16, 200_000
    process = Bachelier(initial=100.0, volatility=1.0, time_step=1.0)

    @jax.jit
    def run(key):
        shocks = process.shocks(key, (number, n))
        return jax.vmap(lambda s: bar_of(process, PriceState(jnp.float32(100.0)), s))(shocks)[1]

    bar: Bar = run(jax.random.key(3))
    expected = np.sum(np.sqrt(1 / np.arange(1, n + 1))) / np.sqrt(2 * np.pi)
    for reach in (np.asarray(bar.high - bar.open, float), np.asarray(bar.open - bar.low, float)):
        assert abs(reach.mean() - expected) < 4 * reach.std() / np.sqrt(number)
    assert np.all(bar.low <= np.minimum(bar.open, bar.close))
    assert np.all(bar.high >= np.maximum(bar.open, bar.close))
