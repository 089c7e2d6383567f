"""Dynamic programming over inventory: against enumeration of all orders, by hand, in limiting cases, and simulation."""

import itertools
from functools import cache

import equinox as eqx
import jax
import numpy as np
import pytest

from twosided.core.numeric import as_arrays
from twosided.core.optimum import NotExact
from twosided.core.reward import TotalPnL
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario
from twosided.dealer.distributions import Mixture, PointMass, Uniform
from twosided.dealer.exact.bellman import UNDERCUT, BellmanOperator, BookSample, QuotePairs, RiskPenalty
from twosided.dealer.exact.cost_curve import expected_costs, sampled_books
from twosided.dealer.exact.dynamic_programming import penalized_optimum, penalized_value
from twosided.dealer.exact.total_pnl import total_pnl_optimum
from twosided.dealer.investors import Investors, UnitInvestors
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter
from twosided.dealer.reference_book import ReferenceBook
from twosided.prices import Bachelier, GeometricBrownian
from twosided.rewards import AsymmetricPenalty, SquarePenalty, StdPenalty

pytestmark = pytest.mark.extended

COMPETITOR = PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=0.0, hedge=0.2)
SMALL = {"max_inventory": 24, "refinement": 2, "points": 32, "replicates": 4}


def scenario_of(reward=SquarePenalty(weight=1.0), competitor=COMPETITOR, count=4, horizon=30, **market):
    dealer = DealerMarket(flow=UnitInvestors(count=count), **market)
    return Scenario(dealer, (competitor,), reward, horizon=horizon)


@cache
def solved(weight=1.0, penalty=SquarePenalty, competitor=COMPETITOR, **changes):
    return penalized_optimum(scenario_of(penalty(weight=weight), competitor), **(SMALL | changes))


def small_operator(buy, sell, cells=8):
    """Two orders per step, two replicates of four books, inventories up to 3 in steps of 1/2."""
    books = BookSample.sample(ReferenceBook(), 100.0, 1.0, np.arange(7) / 2, 4, 2)
    penalty = RiskPenalty(quadratic=0.002, long=-0.01, short=0.02)
    quotes = QuotePairs.against(buy, sell, cells)
    return BellmanOperator(quotes, books, penalty, num_orders=2, max_inventory=3, refinement=2)


def by_enumeration(operator, value, buy, sell, epsilons):
    """T V by enumeration of the side and tie-break of every order, every hedge and every pair of the epsilons."""
    f = operator.penalty(operator.extended_grid) + value
    # Side of each order, and whether the maker wins it when tied.
    orders = list(itertools.product(itertools.product("bs", [True, False]), repeat=2))

    @cache
    def won(side, outcome):
        """Orders won on the side in each of the equally likely cases, by a maker that wins, ties or loses."""
        wins = [
            [s == side and (outcome == 0 or (outcome == 1 and tie)) for s, tie in case] for case in orders
        ]
        return np.sum(wins, 1)

    def outcome_probabilities(epsilons, competitor):
        """Probabilities of winning alone, a tie and a loss, for each epsilon."""
        at = np.array(epsilons)
        return np.stack([competitor.survival(at), competitor.mass(at), competitor.cdf_left(at)], -1)

    prices = np.array(list(itertools.product(*epsilons)))
    sides = itertools.product(
        outcome_probabilities(epsilons[0], buy), outcome_probabilities(epsilons[1], sell)
    )
    probability = np.stack([np.outer(*pair).ravel() for pair in sides])

    def best_pair(u, replicate, s):
        """Value of the best pair of epsilons."""
        total = np.zeros(len(prices))
        for outcome, (i, j) in enumerate(itertools.product(range(3), range(3))):
            bought, sold = won("b", i), won("s", j)
            spread = s * ((1 + prices) @ [bought.mean(), sold.mean()])
            after = np.rint(2 * (u + bought - sold)).astype(int) + operator.extended_grid.size // 2
            total += probability[:, outcome] * (spread + f[replicate, after].mean())
        return total.max()

    result = np.zeros((2, operator.grid.size))
    for r, b in np.ndindex(operator.books.order_value.shape):
        s, cost = operator.books.order_value[r, b], operator.books.hedge_cost[r, b]
        kept = {u: best_pair(u, r, s) for u in operator.grid}
        for i, z in enumerate(operator.grid):
            targets = [u for u in operator.grid if min(z, 0) <= u <= max(z, 0)]
            result[r, i] += max(kept[u] - cost[round(2 * abs(z - u))] for u in targets) / 4
    return result


