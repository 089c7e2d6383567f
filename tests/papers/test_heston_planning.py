"""Study of planning: successive parts, misspecified models, histories of learners, and items that need bars."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.command_line import call

from twosided.bars.planning import PlanningSAC
from twosided.core.bootstrap import block_bootstrap, block_length
from twosided.core.evaluation import trace
from twosided.data.bar_files import write_bars
from twosided.limit_orders.policies import FixedOffset
from twosided.papers.base import Budget, Outcome, Outcomes, record_of
from twosided.papers.heston_planning import common, real_bars, simulated_bars
from twosided.papers.heston_planning.study import STUDY
from twosided.prices.bars import simulate_bars
from twosided.runs.settings import RunError

pytestmark = pytest.mark.extended

TINY = {"hidden_sizes": (4,), "batch_size": 8}


@functools.cache
def history(number=1200):
    bars, states = simulate_bars(simulated_bars.PROCESS, number, substeps=2, seed=3)
    return bars, np.asarray(states.variance, float)


@pytest.fixture
def tiny(monkeypatch):
    for name, value in TINY.items():
        monkeypatch.setitem(common.SETTINGS, name, value)
    # Of so few bars, 1.3% would leave no warm-up.
    monkeypatch.setattr(simulated_bars, "WARMUP", 700)


@pytest.fixture(scope="module")
def bars_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("bars") / "minutes.parquet"
    # Of a quarter of an hour, so that there are whole weeks.
    write_bars(path, dataclasses.replace(history()[0], time=1.6e9 + 900.0 * np.arange(1200)))
    return path


@pytest.mark.parametrize("quick", [False, True])
def test_planning_on_a_fifth_of_the_bars_takes_equally_many_gradient_steps(quick):
    model, budget = simulated_bars.true_model(*history(), 0), Budget(quick, 1, 0)
    long = simulated_bars.learner_of(simulated_bars.PLAIN, budget, None)
    short = simulated_bars.learner_of(simulated_bars.FITTED, budget, model)
    assert isinstance(short, PlanningSAC) and not isinstance(long, PlanningSAC)
    bars = [config.total_timesteps + config.learning_starts + 1 for config in (long, short)]
    assert bars == ([2500, 500] if quick else [5000, 1000])
    assert (
        long.gradient_steps * long.total_timesteps
        == short.gradient_steps * short.total_timesteps
        == (2435 if quick else 19_740)
    )


def test_misspecified_models_change_only_their_variance():
    bars, variance = history()
    true = simulated_bars.true_model(bars, variance, 0)
    # As if fitted after the hundredth bar, from a prior with another level.
    draws = jax.tree.map(lambda row: jnp.concatenate([row, row]), true.draws)
    draws = dataclasses.replace(draws, long_run_variance=draws.long_run_variance.at[0].set(0.7))
    true = dataclasses.replace(true, draws=draws, fit_index=jnp.asarray(np.arange(len(bars)) >= 100, int))
    still, twice = common.constant(true), common.doubled(true)
    np.testing.assert_allclose(
        jnp.square(still.volatility[100:]), simulated_bars.PROCESS.long_run_variance, rtol=1e-5
    )
    np.testing.assert_array_equal(still.volatility[:100], true.volatility[:100])
    np.testing.assert_array_equal(still.volatility_std, 0.0)
    # It stays constant: even before the first fit it does not revert to the prior's level.
    shocks = still.shocks(jax.random.key(0), (50,))
    begun = jax.vmap(lambda shock: still.continued(jnp.asarray(50), shock))(shocks)
    after = jax.vmap(still.step)(begun, shocks)
    np.testing.assert_allclose(after.price.variance, true.volatility[50] ** 2, rtol=1e-3)
    assert float(still.draws.vol_of_vol.max()) < 0.01 < float(true.draws.vol_of_vol.min())
    np.testing.assert_allclose(jnp.square(twice.volatility / true.volatility), 2.0, rtol=1e-4)
    np.testing.assert_allclose(twice.draws.long_run_variance, 2 * true.draws.long_run_variance)
    # Neither uses other fits than the model that it is made of.
    np.testing.assert_array_equal(still.fit_index, true.fit_index)


def test_same_fits_are_computed_once(monkeypatch):
    fits = []
    monkeypatch.setattr(common, "rolling_fits", lambda bars, *rest, **named: fits.append(len(bars)) or [])
    common._fitted.cache_clear()
    for seed in (0, 0, 1):
        simulated_bars.calibrated(*history(300), seed)
    simulated_bars.calibrated(*history(301), 0)
    assert fits == [300, 300, 301]
    common._fitted.cache_clear()


def test_learner_passes_through_its_history_once_per_seed(tiny, monkeypatch):
    monkeypatch.setattr(simulated_bars, "evaluation_steps", lambda budget: 5000)
    variant = simulated_bars.Variant("true", 120, simulated_bars.true_model)
    outcome = simulated_bars.learned(variant)(Budget(quick=True, seeds=2, seed=0), lambda text: None)
    curve = outcome.frames["curve"]
    assert curve["seed"].unique().sort().to_list() == [0, 1]
    assert curve["bars"].max() == 60
    found = Outcomes({"case": outcome}, Budget(True, 2, 0))
    rewards = [found.record("case", "reward", policy="learner", replication=i) for i in (0, 1)]
    assert rewards[0].value != rewards[1].value and all(np.isfinite(r.value) for r in rewards)


def test_parts_follow_each_other_and_units_are_those_of_the_first(bars_file):
    read = real_bars.History.read(Budget(False, 2, 0, (str(bars_file),)))
    first, second, last = read.parts
    assert [len(part) for part in read.parts] == [720, 240, 240]
    assert first.time[-1] < second.time[0] and second.time[-1] < last.time[0]
    moves = np.diff(np.log(history()[0].price.close[:720]))
    assert read.std == pytest.approx(moves.std(), rel=1e-5)
    assert read.scenario(2).horizon == 238


def test_references_on_bars_of_a_file_match_hand_calculation(bars_file):
    budget = Budget(True, 2, 0, (str(bars_file),))
    outcome = real_bars.references(budget, lambda text: None)
    found = Outcomes({"bars-references": outcome}, budget)

    def of(metric, **maker):
        return found.record("bars-references", metric, **maker)

    nothing, hold = {"policy": "nothing"}, {"policy": "hold"}
    assert of("pnl", **nothing).value == of("turnover", **nothing).value == 0
    assert [of("bars", part=part).value for part in ("training", "selection", "test")] == [720, 240, 240]
    close = history()[0].price.close[960:]
    # Bought at the open after the first bar of the part, which is its close; marked at the last bar but one.
    unit = history()[0].price.close[:720].mean() / 1e4
    assert of("pnl", **hold).value == pytest.approx((close[-2] - close[0]) / unit, abs=0.05)
    assert of("position", **hold).value < 1.0
    # Without further trades, only the bar of the first trade has an edge.
    assert of("edge", **hold).value == pytest.approx((close[1] - close[0]) / unit, abs=0.05)
    for offset in real_bars.OFFSETS[:4]:  # at larger offsets no order fills in 240 bars
        fixed = real_bars.fixed_offset(offset)
        assert of("edge", **fixed).error < of("pnl", **fixed).error
    selected = of("pnl", policy="selected").value
    assert selected in {of("pnl", **real_bars.fixed_offset(offset)).value for offset in real_bars.OFFSETS}


def test_errors_of_several_makers_include_variation_of_bars_and_makers(bars_file, monkeypatch):
    read = real_bars.History.read(Budget(False, 2, 0, (str(bars_file),)))
    makers = FixedOffset(0.0, 0.0), FixedOffset(0.0, 1.0)  # the second buys alone
    found = {record.metric: record for record in read.test({"policy": "both"}, makers, 0)[0]}
    steps = [trace(read.scenario(2), maker, 0, 1) for maker in makers]
    pnl = np.array([frame["pnl_total"].to_numpy() for frame in steps], float) / read.price * 1e4
    held = np.array([frame["inventory"].abs().to_numpy() for frame in steps])
    wealth = pnl.cumsum(1)
    falls = [max(max(0.0, *w[: i + 1]) - w[i] for i in range(len(w))) for w in wealth]
    ratios = pnl.mean(1) / pnl.std(1) * 96**0.5
    for name, each in (
        ("pnl", pnl.sum(1)),
        ("drawdown", falls),
        ("sharpe", ratios),
        ("position", held.mean(1)),
    ):
        assert found[name].value == pytest.approx(np.mean(each), rel=1e-4), name
        assert found[name].error > abs(each[0] - each[1]) / 2, name
    for name, series, scale in (("pnl", pnl, pnl.shape[1]), ("position", held, 1)):
        mean = series.mean(0)[:, None]
        bars = block_bootstrap(mean, max(2, block_length(mean[:, 0])), 2000, 1).std() * scale
        makers_apart = np.std(series.sum(1) / series.shape[1] * scale, ddof=1) / 2**0.5
        assert found[name].error == pytest.approx(np.hypot(bars, makers_apart), rel=0.15), name


def test_few_bars_are_refused_before_anything_runs(tmp_path, capsys):
    path, out = tmp_path / "few.csv", tmp_path / "out"
    write_bars(path, history()[0][:100])
    words = ["reproduce", "heston-planning", "bars", "--bars", str(path), "--out", str(out)]
    code, _, err = call(capsys, *words)
    assert (code, err) == (2, f"twosided: {path}: the study needs at least 1000 bars, but there are 100\n")
    assert not out.exists()


def outcomes(rewards, budget=Budget(False, 3, 0)):
    """Outcomes of simulated cases, one reward per seed."""
    made = {
        case: Outcome(
            [record_of({"policy": "learner", "replication": i}, "reward", x) for i, x in enumerate(values)]
        )
        for case, values in rewards.items()
    }
    return Outcomes(made, budget)


@pytest.mark.parametrize(
    ("planned", "decision"),
    [
        ((0.006, 0.005, 0.006), "holds"),
        ((-0.02, -0.03, -0.02), "does not hold"),
        ((0.0, -0.02, 0.01), "cannot be decided"),
    ],
)
def test_claim_on_saved_bars_follows_the_rewards(planned, decision):
    item = next(item for item in STUDY.items if item.name == "simulated")
    found = outcomes({"sac-5000": (-0.005, -0.004, -0.005), "fitted-1000": planned})
    assert item.claims[0].test(found).decision == decision


def test_only_cases_of_real_bars_need_a_file():
    assert {case.name for case in STUDY.cases if case.needs_bars} == {case.name for case in real_bars.CASES}


def test_bars_may_be_added_to_a_folder_but_not_replaced(tmp_path):
    from twosided.papers.folder import claim_folder

    plain, with_bars = Budget(True, 2, 0), Budget(True, 2, 0, ("a.csv", "b.csv"))
    claim_folder(tmp_path / "out", "toy", plain)
    claim_folder(tmp_path / "out", "toy", with_bars)  # bars may come later
    claim_folder(tmp_path / "out", "toy", plain)
    with pytest.raises(RunError, match=r"holds toy \(quick, seeds 2, seed 0, bars a.csv, b.csv\)"):
        claim_folder(tmp_path / "out", "toy", dataclasses.replace(with_bars, bars=("c.csv",)))
