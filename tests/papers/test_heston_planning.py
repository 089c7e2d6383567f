"""The study of planning: parts in order of time, models made wrong, what a learner lives, who must point to bars."""

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
from twosided.core.records import Record
from twosided.data.bar_files import write_bars
from twosided.limit_orders.policies import FixedOffset
from twosided.papers.base import Budget, Outcome, Outcomes
from twosided.papers.heston_planning import common, real, simulated
from twosided.papers.heston_planning.study import STUDY
from twosided.prices.bars import simulate_bars
from twosided.runs.settings import RunError

TINY = {"hidden": (4,), "batch": 8}


@functools.cache
def history(number=1200):
    bars, states = simulate_bars(simulated.PROCESS, number, substeps=2, seed=3)
    return bars, np.asarray(states.variance, float)


@pytest.fixture
def tiny(monkeypatch):
    for name, value in TINY.items():
        monkeypatch.setitem(common.SETTINGS, name, value)
    # Of so few bars 1.3% would be none to look around in.
    monkeypatch.setattr(simulated, "WARMUP", 700)


@pytest.fixture(scope="module")
def bars_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("bars") / "minutes.parquet"
    write_bars(path, history()[0])
    return path


@pytest.mark.parametrize("quick", [False, True])
def test_who_plans_takes_as_many_gradient_steps_on_a_fifth_of_the_bars(quick):
    model, budget = simulated.known(*history(), 0), Budget(quick, 1, 0)
    long = simulated.taught(simulated.PLAIN, budget, None)
    short = simulated.taught(simulated.FITTED, budget, model)
    assert isinstance(short, PlanningSAC) and not isinstance(long, PlanningSAC)
    lived = [config.steps + config.warmup + 1 for config in (long, short)]
    assert lived == ([2500, 500] if quick else [5000, 1000])
    assert long.updates * long.steps == short.updates * short.steps == (2435 if quick else 19_740)


def test_models_made_wrong_are_wrong_in_what_they_say():
    bars, variance = history()
    true = simulated.known(bars, variance, 0)
    # As if fitted after the hundredth bar, from a prior that knows nothing of the level.
    draws = jax.tree.map(lambda row: jnp.concatenate([row, row]), true.draws)
    draws = dataclasses.replace(draws, level=draws.level.at[0].set(0.7))
    true = dataclasses.replace(true, draws=draws, fit=jnp.asarray(np.arange(len(bars)) >= 100, int))
    still, twice = common.constant(true), common.doubled(true)
    np.testing.assert_allclose(jnp.square(still.volatility[100:]), simulated.PROCESS.level, rtol=1e-5)
    np.testing.assert_array_equal(still.volatility[:100], true.volatility[:100])
    np.testing.assert_array_equal(still.deviation, 0.0)
    # And stay so: even before the first fit none reverts to a level of the prior's.
    shocks = still.shocks(jax.random.key(0), (50,))
    begun = jax.vmap(lambda shock: still.continued(jnp.asarray(50), shock))(shocks)
    after = jax.vmap(still.step)(begun, shocks)
    np.testing.assert_allclose(after.price.variance, true.volatility[50] ** 2, rtol=1e-3)
    assert float(still.draws.vol_of_vol.max()) < 0.01 < float(true.draws.vol_of_vol.min())
    np.testing.assert_allclose(jnp.square(twice.volatility / true.volatility), 2.0, rtol=1e-4)
    np.testing.assert_allclose(twice.draws.level, 2 * true.draws.level)
    # Neither knows more than the model that it is made of.
    np.testing.assert_array_equal(still.fit, true.fit)


def test_what_is_asked_again_is_not_fitted_again(monkeypatch):
    asked = []
    monkeypatch.setattr(common, "rolling", lambda bars, *rest, **named: asked.append(len(bars)) or [])
    common._fitted.cache_clear()
    for seed in (0, 0, 1):
        simulated.calibrated(*history(300), seed)
    simulated.calibrated(*history(301), 0)
    assert asked == [300, 300, 301]
    common._fitted.cache_clear()


def test_a_learner_lives_its_history_and_is_judged_on_other_bars(tiny, monkeypatch):
    monkeypatch.setattr(simulated, "_judged", lambda budget: 5000)
    way = simulated.Way("known", "planning", 120, simulated.known)
    outcome = simulated.learned(way)(Budget(quick=True, seeds=2, seed=0), lambda text: None)
    curve = outcome.frames["curve"]
    assert curve["seed"].unique().sort().to_list() == [0, 1]
    assert curve["bars"].max() == 60
    found = Outcomes({way.case: outcome}, Budget(True, 2, 0))
    rewards = [found.record(way.case, f"policy, {i}", "reward") for i in (0, 1)]
    assert rewards[0].value != rewards[1].value and all(np.isfinite(r.value) for r in rewards)


