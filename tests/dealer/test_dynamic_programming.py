"""The optimum over inventory: against enumeration of every order, by hand, in its limits, and in the simulator."""

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
from twosided.dealer.exact.bellman import UNDERCUT, Books, Game, Quotes, Risk
from twosided.dealer.exact.cost_curve import expected_costs, sampled_books
from twosided.dealer.exact.dynamic_programming import penalised_optimum, penalised_value
from twosided.dealer.exact.total_pnl import optimum
from twosided.dealer.investors import Investors, UnitInvestors
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter
from twosided.dealer.reference_book import ReferenceBook
from twosided.prices import Bachelier, GeometricBrownian
from twosided.rewards import AsymmetricPenalty, DeviationPenalty, SquarePenalty

COMPETITOR = PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=0.0, hedge=0.2)
SMALL = {"reach": 24, "refinement": 2, "points": 32, "replicates": 4}


def scenario_of(reward=SquarePenalty(weight=1.0), competitor=COMPETITOR, count=4, horizon=30, **market):
    dealer = DealerMarket(flow=UnitInvestors(count=count), **market)
    return Scenario(dealer, (competitor,), reward, horizon=horizon)


@cache
def solved(weight=1.0, penalty=SquarePenalty, competitor=COMPETITOR, **changes):
    return penalised_optimum(scenario_of(penalty(weight=weight), competitor), **(SMALL | changes))


def tiny_game(buy, sell, cells=8):
    """Two orders a step, four books in each of two replicates, inventories up to three in halves."""
    books = Books.sample(ReferenceBook(), 100.0, 1.0, np.arange(7) / 2, 4, 2)
    risk = Risk(square=0.002, long=-0.01, short=0.02)
    return Game(Quotes.against(buy, sell, cells), books, risk, orders=2, reach=3, refinement=2)


def by_enumeration(game, future, buy, sell, epsilons):
    """The operator with every order's side and lot, every hedge and every pair of the epsilons written out."""
    worth = game.risk(game.beyond) + future
    # An order's side, and which maker's it is when tied.
    orders = list(itertools.product(itertools.product("bs", [True, False]), repeat=2))

    @cache
    def won(side, outcome):
        """In each of the equally likely cases, what is won by a maker that wins, ties, loses on the side."""
        mine = [
            [s == side and (outcome == 0 or (outcome == 1 and lot)) for s, lot in case] for case in orders
        ]
        return np.sum(mine, 1)

    def chances(epsilons, law):
        """Of winning alone, a tie and a loss, for each epsilon."""
        at = np.array(epsilons)
        return np.stack([law.survival(at), law.mass(at), law.cdf_left(at)], -1)

    prices = np.array(list(itertools.product(*epsilons)))
    sides = itertools.product(chances(epsilons[0], buy), chances(epsilons[1], sell))
    chance = np.stack([np.outer(*pair).ravel() for pair in sides])

    def quoted(u, replicate, s):
        """The best of the pairs."""
        total = np.zeros(len(prices))
        for outcome, (i, j) in enumerate(itertools.product(range(3), range(3))):
            bought, sold = won("b", i), won("s", j)
            spread = s * ((1 + prices) @ [bought.mean(), sold.mean()])
            after = np.rint(2 * (u + bought - sold)).astype(int) + game.beyond.size // 2
            total += chance[:, outcome] * (spread + worth[replicate, after].mean())
        return total.max()

    value = np.zeros((2, game.inventory.size))
    for r, b in np.ndindex(game.books.order.shape):
        s, cost = game.books.order[r, b], game.books.hedge[r, b]
        kept = {u: quoted(u, r, s) for u in game.inventory}
        for i, z in enumerate(game.inventory):
            targets = [u for u in game.inventory if min(z, 0) <= u <= max(z, 0)]
            value[r, i] += max(kept[u] - cost[round(2 * abs(z - u))] for u in targets) / 4
    return value


def test_a_step_against_constants_is_that_of_every_order_enumerated():
    buy, sell = PointMass(-0.5), PointMass(0.0)
    game = tiny_game(buy, sell)
    future = np.random.default_rng(0).normal(0, 0.03, (2, game.beyond.size))
    near = 1e-9
    epsilons = [-0.9, -0.5 - near, -0.5, 0.2, 1.0], [-0.3, -near, 0.0, near, 1.0]
    value, error = game.step(future)
    np.testing.assert_allclose(value, by_enumeration(game, future, buy, sell, epsilons), atol=1e-9)
    assert error == 0
    assert game.quotes.epsilon.shape == (9, 2)


