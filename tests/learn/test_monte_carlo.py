"""Monte Carlo values: returns by hand, exact values, calibrated standard errors, errors."""

import jax.numpy as jnp
import numpy as np
import pytest

from twosided.core.evaluation import evaluate
from twosided.core.scenario import Scenario
from twosided.electronic.cells import ImbalanceCells
from twosided.electronic.chain import electronic_chain
from twosided.electronic.exact import bootstrapped_values, day_value, state_action_values, state_values
from twosided.electronic.market import ElectronicMarket
from twosided.electronic.policies import ThresholdPolicy
from twosided.learn.monte_carlo import (
    monte_carlo_action_values,
    monte_carlo_values,
    return_sums,
    temporal_difference_values,
)
from twosided.rewards import SpreadPnL

pytestmark = [pytest.mark.extended, pytest.mark.optimised]

SCENARIO = Scenario(ElectronicMarket(), (), SpreadPnL(), horizon=150)
CELLS = ImbalanceCells(2)
POLICY = ThresholdPolicy(2, epsilon=0.1)


@pytest.fixture(scope="module")
def chain():
    return electronic_chain(ElectronicMarket())


def test_return_sums_by_hand():
    # Cells 0, 1, 0, with rewards 1, 2, 4, in one episode; γ = 1/2.
    pairs = jnp.eye(2)[jnp.array([0, 1, 0])][:, None, :, None]
    rewards = jnp.array([[1.0], [2.0], [4.0]])
    returns, counts = return_sums(pairs, rewards, 0.5, first=False)
    np.testing.assert_allclose(returns[0, :, 0], [3.0 + 4.0, 4.0])
    np.testing.assert_allclose(counts[0, :, 0], [2, 1])
    returns, counts = return_sums(pairs, rewards, 0.5, first=True)
    np.testing.assert_allclose(returns[0, :, 0], [3.0, 4.0])
    np.testing.assert_allclose(counts[0, :, 0], [1, 1])


@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_mean_reward_is_exact(chain, threshold):
    records = evaluate(SCENARIO, {"": ThresholdPolicy(threshold)}, steps=1_500_000)
    found = next(record for record in records if record.metric == "reward")
    assert abs(found.value - day_value(chain, ThresholdPolicy(threshold)).value) < 3 * found.error


def test_state_values_are_exact(chain):
    sampled = monte_carlo_values(SCENARIO, ThresholdPolicy(2), CELLS)
    difference = sampled.values[:, 0] - state_values(chain, ThresholdPolicy(2), CELLS)
    assert (np.abs(difference) < 3 * sampled.errors[:, 0]).all()
    assert sampled.visits.sum() == 10_000 * 150
    assert sampled.errors.max() < 0.01


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_action_values_are_exact(chain, gamma):
    sampled = monte_carlo_action_values(SCENARIO, POLICY, CELLS, gamma=gamma)
    exact = state_action_values(chain, POLICY, CELLS, gamma)
    scores = (sampled.values - exact) / sampled.errors
    assert np.abs(scores).max() < 3
    # If all 15 scores were near 0, the standard errors would be too large.
    assert np.abs(scores).max() > 0.5


def test_unvisited_pairs_have_no_value():
    sampled = monte_carlo_action_values(SCENARIO, ThresholdPolicy(1), CELLS, num_episodes=200)
    known = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], bool)
    np.testing.assert_array_equal(np.isfinite(sampled.values), known)
    np.testing.assert_array_equal(sampled.visits > 0, known)


def test_first_visits_count_once_per_episode():
    first = monte_carlo_values(SCENARIO, ThresholdPolicy(2), CELLS, num_episodes=2000, visits="first")
    # An episode starts at I = 0 with the quote at the fundamental price, where the first step earns nothing.
    assert first.values[2, 0] == 0
    assert first.visits[2, 0] == 2000
    assert first.visits.max() <= 2000
    # With at most one visit per episode, both averages are equal.
    means = monte_carlo_values(
        SCENARIO, ThresholdPolicy(2), CELLS, num_episodes=2000, visits="first", average="by episode"
    )
    np.testing.assert_allclose(means.values, first.values)


def test_mean_of_episode_means_is_biased():
    # Episodes with many visits to I = ±2 have low returns, so equal weights of episodes overstate its value.
    pooled = monte_carlo_values(SCENARIO, ThresholdPolicy(2), CELLS)
    means = monte_carlo_values(SCENARIO, ThresholdPolicy(2), CELLS, average="by episode")
    ends = [0, 4]
    gap = (means.values - pooled.values)[ends, 0] / np.hypot(means.errors, pooled.errors)[ends, 0]
    assert (gap > 3).all()


def test_temporal_differences_converge_to_the_exact_values(chain):
    learned = temporal_difference_values(SCENARIO, POLICY, CELLS, num_episodes=1000, gamma=0.9, num_envs=16)
    table = bootstrapped_values(chain, POLICY, CELLS, 0.9)
    # v(s) = Σ_a π(a | s) Q(s, a), with ε = 0.1.
    shares = np.array([[28, 1, 1], [1, 28, 1], [1, 28, 1], [1, 28, 1], [1, 1, 28]]) / 30
    exact = (shares * table).sum(1)
    error = learned.std(0, ddof=1) / np.sqrt(len(learned))
    # The initial value 0 and the final learning rate leave a bias of about 0.01.
    assert (np.abs(learned.mean(0) - exact) < 4 * error + 0.02).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_episodes": 1}, "num_episodes must be at least 2"),
        ({"gamma": 1.5}, r"gamma must be in \[0, 1\]"),
    ],
)
def test_invalid_parameters_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        monte_carlo_values(SCENARIO, POLICY, CELLS, **arguments)
