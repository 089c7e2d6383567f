"""Differential Sharpe ratio as a derivative, and the variance penalty by hand calculation."""

import jax.numpy as jnp
import numpy as np
import pytest
from support.transitions import transition

from twosided.rewards import DifferentialSharpe, RunningVariance

SERIES = np.random.default_rng(0).normal(1.0, 2.0, size=60)


def rewards_and_states(reward, series):
    """Return the reward of each step, and the reward state before it."""
    state, values, states = reward.init(), [], []
    for pnl in series:
        states.append(state)
        # Total PnL is spread - 2 + 10 - 0.5.
        value, state = reward(state, transition(0.0, spread=float(pnl) - 7.5), 0)
        values.append(float(value))
    return np.array(values), states


def test_differential_sharpe_is_the_derivative_of_the_sharpe_ratio():
    values, states = rewards_and_states(DifferentialSharpe(rate=0.05, settle=10), SERIES)
    np.testing.assert_array_equal(values[:10], 0.0)
    for time in (10, 35, 59):
        first, second = float(states[time].first), float(states[time].second)

        def sharpe(rate, first=first, second=second, pnl=SERIES[time]):
            a, b = first + rate * (pnl - first), second + rate * (pnl**2 - second)
            return a / np.sqrt(b - a**2)

        derivative = (sharpe(1e-5) - sharpe(-1e-5)) / 2e-5
        assert values[time] == pytest.approx(derivative, rel=1e-3)


def test_moments_are_plain_means_and_then_exponentially_weighted():
    _, states = rewards_and_states(DifferentialSharpe(rate=0.05), SERIES)
    for time in (3, 20):
        assert float(states[time].first) == pytest.approx(SERIES[:time].mean(), rel=1e-4)
        assert float(states[time].second) == pytest.approx((SERIES[:time] ** 2).mean(), rel=1e-4)
    last = float(states[41].first), float(states[40].first)
    assert last[0] == pytest.approx(0.95 * last[1] + 0.05 * SERIES[40], rel=1e-4)


def test_reward_is_higher_for_less_dispersion_around_the_same_mean():
    # The mean of D over a distribution with the moments of the state is -A (B - B) / 2 = 0, and positive for a smaller
    # variance.
    state = DifferentialSharpe().init()
    state = type(state)(jnp.asarray(1.0), jnp.asarray(5.0), jnp.asarray(100, jnp.int32))
    means = [
        np.mean([float(DifferentialSharpe()(state, transition(0.0, spread=x - 7.5), 0)[0]) for x in pair])
        for pair in ((-1.0, 3.0), (0.5, 1.5), (-3.0, 5.0))
    ]
    assert means[0] == pytest.approx(0.0, abs=1e-5)
    assert means[1] > 0 > means[2]


def test_running_variance_matches_hand_calculation():
    values, states = rewards_and_states(RunningVariance(weight=0.5, rate=0.05), SERIES)
    assert values[0] == pytest.approx(SERIES[0], rel=1e-5)
    for time in (1, 30):
        deviation = SERIES[time] - float(states[time].first)
        assert values[time] == pytest.approx(SERIES[time] - 0.5 * deviation**2, rel=1e-4)


@pytest.mark.parametrize("reward", [DifferentialSharpe, RunningVariance])
def test_rate_of_zero_raises(reward):
    with pytest.raises(ValueError, match=r"^rate must be in \(0, 1\], but got 0.0$"):
        reward(rate=0.0)
