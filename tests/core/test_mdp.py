"""Finite Markov decision processes: hand calculation, enumeration, and bounds of truncated processes."""

import numpy as np
import pytest
import scipy.sparse as sparse

from twosided.core.mdp import DecisionProcess, Outside

# In state 0, action 0 earns 0 and stays, action 1 earns 1 and leads to state 1; there both lead back at a cost of 0.4.
GO = DecisionProcess(
    (sparse.csr_array([[1.0, 0.0], [1.0, 0.0]]), sparse.csr_array([[0.0, 1.0], [1.0, 0.0]])),
    np.array([[0.0, 1.0], [-0.4, -0.4]]),
    start=0,
)
ALWAYS = np.array([[0.0, 1.0], [1.0, 0.0]])
HALF = np.array([[0.5, 0.5], [1.0, 0.0]])


def test_values_of_a_policy_match_hand_calculation():
    chain = GO.follow(ALWAYS)
    np.testing.assert_array_equal(chain.distributions(3), [[1, 0], [0, 1], [1, 0]])
    assert chain.of_day(3).value == pytest.approx((1 - 0.4 + 1) / 3)
    assert chain.of_day(3).error == 0
    # With a discount of 0.5: 1 - 0.2 + 0.25 from state 0.
    np.testing.assert_allclose(chain.values(3, 0.5)[0], [1.05, -0.4 + 0.5 - 0.1], atol=1e-15)
    average, stationary = chain.long_run()
    assert average == pytest.approx(0.3)
    np.testing.assert_allclose(stationary, [0.5, 0.5])


def test_long_run_of_a_mixed_policy_matches_hand_calculation():
    # One of two visits to state 0 is followed by a visit to state 1.
    average, stationary = GO.follow(HALF).long_run()
    np.testing.assert_allclose(stationary, [2 / 3, 1 / 3])
    assert average == pytest.approx((0.5 * 2 - 0.4) / 3)


def test_unreached_states_have_no_weight_in_the_long_run():
    waiting = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert GO.follow(waiting).long_run() == (0.0, pytest.approx([1.0, 0.0]))


def test_optimum_matches_enumeration_of_policies():
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.ones(3), (2, 3))
    process = DecisionProcess(tuple(map(sparse.csr_array, rows)), rng.normal(size=(3, 2)), start=1)
    policies = [np.eye(2)[[i, j, k]] for i in range(2) for j in range(2) for k in range(2)]
    # The long-run optimum is attained by a stationary policy; over a day, time-dependent policies can be better.
    assert process.optimal_long_run().value == pytest.approx(
        max(process.follow(p).long_run()[0] for p in policies)
    )
    assert process.optimal_day(7).value >= max(process.follow(p).of_day(7).value for p in policies)
    # Two steps: the reward of each first action, and the largest reward that can follow.
    two = max(process.rewards[1, a] + rows[a, 1] @ process.rewards.max(1) for a in range(2)) / 2
    assert process.optimal_day(2).value == pytest.approx(two)


def test_truncated_process_has_bounds_from_rewards_outside():
    # Each step leaves with probability 0.5, to states with rewards from -3 to 2.
    leaking = DecisionProcess((sparse.csr_array([[0.5]]),), np.array([[1.0]]), 0, Outside(-3.0, 2.0))
    chain = leaking.follow(np.ones((1, 1)))
    # Expected steps inside and outside: 1 and 0, then 1/2 and 1/2, then 1/4 and 3/4.
    inside, outside = 1 + 1 / 2 + 1 / 4, 1 / 2 + 3 / 4
    found = chain.of_day(3)
    assert found.value - found.error == pytest.approx((inside - 3 * outside) / 3)
    assert found.value + found.error == pytest.approx((inside + 2 * outside) / 3)
    best = leaking.optimal_day(3)
    assert (best.value, best.error) == (pytest.approx(found.value), pytest.approx(found.error))


def test_value_iteration_that_does_not_converge_raises():
    # The chain has period 2, so the values oscillate.
    swing = DecisionProcess((sparse.csr_array([[0.0, 1.0], [1.0, 0.0]]),), np.array([[1.0], [0.0]]), 0)
    with pytest.raises(ArithmeticError, match="still 1 apart after 50 sweeps"):
        swing.optimal_long_run(sweeps=50)


def test_long_run_from_a_transient_start_weights_the_classes_where_it_ends():
    # From state 0 to state 1 (which stays, and earns 2), or to the cycle of states 2 and 3, which earn 4 and 8.
    moves = sparse.csr_array(
        [[0.5, 0.125, 0.375, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]]
    )
    chain = DecisionProcess((moves,), np.array([[100.0], [2.0], [4.0], [8.0]]), 0).follow(np.ones((4, 1)))
    average, stationary = chain.long_run()
    np.testing.assert_allclose(stationary, [0.0, 0.25, 0.375, 0.375], atol=1e-15)
    assert average == pytest.approx(0.25 * 2 + 0.75 * 6)
