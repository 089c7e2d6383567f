"""Evaluation: metrics against NumPy, standard errors against the jackknife and over seeds, and closed forms."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from support.toys import Move, Toy

from twosided.core import evaluation
from twosided.core.evaluation import evaluate, trace
from twosided.core.numeric import as_arrays
from twosided.core.policy import Policy
from twosided.core.records import find, to_frame
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario
from twosided.dealer.exact.total_pnl import value_per_side
from twosided.dealer.investors import Investors, Tiers, UnitInvestors
from twosided.dealer.market import DealerAction, DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter

pytestmark = pytest.mark.optimised

PARTS = ("spread", "hedge", "inventory", "fees", "total")


def table(records, case="policy"):
    """Return {(metric, maker): (value, error)} of one case."""
    return {(r.metric, r.maker): (r.value, r.error) for r in records if r.case == case}


# Every metric, on the recorded steps of three makers.

HORIZON, PATHS, BATCHES = 10, 40, 12
# Investors arrive at random and with random sizes, so the market's volume is random too.
THREE = Scenario(
    DealerMarket(flow=Investors(arrival_probability=0.6, size_variation=0.5), num_makers=3),
    (RandomQuoter(), PersistentQuoter(epsilon_buy=-0.3)),
    horizon=HORIZON,
)
LEARNER = PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=0.1, hedge=0.3)
SEED = 4


@eqx.filter_jit
def rollouts(scenario, policy, keys):
    """Return all quantities of every step, (batches, time, paths, makers)."""

    def keep(observation, policy_state, step):
        transition = step.transition
        kept = {f"pnl_{part}": getattr(transition.pnl, part) for part in PARTS}
        kept |= {"inventory": transition.inventory, "volume": transition.bought + transition.sold}
        kept |= {"inventory_pnl": transition.pnl.inventory, "expected": transition.expected_inventory_pnl}
        kept["reward"] = jnp.full(3, step.reward)
        return kept | {name: getattr(step.action, name) for name in vars(step.action)}

    return jax.lax.map(lambda key: episodes(scenario, policy, key, PATHS, keep), keys)


@pytest.fixture(scope="module")
def measured():
    """Records of an evaluation in batches, and the same steps as (paths, time, makers) in float64."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "BATCH_STEPS", HORIZON * PATHS + 3)
        steps = HORIZON * PATHS * BATCHES - 5  # rounded up to whole batches
        records = evaluate(THREE, {"policy": LEARNER}, seed=SEED, steps=steps, optimum=0.5, study="s")
    kept = rollouts(
        as_arrays(THREE), as_arrays(LEARNER), jax.random.split(evaluation._evaluation_key(SEED), BATCHES)
    )
    steps = {}
    for name, leaf in kept.items():
        leaf = np.asarray(leaf, float)
        steps[name] = np.swapaxes(leaf, 1, 2).reshape(BATCHES * PATHS, HORIZON, 3)
    return records, steps


def by_hand(steps, maker):
    """Return every metric of a maker from the steps of some paths."""
    own = {name: values[..., maker] for name, values in steps.items()}
    out = {}
    for part in PARTS:
        out[f"pnl_{part}"] = own[f"pnl_{part}"].mean()
        out[f"episode_pnl_{part}"] = own[f"pnl_{part}"].sum(1).mean()
        for other in {0, 1, 2} - {maker}:
            other_pnl = steps[f"pnl_{part}"][..., other]
            out[f"excess_{part}_over_{other}"] = own[f"pnl_{part}"].mean() - other_pnl.mean()
    out["market_share"] = own["volume"].sum() / steps["volume"].sum()
    out["sharpe"] = own["pnl_total"].mean() / own["pnl_total"].std()
    out["termination_rate"] = 0.0  # episodes end at the horizon only
    totals = own["pnl_total"].sum(1)
    out["episode_pnl_std"] = totals.std()
    final = own["inventory"][:, -1]
    out["final_inventory_mean"], out["final_inventory_std"] = final.mean(), final.std()
    for name in ("inventory", "inventory_pnl", "epsilon_buy", "epsilon_sell", "hedge_fraction"):
        out[f"{name}_mean"], out[f"{name}_std"] = own[name].mean(), own[name].std()
    if maker == 0:
        expected = own["pnl_total"] - own["pnl_inventory"] + own["expected"]
        out["optimality_gap"] = 100 * (1 - expected.mean() / 0.5)
        out["reward"] = own["reward"].mean()
    return out


def without_error(steps, maker):
    """Return the metrics that have no standard error."""
    inventory = steps["inventory"][..., maker]
    return {
        "inventory_min": inventory.min(),
        "inventory_max": inventory.max(),
        "episodes": inventory.shape[0],
    }


