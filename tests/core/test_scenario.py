"""Scenario and rollout: ends of episodes, states kept across episodes, seats, and common random numbers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.toys import Move, Toy

from twosided.core.numeric import as_arrays
from twosided.core.policy import Policy
from twosided.core.reward import Reward
from twosided.core.rollout import episodes, rollout, start
from twosided.core.scenario import Scenario
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter

pytestmark = pytest.mark.optimised


class StepCounter(Policy):
    """Counts its steps over all episodes and plays the count."""

    def shocks(self, key, shape):
        return None

    def init(self):
        return jnp.zeros(())

    def act(self, shock, state, observation):
        return Move(state + 1), state + 1


class Increment(Policy):
    """Plays its own last number plus 1."""

    def shocks(self, key, shape):
        return None

    def init(self):
        return None

    def act(self, shock, state, observation):
        return Move(observation.last + 1), state


class UniformMove(Policy):
    """Plays a uniform random number."""

    def shocks(self, key, shape):
        return jax.random.uniform(key, shape)

    def init(self):
        return None

    def act(self, shock, state, observation):
        return Move(shock), state


class ConstantTwo(Policy):
    """Plays 2."""

    def shocks(self, key, shape):
        return None

    def init(self):
        return None

    def act(self, shock, state, observation):
        return Move(jnp.asarray(2.0)), state


class TwoLearners(Policy):
    """Policy of two learners: the first plays its own last number plus 1, the second twice its own plus 1."""

    def shocks(self, key, shape):
        return None

    def init(self):
        return None

    def act(self, shock, state, observation):
        return Move(jnp.array([1.0, 2.0]) * observation.last + 1), state


class PnLChange(Reward):
    """Change of the PnL from the previous step of the episode."""

    def init(self):
        return jnp.zeros(())

    def __call__(self, state, transition, seat):
        total = transition.pnl.total[seat]
        return total - state, total


class EpisodeSteps(Reward):
    """Number of steps of the episode so far."""

    def init(self):
        return jnp.zeros(())

    def __call__(self, state, transition, seat):
        return state + 1, state + 1


def everything(observation, policy_state, step):
    return observation, policy_state, step


def run(scenario, policy, steps=10, paths=3, seed=0, record=everything):
    return _run(as_arrays(scenario), as_arrays(policy), steps, paths, jax.random.key(seed), record)


@eqx.filter_jit
def _run(scenario, policy, steps, paths, key, record):
    key_start, key = jax.random.split(key)
    carry = start(scenario, policy, key_start, paths)
    return rollout(scenario, policy, carry, key, steps, record)


def one_episode(scenario, policy, record, seed=0):
    """Run one episode on three paths; it compiles faster than `run`, which draws the start separately."""
    return _one_episode(as_arrays(scenario), as_arrays(policy), jax.random.key(seed), record)


@eqx.filter_jit
def _one_episode(scenario, policy, key, record):
    return episodes(scenario, policy, key, 3, record)


def column(leaf):
    """Return the values over time of the first path, which are equal on all paths."""
    leaf = np.asarray(leaf)
    np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:, :1], leaf.shape))
    return leaf[:, 0].tolist()


# Ends of episodes.


def test_horizon_truncates_episodes():
    _, (acted_on, _, step) = run(Scenario(Toy(), (), horizon=4), StepCounter())
    assert column(step.truncated) == [False, False, False, True] * 2 + [False, False]
    assert not step.terminated.any()
    # The observation after the last step is the one before the reset; the next action is on that of a new episode.
    assert column(step.observation.age) == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]
    assert column(acted_on.age) == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_market_terminates_episodes():
    _, (acted_on, _, step) = run(Scenario(Toy(lifetime=3.0), (), horizon=4), StepCounter())
    assert column(step.terminated) == [False, False, True] * 3 + [False]
    assert not step.truncated.any()
    assert column(step.observation.age) == [1, 2, 3] * 3 + [1]
    assert column(acted_on.age) == [0, 1, 2] * 3 + [0]


def test_termination_at_the_horizon_is_not_a_truncation():
    _, (_, _, step) = run(Scenario(Toy(lifetime=4.0), (), horizon=4), StepCounter())
    assert column(step.terminated) == [False, False, False, True] * 2 + [False] * 2
    assert not step.truncated.any()


def test_records_after_termination_are_zero():
    scenario = Scenario(Toy(lifetime=3.0, income=2.0), (), horizon=5)

    def record(observation, policy_state, step):
        return step.transition.pnl.total, step.terminated

    pnl, ends = one_episode(scenario, StepCounter(), record)
    np.testing.assert_array_equal(pnl[:, 0, 0], [2.0, 2.0, 2.0, 0.0, 0.0])
    np.testing.assert_array_equal(ends[:, 0], [False, False, True, False, False])


def test_horizon_of_one_truncates_every_step():
    _, (acted_on, _, step) = run(Scenario(Toy(), (), horizon=1), StepCounter(), 4)
    assert column(step.truncated) == [True] * 4
    assert column(acted_on.age) == [0] * 4


def test_paths_end_episodes_independently():
    scenario = Scenario(Toy(), (), horizon=4)
    carry = start(scenario, StepCounter(), jax.random.key(0), 3)
    carry = eqx.tree_at(lambda c: c.state.time, carry, jnp.array([0, 1, 3], jnp.int32))
    _, (_, _, step) = rollout(scenario, StepCounter(), carry, jax.random.key(1), 5, everything)
    ends = [np.flatnonzero(path).tolist() for path in np.asarray(step.truncated).T]
    assert ends == [[3], [2], [0, 4]]
    np.testing.assert_array_equal(np.asarray(step.observation.age).T[2], [1, 1, 2, 3, 4])


def test_new_episode_starts_from_the_shock_of_the_last_step():
    # The coin drawn in a step is the next one observed, whether or not the episode ended.
    _, (acted_on, _, step) = run(Scenario(Toy(), (), horizon=4), StepCounter())
    np.testing.assert_array_equal(acted_on.coin[1:], step.observation.coin[:-1])
    assert (acted_on.coin[4:9:4] != acted_on.coin[3:8:4]).any()


def test_dealer_market_restarts_with_the_next_book():
    scenario = Scenario(DealerMarket(), (PersistentQuoter(),), horizon=5)
    _, (acted_on, _, step) = run(scenario, PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=-0.5), 11)
    last = np.arange(11) % 5 == 4
    np.testing.assert_array_equal(acted_on.spread[1:], step.observation.spread[:-1])
    np.testing.assert_array_equal(np.asarray(step.observation.mid)[last] == 100, False)
    fresh = np.flatnonzero(last)[:-1] + 1
    for leaf in (acted_on.inventory, acted_on.bought, acted_on.sold, acted_on.inventory_pnl):
        np.testing.assert_array_equal(leaf[fresh], 0)
    np.testing.assert_array_equal(acted_on.mid[fresh], 100)
    # Positions end with the episode.
    assert (step.observation.inventory[last] != 0).any()


def test_policy_states_outlive_episodes_and_reward_states_do_not():
    scenario = Scenario(Toy(num_makers=2), (StepCounter(),), reward=EpisodeSteps(), horizon=4)
    carry, (_, policy_state, step) = run(scenario, StepCounter(), 6)
    assert column(policy_state) == [1, 2, 3, 4, 5, 6]
    assert column(step.action.x[..., 1]) == [1, 2, 3, 4, 5, 6]
    assert column(step.reward) == [1, 2, 3, 4, 1, 2]
    np.testing.assert_array_equal(carry.policy_state, 6)
    np.testing.assert_array_equal(carry.state.policy_states[0], 6)


def test_rollout_continues_from_the_carry_of_the_last_one():
    scenario = Scenario(Toy(num_makers=2), (StepCounter(),), reward=EpisodeSteps(), horizon=4)
    carry, _ = run(scenario, StepCounter(), 3)
    _, (acted_on, policy_state, step) = rollout(
        scenario, StepCounter(), carry, jax.random.key(9), 3, everything
    )
    assert column(acted_on.age) == [3, 0, 1]
    assert column(step.truncated) == [True, False, False]
    assert column(policy_state) == [4, 5, 6]
    assert column(step.reward) == [4, 1, 2]


# Seats.


def test_every_maker_acts_on_its_own_observation():
    # The learner and seat 2 play their step counts over all episodes; seat 1 counts from 0 in every episode.
    scenario = Scenario(Toy(num_makers=3), (Increment(), StepCounter()), horizon=4)
    _, (acted_on, _, step) = run(scenario, StepCounter(), 6)
    assert column(step.action.x[..., 1]) == [1, 2, 3, 4, 1, 2]
    assert column(step.action.x[..., 2]) == [1, 2, 3, 4, 5, 6]
    assert column(acted_on.last) == [0, 1, 2, 3, 0, 5]
    np.testing.assert_array_equal(step.observed.last[..., 0], acted_on.last)
    np.testing.assert_array_equal(
        step.observed.last[1:, :, 1], step.action.x[:-1, :, 1] * (acted_on.age[1:] > 0)
    )


def test_reward_is_that_of_seat_0():
    scenario = Scenario(Toy(sharpness=1.0, num_makers=2), (Increment(),), horizon=100)
    _, (_, _, step) = run(scenario, ConstantTwo(), 4)
    assert column(step.reward) == [-4.0] * 4


# Several learners.


def by_seat(leaf):
    """Return the values by seat and step of the first path, which are equal on all paths."""
    leaf = np.asarray(leaf)
    np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:, :1], leaf.shape))
    return leaf[:, 0].T.tolist()


def test_several_learners_take_the_first_seats():
    scenario = Scenario(Toy(sharpness=1.0, num_makers=3), (StepCounter(),), horizon=4, learners=2)
    carry, (acted_on, _, step) = run(scenario, TwoLearners(), 6)
    # The competitor in seat 2 counts its steps over all episodes.
    assert by_seat(step.action.x) == [[1, 2, 3, 4, 1, 2], [1, 3, 7, 15, 1, 3], [1, 2, 3, 4, 5, 6]]
    assert by_seat(step.reward) == [[-1, -4, -9, -16, -1, -4], [-1, -9, -49, -225, -1, -9]]
    # Observations before and after the step are those of the learners, and both restart together.
    assert by_seat(acted_on.last) == [[0, 1, 2, 3, 0, 1], [0, 1, 3, 7, 0, 1]]
    assert by_seat(step.observation.last) == [[1, 2, 3, 4, 1, 2], [1, 3, 7, 15, 1, 3]]
    assert by_seat(step.observation.age) == [[1, 2, 3, 4, 1, 2]] * 2
    assert by_seat(step.observed.last) == [*by_seat(acted_on.last), [0, 1, 2, 3, 0, 5]]
    # The end of an episode is common to all makers.
    assert column(step.truncated) == [False, False, False, True, False, False]
    assert step.terminated.shape == (6, 3)
    np.testing.assert_array_equal(carry.state.policy_states[0], 6)


def test_every_learner_has_its_own_reward_state():
    scenario = Scenario(Toy(sharpness=1.0, num_makers=2), (), reward=PnLChange(), horizon=4, learners=2)
    carry, (_, _, step) = run(scenario, TwoLearners(), 6)
    # PnL is -1, -4, -9, -16 and -1, -9, -49, -225; the first step of an episode changes from 0.
    assert by_seat(step.reward) == [[-1, -3, -5, -7, -1, -3], [-1, -8, -40, -176, -1, -8]]
    np.testing.assert_array_equal(carry.state.reward, [[-4, -9]] * 3)


@pytest.mark.parametrize(
    ("learners", "action", "expected"),
    [
        (1, [5.0, 7.0, 9.0], [[5, 7, 9], [2, 2, 2], [2, 2, 2]]),
        (2, [[5.0, 7.0, 9.0], [4.0, 3.0, 1.0]], [[5, 7, 9], [4, 3, 1], [2, 2, 2]]),
    ],
)
def test_scalar_actions_of_competitors_are_broadcast_to_those_of_learners(
    unchecked_types, learners, action, expected
):
    # The toy market is elementwise, so each of its three makers can play three numbers, unlike its annotations.
    scenario = Scenario(Toy(num_makers=3), (ConstantTwo(),) * (3 - learners), learners=learners)
    shock = scenario.shocks(jax.random.key(0), ())
    _, step = scenario.step(scenario.reset(shock)[0], Move(jnp.asarray(action)), shock)
    assert step.action.x.tolist() == expected


TIGHT, WIDE = (
    PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=0.2),
    PersistentQuoter(epsilon_buy=0.4, epsilon_sell=-0.3),
)


def total_pnl(observation, policy_state, step):
    return step.transition.pnl.total


def test_results_of_the_learner_do_not_depend_on_the_order_of_competitors():
    learner = RandomQuoter(low=-0.4, high=0.4)
    a, b = (
        np.asarray(one_episode(Scenario(DealerMarket(num_makers=3), others, horizon=20), learner, total_pnl))
        for others in ((TIGHT, WIDE), (WIDE, TIGHT))
    )
    np.testing.assert_allclose(a[..., 0], b[..., 0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(a[..., [1, 2]], b[..., [2, 1]], rtol=1e-5, atol=1e-5)
    assert np.abs(a[..., 1] - a[..., 2]).max() > 0.01


def test_random_competitors_have_independent_draws():
    scenario = Scenario(Toy(num_makers=3), (UniformMove(), UniformMove()), horizon=100)
    _, (_, _, step) = run(scenario, UniformMove(), 50, paths=20)
    x = np.asarray(step.action.x, float)
    assert len(np.unique(x)) == x.size
    correlation = np.corrcoef(x.reshape(-1, 3).T) - np.eye(3)
    assert np.abs(correlation).max() < 4 / np.sqrt(1000)


# Common random numbers.


def market_draws(observation, policy_state, step):
    """Record quantities that do not depend on the makers, price, book and total volumes, and the actions."""
    transition = step.transition
    return (
        observation.mid,
        observation.spread,
        observation.volumes,
        transition.bought.sum(),
        transition.sold.sum(),
        step.action,
    )


def test_same_key_gives_policies_the_same_random_numbers():
    scenario = Scenario(DealerMarket(), (RandomQuoter(),), horizon=7)
    runs = [
        one_episode(scenario, policy, market_draws, seed=3)
        for policy in (TIGHT, WIDE, RandomQuoter(low=0.0, high=0.1))
    ]
    *market, action = runs[0]
    for *other_market, other_action in runs[1:]:
        for leaf, other in zip(market, other_market, strict=True):
            np.testing.assert_array_equal(leaf, other)
        # The competitor draws the same quotes too; only the learners' actions differ.
        np.testing.assert_array_equal(action.epsilon_buy[..., 1], other_action.epsilon_buy[..., 1])
        assert (action.epsilon_buy[..., 0] != other_action.epsilon_buy[..., 0]).all()


def test_different_keys_give_different_random_numbers():
    scenario = Scenario(DealerMarket(), (RandomQuoter(),), horizon=7)
    one, other = (one_episode(scenario, TIGHT, market_draws, seed) for seed in (3, 4))
    (mid, spread, volumes, *_), (other_mid, other_spread, other_volumes, *_) = one, other
    assert (mid[1:7] != other_mid[1:7]).all()
    assert (volumes != other_volumes).all()
    # Some spreads are equal because they are clipped.
    assert (spread != other_spread).mean() > 0.9


def test_rollout_matches_a_plain_loop_over_time_and_paths():
    scenario = Scenario(Toy(num_makers=2, sharpness=1.0), (UniformMove(),), reward=EpisodeSteps(), horizon=3)
    policy, key, steps, paths = StepCounter(), jax.random.key(2), 8, 2
    carry = start(scenario, policy, jax.random.key(1), paths)
    after, kept = rollout(scenario, policy, carry, key, steps, everything)

    key_scenario, _ = jax.random.split(key)
    shocks = scenario.shocks(key_scenario, (steps, paths))
    for path in range(paths):
        state, observation, policy_state = (
            jax.tree.map(lambda leaf, path=path: leaf[path], part)
            for part in (carry.state, carry.observation, carry.policy_state)
        )
        for time in range(steps):
            shock = jax.tree.map(lambda leaf, at=(time, path): leaf[at], shocks)
            before = observation
            action, policy_state = policy.act(None, policy_state, observation)
            state, step = scenario.step(state, action, shock)
            expected = jax.tree.leaves((before, policy_state, step))
            actual = jax.tree.leaves(jax.tree.map(lambda leaf, at=(time, path): leaf[at], kept))
            for a, b in zip(actual, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6)
            observation = step.observation
            if step.terminated or step.truncated:
                state, observation = scenario.restart(state, shock)
        np.testing.assert_array_equal(after.observation.age[path], observation.age)
        np.testing.assert_array_equal(after.policy_state[path], policy_state)


def test_episodes_run_from_their_start_to_the_horizon():
    acted_on, policy_state, step = one_episode(Scenario(Toy(), (), horizon=6), StepCounter(), everything)
    assert column(acted_on.age) == [0, 1, 2, 3, 4, 5]
    # A policy with a state runs an unrecorded episode first.
    assert column(policy_state) == [7, 8, 9, 10, 11, 12]
    assert column(step.truncated) == [False] * 5 + [True]
    # The coin of the start comes from the same draw as the others, and no coin is used twice.
    np.testing.assert_array_equal(acted_on.coin[1:], step.observation.coin[:-1])


# Invalid input.


@pytest.mark.parametrize("others", [(), (TIGHT, WIDE)])
def test_number_of_competitors_must_match_the_other_seats(others):
    message = f"competitors must fill the 1 other seats of a market of 2 makers, but got {len(others)}"
    with pytest.raises(ValueError, match=f"^{message}$"):
        Scenario(DealerMarket(), others)


@pytest.mark.parametrize(("others", "seats"), [((), 1), ((TIGHT, WIDE), 1), ((TIGHT,), 0)])
def test_number_of_competitors_must_match_with_several_learners(others, seats):
    message = f"competitors must fill the {seats} other seats of a market of 3 makers, but got {len(others)}"
    with pytest.raises(ValueError, match=f"^{message}$"):
        Scenario(DealerMarket(num_makers=3), others, learners=3 - seats)


@pytest.mark.parametrize("learners", [0, -1, 3])
def test_number_of_learners_out_of_range_raises(learners):
    message = f"learners must be from 1 to the market's 2 makers, but got {learners}"
    with pytest.raises(ValueError, match=f"^{message}$"):
        Scenario(DealerMarket(), (), learners=learners)


def test_horizon_below_one_raises():
    with pytest.raises(ValueError, match=r"^horizon must be from 1 to 1000000, but got 0$"):
        Scenario(Toy(), (), horizon=0)
