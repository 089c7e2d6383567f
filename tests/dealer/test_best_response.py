"""Exact best response: published values, closed forms, a fine grid, several competitors, invalid input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.distributions import distributions

from twosided.dealer.distributions import Empirical, Mixture, PointMass, Uniform
from twosided.dealer.exact.best_response import best_response, objective_value, total_pnl_supremum
from twosided.dealer.exact.spread_pnl import FixedMaker, expected_spread_pnl

MARKET = 94.0
"""Value of all orders at ε = 0 per step, in the units of the paper (x100)."""


def reference_objective(epsilon, quote, p, objective, cost=0.0):
    """h(ε) from its definition: the formula of Theorem 1, and E (1 + Y) 1{Y < ε} by component."""
    win = 1 - quote.cdf(epsilon) + p * (quote.cdf(epsilon) - quote.cdf_left(epsilon))
    own = (1 + epsilon - cost) * win
    if objective == "own":
        return own
    tied = quote.cdf(epsilon) - quote.cdf_left(epsilon)
    competitor = (1 + epsilon) * (1 - p) * tied
    for value, weight in zip(*quote.atoms, strict=True):
        competitor = competitor + weight * (1 + value) * (value < epsilon)
    for low, high, weight in zip(*quote.uniforms, strict=True):
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
def test_suprema_match_published_values(competitor, own, excess_there, excess, excess_at):
    own_response = best_response(competitor, tie_probability=0.5, tolerance=1e-9)
    excess_response = best_response(competitor, tie_probability=0.5, tolerance=1e-9, objective="excess")
    assert MARKET * own_response.supremum == pytest.approx(own, rel=1e-14)
    assert MARKET * excess_response.supremum == pytest.approx(excess, rel=1e-14)
    assert excess_response.maximizers == pytest.approx((excess_at,), rel=1e-14)
    at_theorem_1 = objective_value(own_response.epsilon, competitor, objective="excess", tie_probability=0.5)
    assert MARKET * at_theorem_1 == pytest.approx(excess_there, abs=2 * MARKET * 1e-9)
    assert own_response.attained == excess_response.attained == isinstance(competitor, Uniform)

    maker = FixedMaker(buy=competitor, sell=competitor)
    assert 100 * total_pnl_supremum([maker], 0.47).value == pytest.approx(own, rel=1e-14)
    assert 100 * total_pnl_supremum([maker], 0.47, objective="excess").value == pytest.approx(
        excess, rel=1e-14
    )


@given(low=st.floats(-1, 0.99), width=st.floats(1e-3, 2))
def test_best_response_to_uniform_matches_theorem_1(low, width):
    high = low + width
    response = best_response(Uniform(low, high), high=high)
    optimum = max(low, (high - 1) / 2)
    assert response.attained
    assert response.epsilon == pytest.approx(optimum, abs=1e-12)
    assert response.supremum == pytest.approx((1 + optimum) * (high - optimum) / (high - low), rel=1e-12)


@pytest.mark.parametrize("value", [-0.5, 0.0, 0.3])
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_best_response_to_constant_undercuts_it(value, p):
    response = best_response(PointMass(value), tie_probability=p, tolerance=1e-4)
    assert response.supremum == 1 + value
    assert response.maximizers == (value,)
    assert response.attained == (p == 1)
    assert objective_value(response.epsilon, PointMass(value), tie_probability=p) >= 1 + value - 1e-4
    assert response.epsilon == value if p == 1 else value - 1e-4 <= response.epsilon < value


def test_best_response_to_mixture_selects_the_atom_to_undercut():
    # The competitor quotes 0.8 with probability 1/2: undercutting 0.8 earns 0.9, undercutting -0.3 earns 0.7.
    response = best_response(Mixture([PointMass(-0.3), PointMass(0.8)], [1, 1]))
    assert (response.supremum, response.maximizers) == (0.9, (0.8,))
    # With equal values both maximizers are returned, and with p = 1 a tie attains the supremum.
    both = Mixture([PointMass(-0.5), PointMass(0.0)], [1, 1])
    assert best_response(both).maximizers == (-0.5, 0.0)
    assert best_response(both, tie_probability=1.0).epsilon == -0.5


def test_best_response_to_quote_of_minus_1_earns_0():
    # Against a competitor at -1 every ε earns 0, which is attained.
    response = best_response(PointMass(-1.0))
    assert (response.supremum, response.attained) == (0.0, True)


def test_range_of_epsilon_binds():
    wide = Uniform(-1.0, 1.0)
    below = best_response(wide, high=-0.2)
    assert (below.epsilon, below.attained) == (-0.2, True)
    assert below.supremum == pytest.approx(0.8 * 0.6, rel=1e-14)
    above = best_response(wide, low=0.3)
    assert (above.epsilon, above.attained) == (0.3, True)
    # An atom at the lower end of the range cannot be undercut.
    tied = best_response(PointMass(0.0), low=0.0)
    assert (tied.supremum, tied.epsilon, tied.attained) == (0.5, 0.0, True)
    # If a win makes a loss, the supremum may be a limit from above an atom.
    shunned = best_response(PointMass(-1.5), low=-1.5, high=-1.2, objective="excess", tolerance=1e-6)
    assert (shunned.supremum, shunned.attained) == (0.5, True)
    unwilling = best_response(PointMass(-1.5), low=-1.6, high=-1.4)
    assert (unwilling.supremum, unwilling.attained) == (0.0, True)


COSTS = st.sampled_from([0.0, 0.0, 0.4, 1.7, 5.0])


@given(
    quote=distributions(),
    p=st.sampled_from([0.0, 0.5, 1.0]),
    objective=st.sampled_from(["own", "excess"]),
    cost=COSTS,
)
@settings(deadline=None)
def test_supremum_matches_fine_grid(quote, p, objective, cost):
    delta = 1e-7
    response = best_response(quote, tie_probability=p, objective=objective, cost=cost, tolerance=delta)
    spacing, undercut = 1e-4, 1e-9
    grid = np.concatenate([np.linspace(-1, 1, 20_001), quote.breakpoints, quote.breakpoints - undercut])
    grid = grid[(grid >= -1) & (grid <= 1)]
    values = reference_objective(grid, quote, p, objective, cost)
    actual = objective_value(grid, quote, tie_probability=p, objective=objective, cost=cost)
    np.testing.assert_allclose(actual, values, atol=1e-13)
    # No grid point exceeds the supremum. The grid contains every breakpoint and a point just left of it, so it comes
    # close: |h'| <= 1 + 2 (2 + c) density, and an interior maximum is within half a spacing of the grid.
    steepest = 1 + 2 * (2 + cost) * (quote.uniforms[2] / (quote.uniforms[1] - quote.uniforms[0])).sum()
    assert values.max() <= response.supremum + 1e-12
    assert values.max() >= response.supremum - steepest * spacing / 2 - steepest * undercut

    attained_value = reference_objective(np.array(response.epsilon), quote, p, objective, cost)
    assert attained_value >= response.supremum - (1e-12 if response.attained else delta)
    assert response.attained or attained_value < response.supremum


@given(
    quote=distributions(),
    epsilon=st.floats(-1, 1),
    p=st.floats(0, 1),
    objective=st.sampled_from(["own", "excess"]),
    cost=COSTS,
)
@settings(deadline=None)
def test_no_epsilon_exceeds_the_supremum(quote, epsilon, p, objective, cost):
    response = best_response(quote, tie_probability=p, objective=objective, cost=cost)
    assert reference_objective(np.array(epsilon), quote, p, objective, cost) <= response.supremum + 1e-12


@pytest.mark.parametrize("cost", [0.0, 0.5, 1.5, 2.0, 4.0])
def test_epsilon_increases_with_cost(cost):
    # (1 + ε - c)(1 - ε) / 2 is largest at ε = c / 2 for c <= 2; for larger c the maker loses every order at ε = 1.
    response = best_response(Uniform(-1.0, 1.0), cost=cost)
    assert response.epsilon == pytest.approx(min(cost / 2, 1.0), abs=1e-12)
    assert response.supremum == pytest.approx(max(1 - cost / 2, 0.0) ** 2 / 2, abs=1e-12)
    # Without competitors a maker wins every order; against a competitor at ε = 1 it can at best tie.
    assert best_response([], cost=cost).supremum == 2 - cost
    assert best_response(PointMass(1.0), cost=cost).supremum == max(2 - cost, (2 - cost) / 2)


def test_best_response_to_empirical_distribution():
    samples = np.random.default_rng(0).normal(-0.2, 0.3, 20_000).round(2)
    quote = Empirical(samples)
    response = best_response(quote)
    values = np.unique(samples[np.abs(samples) <= 1])
    undercut = [(1 + value) * (samples >= value).mean() for value in values]
    assert response.supremum == pytest.approx(max(undercut), rel=1e-12)
    assert response.maximizers == pytest.approx((values[np.argmax(undercut)],))
    assert not response.attained
    # A large sample of a uniform has nearly the best response to the uniform, within the error of the cdf.
    many = best_response(Empirical(np.random.default_rng(1).uniform(-1, 1, 100_000)))
    assert many.supremum == pytest.approx(0.5, abs=2 * 1.95 / np.sqrt(100_000))


@pytest.mark.parametrize("num_competitors", [1, 2, 3, 8])
def test_best_response_to_several_uniform_competitors(num_competitors):
    # (1 + ε)((1 - ε) / 2)^n is largest where 1 - ε = n (1 + ε).
    response = best_response([Uniform(-1.0, 1.0)] * num_competitors)
    optimum = (1 - num_competitors) / (1 + num_competitors)
    assert response.epsilon == pytest.approx(optimum, abs=1e-12)
    assert response.supremum == pytest.approx(
        (1 + optimum) * ((1 - optimum) / 2) ** num_competitors, rel=1e-12
    )


@given(
    competitors=st.lists(distributions(), min_size=1, max_size=3),
    objective=st.sampled_from(["own", "excess"]),
)
@settings(deadline=None, max_examples=50)
def test_best_response_to_several_competitors(competitors, objective):
    # Spread PnL of the maker and its competitors from `expected_spread_pnl`.
    response = best_response(competitors, objective=objective, tolerance=1e-6)
    kinks = np.unique(np.concatenate([quote.breakpoints for quote in competitors]))
    grid = np.concatenate([np.linspace(-1, 1, 41), kinks, kinks - 1e-9, [response.epsilon]])
    grid = grid[(grid >= -1) & (grid <= 1)]
    values = []
    for epsilon in grid:
        quotes = [PointMass(epsilon), *competitors]
        pnl = expected_spread_pnl([FixedMaker(buy=quote, sell=quote) for quote in quotes], 0.5)
        values.append(pnl[0] - (pnl[1:].mean() if objective == "excess" else 0.0))
    np.testing.assert_allclose(objective_value(grid, competitors, objective=objective), values, atol=1e-12)
    assert max(values) <= response.supremum + 1e-12
    assert values[-1] >= response.supremum - (1e-12 if response.attained else 1e-6)


def test_supremum_without_competitors_and_with_different_sides():
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
def test_invalid_parameters_are_rejected(unchecked_types, options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        best_response(Uniform(-1.0, 1.0), **options)


def test_tie_probability_with_several_competitors_is_rejected():
    with pytest.raises(
        ValueError,
        match=r"^tie_probability must be None unless there is exactly one competitor, but got 0.5$",
    ):
        best_response([PointMass(0.0), PointMass(0.1)], tie_probability=0.5)
