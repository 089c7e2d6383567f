"""Order flows: who wins which orders, by enumeration of all chance and by sampling; sizes; bad input."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from twosided.dealer.investors import BUY, SELL, Investors, InvestorShock, Tiers, UnitInvestors, UnitShock
from twosided.dealer.reference_book import Snapshot

BOOK = Snapshot(spread=jnp.float32(2e-4), volumes=jnp.array([0.5, 1.0, 2.0]), tick=jnp.float32(1e-4))
"""Costs 1 bp for half a unit, 2 bp for another unit, then 3 bp."""
UNIT_COST = 0.5 * 1e-4 + 0.5 * 2e-4
SAMPLES = 20_000


@jax.jit
def fills(flow, shocks, best):
    return jax.vmap(lambda shock: flow.fills(shock, best, BOOK))(shocks)


def sample(flow, best, key=0, samples=SAMPLES):
    """Volumes and values that each maker wins on each side, of shape (samples, makers, 2)."""
    best = jnp.asarray(best, bool)
    out = fills(flow, flow.shocks(jax.random.key(key), (samples,), best.shape[0]), best)
    return np.asarray(out.volume, float), np.asarray(out.value, float)


def everyone_tied(makers):
    return np.ones((makers, 2), bool)


def law_of(volume):
    """The relative frequency of every outcome."""
    outcomes, counts = np.unique(volume.reshape(len(volume), -1), axis=0, return_counts=True)
    return {tuple(outcome): count / len(volume) for outcome, count in zip(outcomes, counts, strict=True)}


def assert_binomial(counts, n, p):
    """Chi-squared over cells of at least ten expected; the worst of 10,000 seeds would fail."""
    law = stats.binom(n, p)
    k = np.arange(n + 1)
    k = k[SAMPLES * law.pmf(k) >= 10]
    edges = np.concatenate([[-np.inf], k[1:] - 0.5, [np.inf]])
    expected = np.diff(law.cdf(edges)) * len(counts)
    observed, _ = np.histogram(counts, edges)
    assert stats.chisquare(observed, expected).pvalue > 1e-4


# Unit investors: every possible step.


def test_two_makers_every_step_of_three_investors():
    # Three bits say who sells, three who wins: all 64 steps once are the law of independent fair coins.
    bits = np.array(list(itertools.product(range(8), range(8))), np.uint32)
    shocks = UnitShock(selling=jnp.asarray(bits[:, :1]), lots=jnp.asarray(bits[:, 1:]))
    volume = np.asarray(fills(UnitInvestors(count=3), shocks, jnp.asarray(everyone_tied(2))).volume)
    four_cells = stats.multinomial(3, [1 / 4] * 4)
    law = law_of(volume)
    assert len(law) == 20
    for outcome, frequency in law.items():
        assert frequency == pytest.approx(four_cells.pmf(outcome), rel=1e-12)


def test_three_makers_every_step_of_two_investors():
    # A lot in the middle of each third of its range, and all combinations of two of them.
    thirds = ((np.arange(3) + 0.5) / 3 * 2**32).astype(np.uint32)
    steps = list(itertools.product(range(4), thirds, thirds))
    shocks = UnitShock(
        selling=jnp.array([[step[0]] for step in steps], jnp.uint32),
        lots=jnp.array([step[1:] for step in steps], jnp.uint32),
    )
    volume = np.asarray(fills(UnitInvestors(count=2), shocks, jnp.asarray(everyone_tied(3))).volume)
    six_cells = stats.multinomial(2, [1 / 6] * 6)
    law = law_of(volume)
    assert len(law) == 21
    for outcome, frequency in law.items():
        assert frequency == pytest.approx(six_cells.pmf(outcome), rel=1e-12)


@pytest.mark.parametrize("makers", [3, 5, 7])
def test_the_extreme_lots_belong_to_the_first_and_the_last(makers):
    ends = UnitShock(selling=jnp.array([3], jnp.uint32), lots=jnp.array([0, 2**32 - 1], jnp.uint32))
    volume = UnitInvestors(count=2).fills(ends, jnp.asarray(everyone_tied(makers)), BOOK).volume
    np.testing.assert_array_equal(volume[:, BUY], [1, *[0] * (makers - 2), 1])


@pytest.mark.parametrize(("count", "makers"), [(1, 1), (20, 2), (32, 2), (33, 2), (64, 3), (100, 1)])
def test_bits_beyond_the_last_investor_count_for_nothing(count, makers):
    flow = UnitInvestors(count=count)
    shock = flow.shocks(jax.random.key(0), (), makers)
    ones, zeros = jnp.full_like(shock.selling, 2**32 - 1), jnp.zeros_like(shock.selling)
    for selling, side in [(ones, BUY), (zeros, SELL)]:
        shocks = jax.tree.map(lambda leaf: leaf[None], UnitShock(selling, shock.lots))
        volume = fills(flow, shocks, jnp.asarray(everyone_tied(makers))).volume[0]
        assert volume[:, side].sum() == count
        assert volume[:, 1 - side].sum() == 0


# Unit investors: the law of a sampled step.


@pytest.mark.parametrize(("count", "makers"), [(20, 1), (20, 2), (20, 3), (20, 5), (1, 2), (40, 2), (40, 3)])
def test_ties_are_split_trade_by_trade(count, makers):
    volume, _ = sample(UnitInvestors(count=count), everyone_tied(makers))
    np.testing.assert_array_equal(volume.sum((1, 2)), count)
    assert_binomial(volume.sum(1)[:, BUY], count, 1 / 2)
    for maker, side in itertools.product(range(makers), (BUY, SELL)):
        # Splitting a side's orders all together would have the same mean and several times the variance.
        assert_binomial(volume[:, maker, side], count, 1 / (2 * makers))


def test_what_tied_makers_win_is_a_multinomial():
    volume, _ = sample(UnitInvestors(count=20), everyone_tied(3))
    x = volume.reshape(SAMPLES, 6)
    p = np.full(6, 1 / 6)
    expected = 20 * (np.diag(p) - np.outer(p, p))
    # The fourth moments of nearly normal counts: a covariance has the error √((c_ii c_jj + c_ij²) / n).
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
def test_only_the_best_price_wins_and_each_side_is_its_own(best, shares):
    volume, _ = sample(UnitInvestors(count=20), best)
    shares = np.array(shares)
    p = shares / 2
    error = np.sqrt(20 * p * (1 - p) / SAMPLES)
    assert (np.abs(volume.mean(0) - 20 * p) <= 4 * error).all()
    assert volume[:, shares == 0].sum() == 0


def test_unit_orders_are_priced_one_by_one():
    volume, value = sample(UnitInvestors(count=20), everyone_tied(2), samples=100)
    np.testing.assert_allclose(value, volume * UNIT_COST, rtol=1e-6)


# Chance and its keys.


@pytest.mark.parametrize(("flow", "makers"), [(UnitInvestors(), 2), (UnitInvestors(), 3), (Investors(), 2)])
def test_the_key_decides_everything(flow, makers):
    def draw(seed):
        return jax.tree.leaves(flow.shocks(jax.random.key(seed), (50,), makers))

    for again, other, leaf in zip(draw(1), draw(2), draw(1), strict=True):
        np.testing.assert_array_equal(leaf, again)
        assert (np.asarray(leaf) != np.asarray(other)).any()


@pytest.mark.parametrize("flow", [UnitInvestors(count=40), Investors(size_variation=0.5)])
def test_orders_are_the_same_however_many_makers_wait_for_them(flow):
    two, three = (flow.shocks(jax.random.key(1), (50,), makers) for makers in (2, 3))
    np.testing.assert_array_equal(two.selling, three.selling)


# Investors with sizes.


@pytest.mark.parametrize("makers", [2, 3])
def test_certain_unit_orders_are_unit_investors_in_law(makers):
    flow = Investors(count=20, arrival_probability=1.0, mean_size=1.0, size_variation=0.0)
    volume, value = sample(flow, everyone_tied(makers), key=5)
    np.testing.assert_array_equal(volume.sum((1, 2)), 20)
    np.testing.assert_allclose(value, volume * UNIT_COST, rtol=1e-6)
    for maker, side in itertools.product(range(makers), (BUY, SELL)):
        assert_binomial(volume[:, maker, side], 20, 1 / (2 * makers))


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_arrivals(probability):
    volume, _ = sample(Investors(count=15, arrival_probability=probability), everyone_tied(2))
    arrived = volume.sum((1, 2))
    if probability in (0.0, 1.0):
        assert (arrived == 15 * probability).all()
    else:
        assert_binomial(arrived, 15, probability)
        assert_binomial(volume[:, 0, SELL], 15, probability / 4)


@pytest.mark.parametrize(("mean", "variation"), [(1.0, 0.0), (3.0, 0.5), (0.25, 2.0)])
def test_sizes_have_their_mean_and_variation_exactly(mean, variation):
    # Quadrature over the normal of one investor that sells to the only maker: what is won is its size.
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    with jax.enable_x64(True):
        flow = Investors(count=1, mean_size=mean, size_variation=variation)
        shocks = InvestorShock(
            arrival=jnp.zeros((60, 1)),
            selling=jnp.ones((60, 1), bool),
            size=jnp.asarray(nodes)[:, None],
            lots=jnp.zeros((60, 1), jnp.uint32),
        )
        size = np.asarray(jax.vmap(lambda s: flow.fills(s, jnp.ones((1, 2), bool), BOOK))(shocks).volume)
    size = size[:, 0, BUY]
    assert weights @ size == pytest.approx(mean, rel=1e-10)
    assert weights @ size**2 - mean**2 == pytest.approx((variation * mean) ** 2, rel=1e-8, abs=1e-10)


def test_sampled_volume_has_the_moments_of_a_compound_sum():
    flow = Investors(count=20, arrival_probability=0.6, mean_size=2.0, size_variation=0.5)
    volume = sample(flow, everyone_tied(3))[0][:, 1, SELL]
    p, second = 0.6 / 6, 2.0**2 * (1 + 0.5**2)
    mean, variance = 20 * p * 2.0, 20 * (p * second - (p * 2.0) ** 2)
    assert abs(volume.mean() - mean) < 4 * np.sqrt(variance / SAMPLES)
    # The error of a variance from the sample's own fourth moment.
    error = np.sqrt((((volume - mean) ** 2).var()) / SAMPLES)
    assert abs(((volume - mean) ** 2).mean() - variance) < 4 * error


def test_an_order_is_never_split():
    # With two orders of sizes 1 and 10 a maker can only win 0, 1, 10 or 11.
    flow = Investors(count=2, mean_size=1.0, size_variation=1.0)
    z = (np.log([1.0, 10.0]) + np.log(2) / 2) / np.sqrt(np.log(2))
    shocks = flow.shocks(jax.random.key(0), (200,), 3)
    shocks = InvestorShock(shocks.arrival, shocks.selling, jnp.tile(jnp.float32(z), (200, 1)), shocks.lots)
    volume = np.asarray(fills(flow, shocks, jnp.asarray(everyone_tied(3))).volume)
    nearest = np.array([0.0, 1.0, 10.0, 11.0])
    assert np.abs(volume[..., None] - nearest).min(-1).max() < 1e-5
    np.testing.assert_allclose(volume.sum((1, 2)), 11.0, rtol=1e-6)


def test_orders_are_priced_apart_or_together():
    # Maker 0 buys 1 and 3 units and sells 2: each order walks the book anew, or the side's sum does.
    z = jnp.array([1.0, 3.0, 2.0])
    log_variance = np.log(2)
    shock = InvestorShock(
        arrival=jnp.zeros(3),
        selling=jnp.array([True, True, False]),
        size=(jnp.log(z) + log_variance / 2) / np.sqrt(log_variance),
        lots=jnp.zeros(3, jnp.uint32),
    )
    alone = jnp.ones((1, 2), bool)
    bp = 1e-4
    one, two, three, four = 1.5 * bp, 4.0 * bp, 7.0 * bp, 10.0 * bp  # cost of that many units
    flow = Investors(count=3, size_variation=1.0)
    np.testing.assert_allclose(flow.fills(shock, alone, BOOK).value, [[one + three, two]], rtol=1e-5)
    flow = Investors(count=3, size_variation=1.0, price_together=True)
    np.testing.assert_allclose(flow.fills(shock, alone, BOOK).value, [[four, two]], rtol=1e-5)


def test_pricing_together_never_costs_less():
    apart, joint_policy = (
        sample(Investors(size_variation=0.7, price_together=both), everyone_tied(2), samples=500)[1]
        for both in (False, True)
    )
    assert (joint_policy >= apart * (1 - 1e-6)).all()
    assert (joint_policy > 1.1 * apart).mean() > 0.9


# Informed investors.


INFORMED = [
    UnitInvestors(count=40, informed=33),
    UnitInvestors(count=7, informed=7),
    Investors(count=9, informed=4, size_variation=0.5),
]
UP, DOWN, NOWHERE = jnp.array([0.01]), jnp.array([-0.01]), jnp.array([0.0])


def won_on_each_side(flow, moves, makers=1):
    shock = flow.shocks(jax.random.key(3), (), makers)
    return np.asarray(flow.fills(shock, jnp.ones((makers, 2), bool), BOOK, moves).volume, float).sum(0)


@pytest.mark.parametrize("flow", INFORMED, ids=["two words", "everybody", "sizes"])
def test_the_informed_buy_before_a_rise_and_sell_before_a_fall(flow):
    # What the others do, and the informed where there is nothing to know, is the same whatever comes.
    up, down, nowhere = (won_on_each_side(flow, moves) for moves in (UP, DOWN, NOWHERE))
    np.testing.assert_allclose([up.sum(), down.sum()], nowhere.sum(), rtol=1e-6)
    shock = flow.shocks(jax.random.key(3), (), 1)
    if isinstance(flow, UnitInvestors):
        bits = np.unpackbits(np.asarray(shock.selling).view(np.uint8), bitorder="little")[: flow.count]
        sells, size = bits.astype(bool), np.ones(flow.count)
    else:
        sells = np.asarray(shock.selling)
        size = np.exp(np.sqrt(np.log(1.25)) * np.asarray(shock.size) - np.log(1.25) / 2)
    first = np.arange(flow.count) < flow.informed
    for won, everyone in ((up, sells & ~first), (down, sells | first), (nowhere, sells)):
        np.testing.assert_allclose(won, [size[everyone].sum(), size[~everyone].sum()], rtol=1e-5)
    assert up[BUY] < nowhere[BUY] < down[BUY] or flow.count == 7
    if flow.informed == flow.count:
        np.testing.assert_array_equal([up, down], [[0, 7], [7, 0]])


@pytest.mark.parametrize(
    "flow", [UnitInvestors(count=4, informed=4, foresight=3), Investors(4, informed=4, foresight=3)]
)
def test_the_informed_look_as_far_as_they_see(flow):
    # It will have risen in three steps, after a fall in the first two; what lies beyond is not theirs to know.
    moves = jnp.array([-1.0, -0.5, 0.2, -3.0])
    np.testing.assert_array_equal(won_on_each_side(flow, moves), [0, 4])
    assert flow.lookahead == 3


def test_nobody_informed_knows_nothing():
    for kind in (UnitInvestors, Investors):
        assert kind(foresight=5).lookahead == 0
        np.testing.assert_array_equal(won_on_each_side(kind(foresight=5), UP), won_on_each_side(kind(), None))


# Tiers.


def test_each_tier_is_a_flow_of_its_own():
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
    joint_policy = tiers.fills(shock, best, BOOK, moves)
    assert joint_policy.volume.shape == joint_policy.value.shape == (2, 3, 2)
    for i, flow in enumerate(flows):
        alone = flow.fills(shock[i], best[:, i], BOOK, moves)
        np.testing.assert_array_equal(joint_policy.volume[:, i], alone.volume)
        np.testing.assert_array_equal(joint_policy.value[:, i], alone.value)
    # In two steps it falls: all three of the last tier sell.
    np.testing.assert_array_equal(joint_policy.volume[:, 2].sum(0), [3, 0])


def test_tiers_have_chance_of_their_own():
    one, other = Tiers((UnitInvestors(), UnitInvestors())).shocks(jax.random.key(0), (100,), 2)
    assert (np.asarray(one.selling) != np.asarray(other.selling)).all()
    assert (np.asarray(one.lots) != np.asarray(other.lots)).all()


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
        (lambda: Tiers((UnitInvestors(),)), "flows must be two or more, but got 1"),
        (lambda: Tiers((Tiers(), UnitInvestors())), r"flows must be of one tier each, but got \[2, 1\]"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()