def test_a_step_against_uniform_laws_is_within_its_error_of_a_fine_grid():
    buy, sell = Uniform(-0.6, 0.8), Mixture([PointMass(0.1), Uniform(-0.5, 0.5)], [1, 2])
    game = tiny_game(buy, sell, cells=4)
    # Neighbours differ by the ten-thousandth, so that the error is the grid's.
    future = np.random.default_rng(0).normal(0, 1e-4, (2, game.beyond.size)) - 0.01 * np.abs(game.beyond)
    epsilons = (
        [*np.linspace(-0.6, 0.8, 9), 1.0],
        [*np.linspace(-0.5, 0.5, 7), 0.1 - 1e-9, 0.1 + 1e-9, 1.0],
    )
    value, error = game.step(future)
    difference = by_enumeration(game, future, buy, sell, epsilons) - value
    assert 0 < error < 0.002
    assert difference.mean(0).max() <= error
    assert difference.max() > 1e-5, "a coarser grid misses something"
    # What the coarse grid finds, a fine one that contains it finds too, to its own error.
    finer, smaller = tiny_game(buy, sell, cells=20).step(future)
    assert smaller < error / 4
    assert (finer >= value - smaller).all()


def test_useful_quotes():
    quotes = Quotes.against(PointMass(-0.5), PointMass(-1.0), cells=8)
    # -1 cannot be undercut: there is nothing to earn at a tie either. What loses is written as 1.
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
    assert quotes.margin[undercut] == 0.25, "half of the orders, at 1 - 0.5"
    assert quotes.limit[undercut]
    assert quotes.chance[undercut].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(quotes.chance.sum(1), 1)


@pytest.mark.parametrize("weight", [0.3, 30.0])
def test_one_order_and_one_step_by_hand(weight):
    # Both sides won: (0.5 + 1) s / 2 and always a unit held; one side won: half of it; or no trade at all.
    found = penalised_optimum(scenario_of(SquarePenalty(weight=weight), count=1, horizon=1), **SMALL)
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
    ids=["total", "square", "fall"],
)
def test_without_a_penalty_it_is_theorem_1(reward):
    scenario = scenario_of(reward)
    found = penalised_optimum(scenario, **SMALL)
    assert found.value == pytest.approx(optimum(scenario).value, rel=1e-9)
    assert found.gain == pytest.approx(found.value, rel=1e-9)
    assert found.stationary_value == pytest.approx(found.value, rel=1e-9)
    assert found.errors.bound < 1e-12
    assert not found.attained
    middle = np.abs(found.curve.inventory) < 20
    np.testing.assert_array_equal(found.curve.win_buy[middle], 1)
    assert not found.curve.hedge.any()


def test_without_a_penalty_it_is_theorem_1_against_a_uniform():
    scenario = scenario_of(TotalPnL(), RandomQuoter(low=-1.0, high=1.0))
    found = penalised_optimum(scenario, cells=7, **SMALL)
    # With seven cells 0, the best, is half way between two quotes: the error is all used.
    exact = optimum(scenario).value
    assert found.value < exact
    assert found.value + found.errors.epsilon == pytest.approx(exact, rel=1e-6)
    assert found.attained


@pytest.mark.parametrize("penalty", [SquarePenalty, AsymmetricPenalty])
def test_more_aversion_earns_less_and_holds_less(penalty):
    found = [solved(weight, penalty) for weight in (0.1, 0.5, 1.0)]
    unpenalised = optimum(scenario_of(TotalPnL())).value
    for less, more in itertools.pairwise(found):
        assert unpenalised > less.value > more.value
        assert less.gain > more.gain
        assert less.inventory_std > more.inventory_std
    # The value is the largest of functions that fall linearly with the weight, so it is convex.
    assert found[1].value < found[0].value * 5 / 9 + found[2].value * 4 / 9


