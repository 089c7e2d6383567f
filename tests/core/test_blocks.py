"""Errors on one history: against NumPy, coverage on martingales, and the reasons where there are none."""

import equinox as eqx
import jax
import numpy as np
import pytest

from twosided.bars.market import BarsMarket
from twosided.bars.source import RecordedBars
from twosided.core.blocks import block_values, history_blocks
from twosided.core.evaluation import batches, evaluate
from twosided.core.formatting import interval
from twosided.core.markouts import adverse_selection, markouts
from twosided.core.numeric import as_arrays
from twosided.core.records import find
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario
from twosided.data.bars import OHLC, Bars
from twosided.limit_orders.policies import BuyAndHold, FixedOffset
from twosided.report.results import Results

HORIZON, STEPS = 10, 4000
QUOTER = FixedOffset(0.001, 0.001)


def martingale(seed: int, number: int, spread: float = 0.0) -> Bars:
    """Bars of a martingale whose volatility clusters, of one price, or of bid and ask."""
    rng, substeps, variance = np.random.default_rng(seed), 4, 1.0
    returns = np.empty((number, substeps))
    for row in returns:
        row[:] = 1e-3 * np.sqrt(variance / substeps) * rng.standard_normal(substeps)
        variance = 0.05 + 0.1 * (row.sum() / 1e-3) ** 2 + 0.85 * variance
    close = 100 * (1 + returns.ravel()).cumprod().reshape(number, substeps)
    open = np.append(100.0, close[:-1, -1])
    path = np.column_stack([open, close])
    price = OHLC(open, path.max(1), path.min(1), path[:, -1])
    bid, ask = (
        OHLC(*((1 + side * spread) * getattr(price, name) for name in ("open", "high", "low", "close")))
        for side in (-1, 1)
    )
    return Bars(60.0 * np.arange(number), price, 60.0, *((bid, ask) if spread else (None, None)))


def on_history(bars: Bars, window: int | None = HORIZON, horizon: int = HORIZON) -> Scenario:
    return Scenario(BarsMarket(source=RecordedBars.of(bars, window)), (), horizon=horizon)


def evaluated(scenario, policy=QUOTER, steps=STEPS):
    return evaluate(scenario, {"policy": policy}, steps=steps)


def test_block_values_have_the_mean_and_the_error_of_a_ratio_of_sums():
    rng = np.random.default_rng(0)
    counts = rng.integers(50, 90, 8).astype(float)
    sums = counts * 0.3 + rng.standard_normal(8)
    values, mean = block_values(sums, counts), sums.sum() / counts.sum()
    variance = 8 / 7 * np.square(sums - mean * counts).sum() / counts.sum() ** 2
    assert values.mean() == pytest.approx(mean, rel=1e-14)
    assert values.var(ddof=1) / 8 == pytest.approx(variance, rel=1e-12)


@pytest.fixture(scope="module")
def scenario():
    return on_history(martingale(0, 450))


@pytest.fixture(scope="module")
def records(scenario):
    return evaluated(scenario)


@pytest.fixture(scope="module")
def steps(scenario):
    """Place, PnL and position of every step, (time, paths), on the random numbers of the evaluation."""

    def keep(observation, policy_state, step):
        transition = step.transition
        return step.place, transition.pnl.total[0], transition.inventory[0]

    keys, paths = batches(scenario, 0, STEPS)
    run = eqx.filter_jit(lambda *arguments: episodes(*arguments, keys[0], paths, keep))
    assert len(keys) == 1
    return jax.tree.map(np.asarray, run(as_arrays(scenario), as_arrays(QUOTER)))


def jackknife(statistic, *columns, block, blocks):
    """Delete-one-block jackknife of a statistic of columns."""
    left = [statistic(*(column[block != k] for column in columns)) for k in range(blocks)]
    return np.sqrt((blocks - 1) * np.var(left))


