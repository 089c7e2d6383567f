"""Order flows: allocation of orders to makers, by enumeration of all draws and by sampling; sizes; invalid input."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from twosided.dealer.investors import BUY, SELL, Investors, InvestorShock, Tiers, UnitInvestors, UnitShock
from twosided.dealer.reference_book import Snapshot

BOOK = Snapshot(spread=jnp.float32(2e-4), volumes=jnp.array([0.5, 1.0, 2.0]), tick=jnp.float32(1e-4))
"""Half a unit at 1 bp, one more unit at 2 bp, the rest at 3 bp."""
UNIT_COST = 0.5 * 1e-4 + 0.5 * 2e-4
SAMPLES = 20_000


@jax.jit
def fills(flow, shocks, best):
    return jax.vmap(lambda shock: flow.fills(shock, best, BOOK))(shocks)


def sample(flow, best, key=0, samples=SAMPLES):
    """Sampled volume and value won by each maker on each side, of shape (samples, makers, 2)."""
    best = jnp.asarray(best, bool)
    out = fills(flow, flow.shocks(jax.random.key(key), (samples,), best.shape[0]), best)
    return np.asarray(out.volume, float), np.asarray(out.value, float)


def all_tied(makers):
    return np.ones((makers, 2), bool)


def frequencies(volume):
    """Relative frequency of every outcome."""
    outcomes, counts = np.unique(volume.reshape(len(volume), -1), axis=0, return_counts=True)
    return {tuple(outcome): count / len(volume) for outcome, count in zip(outcomes, counts, strict=True)}


def assert_binomial(counts, n, p):
    """Chi-squared test over cells with expected counts of at least ten, at a p-value of 1e-4."""
    binomial = stats.binom(n, p)
    k = np.arange(n + 1)
    k = k[SAMPLES * binomial.pmf(k) >= 10]
    edges = np.concatenate([[-np.inf], k[1:] - 0.5, [np.inf]])
    expected = np.diff(binomial.cdf(edges)) * len(counts)
    observed, _ = np.histogram(counts, edges)
    assert stats.chisquare(observed, expected).pvalue > 1e-4


# Unit investors: enumeration of all draws.


def test_two_tied_makers_win_multinomial_volumes():
    # Three bits for the sides and three for the ties: the 64 combinations are equally likely.
    bits = np.array(list(itertools.product(range(8), range(8))), np.uint32)
    shocks = UnitShock(selling=jnp.asarray(bits[:, :1]), tie_breaks=jnp.asarray(bits[:, 1:]))
    volume = np.asarray(fills(UnitInvestors(count=3), shocks, jnp.asarray(all_tied(2))).volume)
    four_cells = stats.multinomial(3, [1 / 4] * 4)
    frequency_of = frequencies(volume)
    assert len(frequency_of) == 20
    for outcome, frequency in frequency_of.items():
        assert frequency == pytest.approx(four_cells.pmf(outcome), rel=1e-12)


def test_three_tied_makers_win_multinomial_volumes():
    # Tie-breaking draws in the middle of each third of their range, in all combinations of two.
    thirds = ((np.arange(3) + 0.5) / 3 * 2**32).astype(np.uint32)
    steps = list(itertools.product(range(4), thirds, thirds))
    shocks = UnitShock(
        selling=jnp.array([[step[0]] for step in steps], jnp.uint32),
        tie_breaks=jnp.array([step[1:] for step in steps], jnp.uint32),
    )
    volume = np.asarray(fills(UnitInvestors(count=2), shocks, jnp.asarray(all_tied(3))).volume)
    six_cells = stats.multinomial(2, [1 / 6] * 6)
    frequency_of = frequencies(volume)
    assert len(frequency_of) == 21
    for outcome, frequency in frequency_of.items():
        assert frequency == pytest.approx(six_cells.pmf(outcome), rel=1e-12)


@pytest.mark.parametrize("makers", [3, 5, 7])
def test_extreme_tie_breaks_select_first_and_last_maker(makers):
    ends = UnitShock(selling=jnp.array([3], jnp.uint32), tie_breaks=jnp.array([0, 2**32 - 1], jnp.uint32))
    volume = UnitInvestors(count=2).fills(ends, jnp.asarray(all_tied(makers)), BOOK).volume
    np.testing.assert_array_equal(volume[:, BUY], [1, *[0] * (makers - 2), 1])


@pytest.mark.parametrize(("count", "makers"), [(1, 1), (20, 2), (32, 2), (33, 2), (64, 3), (100, 1)])
def test_bits_beyond_the_last_investor_are_ignored(count, makers):
    flow = UnitInvestors(count=count)
    shock = flow.shocks(jax.random.key(0), (), makers)
    ones, zeros = jnp.full_like(shock.selling, 2**32 - 1), jnp.zeros_like(shock.selling)
    for selling, side in [(ones, BUY), (zeros, SELL)]:
        shocks = jax.tree.map(lambda leaf: leaf[None], UnitShock(selling, shock.tie_breaks))
        volume = fills(flow, shocks, jnp.asarray(all_tied(makers))).volume[0]
        assert volume[:, side].sum() == count
        assert volume[:, 1 - side].sum() == 0


# Unit investors: distribution of sampled steps.


@pytest.mark.parametrize(("count", "makers"), [(20, 1), (20, 2), (20, 3), (20, 5), (1, 2), (40, 2), (40, 3)])
def test_ties_are_split_order_by_order(count, makers):
    volume, _ = sample(UnitInvestors(count=count), all_tied(makers))
    np.testing.assert_array_equal(volume.sum((1, 2)), count)
    assert_binomial(volume.sum(1)[:, BUY], count, 1 / 2)
    for maker, side in itertools.product(range(makers), (BUY, SELL)):
        # Allocating all orders of a side to one maker would give the same mean and a much larger variance.
        assert_binomial(volume[:, maker, side], count, 1 / (2 * makers))


def test_sampled_volumes_have_multinomial_covariance():
    volume, _ = sample(UnitInvestors(count=20), all_tied(3))
    x = volume.reshape(SAMPLES, 6)
    p = np.full(6, 1 / 6)
    expected = 20 * (np.diag(p) - np.outer(p, p))
    # Standard error of a covariance for approximately normal counts: √((c_ii c_jj + c_ij²) / n).
    variance = np.diag(expected)
    error = np.sqrt((np.outer(variance, variance) + expected**2) / SAMPLES)
    np.testing.assert_array_less(np.abs(np.cov(x.T, ddof=0) - expected), 4.5 * error)


@pytest.mark.parametrize(
    ("best", "shares"),
    [
        ([[1, 0], [0, 1]], [[1, 0], [0, 1]]),
        ([[0, 0], [1, 1]], [[0, 0], [1, 1]]),
        ([[1, 0], [1, 1]], [[1 / 2, 0], [1 / 2, 1]]),
        ([[1, 0], [0, 1], [1, 0]], [[1 / 2, 0], [0, 1], [1 / 2, 0]]),
        ([[0, 1], [1, 1], [1, 0]], [[0, 1 / 2], [1 / 2, 1 / 2], [1 / 2, 0]]),
        ([[1, 1], [0, 1], [0, 1], [1, 1]], [[1 / 2, 1 / 4], [0, 1 / 4], [0, 1 / 4], [1 / 2, 1 / 4]]),
    ],
)
def test_only_best_quotes_win_independently_on_each_side(best, shares):
    volume, _ = sample(UnitInvestors(count=20), best)
    shares = np.array(shares)
    p = shares / 2
    error = np.sqrt(20 * p * (1 - p) / SAMPLES)
    assert (np.abs(volume.mean(0) - 20 * p) <= 4 * error).all()
    assert volume[:, shares == 0].sum() == 0


def test_unit_orders_are_priced_individually():
    volume, value = sample(UnitInvestors(count=20), all_tied(2), samples=100)
    np.testing.assert_allclose(value, volume * UNIT_COST, rtol=1e-6)


# Random keys.


@pytest.mark.parametrize(("flow", "makers"), [(UnitInvestors(), 2), (UnitInvestors(), 3), (Investors(), 2)])
def test_shocks_are_determined_by_the_key(flow, makers):
    def draw(seed):
        return jax.tree.leaves(flow.shocks(jax.random.key(seed), (50,), makers))

    for again, other, leaf in zip(draw(1), draw(2), draw(1), strict=True):
        np.testing.assert_array_equal(leaf, again)
        assert (np.asarray(leaf) != np.asarray(other)).any()


@pytest.mark.parametrize("flow", [UnitInvestors(count=40), Investors(size_variation=0.5)])
def test_orders_do_not_depend_on_number_of_makers(flow):
    two, three = (flow.shocks(jax.random.key(1), (50,), makers) for makers in (2, 3))
    np.testing.assert_array_equal(two.selling, three.selling)


# Investors with sizes.


@pytest.mark.parametrize("makers", [2, 3])
def test_certain_unit_orders_are_distributed_like_unit_investors(makers):
    flow = Investors(count=20, arrival_probability=1.0, mean_size=1.0, size_variation=0.0)
    volume, value = sample(flow, all_tied(makers), key=5)
    np.testing.assert_array_equal(volume.sum((1, 2)), 20)
    np.testing.assert_allclose(value, volume * UNIT_COST, rtol=1e-6)
    for maker, side in itertools.product(range(makers), (BUY, SELL)):
        assert_binomial(volume[:, maker, side], 20, 1 / (2 * makers))


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_arrivals_are_binomial(probability):
    volume, _ = sample(Investors(count=15, arrival_probability=probability), all_tied(2))
    arrived = volume.sum((1, 2))
    if probability in (0.0, 1.0):
        assert (arrived == 15 * probability).all()
    else:
        assert_binomial(arrived, 15, probability)
        assert_binomial(volume[:, 0, SELL], 15, probability / 4)


@pytest.mark.parametrize(("mean", "variation"), [(1.0, 0.0), (3.0, 0.5), (0.25, 2.0)])
def test_size_moments_match_mean_and_variation(mean, variation):
    # Quadrature over the normal of one investor that sells to the only maker, so that the volume is its size.
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    with jax.enable_x64(True):
        flow = Investors(count=1, mean_size=mean, size_variation=variation)
        shocks = InvestorShock(
            arrival=jnp.zeros((60, 1)),
            selling=jnp.ones((60, 1), bool),
            size=jnp.asarray(nodes)[:, None],
            tie_breaks=jnp.zeros((60, 1), jnp.uint32),
        )
        size = np.asarray(jax.vmap(lambda s: flow.fills(s, jnp.ones((1, 2), bool), BOOK))(shocks).volume)
    size = size[:, 0, BUY]
    assert weights @ size == pytest.approx(mean, rel=1e-10)
    assert weights @ size**2 - mean**2 == pytest.approx((variation * mean) ** 2, rel=1e-8, abs=1e-10)


def test_sampled_volume_has_moments_of_compound_sum():
    flow = Investors(count=20, arrival_probability=0.6, mean_size=2.0, size_variation=0.5)
    volume = sample(flow, all_tied(3))[0][:, 1, SELL]
    p, second = 0.6 / 6, 2.0**2 * (1 + 0.5**2)
    mean, variance = 20 * p * 2.0, 20 * (p * second - (p * 2.0) ** 2)
    assert abs(volume.mean() - mean) < 4 * np.sqrt(variance / SAMPLES)
    # Standard error of the variance from the fourth moment of the sample.
    error = np.sqrt((((volume - mean) ** 2).var()) / SAMPLES)
    assert abs(((volume - mean) ** 2).mean() - variance) < 4 * error


def test_orders_are_never_split():
    # With two orders of sizes 1 and 10 a maker can only win 0, 1, 10 or 11.
    flow = Investors(count=2, mean_size=1.0, size_variation=1.0)
    z = (np.log([1.0, 10.0]) + np.log(2) / 2) / np.sqrt(np.log(2))
    shocks = flow.shocks(jax.random.key(0), (200,), 3)
    shocks = InvestorShock(
        shocks.arrival, shocks.selling, jnp.tile(jnp.float32(z), (200, 1)), shocks.tie_breaks
    )
    volume = np.asarray(fills(flow, shocks, jnp.asarray(all_tied(3))).volume)
    nearest = np.array([0.0, 1.0, 10.0, 11.0])
    assert np.abs(volume[..., None] - nearest).min(-1).max() < 1e-5
    np.testing.assert_allclose(volume.sum((1, 2)), 11.0, rtol=1e-6)


def test_orders_are_priced_individually_or_aggregated():
    # The maker buys 1 and 3 units and sells 2: every order is priced from the best level, or the total of a side is.
    z = jnp.array([1.0, 3.0, 2.0])
    log_variance = np.log(2)
    shock = InvestorShock(
        arrival=jnp.zeros(3),
        selling=jnp.array([True, True, False]),
        size=(jnp.log(z) + log_variance / 2) / np.sqrt(log_variance),
        tie_breaks=jnp.zeros(3, jnp.uint32),
    )
    alone = jnp.ones((1, 2), bool)
    bp = 1e-4
    one, two, three, four = 1.5 * bp, 4.0 * bp, 7.0 * bp, 10.0 * bp  # cost of that many units
    flow = Investors(count=3, size_variation=1.0)
    np.testing.assert_allclose(flow.fills(shock, alone, BOOK).value, [[one + three, two]], rtol=1e-5)
    flow = Investors(count=3, size_variation=1.0, aggregate_orders=True)
    np.testing.assert_allclose(flow.fills(shock, alone, BOOK).value, [[four, two]], rtol=1e-5)


def test_aggregated_pricing_never_lowers_the_value():
    individual, aggregated = (
        sample(Investors(size_variation=0.7, aggregate_orders=aggregate), all_tied(2), samples=500)[1]
        for aggregate in (False, True)
    )
    assert (aggregated >= individual * (1 - 1e-6)).all()
    assert (aggregated > 1.1 * individual).mean() > 0.9


# Informed investors.


INFORMED = [
    UnitInvestors(count=40, informed=33),
    UnitInvestors(count=7, informed=7),
    Investors(count=9, informed=4, size_variation=0.5),
]
UP, DOWN, UNCHANGED = jnp.array([0.01]), jnp.array([-0.01]), jnp.array([0.0])


def volume_by_side(flow, moves, makers=1):
    shock = flow.shocks(jax.random.key(3), (), makers)
    return np.asarray(flow.fills(shock, jnp.ones((makers, 2), bool), BOOK, moves).volume, float).sum(0)


@pytest.mark.parametrize("flow", INFORMED, ids=["two words", "all informed", "random sizes"])
def test_informed_investors_buy_before_a_rise_and_sell_before_a_fall(flow):
    # Orders of the uninformed, and of the informed if the midprice does not move, depend only on the draws.
    up, down, unchanged = (volume_by_side(flow, moves) for moves in (UP, DOWN, UNCHANGED))
    np.testing.assert_allclose([up.sum(), down.sum()], unchanged.sum(), rtol=1e-6)
    shock = flow.shocks(jax.random.key(3), (), 1)
    if isinstance(flow, UnitInvestors):
        bits = np.unpackbits(np.asarray(shock.selling).view(np.uint8), bitorder="little")[: flow.count]
        sells, size = bits.astype(bool), np.ones(flow.count)
    else:
        sells = np.asarray(shock.selling)
        size = np.exp(np.sqrt(np.log(1.25)) * np.asarray(shock.size) - np.log(1.25) / 2)
    informed = np.arange(flow.count) < flow.informed
    for won, sellers in ((up, sells & ~informed), (down, sells | informed), (unchanged, sells)):
        np.testing.assert_allclose(won, [size[sellers].sum(), size[~sellers].sum()], rtol=1e-5)
    assert up[BUY] < unchanged[BUY] < down[BUY] or flow.count == 7
    if flow.informed == flow.count:
        np.testing.assert_array_equal([up, down], [[0, 7], [7, 0]])


@pytest.mark.parametrize(
    "flow", [UnitInvestors(count=4, informed=4, foresight=3), Investors(4, informed=4, foresight=3)]
)
def test_informed_investors_trade_on_the_move_at_their_foresight(flow):
    # The midprice is higher after three steps, though lower after one, two and four.
    moves = jnp.array([-1.0, -0.5, 0.2, -3.0])
    np.testing.assert_array_equal(volume_by_side(flow, moves), [0, 4])
    assert flow.lookahead == 3


def test_foresight_without_informed_investors_has_no_effect():
    for kind in (UnitInvestors, Investors):
        assert kind(foresight=5).lookahead == 0
        np.testing.assert_array_equal(volume_by_side(kind(foresight=5), UP), volume_by_side(kind(), None))


# Tiers.


def test_tiers_stack_the_fills_of_their_flows():
    flows = (
        UnitInvestors(count=6),
        Investors(count=5, size_variation=0.5),
        UnitInvestors(count=3, informed=3, foresight=2),
    )
    tiers = Tiers(flows)
    assert (tiers.tiers, tiers.lookahead) == (3, 2)
    best = jnp.array([[[1, 0], [1, 1], [0, 1]], [[1, 1], [0, 1], [1, 1]]], bool)  # makers, tiers, sides
    moves = jnp.array([1.0, -1.0])
    shock = tiers.shocks(jax.random.key(1), (), 2)
    joint = tiers.fills(shock, best, BOOK, moves)
    assert joint.volume.shape == joint.value.shape == (2, 3, 2)
    for i, flow in enumerate(flows):
        alone = flow.fills(shock[i], best[:, i], BOOK, moves)
        np.testing.assert_array_equal(joint.volume[:, i], alone.volume)
        np.testing.assert_array_equal(joint.value[:, i], alone.value)
    # The midprice is lower after two steps: all three investors of the last tier sell.
    np.testing.assert_array_equal(joint.volume[:, 2].sum(0), [3, 0])


def test_tiers_have_independent_draws():
    one, other = Tiers((UnitInvestors(), UnitInvestors())).shocks(jax.random.key(0), (100,), 2)
    assert (np.asarray(one.selling) != np.asarray(other.selling)).all()
    assert (np.asarray(one.tie_breaks) != np.asarray(other.tie_breaks)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UnitInvestors(count=0), "count must be from 1 to 10000, but got 0"),
        (lambda: Investors(count=-2), "count must be from 1 to 10000, but got -2"),
        (lambda: Investors(arrival_probability=1.5), r"arrival_probability must be in \[0, 1\], but got 1.5"),
        (
            lambda: Investors(arrival_probability=np.nan),
            r"arrival_probability must be in \[0, 1\], but got nan",
        ),
        (lambda: Investors(mean_size=-1.0), "mean_size must be at least 0 and finite, but got -1.0"),
        (
            lambda: Investors(size_variation=np.inf),
            "size_variation must be at least 0 and finite, but got inf",
        ),
        (lambda: UnitInvestors(informed=21), r"informed must be from 0 to count \(20\), but got 21"),
        (lambda: Investors(count=3, informed=-1), r"informed must be from 0 to count \(3\), but got -1"),
        (lambda: Investors(foresight=0), "foresight must be from 1 to 1000, but got 0"),
        (lambda: Tiers((UnitInvestors(),)), "flows must be two or more order flows, but got 1"),
        (
            lambda: Tiers((Tiers(), UnitInvestors())),
            r"flows must be flows of one tier each, but got \[2, 1\]",
        ),
    ],
)
def test_invalid_parameters_are_rejected(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()
