"""Values from sampled days: returns by hand, exact values, errors that mean something, refusals."""

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
    day_sums,
    monte_carlo_action_values,
    monte_carlo_values,
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


def test_returns_of_a_day_by_hand():
    # Cells 0, 1, 0, with rewards 1, 2, 4, on one day; γ = 1/2.
    pairs = jnp.eye(2)[jnp.array([0, 1, 0])][:, None, :, None]
    rewards = jnp.array([[1.0], [2.0], [4.0]])
    returns, counts = day_sums(pairs, rewards, 0.5, first=False)
    np.testing.assert_allclose(returns[0, :, 0], [3.0 + 4.0, 4.0])
    np.testing.assert_allclose(counts[0, :, 0], [2, 1])
    returns, counts = day_sums(pairs, rewards, 0.5, first=True)
    np.testing.assert_allclose(returns[0, :, 0], [3.0, 4.0])
    np.testing.assert_allclose(counts[0, :, 0], [1, 1])


@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_days_have_their_exact_value(chain, threshold):
    records = evaluate(SCENARIO, {"": ThresholdPolicy(threshold)}, steps=1_500_000)
    found = next(record for record in records if record.metric == "reward")
    assert abs(found.value - day_value(chain, ThresholdPolicy(threshold)).value) < 3 * found.error


def test_values_of_states_are_the_exact_ones(chain):
    sampled = monte_carlo_values(SCENARIO, ThresholdPolicy(2), CELLS)
    missed = sampled.values[:, 0] - state_values(chain, ThresholdPolicy(2), CELLS)
    assert (np.abs(missed) < 3 * sampled.errors[:, 0]).all()
    assert sampled.visits.sum() == 10_000 * 150
    assert sampled.errors.max() < 0.01


@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
def test_values_of_pairs_are_the_exact_ones(chain, discount):
    sampled = monte_carlo_action_values(SCENARIO, POLICY, CELLS, gamma=discount)
    exact = state_action_values(chain, POLICY, CELLS, discount)
    scores = (sampled.values - exact) / sampled.errors
    assert np.abs(scores).max() < 3
    # 15 scores that were all near 0 would mean that the errors are too large.
    assert np.abs(scores).max() > 0.5


def test_what_is_never_done_has_no_value():
    sampled = monte_carlo_action_values(SCENARIO, ThresholdPolicy(1), CELLS, num_episodes=200)
    known = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], bool)
    np.testing.assert_array_equal(np.isfinite(sampled.values), known)
    np.testing.assert_array_equal(sampled.visits > 0, known)


def test_first_visits_are_those_of_a_fresh_day():
    first = monte_carlo_values(SCENARIO, ThresholdPolicy(2), CELLS, num_episodes=2000, visits="first")
    # A day starts at I = 0 on the right price, and what follows within a step earns nothing.
    assert first.values[2, 0] == 0
    assert first.visits[2, 0] == 2000
    assert first.visits.max() <= 2000
    # With one visit a day at most, the two averages are one.
    means = monte_carlo_values(
        SCENARIO, ThresholdPolicy(2), CELLS, num_episodes=2000, visits="first", average="by episode"
    )
    np.testing.assert_allclose(means.values, first.values)


def test_the_mean_of_days_own_means_is_another_number():
    # A long day in a state is a bad one: weighing days alike makes I = ±2 look better than pooling does.
    pooled = monte_carlo_values(SCENARIO, ThresholdPolicy(2), CELLS)
    means = monte_carlo_values(SCENARIO, ThresholdPolicy(2), CELLS, average="by episode")
    ends = [0, 4]
    gap = (means.values - pooled.values)[ends, 0] / np.hypot(means.errors, pooled.errors)[ends, 0]
    assert (gap > 3).all()


def test_temporal_differences_find_what_they_converge_to(chain):
    learned = temporal_difference_values(SCENARIO, POLICY, CELLS, num_episodes=1000, gamma=0.9, num_envs=16)
    table = bootstrapped_values(chain, POLICY, CELLS, 0.9)
    # v(s) = Σ_a π(a | s) Q(s, a), with ε = 0.1.
    shares = np.array([[28, 1, 1], [1, 28, 1], [1, 28, 1], [1, 28, 1], [1, 1, 28]]) / 30
    exact = (shares * table).sum(1)
    error = learned.std(0, ddof=1) / np.sqrt(len(learned))
    # What is left of the start, 0, and of the last step size: a bias of a hundredth.
    assert (np.abs(learned.mean(0) - exact) < 4 * error + 0.02).all()


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ({"num_episodes": 1}, "num_episodes must be at least 2"),
        ({"gamma": 1.5}, r"gamma must be in \[0, 1\]"),
    ],
)
def test_bad_parameters(words, refusal):
    with pytest.raises(ValueError, match=refusal):
        monte_carlo_values(SCENARIO, POLICY, CELLS, **words)
