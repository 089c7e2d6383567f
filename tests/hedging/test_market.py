"""The hedging market: a step by hand, the PnL identity, hedgers, signals, look-ahead, and the parts of PnL."""

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
from twosided.hedging.market import HedgingAction, HedgingMarket, HedgingObservation, HedgingShock
from twosided.hedging.spreads import StochasticSpread
from twosided.prices import Bachelier, GeometricBrownian

# A price that moves by its shock, and spreads of 0.9 and 0.3 at σ_mean = 1, without noise.
MARKET = HedgingMarket(
    price=Bachelier(volatility=1.0, time_step=1.0),
    clients=PoissonClients(sensitivity=0.0),
    client_spread=StochasticSpread(multiplier=0.9, noise_std=0.0, clamp_low=1.0, clamp_high=1.0),
    exchange_spread=StochasticSpread(multiplier=0.3, noise_std=0.0, clamp_low=1.0, clamp_high=1.0),
    allow_skew=True,
)


def shock(move, clients=(0.0, 0.0, 0.0)):
    return HedgingShock(jnp.asarray(move), jnp.zeros(4), jnp.asarray(clients), None, None)


def action(hedge, skew=0.0):
    return HedgingAction(jnp.array([hedge]), jnp.array([skew]))


def run_steps(market, *steps):
    state, _ = market.reset(shock(0.0))
    for act, inputs in steps:
        state, transition = market.step(state, act, inputs)
    return state, transition


def pnl(transition):
    return [float(leaf[0]) for leaf in jax.tree.leaves(transition.pnl)]


def test_step_matches_hand_calculation():
    # Prices 100 and 100 + √2 give σ_roll = σ_mean = 1 and a rate of 100; sales are at 1.5 standard deviations.
    move, sales = np.sqrt(2.0), (1.5, 0.0, 0.0)
    state, transition = run_steps(MARKET, (action(8.0), shock(move, sales)))
    assert float(state.price.mid) == pytest.approx(100 + move)
    net = 115.0 - 100.0  # quantiles of Poisson(100) at Φ(1.5) and Φ(0)
    np.testing.assert_allclose(pnl(transition), [0.9 * net, -0.3 * 8, 0.0, 0.0], rtol=1e-5)
    assert (float(transition.bought[0]), float(transition.sold[0])) == (net, 0.0)
    assert (float(transition.held[0]), float(transition.inventory[0])) == (0.0, 23.0)
    quotes = [float(leaf[0]) - 100 - move for leaf in jax.tree.leaves(transition.quotes)]
    np.testing.assert_allclose(quotes, [0, 0, -0.9, 0.9, -0.3, 0.3], atol=1e-4)
    # The position before the step is revalued, without the trades of the step.
    _, transition = run_steps(MARKET, (action(8.0), shock(move, sales)), (action(-5.0), shock(2.0)))
    assert pnl(transition)[2] == pytest.approx(23 * 2.0, rel=1e-5)
    assert float(transition.held[0]) == 23.0
    assert float(transition.inventory[0]) == 18.0


def test_skew_moves_client_trades_and_reduces_the_spread_of_its_side():
    steps = [(0.5, 1.0), (-0.5, -1.0)]
    for skew, sign in steps:
        _, transition = run_steps(MARKET, (action(0.0, skew), shock(np.sqrt(2.0))))
        moved = 0.5 * 60 * 32 / 100  # 9.6 units are added to purchases (positive skew) or sales
        assert float(transition.inventory[0]) == pytest.approx(-sign * moved)
        assert pnl(transition)[0] == pytest.approx(moved * 0.9 * 0.5, rel=1e-5)
    # The spread of the other side is unchanged.
    _, transition = run_steps(MARKET, (action(0.0, 0.5), shock(np.sqrt(2.0), (3.0, 0.0, 0.0))))
    assert float(transition.bought[0]) == pytest.approx(131 - 100 - 9.6)
    assert pnl(transition)[0] == pytest.approx(0.9 * (31 - 9.6), rel=1e-5)


def test_gross_flow_trades_at_the_price_of_each_side():
    market = dataclasses.replace(MARKET, gross=True)
    _, transition = run_steps(market, (action(0.0, 0.5), shock(np.sqrt(2.0), (1.5, 0.0, 0.0))))
    assert (float(transition.bought[0]), float(transition.sold[0])) == (115.0, pytest.approx(109.6))
    assert pnl(transition)[0] == pytest.approx(0.9 * 115 + 0.45 * 109.6, rel=1e-5)


