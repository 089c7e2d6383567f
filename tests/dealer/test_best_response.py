"""The exact best response: published numbers, closed forms, a fine grid, several competitors, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.laws import laws

from twosided.dealer.distributions import Empirical, Mixture, PointMass, Uniform
from twosided.dealer.exact.best_response import best_response, payoff, total_pnl_supremum
from twosided.dealer.exact.spread_pnl import FixedMaker, expected_spread_pnl

MARKET = 94.0
"""What a market at ε = 0 is worth a step, in the paper's units (x100)."""


def independent_payoff(epsilon, law, p, objective, cost=0.0):
    """h straight from the definitions: the theorem's formula, and E (1 + Y) 1{Y < ε} part by part."""
    win = 1 - law.cdf(epsilon) + p * (law.cdf(epsilon) - law.cdf_left(epsilon))
    own = (1 + epsilon - cost) * win
    if objective == "own":
        return own
    tied = law.cdf(epsilon) - law.cdf_left(epsilon)
    competitor = (1 + epsilon) * (1 - p) * tied
    for value, weight in zip(*law.atoms, strict=True):
        competitor = competitor + weight * (1 + value) * (value < epsilon)
    for low, high, weight in zip(*law.uniforms, strict=True):
        top = np.clip(epsilon, low, high)
        competitor = competitor + weight * ((1 + top) ** 2 - (1 + low) ** 2) / (2 * (high - low))
    return own - (competitor - cost * (1 - win))


@pytest.mark.parametrize(
    ("competitor", "own", "excess_there", "excess", "excess_at"),
    [
        (PointMass(0.0), 94.0, 94.0, 94.0, 0.0),
        (PointMass(-0.5), 47.0, 47.0, 47.0, -0.5),
        (Uniform(-0.5, 0.5), 52.875, 38.1875, 47.0, -0.5),
        (Uniform(-1.0, 1.0), 47.0, 23.5, 94 / 3, -1 / 3),
    ],
    ids=["PersistentQuoter(0)", "PersistentQuoter(-0.5)", "Unif[-0.5,0.5]", "Unif[-1,1]"],
)
def test_published_suprema(competitor, own, excess_there, excess, excess_at):
    mine = best_response(competitor, tie_probability=0.5, tolerance=1e-9)
    theirs = best_response(competitor, tie_probability=0.5, tolerance=1e-9, objective="excess")
    assert MARKET * mine.supremum == pytest.approx(own, rel=1e-14)
    assert MARKET * theirs.supremum == pytest.approx(excess, rel=1e-14)
    assert theirs.points == pytest.approx((excess_at,), rel=1e-14)
    at_theorem_1 = payoff(mine.epsilon, competitor, objective="excess", tie_probability=0.5)
    assert MARKET * at_theorem_1 == pytest.approx(excess_there, abs=2 * MARKET * 1e-9)
    assert mine.attained == theirs.attained == isinstance(competitor, Uniform)

    maker = FixedMaker(buy=competitor, sell=competitor)
    assert 100 * total_pnl_supremum([maker], 0.47).value == pytest.approx(own, rel=1e-14)
    assert 100 * total_pnl_supremum([maker], 0.47, objective="excess").value == pytest.approx(
        excess, rel=1e-14
    )


@given(low=st.floats(-1, 0.99), width=st.floats(1e-3, 2))
def test_theorem_1_against_a_uniform(low, width):
    high = low + width
    response = best_response(Uniform(low, high), high=high)
    optimum = max(low, (high - 1) / 2)
    assert response.attained
    assert response.epsilon == pytest.approx(optimum, abs=1e-12)
    assert response.supremum == pytest.approx((1 + optimum) * (high - optimum) / (high - low), rel=1e-12)


@pytest.mark.parametrize("value", [-0.5, 0.0, 0.3])
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_undercutting_a_constant(value, p):
    response = best_response(PointMass(value), tie_probability=p, tolerance=1e-4)
    assert response.supremum == 1 + value
    assert response.points == (value,)
    assert response.attained == (p == 1)
    assert payoff(response.epsilon, PointMass(value), tie_probability=p) >= 1 + value - 1e-4
    assert response.epsilon == value if p == 1 else value - 1e-4 <= response.epsilon < value


