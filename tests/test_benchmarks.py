"""Benchmarks: the NumPy market has the same distributions as the compiled one, and the commands run."""

import importlib
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from twosided import DealerMarket, PersistentQuoter, RandomQuoter, Scenario, evaluate

pytestmark = pytest.mark.extended

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
PATHS, HORIZON = 2600, 100

PAIRS = {
    "all orders tied": (PersistentQuoter(), PersistentQuoter()),
    "one side tied": (
        PersistentQuoter(epsilon_buy=-0.5, hedge=0.5),
        PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=-0.1),
    ),
    "random": (RandomQuoter(), RandomQuoter(low=-0.5, high=0.5, hedge_high=0.3)),
}


@pytest.mark.parametrize("makers", PAIRS.values(), ids=PAIRS)
def test_numpy_market_has_the_same_distributions(makers):
    market = DealerMarket()
    scenario = Scenario(market, makers[1:], horizon=HORIZON)
    records = evaluate(scenario, {"": makers[0]}, steps=PATHS * HORIZON)
    compiled = {(r.maker, r.metric): (r.value, r.error) for r in records}

    numpy_dealer = runpy.run_path(str(BENCHMARKS / "numpy_dealer.py"))
    peer = numpy_dealer["NumpyDealer"](market, makers, PATHS, HORIZON, seed=1)
    steps = [{**peer.step(), "inventory": peer.inventory} for _ in range(HORIZON)]
    means = {name: np.mean([step[name] for step in steps], axis=0, dtype=float) for name in steps[0]}
    squares = np.mean([np.square(step["inventory"]) for step in steps], axis=0, dtype=float)

    for maker in range(2):
        estimates = {name: _mean(values[maker]) for name, values in means.items() if name != "inventory"}
        inventory = means["inventory"][maker]
        std = np.sqrt(squares[maker].mean() - inventory.mean() ** 2)
        influence = (squares[maker] - 2 * inventory.mean() * inventory) / (2 * std)
        estimates |= {"inventory_mean": _mean(inventory), "inventory_std": (std, _mean(influence)[1])}
        for name, (value, error) in estimates.items():
            expected, expected_error = compiled[maker, name]
            # One of 30 comparisons differs by more than 4.5 standard errors once in 5,000 seeds.
            assert abs(value - expected) <= 4.5 * np.hypot(error, expected_error), (maker, name)
        # Standard errors of inventory PnL, each with a relative error of 2%.
        assert estimates["pnl_inventory"][1] == pytest.approx(compiled[maker, "pnl_inventory"][1], rel=0.1)


def test_episodes_of_the_numpy_market_restart():
    numpy_dealer = runpy.run_path(str(BENCHMARKS / "numpy_dealer.py"))
    peer = numpy_dealer["NumpyDealer"](DealerMarket(), PAIRS["random"], 8, horizon=3, seed=0)
    for _ in range(4):
        peer.step()
    # In the first step of an episode there is no inventory to hedge, so the inventory is the net volume won.
    net = np.array(peer.last[0]) - peer.last[1]
    np.testing.assert_array_equal(peer.inventory, net)
    np.testing.assert_allclose(peer.observation()[3], net[0])


def test_environment_benchmark_runs():
    small = ["--markets", "8", "--steps", "4", "--repeats", "2", "--makers", "fixed", "--json"]
    result = json.loads(_run("environment.py", *small))
    assert [row["makers"] for row in result["rows"]] == ["fixed"]
    assert all(row["environment, ns a step"] > 0 for row in result["rows"])
    assert result["source"]["seed"] == 0


def test_hedging_benchmark_compares_with_the_speed_of_the_paper():
    words = ["--markets", "16", "--steps", "4", "--repeats", "1", "--which", "hedging", "--json"]
    result = json.loads(_run("hedging.py", *words))
    (row,) = result["rows"]
    assert row["market"] == "hedging"
    assert row["times theirs"] == pytest.approx(row["million steps a second"] * 1e6 / 19_000)
    (aim,) = result["aims"]
    assert aim["met"] == ("yes" if row["times theirs"] >= 100 else "NO")


def test_calibration_benchmark_resumes_from_a_log_in_any_order(tmp_path, monkeypatch):
    """The log has a line with the settings, then one per data set in the order of completion; these are not fitted
    again."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    calibration = importlib.import_module("heston_calibration")
    design, log = calibration.DESIGNS["daily"][0], tmp_path / "log.jsonl"
    asked = ("daily", design, calibration.SAMPLING["daily"])
    assert calibration._logged(*asked, 0, 0, log, 1) == []
    sets = [
        {"number": n, "ranks": {"kappa": rank}, "std_ratios": {"kappa": 0.1}, "rhat": 1.0}
        for n, rank in enumerate((0.5, 0.99))
    ]
    log.write_text(log.read_text() + "".join(json.dumps(found) + "\n" for found in reversed(sets)))
    done = calibration._logged(*asked, 0, 2, log, 1)
    assert done == sets
    rows, aims = calibration._judged("daily", done)
    assert rows[0]["covered by 90%"] == "50%"
    assert [aim["met"] for aim in aims] == ["NO", "yes"]
    # A log of another seed is not used.
    assert calibration._logged(*asked, 1, 0, log, 1) == []
    assert len(log.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        "electronic.py",
        "hedging.py",
        "heston.py",
        "heston_calibration.py",
        "limit_order.py",
        "memory.py",
        "optima.py",
        "rllib.py",
        "sac.py",
        "startup.py",
        "training.py",
    ],
)
def test_other_benchmarks_have_help(command):
    assert "--repeats" in _run(command, "--help")


def _run(command, *words):
    words = [sys.executable, str(BENCHMARKS / command), *words]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _mean(values):
    return values.mean(), values.std(ddof=1) / np.sqrt(values.size)