def test_hedges_and_skews_are_clipped_to_their_bounds():
    (_, excessive), (_, bounded) = (
        run_steps(MARKET, (action(*a), shock(1.0))) for a in ((99.0, 7.0), (32.0, 1.0))
    )
    for a, b in zip(jax.tree.leaves(excessive), jax.tree.leaves(bounded), strict=True):
        np.testing.assert_array_equal(a, b)


def test_market_terminates_beyond_the_breach_multiple():
    market = dataclasses.replace(MARKET, max_position=10.0, breach_multiple=1.5)
    for hedge, terminated in ((15.0, False), (15.5, True), (-15.5, True)):
        assert bool(run_steps(market, (action(hedge), shock(1.0)))[1].terminated) == terminated


def record_all(observation, state, step):
    return step.observed, step.action, step.transition


@eqx.filter_jit
def _run(scenario, policy, key, paths, record):
    return episodes(scenario, policy, key, paths, record)


def run(market, policy, horizon=40, paths=64, record=record_all, seed=0):
    scenario = Scenario(market, (), horizon=horizon)
    return _run(as_arrays(scenario), as_arrays(policy), jax.random.key(seed), paths, record)


def test_full_hedger_hedges_the_observed_position_one_step_later():
    market = HedgingMarket(max_hedge=1000.0, max_position=1e6)
    observation, action, transition = run(market, FullHedger())
    np.testing.assert_array_equal(action.hedge, -observation.inventory)
    net = transition.bought - transition.sold
    np.testing.assert_allclose(transition.inventory, net, atol=1e-3)
    # The policy state is kept across episodes: this episode follows another one of 42 steps.
    observation, action, _ = run(market, FullHedger(interval=3), horizon=42)
    hedges = np.arange(42) % 3 == 0
    np.testing.assert_array_equal(action.hedge[hedges], -observation.inventory[hedges])
    np.testing.assert_array_equal(action.hedge[~hedges], 0.0)


def test_fractional_hedger_hedges_a_fraction_beyond_the_band_within_bounds():
    for inventory, hedge in ((10.0, -3.0), (-10.0, 3.0), (3.0, 0.0), (100.0, -20.0), (-4.0, 0.0)):
        observation = HedgingObservation(inventory=jnp.asarray(inventory))
        policy = FractionalHedger(0.5, max_hedge=20.0, band=4.0)
        assert float(policy.act(None, None, observation)[0].hedge) == hedge
    assert float(NoHedger().act(None, None, observation)[0].hedge) == 0.0


def test_observation_has_the_requested_fields():
    names = {"inventory"}
    for market in (
        HedgingMarket(),
        HedgingMarket(extended_observation=True),
        HedgingMarket(extended_observation=True, signal_correlation=0.0),
    ):
        observation = market.reset(
            jax.tree.map(lambda leaf: leaf[0], market.shocks(jax.random.key(0), (1,)))
        )[1]
        assert {name for name, leaf in vars(observation).items() if leaf is not None} == names
        names |= {"volatility", "trend"} if "volatility" not in names else {"signal"}


def test_signal_predicts_the_price_change_after_the_next_hedge():
    market = HedgingMarket(signal_correlation=0.7, max_position=1e6)
    observation, _, transition = run(market, NoHedger(), horizon=60, paths=400)
    returns = np.log(np.asarray(transition.quotes.mid[1:] / transition.quotes.mid[:-1], float))[..., 0]
    signal = np.asarray(observation.signal, float)[..., 0, 1]
    # returns[t] is that of step t + 1; a hedge chosen on signal[t] is executed in step t and held over step t + 1.
    number = returns.size
    assert np.corrcoef(signal[:-1].ravel(), returns.ravel())[0, 1] == pytest.approx(
        0.7, abs=4 / np.sqrt(number)
    )
    for lead in (1, 2):
        other = np.corrcoef(signal[: -1 - lead].ravel(), returns[lead:].ravel())[0, 1]
        assert abs(other) < 4 / np.sqrt(number)
    assert returns.std() == pytest.approx(0.15 / np.sqrt(512), rel=4 / np.sqrt(2 * number))


def test_lookahead_mean_volatility_is_that_of_the_whole_path():
    market = HedgingMarket(lookahead=30)
    shocks = jax.jit(lambda key: market.shocks(key, (31, 3)))(jax.random.key(0))

    path = jax.tree.map(lambda leaf: leaf[:, 1], shocks)
    state, _ = market.reset(jax.tree.map(lambda leaf: leaf[0], path))
    path_mean, rolling, step = state.volatility.mean, [], jax.jit(market.step)
    for time in range(1, 31):
        state, _ = step(
            state, HedgingAction(jnp.zeros(1)), jax.tree.map(lambda leaf, time=time: leaf[time], path)
        )
        rolling.append(float(state.volatility.rolling))
    assert float(path_mean) == pytest.approx(np.mean(rolling), rel=1e-5)
    assert float(shocks.path_volatility[0, 1]) == float(path_mean)
    # Less than a tenth of an episode is left of the block.
    np.testing.assert_array_equal(shocks.path_volatility[-3:], 0.0)