def test_errors_match_the_jackknife_over_blocks(scenario, records, steps):
    place, pnl, inventory = steps
    blocks = history_blocks(scenario)
    # Episodes start at places 0 to 438 and reach 448 steps, enough for 20 blocks of two episodes.
    assert (blocks.number, blocks.span, blocks.starts) == (20, 448, 439)
    block = place * 20 // 448
    statistics = {
        "pnl_total": (np.mean, (pnl,)),
        "sharpe": (lambda x: x.mean() / x.std(), (pnl,)),
        "inventory_mean": (np.mean, (inventory,)),
        "inventory_std": (np.std, (inventory,)),
    }
    for name, (statistic, columns) in statistics.items():
        record = find(records, "policy", name)
        assert record.value == pytest.approx(statistic(*columns), rel=1e-4)
        # Equal up to terms of the order of 1 over the number of blocks.
        expected = jackknife(statistic, *columns, block=block, blocks=20)
        assert record.error == pytest.approx(expected, rel=0.1), name
        assert (record.dof, record.error_over) == (19, "20 blocks of one history")
    start, final, total = place[0] * 20 // 439, inventory[-1], pnl.sum(0)
    for name, statistic, column in (
        ("final_inventory_mean", np.mean, final),
        ("final_inventory_std", np.std, final),
        ("episode_pnl_std", np.std, total),
    ):
        expected = jackknife(statistic, column, block=start, blocks=20)
        assert find(records, "policy", name).error == pytest.approx(expected, rel=0.1), name


def test_markouts_and_adverse_selection_have_the_same_errors(scenario, records):
    policies = {"policy": QUOTER}
    total = find(adverse_selection(scenario, policies, steps=STEPS), "policy", "pnl_total")
    expected = find(records, "policy", "pnl_total")
    assert (total.dof, total.error_over) == (19, "20 blocks of one history")
    assert total.error == pytest.approx(expected.error, rel=1e-4)
    (row,) = markouts(scenario, policies, lags=1, steps=STEPS).filter(lag=0).iter_rows(named=True)
    # At once every unit has earned the offset of its order: 0.1% of the close, which has moved by a few percent.
    spread = find(records, "policy", "pnl_spread")
    assert row["per_step"] == pytest.approx(spread.value, rel=1e-4)
    assert row["per_step_error"] == pytest.approx(spread.error, rel=1e-3)
    assert 0 < row["per_unit_error"] < 0.1 * row["per_unit"]
    assert (row["dof"], row["error_over"]) == (19, "20 blocks of one history")


@pytest.mark.parametrize("spread", [0.0, 2e-4])
def test_intervals_cover_the_value_on_martingales(spread):
    histories, covered = 100, 0
    for seed in range(histories):
        history = on_history(martingale(seed, 450, spread))
        low, high = interval(find(evaluated(history, BuyAndHold(1.0)), "policy", "pnl_inventory"))
        covered += low <= 0 <= high
    # Of 100 exact 95% intervals, fewer than 88 or all cover once in 150 such tests.
    assert 88 <= covered < 100


def test_short_history_has_no_errors_and_a_reason():
    records = evaluated(on_history(martingale(0, 100)))
    reason = "no error: it needs 6 blocks of 20 steps, 2 episodes, but episodes reach 98 steps of one history"
    for record in records:
        assert record.error is None
        exact = record.metric in ("episodes", "inventory_min", "inventory_max")
        assert record.error_over == ("" if exact else reason)
    assert Results(records).errors == f"N{reason[1:]}."


def test_single_pass_has_blocks_of_its_steps_and_no_errors_of_episodes():
    records = evaluated(on_history(martingale(0, 450), None, 448), steps=900)
    total = find(records, "policy", "pnl_total")
    assert total.error > 0
    assert (total.dof, total.error_over) == (9, "10 blocks of one history")
    quantile = find(records, "policy", "episode_pnl_q50")
    assert quantile.error is None
    assert quantile.error_over == "no error: 10 blocks of one history are too few for this metric"


def test_evaluation_that_misses_a_block_has_no_errors():
    record = find(evaluated(on_history(martingale(0, 450)), steps=30), "policy", "pnl_total")
    assert record.error is None
    assert record.error_over == (
        "no error: the evaluation has too few steps to visit all 20 blocks of one history"
    )


def test_simulated_market_has_errors_over_independent_paths():
    record = find(evaluated(Scenario(BarsMarket(), (), horizon=HORIZON), steps=400), "policy", "pnl_total")
    assert (record.dof, record.error_over) == (39, "independent paths")


def test_constants_have_no_error_from_rounding(records):
    for name in ("bid_offset_mean", "ask_offset_mean", "bid_offset_std"):
        assert find(records, "policy", name).error == 0.0