def test_skew():
    curve = solved().curve
    visited = curve.visits > 1e-4
    # Long, it quotes the buying side wider and hedges more; short, the selling side.
    assert (np.diff(curve.win_buy[visited]) <= 1e-12).all()
    assert (np.diff(curve.win_sell[visited]) >= -1e-12).all()
    assert curve.win_buy[visited][0] > curve.win_buy[visited][-1] + 0.3
    assert curve.epsilon_buy[visited][-1] > curve.epsilon_buy[visited][0]
    assert curve.hedge[curve.inventory == 0] == 0
    assert curve.hedge[curve.inventory == 4] > 0
    assert curve.visits.sum() == pytest.approx(1)


def test_a_symmetric_competitor_has_a_symmetric_answer():
    found = solved(competitor=PersistentQuoter(epsilon_buy=-0.3, epsilon_sell=-0.3))
    assert found.inventory_mean == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found.curve.win_buy, found.curve.win_sell[::-1], atol=1e-9)
    np.testing.assert_allclose(found.curve.hedge, found.curve.hedge[::-1], atol=1e-9)
    lopsided = solved()
    assert abs(lopsided.curve.win_buy - lopsided.curve.win_sell[::-1]).max() > 0.01


def test_dear_hedging_is_left_out_and_cheap_hedging_is_not():
    free, dear = (penalised_optimum(scenario_of(hedge_cost=cost), **SMALL) for cost in (0.0, 100.0))
    assert free.value > solved().value > dear.value
    volumes = [found.curve.visits @ found.curve.hedge for found in (free, solved(), dear)]
    assert volumes[0] > 2 * volumes[1]
    assert volumes[1] > 0.01
    assert volumes[2] < 1e-6


def test_finer_hedges_gain_no_more_than_stated():
    values = [solved(refinement=refinement, points=16) for refinement in (4, 8, 16)]
    gains = np.diff([found.value for found in values])
    assert (gains > 0).all()
    for found, gain in zip(values[1:], gains, strict=True):
        assert found.errors.hedge == pytest.approx(gain, rel=1e-9)
    # The last doubling's gain is more than the next and, halved every time, than all that follow.
    for found, gain in zip(values, gains, strict=False):
        assert gain < 0.5 * found.errors.hedge


def test_what_lies_beyond_the_grid_is_bounded():
    near, far = solved(weight=0.1, reach=8), solved(weight=0.1)
    assert near.errors.truncation > 1e-4
    assert near.value < far.value < near.value + near.errors.truncation
    assert far.errors.truncation < 1e-9


def test_more_books_agree_within_the_standard_error():
    other = solved(points=256)
    assert other.errors.book < solved().errors.book
    assert abs(other.value - solved().value) < 4 * np.hypot(other.errors.book, solved().errors.book)


REWARDS = {SquarePenalty: SquarePenalty(weight=0.35), AsymmetricPenalty: AsymmetricPenalty(weight=0.35)}


@eqx.filter_jit
def run(scenario, policy, key):
    """Each reward a step, averaged over the episode, and the inventory after every step; both by path."""

    def record(observation, memory, step):
        paid = [reward(None, step.transition, 0)[0] for reward in REWARDS.values()]
        return paid, step.transition.inventory[0]

    paid, inventory = episodes(scenario, policy, key, 4000, record)
    return [reward.mean(0) for reward in paid], inventory


def simulated(policy, seed):
    paid, inventory = run(as_arrays(scenario_of(TotalPnL())), as_arrays(policy), jax.random.key(seed))
    return dict(zip(REWARDS, np.asarray(paid, float), strict=True)), np.asarray(inventory, float)


@pytest.mark.parametrize("penalty", REWARDS)
def test_the_optimum_at_play_is_worth_what_it_says(penalty):
    found = solved(0.35, penalty)
    paid, inventory = simulated(found.policy, seed=1)
    mean, error = paid[penalty].mean(), paid[penalty].std(ddof=1) / np.sqrt(4000)
    assert error < 0.01 * mean
    assert abs(mean - found.stationary_value) < 4 * np.hypot(error, found.errors.book)
    # Of paths' mean squares; the mean itself is next to nothing.
    squares = np.square(inventory).mean(0)
    second = found.inventory_std**2 + found.inventory_mean**2
    assert abs(squares.mean() - second) < 4 * squares.std() / np.sqrt(4000)
    # Not looking at the time costs little, and the end of an episode only helps.
    assert 0.99 * found.value < found.stationary_value <= found.value
    assert found.gain < found.value


