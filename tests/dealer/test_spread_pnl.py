"""Spread PnL and market share of fixed makers: by hand, by enumeration, by simulation; conservation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.laws import laws, same

from twosided.dealer.distributions import Empirical, Mixture, PointMass, Uniform
from twosided.dealer.exact.spread_pnl import FixedMaker, expected_spread_pnl, market_share, tie_law, win_law

WIDE, NARROW, ZERO = Uniform(-1.0, 1.0), Uniform(-0.5, 0.5), PointMass(0.0)


def test_pairs_by_hand():
    # A constant 0 wins half the time against Uniform[-1, 1], which earns E (1 + Y) 1{Y < 0} = 1/4.
    np.testing.assert_allclose(expected_spread_pnl([same(ZERO), same(WIDE)], 0.5), [0.5, 0.25], rtol=1e-14)
    # Two alike share E (1 + min): the smaller of two on [-1, 1] is -1/3 in the mean.
    np.testing.assert_allclose(expected_spread_pnl([same(WIDE), same(WIDE)], 0.5), [1 / 3, 1 / 3], rtol=1e-14)
    # Sides apart: one wins all buys at 1 - 0.5, the other all sells at 1.
    makers = [FixedMaker(buy=PointMass(-0.5), sell=PointMass(0.5)), same(ZERO)]
    np.testing.assert_allclose(expected_spread_pnl(makers, 2.0), [1.0, 2.0], rtol=1e-14)
    np.testing.assert_allclose(market_share(makers), [0.5, 0.5], rtol=1e-14)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_ties_are_fair(count):
    makers = [same(PointMass(-0.25))] * count
    np.testing.assert_allclose(market_share(makers), 1 / count, rtol=1e-14)
    np.testing.assert_allclose(expected_spread_pnl(makers, 0.47), 2 * 0.47 * 0.75 / count, rtol=1e-14)


def test_discrete_laws_by_enumeration():
    rng = np.random.default_rng(0)
    quotes = [Empirical(rng.integers(-3, 3, 6) / 4) for _ in range(4)]
    best, margin = np.zeros((4, 4)), np.zeros((4, 4))
    for draw in itertools.product(*(list(zip(*law.atoms, strict=True)) for law in quotes)):
        epsilon, chance = np.array([value for value, _ in draw]), np.prod([weight for _, weight in draw])
        winners = np.flatnonzero(epsilon == epsilon.min())
        best[winners, winners.size - 1] += chance
        margin[winners, winners.size - 1] += chance * (1 + epsilon.min())
    for seat in range(4):
        np.testing.assert_allclose(win_law(quotes, seat), (best[seat], margin[seat]), atol=1e-14)


@given(st.lists(laws(), min_size=1, max_size=4))
@settings(deadline=None)
def test_all_that_is_traded_is_won_once(quotes):
    makers = [same(law) for law in quotes]
    assert market_share(makers).sum() == pytest.approx(1.0, abs=1e-12)
    # Together they earn E (1 + min) = ∫_{-1}^{1} P[min > y] dy on each side; all laws are on [-1, 1].
    cuts = np.unique(np.concatenate([[-1.0, 1.0], *(law.breakpoints for law in quotes)]))
    total = 0.0
    for low, high in itertools.pairwise(cuts):
        y = np.linspace(low, high, 1001)[:-1] + (high - low) / 2000
        total += np.prod([law.survival(y) for law in quotes], axis=0).mean() * (high - low)
    # The midpoint rule's error is below (2/1000)² times the second derivative over 24.
    slopes = sum(law.density((cuts[1:] + cuts[:-1]) / 2).max() for law in quotes)
    assert expected_spread_pnl(makers, 0.5).sum() == pytest.approx(total, abs=1e-12 + 4e-7 * slopes**2)


def test_against_simulation():
    rng = np.random.default_rng(1)
    quotes = [WIDE, Mixture([ZERO, NARROW], [1, 2]), Mixture([ZERO, PointMass(-0.5)], [3, 1])]
    draws, orders = 200_000, 5
    epsilon = np.stack([law.sample(rng, draws) for law in quotes])
    best = epsilon == epsilon.min(0)
    lots = rng.random((orders, *best.shape)) * best
    won = (lots == lots.max(1, keepdims=True)).mean(0)
    sample = np.stack([won, won * (1 + epsilon)])
    exact = np.stack([np.stack(win_law(quotes, seat)) @ [1, 1 / 2, 1 / 3] for seat in range(3)], axis=1)
    standard_error = sample.std(-1) / np.sqrt(draws)
    # Six numbers, fixed seed: 4 standard errors are exceeded once in 2,600 seeds.
    np.testing.assert_array_less(np.abs(sample.mean(-1) - exact), 4 * standard_error)


def test_tie_law_of_no_rivals():
    np.testing.assert_array_equal(tie_law([0.0, 1.0], []), [[1.0], [1.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: FixedMaker(buy=ZERO, sell=ZERO, hedge=PointMass(1.5)),
            r"hedge must be a law on \[0, 1\], .*",
        ),
        (lambda: expected_spread_pnl([], 1.0), "makers must be one or more, but got 0"),
        (lambda: market_share([]), "makers must be one or more, but got 0"),
        (
            lambda: expected_spread_pnl([same(ZERO)], -1.0),
            "value_per_side must be at least 0 and finite, but got -1.0",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()
