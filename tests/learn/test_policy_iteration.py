"""Policy iteration: convergence, cycles, limits, errors."""

import numpy as np
import pytest

from twosided.core.scenario import Scenario
from twosided.electronic.cells import ImbalanceCells
from twosided.electronic.chain import electronic_chain
from twosided.electronic.exact import day_value, state_action_values
from twosided.electronic.market import ElectronicMarket
from twosided.electronic.policies import ImbalanceTable
from twosided.learn.monte_carlo import monte_carlo_action_values
from twosided.learn.policy_iteration import improve, policy_iteration
from twosided.rewards import SpreadPnL

pytestmark = pytest.mark.extended

CELLS = ImbalanceCells(2)
SCENARIO = Scenario(ElectronicMarket(), (), SpreadPnL(), horizon=150)
STILL, FALLING = np.full(5, 1), np.full(5, 0)


@pytest.fixture(scope="module")
def chain():
    return electronic_chain(ElectronicMarket())


def iterate(chain, first, epsilon=0.1, **options):
    def exact(policy):
        return state_action_values(chain, policy, CELLS)

    return policy_iteration(exact, CELLS, SCENARIO.action_space, first, epsilon, **options)


def test_converges_to_the_optimal_table(chain):
    found = iterate(chain, STILL)
    assert found.converged
    assert found.choices == ((1, 1, 1, 1, 1), (0, 0, 1, 2, 2), (0, 0, 1, 2, 2))
    assert day_value(chain, ImbalanceTable((-1.0, -1.0, 0.0, 1.0, 1.0))).value == pytest.approx(
        -0.43658, abs=5e-6
    )
    assert str(found) == "policy iteration converged after 2 improvements"


def test_cycle_is_reported(chain):
    # If the quote is always lowered, raising it is best in every cell, and the other way round.
    found = iterate(chain, FALLING)
    assert (found.cycle_length, found.converged) == (2, False)
    assert found.choices == ((0,) * 5, (2,) * 5, (0,) * 5)
    assert "entered a cycle of 2 policies" in str(found)


def test_without_exploration_the_policy_does_not_change(chain):
    assert iterate(chain, STILL, epsilon=0.0).choices == ((1,) * 5,) * 2


def test_stops_after_the_maximum_number_of_improvements(chain):
    found = iterate(chain, STILL, max_improvements=1)
    assert (found.cycle_length, len(found.choices)) == (0, 2)
    assert str(found) == "policy iteration did not converge within 1 improvements"


def test_sampled_values_give_the_same_policy():
    def sampled(policy):
        return monte_carlo_action_values(SCENARIO, policy, CELLS, num_episodes=5000).values

    found = policy_iteration(sampled, CELLS, SCENARIO.action_space, STILL, epsilon=0.3, margin=0.02)
    assert found.converged
    assert found.choices[-1] == (0, 0, 1, 2, 2)


def test_choice_changes_only_beyond_the_margin():
    values = np.array([[1.0, 1.05, np.nan], [np.nan, np.nan, np.nan], [0.0, 2.0, 1.0]])
    np.testing.assert_array_equal(improve(values, np.array([0, 2, 0]), margin=0.1), [0, 2, 1])
    np.testing.assert_array_equal(improve(values, np.array([0, 2, 0])), [1, 2, 1])


def test_invalid_parameters_are_rejected(chain):
    with pytest.raises(ValueError, match=r"epsilon must be in \[0, 1\]"):
        iterate(chain, STILL, epsilon=2.0)
    with pytest.raises(ValueError, match="max_improvements must be at least 1"):
        iterate(chain, STILL, max_improvements=0)