def test_a_fixed_maker_in_the_simulator():
    maker = PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=-0.1, hedge=0.0)
    paid, _ = simulated(maker, seed=0)
    for penalty, reward in REWARDS.items():
        error = paid[penalty].std(ddof=1) / np.sqrt(4000)
        assert abs(paid[penalty].mean() - penalised_value(scenario_of(reward), maker)) < 4 * error


def test_a_fixed_maker_by_hand():
    # One order a step, won: ±1 after one step; 0 or ±2, each half of the time, after two.
    maker = PersistentQuoter(epsilon_buy=-0.6, epsilon_sell=-0.2, hedge=0.0)
    price = GeometricBrownian(volatility=5.0)
    growth = np.exp(25 / 6552)
    spread = 50 * (0.4 + 0.8) * expected_costs(ReferenceBook(), [1.0]).mean()
    square = 100**2 * (growth - 1)
    scenario = scenario_of(SquarePenalty(weight=2.0), count=1, horizon=2, price=price)
    assert penalised_value(scenario, maker) == pytest.approx(spread - square * (1 + 2 * growth), rel=1e-6)
    # E min(ΔP, 0) = -P (2 Φ(s / 2) - 1), the same for falls and rises; E|z| is 1 after both steps.
    fall = 100 * jax.scipy.special.erf(5 / np.sqrt(6552) / 2 / np.sqrt(2))
    scenario = scenario_of(AsymmetricPenalty(weight=2.0), count=1, horizon=2, price=price)
    assert penalised_value(scenario, maker) == pytest.approx(spread - 2 * float(fall), rel=1e-5)


@pytest.mark.parametrize("penalty", [SquarePenalty, AsymmetricPenalty])
def test_no_fixed_maker_does_better(penalty):
    found, scenario = solved(1.0, penalty), scenario_of(penalty(weight=1.0))
    for buy, sell in itertools.product([-0.8, -0.500001, -0.5, 0.5], [-0.5, -1e-6, 0.0, 0.5]):
        maker = PersistentQuoter(epsilon_buy=buy, epsilon_sell=sell, hedge=0.0)
        assert penalised_value(scenario, maker) < found.value


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"reward": DeviationPenalty()},
            "no optimum over inventory is known for the reward DeviationPenalty",
        ),
        ({"price": Bachelier()}, "a geometric Brownian midprice without drift"),
        ({"price": GeometricBrownian(drift=0.1)}, "a geometric Brownian midprice without drift"),
        ({"competitor": RandomQuoter(symmetric=True)}, "makers that draw their sides apart"),
    ],
)
def test_what_it_does_not_cover_is_said(changes, reason):
    scenario = scenario_of(**changes)
    with pytest.raises(NotExact, match=f"{reason}$"):
        penalised_optimum(scenario, **SMALL)
    with pytest.raises(NotExact, match=f"{reason}$"):
        penalised_value(scenario, PersistentQuoter(hedge=0.0))


def test_other_flows_other_seats_and_hedging_are_not_covered():
    for flow in (Investors(count=4), UnitInvestors(count=4, informed=1)):
        with pytest.raises(NotExact, match=r"unit investors that are alike and have no foresight$"):
            penalised_optimum(Scenario(DealerMarket(flow=flow), (COMPETITOR,)))
    with pytest.raises(NotExact, match=r"one learner against one competitor$"):
        penalised_optimum(Scenario(DealerMarket(num_makers=3), (COMPETITOR, COMPETITOR)))
    with pytest.raises(NotExact, match=r"only for a maker that never hedges$"):
        penalised_value(scenario_of(), COMPETITOR)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reach": 3}, r"reach must be at least the orders of a step \(4\), but got 3"),
        ({"refinement": 3}, "refinement must be even and at least 2, but got 3"),
        ({"replicates": 1}, "replicates must be at least 2, but got 1"),
        ({"points": 3}, "points must be a power of two, but got 3"),
        ({"cells": 0}, "cells must be at least 1, but got 0"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        penalised_optimum(scenario_of(), **options)