def test_bellman_operator_against_constants_matches_enumeration():
    buy, sell = PointMass(-0.5), PointMass(0.0)
    operator = small_operator(buy, sell)
    value = np.random.default_rng(0).normal(0, 0.03, (2, operator.extended_grid.size))
    near = 1e-9
    epsilons = [-0.9, -0.5 - near, -0.5, 0.2, 1.0], [-0.3, -near, 0.0, near, 1.0]
    result, error = operator.apply(value)
    np.testing.assert_allclose(result, by_enumeration(operator, value, buy, sell, epsilons), atol=1e-9)
    assert error == 0
    assert operator.quotes.epsilon.shape == (9, 2)


def test_bellman_operator_against_uniforms_is_within_its_error_bound():
    buy, sell = Uniform(-0.6, 0.8), Mixture([PointMass(0.1), Uniform(-0.5, 0.5)], [1, 2])
    operator = small_operator(buy, sell, cells=4)
    # V varies by 1e-4 between neighbours, so that the error of the epsilon grid dominates.
    value = np.random.default_rng(0).normal(0, 1e-4, (2, operator.extended_grid.size)) - 0.01 * np.abs(
        operator.extended_grid
    )
    epsilons = (
        [*np.linspace(-0.6, 0.8, 9), 1.0],
        [*np.linspace(-0.5, 0.5, 7), 0.1 - 1e-9, 0.1 + 1e-9, 1.0],
    )
    result, error = operator.apply(value)
    difference = by_enumeration(operator, value, buy, sell, epsilons) - result
    assert 0 < error < 0.002
    assert difference.mean(0).max() <= error
    assert difference.max() > 1e-5, "the coarse grid must lose something"
    # A finer grid that contains the coarse one has no smaller value, up to its own error.
    finer, smaller = small_operator(buy, sell, cells=20).apply(value)
    assert smaller < error / 4
    assert (finer >= result - smaller).all()


def test_candidate_quotes_against_constants():
    quotes = QuotePairs.against(PointMass(-0.5), PointMass(-1.0), cells=8)
    # -1 cannot be undercut, and a tie at -1 earns nothing. A quote that loses is represented by 1.
    expected = {
        (-0.5 - UNDERCUT, -1.0),
        (-0.5 - UNDERCUT, 1.0),
        (-0.5, -1.0),
        (-0.5, 1.0),
        (1.0, -1.0),
        (1.0, 1.0),
    }
    assert {tuple(pair) for pair in quotes.epsilon.tolist()} == expected
    undercut = np.flatnonzero((quotes.epsilon == (-0.5 - UNDERCUT, 1.0)).all(1))[0]
    assert quotes.margin[undercut] == 0.25, "half of the orders at 1 - 0.5"
    assert quotes.is_limit[undercut]
    assert quotes.probabilities[undercut].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(quotes.probabilities.sum(1), 1)


@pytest.mark.parametrize("weight", [0.3, 30.0])
def test_optimum_of_one_order_and_one_step_matches_hand_computed_value(weight):
    # Win both sides: (0.5 + 1) s / 2 and an inventory of one unit for sure; win one side: half the time; or no trade.
    found = penalized_optimum(scenario_of(SquarePenalty(weight=weight), count=1, horizon=1), **SMALL)
    loss = weight * 100**2 * np.expm1(0.1**2 / 6552)
    with jax.enable_x64(True):
        books = sampled_books(ReferenceBook(), 32, 4, 0)
        s = 100 * np.asarray(books.cost(np.ones(books.spread.shape)))
    best = np.max([0.75 * s - loss, 0.5 * s - loss / 2, 0.25 * s - loss / 2, 0 * s], axis=0)
    penalties = (best - 0.75 * s).mean()
    expected = 75 * expected_costs(ReferenceBook(), [1.0]).mean() + penalties
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.inventory_std < 1 + 1e-12


@pytest.mark.parametrize(
    "reward",
    [TotalPnL(), SquarePenalty(weight=0.0), AsymmetricPenalty(weight=0.0)],
    ids=["total PnL", "quadratic", "asymmetric"],
)
def test_optimum_without_penalty_matches_theorem_1(reward):
    scenario = scenario_of(reward)
    found = penalized_optimum(scenario, **SMALL)
    assert found.value == pytest.approx(total_pnl_optimum(scenario).value, rel=1e-9)
    assert found.gain == pytest.approx(found.value, rel=1e-9)
    assert found.stationary_value == pytest.approx(found.value, rel=1e-9)
    assert found.errors.bound < 1e-12
    assert not found.attained
    middle = np.abs(found.curve.inventory) < 20
    np.testing.assert_array_equal(found.curve.win_buy[middle], 1)
    assert not found.curve.hedge.any()


def test_optimum_without_penalty_against_uniform_is_within_error_of_theorem_1():
    scenario = scenario_of(TotalPnL(), RandomQuoter(low=-1.0, high=1.0))
    found = penalized_optimum(scenario, epsilon_cells=7, **SMALL)
    # With seven cells the optimal ε = 0 is halfway between two quotes, so the error bound is attained.
    exact = total_pnl_optimum(scenario).value
    assert found.value < exact
    assert found.value + found.errors.epsilon == pytest.approx(exact, rel=1e-6)
    assert found.attained


