"""Policy iteration: it ends where it improves no more, and it says when it goes round in a circle."""

import numpy as np
import pytest

from twosided.core.scenario import Scenario
from twosided.electronic.cells import ImbalanceCells
from twosided.electronic.chain import electronic_chain
from twosided.electronic.exact import day_value, state_action_values
from twosided.electronic.market import ElectronicMarket
from twosided.electronic.policies import ImbalanceTable
from twosided.learn.monte_carlo import monte_carlo_action_values
from twosided.learn.policy_iteration import improved, policy_iteration
from twosided.rewards import SpreadPnL

pytestmark = pytest.mark.extended

CELLS = ImbalanceCells(2)
SCENARIO = Scenario(ElectronicMarket(), (), SpreadPnL(), horizon=150)
STILL, FALLING = np.full(5, 1), np.full(5, 0)


@pytest.fixture(scope="module")
def chain():
    return electronic_chain(ElectronicMarket())


def iterated(chain, first, epsilon=0.1, **words):
    def exact(policy):
        return state_action_values(chain, policy, CELLS)

    return policy_iteration(exact, CELLS, SCENARIO.action_space, first, epsilon, **words)


def test_it_finds_the_best_policy_from_one_that_does_nothing(chain):
    found = iterated(chain, STILL)
    assert found.converged
    assert found.choices == ((1, 1, 1, 1, 1), (0, 0, 1, 2, 2), (0, 0, 1, 2, 2))
    assert day_value(chain, ImbalanceTable((-1.0, -1.0, 0.0, 1.0, 1.0))).value == pytest.approx(
        -0.43658, abs=5e-6
    )
    assert str(found) == "policy iteration converged after 2 improvements"


def test_it_may_go_round_in_a_circle_and_says_so(chain):
    # Lowering the quote always makes raising it best, everywhere, and the other way round.
    found = iterated(chain, FALLING)
    assert (found.circle, found.converged) == (2, False)
    assert found.choices == ((0,) * 5, (2,) * 5, (0,) * 5)
    assert "goes round in a circle of 2 policies" in str(found)


def test_without_exploration_nothing_else_is_known_and_nothing_changes(chain):
    assert iterated(chain, STILL, epsilon=0.0).choices == ((1,) * 5,) * 2


def test_it_stops_where_it_is_told_to(chain):
    found = iterated(chain, STILL, most=1)
    assert (found.circle, len(found.choices)) == (0, 2)
    assert str(found) == "policy iteration did not end within 1 improvements"


def test_sampled_values_lead_to_the_same_policy():
    def sampled(policy):
        return monte_carlo_action_values(SCENARIO, policy, CELLS, num_episodes=5000).values

    found = policy_iteration(sampled, CELLS, SCENARIO.action_space, STILL, epsilon=0.3, margin=0.02)
    assert found.converged
    assert found.choices[-1] == (0, 0, 1, 2, 2)


def test_a_choice_is_left_only_for_a_better_one():
    values = np.array([[1.0, 1.05, np.nan], [np.nan, np.nan, np.nan], [0.0, 2.0, 1.0]])
    np.testing.assert_array_equal(improved(values, np.array([0, 2, 0]), margin=0.1), [0, 2, 1])
    np.testing.assert_array_equal(improved(values, np.array([0, 2, 0])), [1, 2, 1])


def test_bad_parameters(chain):
    with pytest.raises(ValueError, match=r"epsilon must be in \[0, 1\]"):
        iterated(chain, STILL, epsilon=2.0)
    with pytest.raises(ValueError, match="most must be at least 1"):
        iterated(chain, STILL, most=0)
