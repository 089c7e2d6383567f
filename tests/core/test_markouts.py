"""Markouts and adverse selection: from a trace by hand, and closed forms with and without informed investors."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from twosided.core.evaluation import evaluate, trace
from twosided.core.markouts import SPLIT, adverse_selection, markouts
from twosided.core.scenario import Scenario
from twosided.dealer.exact.cost_curve import expected_costs
from twosided.dealer.investors import Investors, Tiers, UnitInvestors
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter
from twosided.prices import Bachelier, GeometricBrownian

STD = 0.2
"""Standard deviation of the change of the midprice in a step, in currency."""
PRICE = Bachelier(volatility=2.0, time_step=0.01)
EPSILON = 0.3
STEPS = 400_000


def alone(flow, price=PRICE, horizon=12):
    """Return a scenario of one maker, which wins all orders."""
    return Scenario(DealerMarket(price=price, flow=flow, num_makers=1), (), horizon=horizon)


def marks_of(flow, lags, price=PRICE):
    policy = PersistentQuoter(epsilon_buy=EPSILON, epsilon_sell=EPSILON, hedge=0.4)
    return markouts(alone(flow, price), {"policy": policy}, lags, steps=STEPS)


def half_spread():
    """Return the expected spread PnL of a unit: P E[S_ref(1)] (1 + ε)."""
    return 100 * float(expected_costs(DealerMarket().book, [1.0]).mean()) * (1 + EPSILON)


def assert_within(frame, expected):
    """Check each markout to four standard errors; float32 rounds the price to 1e-5."""
    difference = np.abs(frame["per_unit"].to_numpy() - expected)
    np.testing.assert_array_less(difference, 4 * frame["per_unit_error"].to_numpy() + 2e-5)


def test_trades_with_uninformed_investors_keep_the_spread():
    frame = marks_of(UnitInvestors(count=3), lags=5)
    assert frame["lag"].to_list() == list(range(6))
    assert_within(frame, half_spread())
    # The error is smallest for the spread alone, and grows with the variance of the price change.
    errors = frame["per_unit_error"].to_numpy()
    assert errors[0] < errors[1] < errors[5] < 0.002


@pytest.mark.parametrize(("foresight", "lags"), [(1, 4), (3, 6)])
def test_informed_investors_take_the_price_change_that_they_foresee(foresight, lags):
    # E[S_k sign S_h] = σ √(2/π) k / √h for the change S_k after k <= h steps, constant afterwards.
    frame = marks_of(UnitInvestors(count=3, informed=3, foresight=foresight), lags)
    k = np.minimum(np.arange(lags + 1), foresight)
    loss = STD * np.sqrt(2 / np.pi) * k / np.sqrt(foresight)
    assert loss[-1] == pytest.approx(stats.halfnorm(scale=STD * np.sqrt(foresight)).mean())
    assert_within(frame, half_spread() - loss)
    # Three units in each step, all on one side.
    np.testing.assert_allclose(frame["per_step"], 3 * frame["per_unit"], rtol=1e-6)


def test_loss_is_proportional_to_the_share_of_informed_investors():
    price = GeometricBrownian(volatility=0.02, time_step=0.01)
    frame = marks_of(Tiers((Investors(count=3), UnitInvestors(count=2, informed=2))), 3, price)
    change = price.change_moments(price.reset(np.zeros((), np.float32)))
    loss = 2 / 5 * float(change.mean - 2 * change.downside)
    assert_within(frame, half_spread() - loss * np.array([0, 1, 1, 1]))


# From a trace of every step.

HORIZON, PATHS = 10, 60
FLOW = Tiers((Investors(count=4, size_variation=0.5), UnitInvestors(count=2, informed=2, foresight=2)))
DUEL = Scenario(DealerMarket(price=PRICE, flow=FLOW), (RandomQuoter(),), horizon=HORIZON)
LEARNER = PersistentQuoter(epsilon_buy=-0.2, epsilon_sell=0.1, hedge=0.3)


@pytest.fixture(scope="module")
def steps():
    """Columns of the trace as (paths, time, makers), positions after trades, and price changes."""
    # The same random numbers as one batch of an evaluation.
    from twosided.core import evaluation

    with pytest.MonkeyPatch.context() as patch:
        key = evaluation.batches(DUEL, 0, HORIZON * PATHS)[0][0]
        patch.setattr(evaluation, "_evaluation_key", lambda seed: key)
        frame = trace(DUEL, LEARNER, seed=0, paths=PATHS)
    columns = {
        name: frame[name].to_numpy().reshape(PATHS, HORIZON, 2).astype(float) for name in frame.columns
    }
    after = columns["inventory"] * (1 - columns["hedge_fraction"]) + columns["bought"] - columns["sold"]
    # Price changes, from inventory PnL over the position.
    changes = np.where(after == 0, 0, columns["pnl_inventory"] / np.where(after == 0, 1, after))
    return columns, after, changes


@pytest.mark.parametrize("window", [1, 3, HORIZON])
def test_adverse_selection_matches_hand_calculation(steps, window):
    columns, after, changes = steps
    net = columns["bought"] - columns["sold"]
    recent = sum(np.pad(net, ((0, 0), (k, 0), (0, 0)))[:, :HORIZON] for k in range(window))
    expected = {
        "spread": columns["pnl_spread"],
        "adverse": recent * changes,
        "residual": (after - recent) * changes,
        "hedge": columns["pnl_hedge"],
        "fees": columns["pnl_fees"],
    }
    expected["total"] = sum(expected.values())
    records = adverse_selection(DUEL, {"policy": LEARNER}, window, steps=HORIZON * PATHS, study="s")
    assert [(r.maker, r.metric) for r in records] == [(m, f"pnl_{p}") for m in (0, 1) for p in SPLIT]
    for record in records:
        means = expected[record.metric.removeprefix("pnl_")][..., record.maker].mean(1)
        assert record.value == pytest.approx(means.mean(), abs=1e-4)
        assert record.error == pytest.approx(means.std(ddof=1) / np.sqrt(PATHS), abs=1e-4)
        assert (record.case, record.seed, record.study) == ("policy", 0, "s")


def test_markouts_match_hand_calculation(steps):
    columns, _, changes = steps
    lags = 4
    frame = markouts(DUEL, {"policy": LEARNER}, lags, steps=HORIZON * PATHS)
    # A maker without a position does not show the change; the other maker does.
    change = changes[..., :1] + np.where(changes[..., :1] == 0, changes[..., 1:], 0)
    path = np.concatenate([np.zeros((PATHS, 1, 1)), change.cumsum(1)], 1)
    counted = HORIZON - lags + 1
    for row in frame.iter_rows(named=True):
        own = {name: column[:, :counted, row["maker"]] for name, column in columns.items()}
        later = path[:, row["lag"] : row["lag"] + counted, 0] - path[:, :counted, 0]
        marks = (own["pnl_spread"] + (own["bought"] - own["sold"]) * later).mean(1)
        volume = (own["bought"] + own["sold"]).mean(1)
        assert row["per_step"] == pytest.approx(marks.mean(), abs=2e-4)
        assert row["per_step_error"] == pytest.approx(marks.std(ddof=1) / np.sqrt(PATHS), abs=2e-4)
        assert row["per_unit"] == pytest.approx(marks.mean() / volume.mean(), abs=2e-4)
        influence = marks / volume.mean() - marks.mean() / volume.mean() ** 2 * volume
        assert row["per_unit_error"] == pytest.approx(influence.std(ddof=1) / np.sqrt(PATHS), abs=2e-4)


def test_parts_of_the_split_add_up_to_those_of_evaluate():
    arguments = {"policy": LEARNER}, 2, 5, HORIZON * PATHS
    split = {(r.maker, r.metric): r.value for r in adverse_selection(DUEL, *arguments)}
    records = evaluate(DUEL, {"policy": LEARNER}, seed=5, steps=HORIZON * PATHS)
    evaluated = {(r.maker, r.metric): r.value for r in records}
    for maker in (0, 1):
        for part in ("spread", "hedge", "fees", "total"):
            assert split[maker, f"pnl_{part}"] == pytest.approx(evaluated[maker, f"pnl_{part}"], abs=1e-6)
        inventory = split[maker, "pnl_adverse"] + split[maker, "pnl_residual"]
        assert inventory == pytest.approx(evaluated[maker, "pnl_inventory"], abs=1e-6)
        parts = sum(split[maker, f"pnl_{part}"] for part in SPLIT[:-1])
        assert parts == pytest.approx(split[maker, "pnl_total"], abs=1e-5)


def test_markouts_leave_out_makers_without_trades():
    scenario = Scenario(DealerMarket(price=PRICE), (PersistentQuoter(-0.5, -0.5),), horizon=HORIZON)
    frame = markouts(scenario, {"wide": PersistentQuoter(0.5, 0.5)}, 2, steps=HORIZON * PATHS)
    assert frame.select("case", "maker").unique().rows() == [("wide", 1)]
    assert frame.select(pl.all().is_not_null().all()).row(0) == (True,) * 9


@pytest.mark.parametrize("number", [0, HORIZON + 1])
def test_lags_and_window_out_of_range_raise(number):
    with pytest.raises(ValueError, match=rf"^lags must be from 1 to the horizon \(10\), but got {number}$"):
        markouts(DUEL, {}, number)
    with pytest.raises(ValueError, match=rf"^window must be from 1 to the horizon \(10\), but got {number}$"):
        adverse_selection(DUEL, {}, number)