@pytest.mark.parametrize("penalty", [SquarePenalty, AsymmetricPenalty])
def test_value_and_inventory_decrease_with_penalty_weight(penalty):
    found = [solved(weight, penalty) for weight in (0.1, 0.5, 1.0)]
    unpenalized = total_pnl_optimum(scenario_of(TotalPnL())).value
    for less, more in itertools.pairwise(found):
        assert unpenalized > less.value > more.value
        assert less.gain > more.gain
        assert less.inventory_std > more.inventory_std
    # The value is a maximum of functions that are linear in the weight, so it is convex.
    assert found[1].value < found[0].value * 5 / 9 + found[2].value * 4 / 9


def test_quotes_and_hedges_reduce_inventory():
    curve = solved().curve
    visited = curve.visits > 1e-4
    # A long maker quotes a larger ε_b, a short one a larger ε_s, and both hedge.
    assert (np.diff(curve.win_buy[visited]) <= 1e-12).all()
    assert (np.diff(curve.win_sell[visited]) >= -1e-12).all()
    assert curve.win_buy[visited][0] > curve.win_buy[visited][-1] + 0.3
    assert curve.epsilon_buy[visited][-1] > curve.epsilon_buy[visited][0]
    assert curve.hedge[curve.inventory == 0] == 0
    assert curve.hedge[curve.inventory == 4] > 0
    assert curve.visits.sum() == pytest.approx(1)


def test_skew_curve_is_symmetric_against_symmetric_competitor():
    found = solved(competitor=PersistentQuoter(epsilon_buy=-0.3, epsilon_sell=-0.3))
    assert found.inventory_mean == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found.curve.win_buy, found.curve.win_sell[::-1], atol=1e-9)
    np.testing.assert_allclose(found.curve.hedge, found.curve.hedge[::-1], atol=1e-9)
    asymmetric = solved()
    assert abs(asymmetric.curve.win_buy - asymmetric.curve.win_sell[::-1]).max() > 0.01


def test_hedge_volume_decreases_with_hedge_cost():
    free, expensive = (penalized_optimum(scenario_of(hedge_cost=cost), **SMALL) for cost in (0.0, 100.0))
    assert free.value > solved().value > expensive.value
    volumes = [found.curve.visits @ found.curve.hedge for found in (free, solved(), expensive)]
    assert volumes[0] > 2 * volumes[1]
    assert volumes[1] > 0.01
    assert volumes[2] < 1e-6


def test_finer_hedges_gain_no_more_than_reported_error():
    values = [solved(refinement=refinement, points=16) for refinement in (4, 8, 16)]
    gains = np.diff([found.value for found in values])
    assert (gains > 0).all()
    for found, gain in zip(values[1:], gains, strict=True):
        assert found.errors.hedge == pytest.approx(gain, rel=1e-9)
    # Each gain is less than half of the previous one, so the last one exceeds the sum of all that follow.
    for found, gain in zip(values, gains, strict=False):
        assert gain < 0.5 * found.errors.hedge


def test_truncation_error_bounds_gain_of_larger_grid():
    narrow, wide = solved(weight=0.1, max_inventory=8), solved(weight=0.1)
    assert narrow.errors.truncation > 1e-4
    assert narrow.value < wide.value < narrow.value + narrow.errors.truncation
    assert wide.errors.truncation < 1e-9


def test_larger_book_sample_agrees_within_standard_errors():
    other = solved(points=256)
    assert other.errors.book < solved().errors.book
    assert abs(other.value - solved().value) < 4 * np.hypot(other.errors.book, solved().errors.book)


REWARDS = {SquarePenalty: SquarePenalty(weight=0.35), AsymmetricPenalty: AsymmetricPenalty(weight=0.35)}


@eqx.filter_jit
def run(scenario, policy, key):
    """Mean of each reward per step, and the inventory after every step, by path."""

    def record(observation, state, step):
        rewards = [reward(None, step.transition, 0)[0] for reward in REWARDS.values()]
        return rewards, step.transition.inventory[0]

    rewards, inventory = episodes(scenario, policy, key, 4000, record)
    return [reward.mean(0) for reward in rewards], inventory


def simulated(policy, seed):
    rewards, inventory = run(as_arrays(scenario_of(TotalPnL())), as_arrays(policy), jax.random.key(seed))
    return dict(zip(REWARDS, np.asarray(rewards, float), strict=True)), np.asarray(inventory, float)


