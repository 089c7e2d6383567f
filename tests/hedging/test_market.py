"""The hedging market: a step by hand, the identity of PnL, latency, signals, look-ahead, and the paper's outcomes."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.core.numeric import as_arrays
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario
from twosided.core.transition import PnL
from twosided.hedging.clients import PoissonClients
from twosided.hedging.hedgers import FractionalHedger, FullHedger, NoHedger
from twosided.hedging.market import HedgingAction, HedgingMarket, HedgingShock
from twosided.hedging.spreads import StochasticSpread
from twosided.prices import Bachelier, GeometricBrownian

# A price that moves by its shock, spreads of 0.9 and 0.3 however volatile it is, and no noise.
PLAIN = HedgingMarket(
    price=Bachelier(volatility=1.0, time_step=1.0),
    clients=PoissonClients(sensitivity=0.0),
    client_spread=StochasticSpread(multiplier=0.9, noise=0.0, clamp_low=1.0, clamp_high=1.0),
    exchange_spread=StochasticSpread(multiplier=0.3, noise=0.0, clamp_low=1.0, clamp_high=1.0),
    skews=True,
)


def shock(move, clients=(0.0, 0.0, 0.0)):
    return HedgingShock(jnp.asarray(move), jnp.zeros(4), jnp.asarray(clients), None, None)


def action(hedge, skew=0.0):
    return HedgingAction(jnp.array([hedge]), jnp.array([skew]))


def lived(market, *steps):
    state, _ = market.reset(shock(0.0))
    for act, happening in steps:
        state, transition = market.step(state, act, happening)
    return state, transition


def pnl(transition):
    return [float(leaf[0]) for leaf in jax.tree.leaves(transition.pnl)]


def test_a_step_by_hand():
    # √2 of a move and nothing: σ_roll = 1 = σ_mean, a rate of 100; 1.5 deviations more sell than buy.
    move, sellers = np.sqrt(2.0), (1.5, 0.0, 0.0)
    state, transition = lived(PLAIN, (action(8.0), shock(move, sellers)))
    assert float(state.price.mid) == pytest.approx(100 + move)
    sold_to_us = 115.0 - 100.0  # quantiles of Poisson(100) at Φ(1.5) and Φ(0)
    np.testing.assert_allclose(pnl(transition), [0.9 * sold_to_us, -0.3 * 8, 0.0, 0.0], rtol=1e-5)
    assert (float(transition.bought[0]), float(transition.sold[0])) == (sold_to_us, 0.0)
    assert (float(transition.held[0]), float(transition.inventory[0])) == (0.0, 23.0)
    quotes = [float(leaf[0]) - 100 - move for leaf in jax.tree.leaves(transition.quotes)]
    np.testing.assert_allclose(quotes, [0, 0, -0.9, 0.9, -0.3, 0.3], atol=1e-4)
    # The position that is there is revalued, before what the step itself trades.
    _, transition = lived(PLAIN, (action(8.0), shock(move, sellers)), (action(-5.0), shock(2.0)))
    assert pnl(transition)[2] == pytest.approx(23 * 2.0, rel=1e-5)
    assert float(transition.held[0]) == 23.0
    assert float(transition.inventory[0]) == 18.0


def test_a_skew_moves_clients_and_gives_up_its_side_of_the_spread():
    steps = [(0.5, 1.0), (-0.5, -1.0)]
    for skew, sign in steps:
        _, transition = lived(PLAIN, (action(0.0, skew), shock(np.sqrt(2.0))))
        moved = 0.5 * 60 * 32 / 100  # 9.6 units join those who buy (skew above 0) or sell
        assert float(transition.inventory[0]) == pytest.approx(-sign * moved)
        assert pnl(transition)[0] == pytest.approx(moved * 0.9 * 0.5, rel=1e-5)
    # The other side keeps its spread.
    _, transition = lived(PLAIN, (action(0.0, 0.5), shock(np.sqrt(2.0), (3.0, 0.0, 0.0))))
    assert float(transition.bought[0]) == pytest.approx(131 - 100 - 9.6)
    assert pnl(transition)[0] == pytest.approx(0.9 * (31 - 9.6), rel=1e-5)


def test_gross_flows_trade_each_at_its_own_side():
    market = dataclasses.replace(PLAIN, gross=True)
    _, transition = lived(market, (action(0.0, 0.5), shock(np.sqrt(2.0), (1.5, 0.0, 0.0))))
    assert (float(transition.bought[0]), float(transition.sold[0])) == (115.0, pytest.approx(109.6))
    assert pnl(transition)[0] == pytest.approx(0.9 * 115 + 0.45 * 109.6, rel=1e-5)


def test_hedges_and_skews_are_cut_to_their_bounds():
    (_, wild), (_, bounded) = (lived(PLAIN, (action(*a), shock(1.0))) for a in ((99.0, 7.0), (32.0, 1.0)))
    for a, b in zip(jax.tree.leaves(wild), jax.tree.leaves(bounded), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_market_ends_beyond_the_limit():
    market = dataclasses.replace(PLAIN, max_position=10.0, breach=1.5)
    for hedge, ends in ((15.0, False), (15.5, True), (-15.5, True)):
        assert bool(lived(market, (action(hedge), shock(1.0)))[1].terminated) == ends


def everything(observation, memory, step):
    return step.observed, step.action, step.transition


@eqx.filter_jit
def _run(scenario, policy, key, paths, record):
    return episodes(scenario, policy, key, paths, record)


def run(market, policy, horizon=40, paths=64, record=everything, seed=0):
    scenario = Scenario(market, (), horizon=horizon)
    return _run(as_arrays(scenario), as_arrays(policy), jax.random.key(seed), paths, record)


def test_dummy_hedgers_hedge_what_they_saw_a_step_later():
    market = HedgingMarket(max_hedge=1000.0, max_position=1e6)
    seen, done, transition = run(market, FullHedger())
    np.testing.assert_array_equal(done.hedge, -seen.inventory)
    net = transition.bought - transition.sold
    np.testing.assert_allclose(transition.inventory, net, atol=1e-3)
    # Its memory outlives episodes: this one follows another of 42 steps.
    seen, done, _ = run(market, FullHedger(latency=3), horizon=42)
    now = np.arange(42) % 3 == 0
    np.testing.assert_array_equal(done.hedge[now], -seen.inventory[now])
    np.testing.assert_array_equal(done.hedge[~now], 0.0)


def test_fractional_hedgers_hedge_a_part_beyond_the_band_within_bounds():
    for inventory, hedge in ((10.0, -3.0), (-10.0, 3.0), (3.0, 0.0), (100.0, -20.0), (-4.0, 0.0)):
        seen = HedgingMarket()._observe(HedgingMarket().reset(shock(0.0))[0])
        seen = eqx.tree_at(lambda s: s.inventory, seen, jnp.asarray(inventory))
        assert float(FractionalHedger(0.5, largest=20.0, band=4.0).act(None, None, seen)[0].hedge) == hedge
    assert float(NoHedger().act(None, None, seen)[0].hedge) == 0.0


def test_observations_are_the_position_and_what_else_is_asked_for():
    names = {"inventory"}
    for market in (
        HedgingMarket(),
        HedgingMarket(informed=True),
        HedgingMarket(informed=True, signal_correlation=0.0),
    ):
        seen = market.reset(jax.tree.map(lambda leaf: leaf[0], market.shocks(jax.random.key(0), (1,))))[1]
        assert {name for name, leaf in vars(seen).items() if leaf is not None} == names
        names |= {"volatility", "trend"} if "volatility" not in names else {"signal"}


def test_a_signal_foretells_the_move_that_the_next_hedge_can_catch():
    market = HedgingMarket(signal_correlation=0.7, max_position=1e6)
    seen, _, transition = run(market, NoHedger(), horizon=60, paths=400)
    moves = np.log(np.asarray(transition.quotes.mid[1:] / transition.quotes.mid[:-1], float))[..., 0]
    signal = np.asarray(seen.signal, float)[..., 0, 1]
    # moves[t] is that of step t + 1; a hedge chosen on signal[t] is done in step t and holds over it.
    number = moves.size
    assert np.corrcoef(signal[:-1].ravel(), moves.ravel())[0, 1] == pytest.approx(
        0.7, abs=4 / np.sqrt(number)
    )
    for lead in (1, 2):
        other = np.corrcoef(signal[: -1 - lead].ravel(), moves[lead:].ravel())[0, 1]
        assert abs(other) < 4 / np.sqrt(number)
    assert moves.std() == pytest.approx(0.15 / np.sqrt(512), rel=4 / np.sqrt(2 * number))


def test_looking_ahead_is_at_the_mean_of_the_whole_path():
    market = HedgingMarket(lookahead=30)
    shocks = jax.jit(lambda key: market.shocks(key, (31, 3)))(jax.random.key(0))

    one = jax.tree.map(lambda leaf: leaf[:, 1], shocks)
    state, _ = market.reset(jax.tree.map(lambda leaf: leaf[0], one))
    known, found, step = state.volatility.mean, [], jax.jit(market.step)
    for time in range(1, 31):
        state, _ = step(
            state, HedgingAction(jnp.zeros(1)), jax.tree.map(lambda leaf, time=time: leaf[time], one)
        )
        found.append(float(state.volatility.level))
    assert float(known) == pytest.approx(np.mean(found), rel=1e-5)
    assert float(shocks.whole[0, 1]) == float(known)
    # Too little is left of the block to say anything.
    np.testing.assert_array_equal(shocks.whole[-3:], 0.0)


def test_expected_revaluation_has_the_mean_of_the_draw():
    market = HedgingMarket(
        price=GeometricBrownian(drift=20.0, volatility=0.15, time_step=1 / 512), max_position=1e6
    )

    def record(observation, memory, step):
        t = step.transition
        return (
            t.pnl.inventory[0],
            t.expected_inventory_pnl[0],
            t.extras.expected_inventory_square[0],
            t.extras.expected_inventory_loss[0],
        )

    draw, mean, square, loss = (
        np.asarray(x, float) for x in run(market, FractionalHedger(0.1), 60, 1000, record)
    )
    for sample, expected in ((draw, mean), (draw**2, square), (np.minimum(draw, 0), loss)):
        apart = (sample - expected).mean(0)
        assert abs(apart.mean()) < 4 * apart.std() / np.sqrt(apart.size)
    assert abs(mean.mean()) > 5 * (draw - mean).mean(0).std() / np.sqrt(1000)


@pytest.mark.parametrize("enable", [False, True], ids=["float32", "float64"])
def test_pnl_is_the_change_of_wealth_over_ten_thousand_steps(enable):
    market = HedgingMarket(skews=True, informed=True)

    @jax.jit
    def ten_thousand(key):
        shocks = market.shocks(key, (10_001, 1))
        shocks = jax.tree.map(lambda leaf: leaf[:, 0], shocks)
        first, seen = market.reset(jax.tree.map(lambda leaf: leaf[0], shocks))

        def one(carry, shock):
            state, position = carry
            act = HedgingAction(-0.5 * position, -0.01 * position)
            after, t = market.step(state, act, shock)
            before, now = (
                s.cash + (s.client_position + s.hedge_position) * s.price.mid for s in (state, after)
            )
            return (after, t.inventory), (now - before, t.pnl.total[0], now)

        return jax.lax.scan(one, (first, seen.inventory), jax.tree.map(lambda leaf: leaf[1:], shocks))[1]

    with jax.enable_x64(enable):
        change, total, wealth = (np.asarray(x) for x in ten_thousand(jax.random.key(0)))
    assert change.dtype == (np.float64 if enable else np.float32)
    # Rounding of sums of the size of what clients have brought times the price, 2⁻²⁴ (2⁻⁵³) of them a few times.
    scale = np.abs(np.cumsum(total)).max() + 1e6
    epsilon = np.finfo(change.dtype).eps
    assert np.abs(change - total).max() < 4 * epsilon * scale
    # And it does not add up: the wealth is the sum of all PnL to a part in ten thousand of what was earned.
    assert float(wealth[-1]) == pytest.approx(total.astype(float).sum(), rel=1e-4 if not enable else 1e-10)
    assert total.sum() > 10_000


def test_the_parts_of_pnl_are_those_of_the_paper():
    _, done, transition = run(HedgingMarket(), FractionalHedger())
    assert (np.asarray(transition.pnl.spread) >= 0).all()
    assert (np.asarray(transition.pnl.hedge) <= 0).all()
    assert isinstance(transition.pnl, PnL)
    np.testing.assert_array_equal(transition.pnl.fees, 0)
    # Hedges are paid for at the exchange's half-spread of their side.
    quotes, hedge = transition.quotes, np.asarray(done.hedge)
    price = np.where(hedge > 0, quotes.exchange_ask, quotes.exchange_bid)
    np.testing.assert_allclose(transition.pnl.hedge, hedge * (quotes.mid - price), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"num_makers": 2},
            r"num_makers must be 1 \(nobody competes here: choose no competitors\), but got 2",
        ),
        ({"max_hedge": 0.0}, "max_hedge must be positive and finite, but got 0.0"),
        ({"elasticity": -1.0}, "elasticity must be at least 0 and finite, but got -1.0"),
        ({"signal_correlation": 2.0}, r"signal_correlation must be in \[-1, 1\], but got 2.0"),
        ({"window": 1}, "window must be from 2 to 1000, but got 1"),
        ({"lookahead": -1}, "lookahead must be from 0 to 1000000, but got -1"),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        HedgingMarket(**arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((FullHedger, {"latency": 0}), "latency must be from 1 to 1000000, but got 0"),
        ((FractionalHedger, {"fraction": 1.5}), r"fraction must be in \[0, 1\], but got 1.5"),
        ((FractionalHedger, {"largest": 0.0}), "largest must be positive and finite, but got 0.0"),
        ((FractionalHedger, {"band": -1.0}), "band must be at least 0 and finite, but got -1.0"),
    ],
)
def test_bad_hedgers(arguments, sentence):
    policy, fields = arguments
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        policy(**fields)