def quantiles(steps, maker):
    """Return the quantiles of an episode's PnL, for which the jackknife is not valid, as they are not smooth."""
    totals = steps["pnl_total"][..., maker].sum(1)
    return {f"episode_pnl_q{100 * q:02.0f}": np.quantile(totals, q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}


@pytest.mark.parametrize("maker", [0, 1, 2])
def test_metrics_match_numpy(measured, maker):
    records, steps = measured
    expected = by_hand(steps, maker) | without_error(steps, maker) | quantiles(steps, maker)
    actual = {record.metric: record.value for record in records if record.maker == maker}
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        # Means of paths are computed in float32.
        assert actual[name] == pytest.approx(value, rel=2e-5, abs=2e-6), name


@pytest.mark.parametrize("maker", [0, 1, 2])
def test_standard_errors_match_the_jackknife(measured, maker):
    records, steps = measured
    paths = BATCHES * PATHS
    without = [
        by_hand({name: np.delete(values, i, axis=0) for name, values in steps.items()}, maker)
        for i in range(paths)
    ]
    for record in records:
        if record.maker != maker:
            continue
        if record.metric in quantiles(steps, maker):
            continue
        if record.metric in without_error(steps, maker):
            assert record.error is None
            continue
        left_out = np.array([metrics[record.metric] for metrics in without])
        jackknife = np.sqrt((paths - 1) * left_out.var())
        # Equal for means; for the other metrics up to the order of 1 / 480, with 480 paths.
        assert record.error == pytest.approx(jackknife, rel=0.01, abs=1e-6), record.metric


def test_records_have_case_seed_and_study(measured):
    for record in measured[0]:
        assert (record.case, record.seed, record.study) == ("policy", SEED, "s")


# Closed forms: PersistentQuoter(ε) against Uniform[-1, 1], with h(ε) = (1 + ε)(1 - ε) / 2 on each side.

DUEL = Scenario(DealerMarket(), (RandomQuoter(),), horizon=20)
EPSILONS = {"tight": -0.5, "best": 0.0, "wide": 0.5}
STEPS = 2_000_000


@pytest.fixture(scope="module")
def market_value():
    """Value of all orders in a step at ε = 0."""
    return 2 * value_per_side(DUEL.market)


@pytest.fixture(scope="module")
def duel(market_value):
    policies = {name: symmetric_quoter(epsilon) for name, epsilon in {**EPSILONS, "never": 1.0}.items()}
    return evaluate(DUEL, policies, steps=STEPS, optimum=market_value / 2)


def symmetric_quoter(epsilon):
    """Return a maker with the same quote on both sides that does not hedge."""
    return PersistentQuoter(epsilon_buy=epsilon, epsilon_sell=epsilon, hedge=0.0)


def assert_within(record, expected, errors=4.0):
    assert record.error > 0
    assert abs(record.value - expected) < errors * record.error


def test_value_of_all_orders_matches_the_reference(market_value):
    assert market_value == pytest.approx(0.94, abs=0.0005)


@pytest.mark.parametrize("name", EPSILONS)
def test_values_match_closed_forms(duel, market_value, name):
    records, epsilon = duel, EPSILONS[name]
    h = (1 + epsilon) * (1 - epsilon) / 2
    # Without hedging and drift, the expected total is the spread.
    for metric in ("pnl_spread", "pnl_total"):
        assert_within(find(records, name, metric), market_value * h)
    assert_within(find(records, name, "pnl_inventory"), 0.0)
    assert_within(find(records, name, "market_share"), (1 - epsilon) / 2)
    assert_within(find(records, name, "optimality_gap"), 100 * (1 - 2 * h))
    # The competitor wins where its quote is better: ∫ (1 + y) / 2 dy up to ε.
    other = market_value * (1 + epsilon) ** 2 / 4
    assert_within(find(records, name, "pnl_spread", maker=1), other)
    assert_within(find(records, name, "excess_spread_over_1"), market_value * h - other)
    assert_within(find(records, name, "epsilon_buy_mean", maker=1), 0.0)
    assert_within(find(records, name, "epsilon_sell_std", maker=1), 1 / np.sqrt(3))
    assert find(records, name, "epsilon_buy_mean").value == pytest.approx(epsilon, rel=1e-6)
    assert find(records, name, "epsilon_buy_std") == dataclasses.replace(
        find(records, name, "epsilon_buy_std"), value=0.0, error=0.0
    )
    # The sample is large enough for the comparison: the error is below 0.5% of the market's value.
    assert find(records, name, "pnl_spread").error < 0.005 * market_value


def test_policies_have_common_random_numbers(duel):
    for metric in ("epsilon_buy_mean", "epsilon_sell_std", "hedge_fraction_mean"):
        values = {find(duel, name, metric, maker=1).value for name in EPSILONS}
        assert len(values) == 1


def test_results_do_not_depend_on_the_other_policies(duel, market_value):
    alone = evaluate(DUEL, {"wide": symmetric_quoter(0.5)}, steps=STEPS, optimum=market_value / 2)
    assert table(alone, "wide") == table(duel, "wide")


def test_makers_with_equal_quotes_share_the_market():
    # The competitor draws from [0.2, 0.2].
    scenario = Scenario(DealerMarket(), (RandomQuoter(low=0.2, high=0.2),), horizon=20)
    records = evaluate(scenario, {"policy": symmetric_quoter(0.2)}, steps=STEPS, optimum=1.0)
    assert_within(find(records, "policy", "market_share"), 0.5)
    assert_within(find(records, "policy", "excess_spread_over_1"), 0.0)
    share, other = (find(records, "policy", "market_share", maker).value for maker in (0, 1))
    assert share + other == pytest.approx(1.0, rel=1e-12)


# Standard errors over many seeds.


def test_standard_errors_match_the_spread_over_seeds():
    scenario = Scenario(DealerMarket(), (RandomQuoter(),), horizon=5)
    policy = {"policy": PersistentQuoter(epsilon_buy=0.5, epsilon_sell=0.0)}
    metrics = ["pnl_spread", "pnl_total", "market_share", "sharpe", "inventory_std", "epsilon_buy_std"]
    makers = [0, 0, 0, 0, 0, 1]
    seeds, paths = 200, 200
    values, errors = np.array(
        [
            [table(records)[key] for key in zip(metrics, makers, strict=True)]
            for records in (evaluate(scenario, policy, seed, steps=5 * paths) for seed in range(seeds))
        ]
    ).transpose(2, 0, 1)
    z = (values - values.mean(0)) / errors
    # The sample variance of 200 such numbers has a standard deviation of √(2 / 199) = 0.1 around 1 (slightly more, as
    # the errors are estimates); one of six metrics differs by more than 0.4 once in 2,000.
    np.testing.assert_allclose(z.var(0, ddof=1), 1.0, atol=0.4)
    # Exact values: the share is that of ε = 0.5 on one side and 0 on the other, (1/4 + 1/2) / 2.
    share = (values[:, 2] - 0.375) / errors[:, 2]
    assert abs(share.mean()) < 4 / np.sqrt(seeds)
    spread = (values[:, 5] - 1 / np.sqrt(3)) / errors[:, 5]
    assert abs(spread.mean()) < 4 / np.sqrt(seeds)


# Undefined metrics.


def test_maker_without_trades_has_no_sharpe_ratio(duel):
    found = table(duel, "never")
    assert ("sharpe", 0) not in found and ("sharpe", 1) in found
    assert found["market_share", 0] == (0.0, 0.0)
    assert found["pnl_total", 0] == (0.0, 0.0)
    assert found["optimality_gap", 0] == pytest.approx((100.0, 0.0), abs=1e-12)


class Steady(Policy):
    """Plays 1 in the toy market."""

    def shocks(self, key, shape):
        return None

    def init(self):
        return None

    def act(self, shock, state, observation):
        return Move(observation.last * 0 + 1), state


TOY = Scenario(Toy(income=0.3), (), horizon=5)


def test_constant_income_without_trades_has_no_sharpe_ratio_and_no_market_share():
    found = table(evaluate(TOY, {"policy": Steady()}, steps=50))
    assert found["pnl_total", 0][0] == pytest.approx(0.3, rel=1e-6)
    assert not {"market_share", "sharpe"} & {metric for metric, _ in found}
    assert found["x_mean", 0][0] == 1.0


def test_one_path_has_no_standard_error():
    assert {record.error for record in evaluate(TOY, {"policy": Steady()}, steps=1)} == {None, 0.0}
    assert table(evaluate(TOY, {"policy": Steady()}, steps=1))["pnl_total", 0][1] is None


def test_progress_names_each_policy():
    named = []
    evaluate(TOY, {"a": Steady(), "b": Steady()}, steps=50, progress=named.append)
    assert named == ["a", "b"]


# Traces.


def test_trace_has_every_step_of_every_maker():
    frame = trace(THREE, LEARNER, seed=1, paths=3)
    assert frame.height == 3 * HORIZON * 3
    assert frame.select("path", "time", "maker").rows() == [
        (path, time, maker) for path in range(3) for time in range(HORIZON) for maker in range(3)
    ]
    columns = {name: frame[name].to_numpy().reshape(3, HORIZON, 3).astype(float) for name in frame.columns}
    parts = sum(columns[f"pnl_{part}"] for part in PARTS[:-1])
    np.testing.assert_allclose(columns["pnl_total"], parts, atol=1e-5)
    # The inventory before a step is that after the previous step, and 0 at first.
    net = columns["bought"] - columns["sold"]
    after = columns["inventory"] * (1 - columns["hedge_fraction"]) + net
    np.testing.assert_allclose(columns["inventory"][:, 1:], after[:, :-1], atol=1e-4)
    np.testing.assert_array_equal(columns["inventory"][:, 0], 0)
    np.testing.assert_array_equal(columns["mid"][:, 0], 100)
    # Quotes are at the midprice at ε = -1, and twice the exchange's half-spread from it at ε = 1.
    half = (columns["mid"] - columns["bid"]) / (1 + columns["epsilon_buy"])
    other = (columns["ask"] - columns["mid"]) / (1 + columns["epsilon_sell"])
    wide = (columns["epsilon_buy"] > -0.9) & (columns["epsilon_sell"] > -0.9)
    np.testing.assert_allclose(half[wide], other[wide], rtol=0.01)
    np.testing.assert_array_equal(columns["epsilon_buy"][..., 0], np.float32(-0.5))


class TwoPrices(Policy):
    """Buys at different quotes by tier, and sells at one quote."""

    def shocks(self, key, shape):
        return None

    def init(self):
        return None

    def act(self, shock, state, observation):
        nothing = observation.inventory * 0
        return DealerAction(jnp.array([-0.5, 0.3]), nothing + 0.2, nothing), state


def test_quotes_by_tier_have_a_column_each():
    market = DealerMarket(flow=Tiers((UnitInvestors(count=3), UnitInvestors(count=2))), by_tier=True)
    scenario = Scenario(market, (PersistentQuoter(epsilon_buy=0.1),), horizon=3)
    frame = trace(scenario, TwoPrices(), paths=2)
    quotes = frame.select("maker", "epsilon_buy", "epsilon_buy_0", "epsilon_buy_1", "epsilon_sell").unique()
    rows = np.array(sorted(quotes.rows()))
    np.testing.assert_allclose(rows, [[0, -0.1, -0.5, 0.3, 0.2], [1, 0.1, 0.1, 0.1, 0.0]], atol=1e-7)
    assert not {"epsilon_sell_0", "hedge_fraction_0"} & set(frame.columns)
    # The first tier sells to the learner, the second to the competitor, and both buy from the competitor.
    bought = frame.group_by("path", "time").agg(pl.col("bought", "sold").sum())
    assert (bought["bought"] + bought["sold"]).unique().to_list() == [5.0]
    assert frame.filter(pl.col("maker") == 0)["sold"].max() == 0


def test_terminated_episodes_count_up_to_their_end():
    scenario = Scenario(Toy(income=2.0, lifetime=3.0), (), horizon=6)
    metrics = table(evaluate(scenario, {"policy": Still()}, steps=60))
    assert metrics["pnl_total", 0] == (1.0, 0.0)
    assert metrics["episode_pnl_total", 0][0] == 6.0
    assert metrics["termination_rate", 0] == (pytest.approx(1.0), 0.0)
    # Means of actions are over the steps before termination.
    assert metrics["x_mean", 0] == (pytest.approx(1.5), pytest.approx(0.0, abs=1e-6))
    assert metrics["x_std", 0][0] == 0
    assert trace(scenario, Still(), paths=2)["time"].to_list() == [0, 1, 2] * 2
    endless = evaluate(Scenario(Toy(income=2.0), (), horizon=6), {"policy": Still()}, steps=60)
    assert table(endless)["termination_rate", 0] == (0.0, 0.0)


class Still(Policy):
    """Plays 1.5."""

    def shocks(self, key, shape):
        return None

    def init(self):
        return None

    def act(self, shock, state, observation):
        return Move(jnp.asarray(1.5)), state


@pytest.mark.parametrize("q", [0.05, 0.5, 0.9])
def test_confidence_interval_of_a_quantile_covers_the_exact_value(q):
    rng = np.random.default_rng(1)
    exact = np.log1p(-q) * -1.0  # quantile of the exponential distribution
    covered = []
    for _ in range(1000):
        value, error = evaluation.quantile(rng.exponential(size=400), q)
        covered.append(abs(value - exact) < 1.959964 * error)
    assert 0.92 < np.mean(covered) < 0.975


def test_quantile_beyond_the_sample_has_no_standard_error():
    assert evaluation.quantile(np.arange(10.0), 0.05) == (pytest.approx(0.45), None)


def test_evaluation_returns_a_frame_on_request():
    records = evaluate(DUEL, {"maker": symmetric_quoter(0.5)}, steps=400)
    frame = evaluate(DUEL, {"maker": symmetric_quoter(0.5)}, steps=400, as_frame=True)
    assert frame.equals(to_frame(records))