@pytest.mark.parametrize("penalty", REWARDS)
def test_simulated_reward_of_optimal_policy_matches_stationary_value(penalty):
    found = solved(0.35, penalty)
    rewards, inventory = simulated(found.policy, seed=1)
    mean, error = rewards[penalty].mean(), rewards[penalty].std(ddof=1) / np.sqrt(4000)
    assert error < 0.01 * mean
    assert abs(mean - found.stationary_value) < 4 * np.hypot(error, found.errors.book)
    # Second moment, from the mean squares of the paths; the mean is negligible.
    squares = np.square(inventory).mean(0)
    second = found.inventory_std**2 + found.inventory_mean**2
    assert abs(squares.mean() - second) < 4 * squares.std() / np.sqrt(4000)
    # The stationary policy loses little, and the end of the episode increases the value.
    assert 0.99 * found.value < found.stationary_value <= found.value
    assert found.gain < found.value


def test_simulated_reward_of_fixed_maker_matches_penalized_value():
    maker = PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=-0.1, hedge=0.0)
    rewards, _ = simulated(maker, seed=0)
    for penalty, reward in REWARDS.items():
        error = rewards[penalty].std(ddof=1) / np.sqrt(4000)
        assert abs(rewards[penalty].mean() - penalized_value(scenario_of(reward), maker)) < 4 * error


def test_penalized_value_matches_hand_computed_value():
    # One order per step is won: z is ±1 after one step, and 0 or ±2 with probability 1/2 each after two.
    maker = PersistentQuoter(epsilon_buy=-0.6, epsilon_sell=-0.2, hedge=0.0)
    price = GeometricBrownian(volatility=5.0)
    growth = np.exp(25 / 6552)
    spread = 50 * (0.4 + 0.8) * expected_costs(ReferenceBook(), [1.0]).mean()
    square = 100**2 * (growth - 1)
    scenario = scenario_of(SquarePenalty(weight=2.0), count=1, horizon=2, price=price)
    assert penalized_value(scenario, maker) == pytest.approx(spread - square * (1 + 2 * growth), rel=1e-6)
    # E min(ΔP, 0) = -E max(ΔP, 0) = -P (2 Φ(s / 2) - 1); E|z| is 1 after both steps.
    fall = 100 * jax.scipy.special.erf(5 / np.sqrt(6552) / 2 / np.sqrt(2))
    scenario = scenario_of(AsymmetricPenalty(weight=2.0), count=1, horizon=2, price=price)
    assert penalized_value(scenario, maker) == pytest.approx(spread - 2 * float(fall), rel=1e-5)


@pytest.mark.parametrize("penalty", [SquarePenalty, AsymmetricPenalty])
def test_no_fixed_maker_exceeds_the_optimum(penalty):
    found, scenario = solved(1.0, penalty), scenario_of(penalty(weight=1.0))
    for buy, sell in itertools.product([-0.8, -0.500001, -0.5, 0.5], [-0.5, -1e-6, 0.0, 0.5]):
        maker = PersistentQuoter(epsilon_buy=buy, epsilon_sell=sell, hedge=0.0)
        assert penalized_value(scenario, maker) < found.value


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"reward": StdPenalty()},
            "no exact optimum is known for the reward StdPenalty",
        ),
        ({"price": Bachelier()}, "a geometric Brownian midprice without drift"),
        ({"price": GeometricBrownian(drift=0.1)}, "a geometric Brownian midprice without drift"),
        ({"competitor": RandomQuoter(symmetric=True)}, "makers that draw ε_b and ε_s independently"),
    ],
)
def test_unsupported_scenarios_are_rejected(changes, reason):
    scenario = scenario_of(**changes)
    with pytest.raises(NotExact, match=f"{reason}$"):
        penalized_optimum(scenario, **SMALL)
    with pytest.raises(NotExact, match=f"{reason}$"):
        penalized_value(scenario, PersistentQuoter(hedge=0.0))


def test_unsupported_flows_competitors_and_hedging_are_rejected():
    for flow in (Investors(count=4), UnitInvestors(count=4, informed=1)):
        with pytest.raises(NotExact, match=r"uninformed unit investors in a single tier$"):
            penalized_optimum(Scenario(DealerMarket(flow=flow), (COMPETITOR,)))
    with pytest.raises(NotExact, match=r"one learner and one competitor$"):
        penalized_optimum(Scenario(DealerMarket(num_makers=3), (COMPETITOR, COMPETITOR)))
    with pytest.raises(NotExact, match=r"needs a maker that never hedges$"):
        penalized_value(scenario_of(), COMPETITOR)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_inventory": 3}, r"max_inventory must be at least the orders per step \(4\), but got 3"),
        ({"refinement": 3}, "refinement must be even and at least 2, but got 3"),
        ({"replicates": 1}, "replicates must be at least 2, but got 1"),
        ({"points": 3}, "points must be a power of two, but got 3"),
        ({"epsilon_cells": 0}, "epsilon_cells must be at least 1, but got 0"),
    ],
)
def test_invalid_parameters_are_rejected(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        penalized_optimum(scenario_of(), **options)