def test_undercutting_is_not_always_best():
    # Half the time the competitor is at 0.8: to undercut that (0.9) beats undercutting -0.3 (0.7).
    response = best_response(Mixture([PointMass(-0.3), PointMass(0.8)], [1, 1]))
    assert (response.supremum, response.points) == (0.9, (0.8,))
    # Equal: both points are given, and a tie that is won (p = 1) attains.
    both = Mixture([PointMass(-0.5), PointMass(0.0)], [1, 1])
    assert best_response(both).points == (-0.5, 0.0)
    assert best_response(both, tie_probability=1.0).epsilon == -0.5


def test_nothing_to_win():
    # A competitor at -1 leaves nothing: every epsilon earns 0, which is attained.
    response = best_response(PointMass(-1.0))
    assert (response.supremum, response.attained) == (0.0, True)


def test_the_range_binds():
    wide = Uniform(-1.0, 1.0)
    below = best_response(wide, high=-0.2)
    assert (below.epsilon, below.attained) == (-0.2, True)
    assert below.supremum == pytest.approx(0.8 * 0.6, rel=1e-14)
    above = best_response(wide, low=0.3)
    assert (above.epsilon, above.attained) == (0.3, True)
    # At the lower end of the range, an atom there cannot be undercut.
    tied = best_response(PointMass(0.0), low=0.0)
    assert (tied.supremum, tied.epsilon, tied.attained) == (0.5, 0.0, True)
    # Where a win loses money, the supremum is approached from above an atom.
    shunned = best_response(PointMass(-1.5), low=-1.5, high=-1.2, objective="excess", tolerance=1e-6)
    assert (shunned.supremum, shunned.attained) == (0.5, True)
    unwilling = best_response(PointMass(-1.5), low=-1.6, high=-1.4)
    assert (unwilling.supremum, unwilling.attained) == (0.0, True)


COSTS = st.sampled_from([0.0, 0.0, 0.4, 1.7, 5.0])


@given(
    law=laws(), p=st.sampled_from([0.0, 0.5, 1.0]), objective=st.sampled_from(["own", "excess"]), cost=COSTS
)
@settings(deadline=None)
def test_against_a_fine_grid(law, p, objective, cost):
    delta = 1e-7
    response = best_response(law, tie_probability=p, objective=objective, cost=cost, tolerance=delta)
    spacing, undercut = 1e-4, 1e-9
    grid = np.concatenate([np.linspace(-1, 1, 20_001), law.breakpoints, law.breakpoints - undercut])
    grid = grid[(grid >= -1) & (grid <= 1)]
    values = independent_payoff(grid, law, p, objective, cost)
    actual = payoff(grid, law, tie_probability=p, objective=objective, cost=cost)
    np.testing.assert_allclose(actual, values, atol=1e-13)
    # No point beats it, and the grid, which has every breakpoint and what is just left of it, comes near:
    # |h'| <= 1 + 2 (2 + c) density, and a maximum inside an interval is within half a spacing of the grid.
    steepest = 1 + 2 * (2 + cost) * (law.uniforms[2] / (law.uniforms[1] - law.uniforms[0])).sum()
    assert values.max() <= response.supremum + 1e-12
    assert values.max() >= response.supremum - steepest * spacing / 2 - steepest * undercut

    there = independent_payoff(np.array(response.epsilon), law, p, objective, cost)
    assert there >= response.supremum - (1e-12 if response.attained else delta)
    assert response.attained or there < response.supremum


@given(
    law=laws(),
    epsilon=st.floats(-1, 1),
    p=st.floats(0, 1),
    objective=st.sampled_from(["own", "excess"]),
    cost=COSTS,
)
@settings(deadline=None)
def test_supremum_is_never_exceeded(law, epsilon, p, objective, cost):
    response = best_response(law, tie_probability=p, objective=objective, cost=cost)
    assert independent_payoff(np.array(epsilon), law, p, objective, cost) <= response.supremum + 1e-12


