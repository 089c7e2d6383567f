"""Spread PnL and market share of makers with fixed distributions: by hand, enumeration and simulation; conservation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.distributions import distributions, symmetric_maker

from twosided.dealer.distributions import Empirical, Mixture, PointMass, Uniform
from twosided.dealer.exact.spread_pnl import (
    FixedMaker,
    expected_spread_pnl,
    market_share,
    tie_count_distribution,
    win_distribution,
)

WIDE, NARROW, ZERO = Uniform(-1.0, 1.0), Uniform(-0.5, 0.5), PointMass(0.0)


def test_two_makers_match_hand_computed_values():
    # A constant 0 wins with probability 1/2 against Uniform[-1, 1], which earns E (1 + Y) 1{Y < 0} = 1/4.
    np.testing.assert_allclose(
        expected_spread_pnl([symmetric_maker(ZERO), symmetric_maker(WIDE)], 0.5), [0.5, 0.25], rtol=1e-14
    )
    # Two equal makers share E (1 + min), and the smaller of two uniforms on [-1, 1] has mean -1/3.
    np.testing.assert_allclose(
        expected_spread_pnl([symmetric_maker(WIDE), symmetric_maker(WIDE)], 0.5), [1 / 3, 1 / 3], rtol=1e-14
    )
    # Different sides: one maker wins all orders at 1 - 0.5 on the buy side, the other all at 1 on the sell side.
    makers = [FixedMaker(buy=PointMass(-0.5), sell=PointMass(0.5)), symmetric_maker(ZERO)]
    np.testing.assert_allclose(expected_spread_pnl(makers, 2.0), [1.0, 2.0], rtol=1e-14)
    np.testing.assert_allclose(market_share(makers), [0.5, 0.5], rtol=1e-14)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_tied_makers_share_equally(count):
    makers = [symmetric_maker(PointMass(-0.25))] * count
    np.testing.assert_allclose(market_share(makers), 1 / count, rtol=1e-14)
    np.testing.assert_allclose(expected_spread_pnl(makers, 0.47), 2 * 0.47 * 0.75 / count, rtol=1e-14)


def test_win_distribution_matches_enumeration():
    rng = np.random.default_rng(0)
    quotes = [Empirical(rng.integers(-3, 3, 6) / 4) for _ in range(4)]
    best, margin = np.zeros((4, 4)), np.zeros((4, 4))
    for draw in itertools.product(*(list(zip(*quote.atoms, strict=True)) for quote in quotes)):
        epsilon, probability = np.array([value for value, _ in draw]), np.prod([weight for _, weight in draw])
        winners = np.flatnonzero(epsilon == epsilon.min())
        best[winners, winners.size - 1] += probability
        margin[winners, winners.size - 1] += probability * (1 + epsilon.min())
    for seat in range(4):
        np.testing.assert_allclose(win_distribution(quotes, seat), (best[seat], margin[seat]), atol=1e-14)


@given(st.lists(distributions(), min_size=1, max_size=4))
@settings(deadline=None)
def test_shares_sum_to_1_and_spread_pnl_to_that_of_best_quote(quotes):
    makers = [symmetric_maker(quote) for quote in quotes]
    assert market_share(makers).sum() == pytest.approx(1.0, abs=1e-12)
    # The total on each side is E (1 + min) = ∫_{-1}^{1} P[min > y] dy for distributions on [-1, 1].
    cuts = np.unique(np.concatenate([[-1.0, 1.0], *(quote.breakpoints for quote in quotes)]))
    total = 0.0
    for low, high in itertools.pairwise(cuts):
        y = np.linspace(low, high, 1001)[:-1] + (high - low) / 2000
        total += np.prod([quote.survival(y) for quote in quotes], axis=0).mean() * (high - low)
    # The error of the midpoint rule is below (2/1000)² times the second derivative over 24.
    slopes = sum(quote.density((cuts[1:] + cuts[:-1]) / 2).max() for quote in quotes)
    assert expected_spread_pnl(makers, 0.5).sum() == pytest.approx(total, abs=1e-12 + 4e-7 * slopes**2)


def test_win_distribution_matches_simulation():
    rng = np.random.default_rng(1)
    quotes = [WIDE, Mixture([ZERO, NARROW], [1, 2]), Mixture([ZERO, PointMass(-0.5)], [3, 1])]
    draws, orders = 200_000, 5
    epsilon = np.stack([quote.sample(rng, draws) for quote in quotes])
    best = epsilon == epsilon.min(0)
    tie_breaks = rng.random((orders, *best.shape)) * best
    won = (tie_breaks == tie_breaks.max(1, keepdims=True)).mean(0)
    sample = np.stack([won, won * (1 + epsilon)])
    exact = np.stack(
        [np.stack(win_distribution(quotes, seat)) @ [1, 1 / 2, 1 / 3] for seat in range(3)], axis=1
    )
    standard_error = sample.std(-1) / np.sqrt(draws)
    # Six numbers at a fixed seed: one of 2,600 seeds exceeds 4 standard errors.
    np.testing.assert_array_less(np.abs(sample.mean(-1) - exact), 4 * standard_error)


def test_tie_count_without_competitors_is_0():
    np.testing.assert_array_equal(tie_count_distribution([0.0, 1.0], []), [[1.0], [1.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: FixedMaker(buy=ZERO, sell=ZERO, hedge=PointMass(1.5)),
            r"hedge must be a distribution on \[0, 1\], .*",
        ),
        (lambda: expected_spread_pnl([], 1.0), "makers must be one or more, but got 0"),
        (lambda: market_share([]), "makers must be one or more, but got 0"),
        (
            lambda: expected_spread_pnl([symmetric_maker(ZERO)], -1.0),
            "value_per_side must be at least 0 and finite, but got -1.0",
        ),
    ],
)
def test_invalid_parameters_are_rejected(call, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()
