"""Expected hedge cost: net flow, bounds against enumeration and simulation, cost curves of random books."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twosided.dealer.distributions import Empirical, Mixture, PointMass, Uniform
from twosided.dealer.exact import hedge_cost
from twosided.dealer.exact.cost_curve import CostCurve, expected_costs
from twosided.dealer.exact.hedge_cost import expected_hedge_cost, net_flow_distribution
from twosided.dealer.exact.spread_pnl import FixedMaker
from twosided.dealer.reference_book import ReferenceBook

pytestmark = pytest.mark.extended

ZERO, WIDE = PointMass(0.0), Uniform(-1.0, 1.0)


def kinked(v):
    """Marginal prices 1, 2 and 3 with steps at 1/2 and 1, like a book of three levels."""
    return v + np.maximum(v - 0.5, 0.0) + np.maximum(v - 1.0, 0.0)


KINKED = CostCurve(sizes=np.arange(129) / 64, costs=kinked(np.arange(129) / 64), slopes=(1.0, 3.0))


def enumerated_costs(flow, hedge, steps, cost):
    """E C(|x z|) of every step, by enumeration of all paths; the distribution of x has atoms only."""
    distribution, expected = {0.0: 1.0}, []
    net = np.arange(flow.size) - flow.size // 2
    for _ in range(steps):
        expected.append(
            sum(
                probability * q * cost(abs(x * z))
                for z, probability in distribution.items()
                for x, q in zip(*hedge.atoms, strict=True)
            )
        )
        after = {}
        for (z, probability), (x, q), (w, f) in itertools.product(
            distribution.items(), zip(*hedge.atoms, strict=True), zip(net, flow, strict=True)
        ):
            after[(1 - x) * z + w] = after.get((1 - x) * z + w, 0.0) + probability * q * f
        distribution = after
    return np.array(expected)


def test_net_flow_matches_enumeration():
    # Three makers and three investors: all quotes, sides and outcomes of ties.
    rng = np.random.default_rng(0)
    makers = [
        FixedMaker(buy=Empirical(rng.integers(0, 2, 3) / 2), sell=Empirical(rng.integers(0, 3, 3) / 2))
        for _ in "abc"
    ]
    for seat, arrival in ((0, 1.0), (2, 0.75)):
        expected = np.zeros(7)
        buys = itertools.product(*(zip(*maker.buy.atoms, strict=True) for maker in makers))
        sells = itertools.product(*(zip(*maker.sell.atoms, strict=True) for maker in makers))
        for buy, sell in itertools.product(buys, sells):
            shares = []
            for side in (buy, sell):
                quotes = np.array([value for value, _ in side])
                shares.append((quotes[seat] == quotes.min()) / (quotes == quotes.min()).sum())
            probability = np.prod([weight for _, weight in (*buy, *sell)])
            order = {1: arrival * shares[0] / 2, -1: arrival * shares[1] / 2}
            order[0] = 1 - order[1] - order[-1]
            for each in itertools.product((-1, 0, 1), repeat=3):
                expected[sum(each) + 3] += probability * np.prod([order[one] for one in each])
        distribution = net_flow_distribution(makers, seat, investors=3, arrival_probability=arrival)
        np.testing.assert_allclose(distribution, expected, atol=1e-14)


def test_net_flow_of_single_maker_is_binomial():
    distribution = net_flow_distribution([FixedMaker(buy=ZERO, sell=ZERO)], 0, investors=20)
    net = np.arange(-20, 21)
    assert distribution.sum() == pytest.approx(1.0, abs=1e-14)
    assert distribution @ net == pytest.approx(0.0, abs=1e-13)
    assert distribution @ net**2 == pytest.approx(20.0, rel=1e-13)
    assert distribution[1::2].sum() == 0.0  # the sum of twenty ±1 is even


def test_cost_of_hedging_everything_is_exact():
    flow = net_flow_distribution(
        [FixedMaker(buy=PointMass(-0.5), sell=ZERO), FixedMaker(buy=ZERO, sell=ZERO)], 0, investors=5
    )
    each = kinked(np.abs(np.arange(-5, 6))) @ flow
    result = expected_hedge_cost(flow, PointMass(1.0), KINKED, steps=10, mid=100.0, multiplier=0.5)
    assert (result.lower, result.upper) == pytest.approx((45 * each, 45 * each), rel=1e-13)
    assert result.standard_error == 0.0
    long_run = expected_hedge_cost(flow, PointMass(1.0), KINKED, steps=None)
    assert (long_run.lower, long_run.upper) == pytest.approx((each, each), rel=1e-13)


@given(
    flow=st.lists(st.floats(0.01, 1), min_size=5, max_size=5).map(lambda p: np.array(p) / sum(p)),
    hedges=st.lists(st.floats(0, 1), min_size=1, max_size=2, unique=True),
    resolution=st.sampled_from([1, 3, 8]),
)
@settings(deadline=None, max_examples=60)
def test_bounds_contain_enumerated_cost(flow, hedges, resolution):
    hedge, steps = Empirical(hedges), 4
    exact = enumerated_costs(flow, hedge, steps, kinked).mean()
    result = expected_hedge_cost(flow, hedge, KINKED, steps=steps, resolution=resolution)
    assert result.lower - 1e-12 <= exact <= result.upper + 1e-12


def test_bounds_converge_quadratically_in_resolution():
    flow, hedge, steps = np.array([0.1, 0.3, 0.2, 0.1, 0.3]), Empirical([0.3, 0.55]), 5
    curve = CostCurve(*smooth_curve(np.linspace(0, 12, 20_001)))
    exact = enumerated_costs(flow, hedge, steps, smooth).mean()
    results = [expected_hedge_cost(flow, hedge, curve, steps=steps, resolution=r) for r in (4, 16, 64)]
    for result in results:
        assert result.lower <= exact <= result.upper
    bounds = [result.bound for result in results]
    assert min(bounds[0] / bounds[1], bounds[1] / bounds[2]) > 12
    assert bounds[2] < 1e-5 * exact


def smooth(v):
    return np.sqrt(1 + v**2) - 1


def smooth_curve(sizes):
    return sizes, smooth(sizes), (0.0, 1.0)


def test_cost_of_single_steps_and_of_long_run():
    # With a mid of 0 in all other steps the result is the cost of one step.
    flow, hedge = np.array([0.2, 0.3, 0.5]), PointMass(0.25)
    exact = enumerated_costs(flow, hedge, 9, kinked)
    for step in (0, 1, 8):
        result = expected_hedge_cost(
            flow, hedge, KINKED, steps=9, mid=9.0 * (np.arange(9) == step), resolution=64
        )
        assert result.lower - 1e-12 <= exact[step] <= result.upper + 1e-12
    # The cost in step t differs from the long-run cost by at most 3 E|w| (3/4)^t, with slope 3 of C and E|w| = 0.7.
    long_run = expected_hedge_cost(flow, hedge, KINKED, steps=None, resolution=64)
    late = expected_hedge_cost(flow, hedge, KINKED, steps=41, mid=41.0 * (np.arange(41) == 40), resolution=64)
    assert abs(long_run.value - late.value) <= 3 * 0.7 * 0.75**40 + long_run.bound + late.bound
    assert long_run.value == pytest.approx(late.value, rel=1e-4)
    assert long_run.lower > 1.02 * exact[8]


def test_mass_that_leaves_the_grid_widens_the_bounds(monkeypatch):
    flow, hedge = net_flow_distribution([FixedMaker(buy=ZERO, sell=ZERO)], 0, investors=6), Uniform(0.0, 0.3)
    whole = expected_hedge_cost(flow, hedge, KINKED, steps=50)
    monkeypatch.setattr(hedge_cost, "HALF_WIDTH", 1.0)
    narrow = expected_hedge_cost(flow, hedge, KINKED, steps=50)
    assert narrow.lower < whole.lower
    assert narrow.upper > whole.upper
    assert narrow.bound > 10 * whole.bound


def test_cost_without_hedging_is_0():
    flow = net_flow_distribution([FixedMaker(buy=ZERO, sell=ZERO)], 0)
    for steps in (200, None):
        result = expected_hedge_cost(flow, PointMass(0.0), KINKED, steps=steps)
        assert (result.lower, result.upper, result.standard_error) == (0.0, 0.0, 0.0)


def level_by_level_cost(size, spread, tick, volumes):
    """Cost of a size in each book, level by level; the part beyond the last level trades at its price."""
    left, cost = size.copy(), np.zeros_like(size)
    for level in range(volumes.shape[-1]):
        last = level == volumes.shape[-1] - 1
        taken = left if last else np.minimum(left, volumes[..., level])
        cost += taken * (spread / 2 + tick * level)
        left = left - taken
    return cost


def test_expected_cost_matches_simulation():
    """A persistent maker at ε = 0 and a random maker, both hedging, simulated in NumPy from the definitions."""
    paths, steps, investors = 20_000, 40, 20
    book = ReferenceBook()
    makers = [
        FixedMaker(buy=ZERO, sell=ZERO, hedge=PointMass(0.2)),
        FixedMaker(buy=WIDE, sell=WIDE, hedge=Uniform(0.0, 1.0)),
    ]
    rng = np.random.default_rng(0)
    inventory, cost = np.zeros((2, paths)), np.zeros((2, paths))
    for _ in range(steps):
        spread = np.clip(
            rng.normal(book.spread_mean, book.spread_std, paths), book.spread_min, book.spread_max
        )
        best = rng.gamma(book.best_volume_shape, 1 / book.best_volume_shape, paths)
        first, second = rng.normal(size=(2, paths, 1))
        rho, n = book.depth_correlation, np.arange(book.num_levels)
        shape = 1 + (book.depth_linear + book.depth_linear_std * first) * n
        bend = rho * first + np.sqrt(1 - rho**2) * second
        shape = np.maximum(
            shape + (book.depth_quadratic + book.depth_quadratic_std * bend) * n**2, book.depth_floor
        )
        volumes = book.volume_scale * best[:, None] * shape
        for seat, maker in enumerate(makers):
            x = maker.hedge.sample(rng, paths)
            cost[seat] += (
                100 * level_by_level_cost(np.abs(x * inventory[seat]), spread, book.tick, volumes) / steps
            )
            inventory[seat] *= 1 - x
        bought = rng.binomial(investors, 0.5, paths)
        first_buys, first_sells = (
            rng.uniform(-1, 1, (2, paths)) > 0
        )  # whether the first maker beats the random one
        won = first_buys * bought - first_sells * (investors - bought)
        inventory += np.stack([won, 2 * bought - investors - won])
    curve = CostCurve.from_book(book)
    for seat, maker in enumerate(makers):
        result = expected_hedge_cost(
            net_flow_distribution(makers, seat), maker.hedge, curve, steps=steps, mid=100.0
        )
        sampled, standard_error = cost[seat].mean(), cost[seat].std() / np.sqrt(paths)
        # Paths are independent; at a fixed seed, 4 standard errors are exceeded by one of 16,000 seeds.
        assert abs(sampled - result.value) < 4 * standard_error
        assert result.bound < 1e-4 * result.value
        assert result.standard_error < 1e-4 * result.value


def test_expected_cost_of_small_books_matches_closed_form():
    # One level: s_0 / 2 per unit for every size. Two levels: one tick more beyond λ V, with V exponential.
    sizes = np.array([0.05, 0.5, 3.0])
    fixed = {"spread_mean": 2e-4, "spread_std": 0.0, "best_volume_shape": 1.0, "volume_scale": 0.4}
    one = expected_costs(ReferenceBook(num_levels=1, **fixed), sizes)
    np.testing.assert_allclose(one, np.broadcast_to(1e-4 * sizes, one.shape), rtol=1e-12)
    two = expected_costs(ReferenceBook(num_levels=2, **fixed), sizes)
    exact = 1e-4 * sizes + 1e-4 * (sizes - 0.4 * (1 - np.exp(-sizes / 0.4)))
    np.testing.assert_allclose(two.mean(0), exact, rtol=2e-4)
    standard_error = two.std(0, ddof=1) / np.sqrt(len(two))
    # 5 standard errors with 15 degrees of freedom, and 1e-4 for the table of gamma quantiles.
    np.testing.assert_array_less(np.abs(two.mean(0) - exact), 5 * standard_error + 1e-4 * exact)


@given(v=st.floats(0, 40))
def test_bounds_of_curve_contain_the_cost(v):
    curve = CostCurve(*smooth_curve(np.append(0.0, np.geomspace(0.01, 20, 60))))
    assert curve.below(np.array(v)) <= smooth(v) + 1e-12
    assert curve.above(np.array(v)) >= smooth(v) - 1e-12
    assert curve.above(np.array(v)) - curve.below(np.array(v)) <= 0.02 * v


def test_bounds_of_curve_are_exact_at_its_sizes():
    np.testing.assert_allclose(KINKED.above(KINKED.sizes), KINKED.costs[0], rtol=1e-15)
    np.testing.assert_allclose(KINKED.below(KINKED.sizes), KINKED.costs[0], rtol=1e-15)


COIN = np.array([0.5, 0.0, 0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expected_hedge_cost([0.5, 0.5], ZERO, KINKED), r"flow must be probabilities on -n\.\.n .*"),
        (lambda: expected_hedge_cost([0.5, 0.1, 0.5], ZERO, KINKED), "flow must be .* sum to 1, but got 1.1"),
        (
            lambda: expected_hedge_cost(COIN, Uniform(0.0, 1.5), KINKED),
            r"hedge must be a distribution on \[0, 1\], .*",
        ),
        (lambda: expected_hedge_cost(COIN, ZERO, KINKED, steps=0), "steps must be at least 1, .* but got 0"),
        (lambda: expected_hedge_cost(COIN, ZERO, KINKED, mid=-1.0), "mid must be at least 0 .* but got -1.0"),
        (
            lambda: expected_hedge_cost(COIN, ZERO, KINKED, mid=np.ones(3)),
            r"mid must be .* \(200\), but got 3",
        ),
        (
            lambda: expected_hedge_cost(COIN, ZERO, KINKED, multiplier=np.inf),
            "multiplier must be .* but got inf",
        ),
        (
            lambda: expected_hedge_cost(COIN, ZERO, KINKED, resolution=0),
            "resolution must be at least 1, but got 0",
        ),
        (lambda: expected_hedge_cost(COIN, ZERO, KINKED, hedge_cells=0), "hedge_cells must be .* but got 0"),
        (
            lambda: expected_hedge_cost(COIN, PointMass(1e-5), KINKED, steps=None),
            "hedge must be 0, or at least 0.001 .* but got 1e-05",
        ),
        (
            lambda: net_flow_distribution([FixedMaker(buy=ZERO, sell=ZERO)], 1),
            "seat must be one of the makers .* got 1",
        ),
        (
            lambda: net_flow_distribution([FixedMaker(buy=ZERO, sell=ZERO)], 0, investors=0),
            "investors must be at least 1, but got 0",
        ),
        (
            lambda: net_flow_distribution([FixedMaker(buy=ZERO, sell=ZERO)], 0, 5, 1.5),
            r"arrival_probability must be .* 1\.5",
        ),
        (
            lambda: expected_costs(ReferenceBook(), [1.0], points=1000),
            "points must be a power of two, but got 1000",
        ),
        (lambda: CostCurve(np.array([1.0, 2.0]), np.array([0.0, 1.0]), (1.0, 1.0)), "sizes must be .*"),
        (
            lambda: CostCurve(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.5]), (0.0, 1.0)),
            r"costs must be convex .* but got -0\.5",
        ),
    ],
)
def test_invalid_parameters_are_rejected(call, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()


def test_bounds_narrow_with_hedge_cells_for_mixed_hedging():
    # Hedge nothing or a uniform fraction, each with probability 1/2: finer cells give narrower, nested bounds.
    flow = net_flow_distribution([FixedMaker(buy=ZERO, sell=ZERO)], 0, investors=4)
    hedge = Mixture([PointMass(0.0), Uniform(0.2, 0.6)], [1, 1])
    coarse, fine = (expected_hedge_cost(flow, hedge, KINKED, steps=30, hedge_cells=n) for n in (4, 64))
    assert coarse.lower <= fine.lower <= fine.upper <= coarse.upper
    assert fine.bound < coarse.bound / 4
