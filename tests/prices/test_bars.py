"""Simulated bars: one bar by hand, and the highs and lows of a random walk against Spitzer's identity."""

import jax
import jax.numpy as jnp
import numpy as np

from twosided.prices import Bachelier, PriceState
from twosided.prices.bars import Bar, step_bar


def test_bar_matches_hand_calculation():
    process = Bachelier(volatility=1.0, time_step=1.0)
    state, bar = step_bar(process, PriceState(jnp.float32(10.0)), jnp.asarray([1.0, 2.0, -4.0, 0.5]))
    assert [float(x) for x in (bar.open, bar.high, bar.low, bar.close)] == [10.0, 13.0, 9.0, 9.5]
    assert float(state.mid) == 9.5


def test_highs_and_lows_match_spitzers_identity():
    """E[maximum of a walk of n steps] = Σ_k E[S_k⁺] / k (Spitzer), with E[S_k⁺] = √(k / 2π) for normal steps."""
    n, num_paths = 16, 200_000
    process = Bachelier(initial=100.0, volatility=1.0, time_step=1.0)

    @jax.jit
    def run(key):
        shocks = process.shocks(key, (num_paths, n))
        return jax.vmap(lambda s: step_bar(process, PriceState(jnp.float32(100.0)), s))(shocks)[1]

    bar: Bar = run(jax.random.key(3))
    expected = np.sum(np.sqrt(1 / np.arange(1, n + 1))) / np.sqrt(2 * np.pi)
    for distance in (np.asarray(bar.high - bar.open, float), np.asarray(bar.open - bar.low, float)):
        assert abs(distance.mean() - expected) < 4 * distance.std() / np.sqrt(num_paths)
    assert np.all(bar.low <= np.minimum(bar.open, bar.close))
    assert np.all(bar.high >= np.maximum(bar.open, bar.close))