def test_expected_inventory_moments_match_the_means_of_samples():
    market = HedgingMarket(
        price=GeometricBrownian(drift=20.0, volatility=0.15, time_step=1 / 512), max_position=1e6
    )

    def record(observation, state, step):
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
        difference = (sample - expected).mean(0)
        assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(difference.size)
    assert abs(mean.mean()) > 5 * (draw - mean).mean(0).std() / np.sqrt(1000)


@pytest.mark.parametrize("enable", [False, True], ids=["float32", "float64"])
def test_pnl_is_the_change_of_wealth_over_ten_thousand_steps(enable):
    market = HedgingMarket(allow_skew=True, extended_observation=True)

    @jax.jit
    def ten_thousand(key):
        shocks = market.shocks(key, (10_001, 1))
        shocks = jax.tree.map(lambda leaf: leaf[:, 0], shocks)
        initial, observation = market.reset(jax.tree.map(lambda leaf: leaf[0], shocks))

        def scan_step(carry, shock):
            state, position = carry
            act = HedgingAction(-0.5 * position, -0.01 * position)
            after, t = market.step(state, act, shock)
            wealth_before, wealth_after = (
                s.cash + (s.client_position + s.hedge_position) * s.price.mid for s in (state, after)
            )
            return (after, t.inventory), (wealth_after - wealth_before, t.pnl.total[0], wealth_after)

        return jax.lax.scan(
            scan_step, (initial, observation.inventory), jax.tree.map(lambda leaf: leaf[1:], shocks)
        )[1]

    with jax.enable_x64(enable):
        change, total, wealth = (np.asarray(x) for x in ten_thousand(jax.random.key(0)))
    assert change.dtype == (np.float64 if enable else np.float32)
    # A few rounding errors of sums of the size of the client position times the price, each 2⁻²⁴ (2⁻⁵³) of the sum.
    scale = np.abs(np.cumsum(total)).max() + 1e6
    epsilon = np.finfo(change.dtype).eps
    assert np.abs(change - total).max() < 4 * epsilon * scale
    # Errors do not accumulate: wealth equals the sum of all PnL to one part in ten thousand.
    assert float(wealth[-1]) == pytest.approx(total.astype(float).sum(), rel=1e-4 if not enable else 1e-10)
    assert total.sum() > 10_000


def test_pnl_parts_have_the_signs_and_prices_of_the_paper():
    _, action, transition = run(HedgingMarket(), FractionalHedger())
    assert (np.asarray(transition.pnl.spread) >= 0).all()
    assert (np.asarray(transition.pnl.hedge) <= 0).all()
    assert isinstance(transition.pnl, PnL)
    np.testing.assert_array_equal(transition.pnl.fees, 0)
    # A hedge costs the exchange's half-spread of its side.
    quotes, hedge = transition.quotes, np.asarray(action.hedge)
    price = np.where(hedge > 0, quotes.exchange_ask, quotes.exchange_bid)
    np.testing.assert_allclose(transition.pnl.hedge, hedge * (quotes.mid - price), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"num_makers": 2},
            r"num_makers must be 1 \(the market has no competitors: choose none\), but got 2",
        ),
        ({"max_hedge": 0.0}, "max_hedge must be positive and finite, but got 0.0"),
        ({"elasticity": -1.0}, "elasticity must be at least 0 and finite, but got -1.0"),
        ({"signal_correlation": 2.0}, r"signal_correlation must be in \[-1, 1\], but got 2.0"),
        ({"window": 1}, "window must be from 2 to 1000, but got 1"),
        ({"lookahead": -1}, "lookahead must be from 0 to 1000000, but got -1"),
    ],
)
def test_invalid_market_parameters_raise(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        HedgingMarket(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((FullHedger, {"interval": 0}), "interval must be from 1 to 1000000, but got 0"),
        ((FractionalHedger, {"fraction": 1.5}), r"fraction must be in \[0, 1\], but got 1.5"),
        ((FractionalHedger, {"max_hedge": 0.0}), "max_hedge must be positive and finite, but got 0.0"),
        ((FractionalHedger, {"band": -1.0}), "band must be at least 0 and finite, but got -1.0"),
    ],
)
def test_invalid_hedger_parameters_raise(arguments, message):
    policy, fields = arguments
    with pytest.raises(ValueError, match=f"^{message}$"):
        policy(**fields)