@pytest.mark.parametrize("cost", [0.0, 0.5, 1.5, 2.0, 4.0])
def test_orders_that_cost_are_quoted_wider(cost):
    # (1 + ε - c)(1 - ε) / 2 is largest at ε = c / 2, until that is no quote that can win.
    response = best_response(Uniform(-1.0, 1.0), cost=cost)
    assert response.epsilon == pytest.approx(min(cost / 2, 1.0), abs=1e-12)
    assert response.supremum == pytest.approx(max(1 - cost / 2, 0.0) ** 2 / 2, abs=1e-12)
    # Alone, a maker cannot lose an order on purpose, and against a wide one it loses what it can.
    assert best_response([], cost=cost).supremum == 2 - cost
    assert best_response(PointMass(1.0), cost=cost).supremum == max(2 - cost, (2 - cost) / 2)


def test_empirical_quotes():
    samples = np.random.default_rng(0).normal(-0.2, 0.3, 20_000).round(2)
    law = Empirical(samples)
    response = best_response(law)
    values = np.unique(samples[np.abs(samples) <= 1])
    undercut = [(1 + value) * (samples >= value).mean() for value in values]
    assert response.supremum == pytest.approx(max(undercut), rel=1e-12)
    assert response.points == pytest.approx((values[np.argmax(undercut)],))
    assert not response.attained
    # Many samples of a uniform law lead to its own best response, as closely as the cdf's error allows.
    many = best_response(Empirical(np.random.default_rng(1).uniform(-1, 1, 100_000)))
    assert many.supremum == pytest.approx(0.5, abs=2 * 1.95 / np.sqrt(100_000))


@pytest.mark.parametrize("rivals", [1, 2, 3, 8])
def test_several_uniform_competitors(rivals):
    # (1 + ε)((1 - ε) / 2)^n is largest where 1 - ε = n (1 + ε).
    response = best_response([Uniform(-1.0, 1.0)] * rivals)
    optimum = (1 - rivals) / (1 + rivals)
    assert response.epsilon == pytest.approx(optimum, abs=1e-12)
    assert response.supremum == pytest.approx((1 + optimum) * ((1 - optimum) / 2) ** rivals, rel=1e-12)


@given(rivals=st.lists(laws(), min_size=1, max_size=3), objective=st.sampled_from(["own", "excess"]))
@settings(deadline=None, max_examples=50)
def test_several_competitors(rivals, objective):
    # The maker's PnL and its competitors' from their own closed form, in which every maker has a law.
    response = best_response(rivals, objective=objective, tolerance=1e-6)
    kinks = np.unique(np.concatenate([law.breakpoints for law in rivals]))
    grid = np.concatenate([np.linspace(-1, 1, 41), kinks, kinks - 1e-9, [response.epsilon]])
    grid = grid[(grid >= -1) & (grid <= 1)]
    values = []
    for epsilon in grid:
        quotes = [PointMass(epsilon), *rivals]
        pnl = expected_spread_pnl([FixedMaker(buy=law, sell=law) for law in quotes], 0.5)
        values.append(pnl[0] - (pnl[1:].mean() if objective == "excess" else 0.0))
    np.testing.assert_allclose(payoff(grid, rivals, objective=objective), values, atol=1e-12)
    assert max(values) <= response.supremum + 1e-12
    assert values[-1] >= response.supremum - (1e-12 if response.attained else 1e-6)


def test_no_competitor_and_sides_apart():
    assert best_response([]).supremum == 2.0
    maker = FixedMaker(buy=PointMass(-0.5), sell=Uniform(-1.0, 1.0))
    optimum = total_pnl_supremum([maker], 2.0)
    assert optimum.value == pytest.approx(2.0, rel=1e-14)
    assert (optimum.buy.attained, optimum.sell.attained, optimum.sell.epsilon) == (False, True, 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tie_probability": 1.5}, r"tie_probability must be in \[0, 1\], but got 1.5"),
        ({"objective": "best"}, "objective must be 'own' or 'excess', but got 'best'"),
        ({"tolerance": 0.0}, "tolerance must be finite and at least 1e-12, but got 0.0"),
        ({"low": 0.5, "high": 0.5}, r"high must be finite and above low \(0.5\), but got 0.5"),
        ({"low": np.nan}, "low must be finite, but got nan"),
        ({"cost": -0.1}, "cost must be at least 0 and finite, but got -0.1"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        best_response(Uniform(-1.0, 1.0), **options)


def test_a_tie_probability_needs_one_competitor():
    with pytest.raises(ValueError, match=r"^tie_probability must be None .*, but got 0.5$"):
        best_response([PointMass(0.0), PointMass(0.1)], tie_probability=0.5)
