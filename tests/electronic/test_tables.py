"""Policies over finite action spaces: probabilities, cells, sampling, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.electronic.cells import (
    CombinedCells,
    ImbalanceCells,
    InventoryCells,
    MispricingCells,
    SpreadCells,
)
from twosided.electronic.market import ElectronicObservation, TwoSidedElectronicMarket
from twosided.electronic.policies import ImbalanceTable, ThresholdPolicy
from twosided.learn.tables import TabularPolicy, epsilon_soft, sample_one_hot, select_action


def seen(imbalance=0.0, spread=0.0, mispricing=0.0, inventory=0.0):
    return ElectronicObservation(*map(jnp.float32, (imbalance, inventory, spread, mispricing)))


def rows(policy, imbalances):
    return np.stack([policy.probabilities(seen(imbalance)) for imbalance in imbalances])


def test_threshold_policy_acts_from_its_threshold_on():
    table = rows(ThresholdPolicy(2), [-3, -2, -1, 0, 1, 2, 3])
    np.testing.assert_array_equal(table.argmax(1) - 1, [-1, -1, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(table.max(1), 1.0)


def test_exploration_spreads_epsilon_over_all_actions():
    table = rows(ThresholdPolicy(1, epsilon=0.3), [-1, 0, 1])
    np.testing.assert_allclose(table, [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]], atol=1e-7)
    np.testing.assert_allclose(epsilon_soft(jnp.array([0.5, 0.5]), 1.0), [0.5, 0.5])


def test_table_clips_imbalances_beyond_its_ends():
    table = rows(ImbalanceTable((1.0, 0.0, -1.0)), [-5, -1, 0, 1, 5])
    np.testing.assert_array_equal(table.argmax(1) - 1, [1, 1, 0, -1, -1])
    one = rows(ImbalanceTable((1.0,), epsilon=0.6), [-4, 0, 4])
    np.testing.assert_allclose(one, [[0.2, 0.2, 0.6]] * 3, atol=1e-7)


def test_draws_have_the_stated_probabilities():
    probabilities = jnp.array([0.2, 0.0, 0.5, 0.3])
    uniforms = (jnp.arange(1000) + 0.5) / 1000
    picked = jax.vmap(lambda u: sample_one_hot(probabilities, u))(uniforms)
    np.testing.assert_array_equal(picked.sum(0), [200, 0, 500, 300])
    np.testing.assert_array_equal(picked.sum(1), 1)
    # Probabilities that rounding leaves below 1 in all still draw the last one.
    np.testing.assert_array_equal(sample_one_hot(jnp.array([0.4, 0.4]), jnp.float32(0.99)), [0, 1])


def test_one_hot_choices_select_actions_of_the_space():
    space = TwoSidedElectronicMarket().action_space
    for index in range(9):
        action = select_action(space, jnp.eye(9)[index])
        assert (float(action.change_bid), float(action.change_ask)) == (index // 3 - 1, index % 3 - 1)


def test_actions_are_drawn_from_the_row_of_the_observed_cell():
    policy = TabularPolicy(
        jnp.array([[1.0, 0, 0], [0, 0.5, 0.5], [0, 0, 1.0]]), ImbalanceCells(1), ThresholdPolicy().space
    )
    shocks = policy.shocks(jax.random.key(0), (4000,))
    changes = jax.vmap(lambda shock: policy.act(shock, None, seen(0))[0].change)(shocks)
    # The expectation is 2000 of 4000, with a standard error of 32.
    assert set(np.unique(changes)) == {0.0, 1.0}
    assert abs(changes.sum() - 2000) < 4 * 32
    assert float(policy.act(shocks[0], None, seen(-7))[0].change) == -1


@pytest.mark.parametrize(
    ("cells", "observations", "expected"),
    [
        (ImbalanceCells(2), [seen(-9), seen(-2), seen(0), seen(2), seen(9)], [0, 0, 2, 4, 4]),
        (MispricingCells(1), [seen(mispricing=m) for m in (-3, -1, 0, 2)], [0, 0, 1, 2]),
        (InventoryCells(1), [seen(inventory=z) for z in (-5, 0, 1, 7)], [0, 1, 2, 2]),
        (SpreadCells(2), [seen(spread=width) for width in (0, 1, 2, 7)], [0, 1, 2, 2]),
        (
            CombinedCells((ImbalanceCells(1), SpreadCells(2))),
            [seen(-1, 0), seen(-1, 2), seen(0, 1), seen(5, 7)],
            [0, 2, 4, 8],
        ),
        (
            CombinedCells((ImbalanceCells(1), InventoryCells(2), SpreadCells(1))),
            [seen(-1, 0, inventory=-2), seen(0, 1, inventory=0), seen(1, 1, inventory=3)],
            [0, 15, 29],
        ),
    ],
)
def test_cells_match_hand_calculation(cells, observations, expected):
    assert [int(cells(observation)) for observation in observations] == expected
    assert len(cells.labels) == cells.size == len(set(cells.labels))


def test_labels_describe_cells():
    assert ImbalanceCells(2).labels == ("≤ −2", "−1", "0", "1", "≥ 2")
    assert CombinedCells().labels[0] == "imbalance ≤ −2, spread 0"


@pytest.mark.parametrize(
    ("make", "refusal"),
    [
        (lambda: ThresholdPolicy(0), "threshold must be a whole number of at least 1, but got 0"),
        (lambda: ThresholdPolicy(1.5), "threshold must be a whole number of at least 1"),
        (lambda: ThresholdPolicy(float("nan")), "threshold must be a whole number of at least 1"),
        (lambda: ThresholdPolicy(epsilon=1.5), r"epsilon must be in \[0, 1\], but got 1.5"),
        (lambda: ThresholdPolicy(epsilon=float("nan")), r"epsilon must be in \[0, 1\]"),
        (lambda: ImbalanceTable((0.0, 1.0)), "changes must be an odd number of entries"),
        (lambda: ImbalanceTable((2.0,)), "changes must be -1, 0 or 1 each"),
        (lambda: ImbalanceCells(0), "limit must be from 1 to 1000"),
        (lambda: SpreadCells(max_spread=0), "max_spread must be from 1 to 1000"),
        (lambda: CombinedCells(()), "parts must be at least one"),
    ],
)
def test_invalid_parameters_raise(unchecked_types, make, refusal):
    with pytest.raises(ValueError, match=refusal):
        make()