def test_parts_follow_each_other_and_units_come_from_the_first(bars_file):
    read = real.History.read(Budget(False, 2, 0, (str(bars_file),)))
    first, second, last = read.parts
    assert [len(part) for part in read.parts] == [720, 240, 240]
    assert first.time[-1] < second.time[0] and second.time[-1] < last.time[0]
    moves = np.diff(np.log(history()[0].price.close[:720]))
    assert read.deviation == pytest.approx(moves.std(), rel=1e-5)
    assert read.scenario(2).horizon == 238


def test_makers_that_learn_nothing_on_bars_of_a_file(bars_file):
    budget = Budget(True, 2, 0, (str(bars_file),))
    outcome = real.references(budget, lambda text: None)
    found = Outcomes({"bars-references": outcome}, budget)

    def of(name, metric):
        return found.record("bars-references", name, metric)

    assert of(real.NOTHING, "pnl").value == of(real.NOTHING, "turnover").value == 0
    close = history()[0].price.close[960:]
    # Bought at the open after the first bar of the part, which is its close; marked at the last bar but one.
    unit = history()[0].price.close[:720].mean() / 1e4
    assert of(real.HOLD, "pnl").value == pytest.approx((close[-2] - close[0]) / unit, abs=0.05)
    assert of(real.HOLD, "position").value < 1.0
    # Of who never trades again after the first bar, only that trade's own bar is edge.
    assert of(real.HOLD, "edge").value == pytest.approx((close[1] - close[0]) / unit, abs=0.05)
    for offset in real.OFFSETS[:4]:  # further away nothing fills in 240 bars
        assert of(real._fixed(offset), "edge").error < of(real._fixed(offset), "pnl").error
    chosen = of(real.SELECTED, "pnl").value
    assert chosen in {of(real._fixed(offset), "pnl").value for offset in real.OFFSETS}


def test_errors_of_several_makers_are_of_bars_and_of_makers(bars_file, monkeypatch):
    read = real.History.read(Budget(False, 2, 0, (str(bars_file),)))
    makers = FixedOffset(0.0, 0.0), FixedOffset(0.0, 1.0)  # the second buys alone
    found = {record.metric: record for record in read.tested("both", makers, 0)[0]}
    steps = [trace(read.scenario(2), maker, 0, 1) for maker in makers]
    pnl = np.array([frame["pnl_total"].to_numpy() for frame in steps], float) / read.price * 1e4
    held = np.array([frame["inventory"].abs().to_numpy() for frame in steps])
    wealth = pnl.cumsum(1)
    falls = [max(max(0.0, *w[: i + 1]) - w[i] for i in range(len(w))) for w in wealth]
    ratios = pnl.mean(1) / pnl.std(1) * 1440**0.5
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


def test_few_bars_are_refused_before_anything_is_run(tmp_path, capsys):
    path, out = tmp_path / "few.csv", tmp_path / "out"
    write_bars(path, history()[0][:100])
    words = ["reproduce", "heston-planning", "bars", "--bars", str(path), "--out", str(out)]
    code, _, err = call(capsys, *words)
    assert (code, err) == (2, f"twosided: {path}: the study takes at least 1000 bars, but there are 100\n")
    assert not out.exists()


def outcomes(rewards, budget=Budget(False, 3, 0)):
    """Of simulated cases, a reward a seed."""
    made = {
        case: Outcome([Record(f"policy, {i}", 0, "reward", x) for i, x in enumerate(values)])
        for case, values in rewards.items()
    }
    return Outcomes(made, budget)


@pytest.mark.parametrize(
    ("planned", "verdict"),
    [
        ((0.006, 0.005, 0.006), "holds"),
        ((-0.02, -0.03, -0.02), "does not hold"),
        ((0.0, -0.02, 0.01), "cannot be decided"),
    ],
)
def test_the_claim_on_real_bars_saved(planned, verdict):
    item = next(item for item in STUDY.items if item.name == "simulated")
    found = outcomes({"sac-5000": (-0.005, -0.004, -0.005), "fitted-1000": planned})
    assert item.claims[0].test(found).verdict == verdict


def test_only_real_bars_need_a_file():
    assert {case.name for case in STUDY.cases if case.needs_bars} == {"bars-references", *real.WAYS}


def test_a_budget_without_its_bars_is_another(tmp_path):
    from twosided.papers.folder import claim

    plain, with_bars = Budget(True, 2, 0), Budget(True, 2, 0, ("a.csv", "b.csv"))
    claim(tmp_path / "out", "toy", plain)
    claim(tmp_path / "out", "toy", with_bars)  # bars may come later
    claim(tmp_path / "out", "toy", plain)
    with pytest.raises(RunError, match=r"holds toy \(quick, seeds 2, seed 0, bars a.csv, b.csv\)"):
        claim(tmp_path / "out", "toy", dataclasses.replace(with_bars, bars=("c.csv",)))
