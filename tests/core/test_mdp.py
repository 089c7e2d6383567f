"""Finite decision processes: by hand, by enumeration, and the bounds where states are left out."""

import numpy as np
import pytest
import scipy.sparse as sparse

from twosided.core.mdp import DecisionProcess, Outside

# From 0, waiting earns nothing and stays; going earns 1 and leads to 1, where all go back at a cost of 0.4.
GO = DecisionProcess(
    (sparse.csr_array([[1.0, 0.0], [1.0, 0.0]]), sparse.csr_array([[0.0, 1.0], [1.0, 0.0]])),
    np.array([[0.0, 1.0], [-0.4, -0.4]]),
    start=0,
)
ALWAYS = np.array([[0.0, 1.0], [1.0, 0.0]])
HALF = np.array([[0.5, 0.5], [1.0, 0.0]])


def test_a_policy_by_hand():
    chain = GO.follow(ALWAYS)
    np.testing.assert_array_equal(chain.distributions(3), [[1, 0], [0, 1], [1, 0]])
    assert chain.of_day(3).value == pytest.approx((1 - 0.4 + 1) / 3)
    assert chain.of_day(3).error == 0
    # Discounted by a half: 1 - 0.2 + 0.25 from 0.
    np.testing.assert_allclose(chain.values(3, 0.5)[0], [1.05, -0.4 + 0.5 - 0.1], atol=1e-15)
    average, law = chain.long_run()
    assert average == pytest.approx(0.3)
    np.testing.assert_allclose(law, [0.5, 0.5])


def test_the_long_run_of_a_mixed_policy():
    # Of two visits to 0, one is followed by a visit to 1.
    average, law = GO.follow(HALF).long_run()
    np.testing.assert_allclose(law, [2 / 3, 1 / 3])
    assert average == pytest.approx((0.5 * 2 - 0.4) / 3)


def test_states_that_are_never_reached_have_no_part_in_the_long_run():
    waiting = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert GO.follow(waiting).long_run() == (0.0, pytest.approx([1.0, 0.0]))


def test_the_best_by_enumeration():
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.ones(3), (2, 3))
    process = DecisionProcess(tuple(map(sparse.csr_array, rows)), rng.normal(size=(3, 2)), start=1)
    policies = [np.eye(2)[[i, j, k]] for i in range(2) for j in range(2) for k in range(2)]
    # The best in the long run is one that stays the same; the best of a day may change, so it is no worse.
    assert process.optimal_long_run().value == pytest.approx(
        max(process.follow(p).long_run()[0] for p in policies)
    )
    assert process.optimal_day(7).value >= max(process.follow(p).of_day(7).value for p in policies)
    # Two steps: what each first action earns, and the best of what follows it.
    two = max(process.rewards[1, a] + rows[a, 1] @ process.rewards.max(1) for a in range(2)) / 2
    assert process.optimal_day(2).value == pytest.approx(two)


def test_what_leaves_earns_within_its_bounds():
    # With probability a half a step leaves for a place that earns between -3 and 2.
    leaking = DecisionProcess((sparse.csr_array([[0.5]]),), np.array([[1.0]]), 0, Outside(-3.0, 2.0))
    chain = leaking.follow(np.ones((1, 1)))
    # Steps in all: 1 inside, then a half inside and a half outside, then a quarter and three quarters.
    inside, outside = 1 + 1 / 2 + 1 / 4, 1 / 2 + 3 / 4
    found = chain.of_day(3)
    assert found.value - found.error == pytest.approx((inside - 3 * outside) / 3)
    assert found.value + found.error == pytest.approx((inside + 2 * outside) / 3)
    best = leaking.optimal_day(3)
    assert (best.value, best.error) == (pytest.approx(found.value), pytest.approx(found.error))


def test_a_search_that_does_not_settle_says_so():
    # Period 2: the values go up and down for ever.
    swing = DecisionProcess((sparse.csr_array([[0.0, 1.0], [1.0, 0.0]]),), np.array([[1.0], [0.0]]), 0)
    with pytest.raises(ArithmeticError, match="still 1 apart after 50 sweeps"):
        swing.optimal_long_run(sweeps=50)
