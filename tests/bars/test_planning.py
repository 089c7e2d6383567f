"""Planning on bars: model paths start from the record without look-ahead, and SAC learns from simulated rows."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.bars import calibrated as fitted_models
from twosided.bars.calibrated import CalibratedBars, heston_bars_from_fits
from twosided.bars.heston_bars import HestonBars, HestonDraws
from twosided.bars.history import FileBars
from twosided.bars.market import BarsMarket
from twosided.bars.planning import PlanningSAC
from twosided.bars.source import RecordedBars, SimulatedBars
from twosided.core.errors import Refusal
from twosided.core.scenario import Scenario
from twosided.data.bar_files import write_bars
from twosided.data.bars import OHLC
from twosided.dealer.market import DealerMarket
from twosided.heston.blocks import make_sample
from twosided.heston.fit import filter_variance, rolling_fits
from twosided.heston.process import Heston
from twosided.heston.sampler import Sampling
from twosided.heston.transition import Parameters
from twosided.learn.sac import SAC
from twosided.learn.train import train
from twosided.limit_orders.policies import FixedOffset
from twosided.prices.bars import simulate_bars

pytestmark = [pytest.mark.extended, pytest.mark.optimised]

YEARS = 1 / 525_600
"""Length of a minute in years."""
TRUTH = {
    "initial_variance": 0.3,
    "mean_reversion": 2000.0,
    "long_run_variance": 0.3,
    "vol_of_vol": 25.0,
    "correlation": -0.5,
}
PROCESS = Heston(time_step=YEARS / 10, **TRUTH)


@functools.cache
def minutes(number=401, seed=1):
    bars, states = simulate_bars(PROCESS, number, substeps=10, seed=seed)
    return bars, np.asarray(states.variance, float)


@functools.cache
def known(number=401):
    """Return the model with the true parameters and variances."""
    bars, variance = minutes(number)
    one = jnp.ones((1, 1))
    names = ("mean_reversion", "long_run_variance", "vol_of_vol", "correlation")
    draws = HestonDraws(*(one * TRUTH[name] for name in names), drift=0 * one)
    nothing = jnp.zeros(number)
    volatility = jnp.asarray(np.sqrt(variance), jnp.float32)
    return HestonBars(RecordedBars.of(bars), draws, nothing.astype(int), volatility, nothing, YEARS)


def real(number=401, **settings):
    market = BarsMarket(source=RecordedBars.of(minutes(number)[0]), maker_rate=-1e-5, **settings)
    return Scenario(market, (), horizon=number - 2)


TINY = {
    "total_timesteps": 40,
    "num_envs": 1,
    "gradient_steps": 2,
    "batch_size": 16,
    "learning_starts": 20,
    "hidden_sizes": (8,),
    "buffer_size": 64,
}


def planner(**changes):
    return PlanningSAC(
        **TINY | {"model": known(), "plan_paths": 4, "plan_horizon": 3, "plan_buffer_size": 48} | changes
    )


# --- The model ---


def test_path_starts_with_the_last_bar_and_the_observation_of_the_record():
    market, model = real().market, known()
    assert isinstance(market, BarsMarket)
    state, _ = market.reset(market.shocks(jax.random.key(0), ()))
    state = dataclasses.replace(state, price=jnp.asarray(37), inventory=jnp.asarray(3.0))
    shock = model.shocks(jax.random.key(1), ())
    begun = dataclasses.replace(state, price=model.continued(state.price, shock))
    modelled = dataclasses.replace(market, source=model)
    for a, b in zip(*map(jax.tree.leaves, (market.observe(state), modelled.observe(begun))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert float(begun.price.price.variance) == pytest.approx(minutes()[1][37], rel=1e-5)
    # The next bar opens at the close of the last one.
    after, transition = modelled.step(
        begun,
        FixedOffset().act(None, None, modelled.observe(begun))[0],
        modelled.shocks(jax.random.key(2), ()),
    )
    assert float(after.price.bar.open) == float(begun.price.bar.close)
    assert not bool(transition.terminated)


def test_paths_of_the_true_model_have_the_moments_of_heston():
    model, number = known(), 20_000
    shocks = model.shocks(jax.random.key(3), (number,))
    begun = jax.vmap(lambda shock: model.continued(jnp.asarray(100), shock))(shocks)
    after = jax.vmap(model.step)(begun, model.shocks(jax.random.key(4), (number,)))
    moves = np.log(np.asarray(after.bar.close / begun.bar.close, float))
    now, decay = minutes()[1][100], np.exp(-TRUTH["mean_reversion"] * YEARS)
    mean = TRUTH["long_run_variance"] + (now - TRUTH["long_run_variance"]) * decay
    within = (
        TRUTH["long_run_variance"] * YEARS
        + (now - TRUTH["long_run_variance"]) * (1 - decay) / TRUTH["mean_reversion"]
    )
    assert moves.var() == pytest.approx(within, rel=5 * np.sqrt(2.2 / number))
    variance = np.asarray(after.price.variance, float)
    assert abs(variance.mean() - mean) < 5 * variance.std() / np.sqrt(number)


@functools.cache
def history(shuffled_from=None):
    """Return 300 bars. From `shuffled_from` on, returns are permuted and tripled, with gaps of an hour."""
    bars, _ = minutes()
    bars = bars[:300]
    if shuffled_from is not None:
        moves = np.diff(np.log(bars.price.close))
        later = np.random.default_rng(1).permutation(moves[shuffled_from - 1 :])
        moves = np.concatenate([[0.0], moves[: shuffled_from - 1], 3 * later])
        close = bars.price.close[0] * np.exp(np.cumsum(moves))
        gaps = 3600 * (np.maximum(np.arange(len(bars)) - shuffled_from, 0) // 7)
        bars = dataclasses.replace(bars, time=bars.time + gaps, price=OHLC(close, close, close, close))
    return bars


@functools.cache
def fits(shuffled_from=None):
    """Return fits at the 150th and the 250th bar."""
    sampling = Sampling(num_chains=2, num_warmup=30, num_samples=40)
    return list(rolling_fits(history(shuffled_from), 150, 100, sampling=sampling, block=3, points=24))


@functools.cache
def fitted(shuffled_from=None):
    """Return the model of the bars."""
    return heston_bars_from_fits(history(shuffled_from), fits(shuffled_from), draws=200)


def test_model_of_files_is_fitted_once_before_training_and_reports_progress(tmp_path, monkeypatch):
    bars, path, told, asked = minutes()[0][:260], tmp_path / "bars.csv", [], []
    write_bars(path, bars)

    def known_fits(bars, window, every, *, block, years_per_bar):
        """In place of new fits: those of `fits`, whose windows have the same ends."""
        asked.append((len(bars), window, every, block, years_per_bar))
        return iter(fits())

    monkeypatch.setattr(fitted_models, "rolling_fits", known_fits)
    model = CalibratedBars((path,), refit=100, window=150, block=3)
    with pytest.raises(
        Refusal, match="less than a week of trading, so that the number of bars per year is unknown"
    ):
        planner(model=model).prepare(Scenario(BarsMarket(source=FileBars((path,))), ()), told.append)
    learner = planner(model=dataclasses.replace(model, bars_per_year=525_600.0))
    scenario = Scenario(BarsMarket(source=FileBars((path,))), ())
    for _ in range(2):
        learner.prepare(scenario, told.append)
    assert asked == [(260, 150, 100, 3, YEARS)]
    assert [text.partition(",")[0] for text in told] == [
        f"fit {i} of 2 of the model of the bars" for i in (1, 2)
    ]
    assert ["rejected (R-hat" in text for text in told] == [fit.rejected for _, fit in fits()]
    assert isinstance(learner.model, CalibratedBars)
    assert np.asarray(learner.model.model.fit_index).tolist() == [0] * 149 + [1] * 100 + [2] * 11


def test_models_of_other_bars_than_the_markets_are_refused(tmp_path):
    path, late = tmp_path / "bars.csv", tmp_path / "late.csv"
    bars = minutes()[0][:260]
    write_bars(path, bars)
    write_bars(late, bars[100:])
    scenario = Scenario(BarsMarket(source=FileBars((path,))), ())
    others = planner(model=heston_bars_from_fits(bars[100:], []))
    with pytest.raises(Refusal, match="bar 0 differs"):
        train(scenario, others)
    others = planner(model=heston_bars_from_fits(bars[:200], []))
    with pytest.raises(Refusal, match="it has 200 bars and the market 260"):
        train(scenario, others)
    gap = dataclasses.replace(bars, time=bars.time + 600 * (np.arange(260) >= 7))
    with pytest.raises(Refusal, match="bar 7 differs"):
        train(scenario, planner(model=heston_bars_from_fits(gap, [])))
    few = planner(model=CalibratedBars((late,), window=201))
    scenario = Scenario(BarsMarket(source=FileBars((late,), window=0)), ())
    with pytest.raises(Refusal, match=r"late.csv: the model is fitted on windows of 201 bars, but there"):
        few.prepare(scenario, print)


def test_volatility_before_the_first_fit_is_that_of_the_last_returns_without_gaps():
    bars, _ = minutes()
    moves = np.where(np.arange(200) % 2, 0.001, -0.001)
    moves[90] = 0.5  # over a gap
    close = 100 * np.exp(np.cumsum(moves))
    time = 60.0 * np.arange(200) + 86_400 * (np.arange(200) >= 90)
    bars = dataclasses.replace(bars[:200], time=time, price=OHLC(close, close, close, close))
    model = heston_bars_from_fits(bars, [])
    expected = 0.001 / np.sqrt(bars.years_per_bar)
    np.testing.assert_allclose(model.volatility[1:], expected, rtol=1e-5)


def test_variance_after_each_bar_is_filtered_on_blocks_that_end_there():
    model, (end, fit), bars = fitted(), fits()[0], history()
    median = Parameters(**{name: jnp.median(x) for name, x in fit.draws.items()}, mu=jnp.zeros(()))
    for at in (end - 1, end, end + 1, end + 2, 248):
        # The window's 49 blocks of three returns and the blocks since, such that the last one ends at this bar.
        part = bars[at - 3 * (49 + (at - end + 1) // 3) : at + 1]
        sample = make_sample(part, size=3, years_per_bar=fit.sample.years_per_bar)
        known = float(model.volatility[at] ** 2 + model.volatility_std[at] ** 2)
        assert known == pytest.approx(filter_variance(median, sample)[-1], rel=1e-3)


def test_parameters_after_a_bar_come_from_fits_of_earlier_windows():
    model = fitted()
    assert np.asarray(model.fit_index).tolist() == [0] * 149 + [1] * 100 + [2] * 51
    assert model.draws.long_run_variance.shape == (3, 200)
    # The prior covers volatilities from 5% to 100%; a fit is narrower.
    spread = np.log(np.asarray(model.draws.long_run_variance)).std(1)
    assert spread[0] > 1.2 > spread[1]
    logs = np.log(minutes()[1][149:300])
    error = 2 * np.log(np.asarray(model.volatility)[149:]) - logs
    assert np.sqrt(np.square(error).mean()) < 0.5


def test_model_at_a_bar_does_not_depend_on_later_bars():
    bar, fits = 200, 2  # the second fit ends after it
    one, other = fitted(), fitted(bar)
    for a, b in zip(jax.tree.leaves(one.draws), jax.tree.leaves(other.draws), strict=True):
        np.testing.assert_array_equal(a[:fits], b[:fits])
    # The grid depends on all bars, so sums over it differ in the last digits.
    np.testing.assert_allclose(one.volatility[:bar], other.volatility[:bar], rtol=1e-3)
    assert np.abs(np.log(np.asarray(one.volatility / other.volatility)))[bar + 5 :].max() > 0.15


# --- The learner ---


def same(a, b):
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        np.testing.assert_array_equal(one, other)


def test_planning_without_simulated_rows_is_bit_identical_to_sac():
    _, plain = train(real(), SAC(**TINY), chunks=2)
    _, planned = train(real(), planner(simulated_ratio=0.0), chunks=2)
    same(plain.states.agents, planned.states.real.agents)


def test_buffers_hold_real_and_simulated_rows():
    _, progress = train(real(), planner(), chunks=1)
    state = progress.states
    # The state after the warm-up, and after every step since.
    assert int(state.starts.size[0]) == 41
    places = np.asarray(state.starts.rows.market.price)[0]
    assert places.tolist() == list(range(20, 61))
    assert int(state.real.buffers.size[0]) == 60
    assert int(state.simulated.size[0]) == 48
    assert np.isfinite(progress.curve["simulated_reward"]).all()


def test_resume_is_bit_identical():
    _, whole = train(real(), planner(), chunks=4)
    _, half = train(real(), planner(), chunks=4, after_chunk=lambda progress: progress.iteration >= 20)
    assert half.iteration == 20
    _, resumed = train(real(), planner(), chunks=4, resume=half)
    same(whole.states, resumed.states)


def test_simulated_rewards_have_the_mean_of_the_market():
    """One policy on a long record of the true model: simulated and real rewards have the same mean."""
    learner = planner(
        total_timesteps=1500,
        gradient_steps=1,
        actor_lr=1e-12,
        plan_paths=16,
        model=known(1700),
        buffer_size=2000,
    )
    _, progress = train(real(1700), learner, chunks=1)
    rows = progress.states.real.buffers.rows.reward[0]
    paid = np.asarray(rows)[20:1520]
    error = paid.std() / np.sqrt(len(paid))
    assert abs(progress.curve["simulated_reward"][0] - paid.mean()) < 4 * error


def test_markets_without_recorded_bars_are_refused():
    with pytest.raises(ValueError, match="learner plans only in a bars-market"):
        train(Scenario(DealerMarket(num_makers=1), ()), planner())
    with pytest.raises(
        ValueError, match=r"plans only from recorded bars.* but market.source is SimulatedBars"
    ):
        train(Scenario(BarsMarket(source=SimulatedBars()), ()), planner())


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"simulated_ratio": -1.0}, "simulated_ratio must be at least 0 and finite, but got -1.0"),
        ({"plan_horizon": 0}, "plan_horizon must be at least 1"),
        (
            {"plan_buffer_size": 5},
            "plan_buffer_size must be at least 12, the simulated steps of an iteration, but got 5",
        ),
    ],
)
def test_invalid_parameters_raise(changes, refusal):
    with pytest.raises(ValueError, match=refusal):
        planner(**changes)


def test_fits_out_of_order_raise(unchecked_types):
    with pytest.raises(ValueError, match="fits must be in order of the ends of their windows"):
        heston_bars_from_fits(minutes()[0], [(20, None), (10, None)])  # pyright: ignore[reportArgumentType]
