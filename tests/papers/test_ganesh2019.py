"""Study of Ganesh et al. (2019): printed tables, items, claims, and small cases."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from twosided.core.records import Record
from twosided.learn.ppo import PPO
from twosided.papers.base import (
    Budget,
    Figure,
    Outcome,
    Outcomes,
    Table,
    evaluate_claim,
    record_of,
    records_of,
)
from twosided.papers.ganesh2019 import adaptive_tables, cases, learner_tables
from twosided.papers.ganesh2019.cases import CASES, FIXED
from twosided.papers.ganesh2019.study import STUDY

pytestmark = pytest.mark.extended

TINY = Budget(quick=True, seeds=2, seed=0)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "table",
    [
        learner_tables.TABLE_2.values(),
        adaptive_tables.TABLE_4.values(),
        adaptive_tables.TABLE_5.values(),
        adaptive_tables.TABLE_6,
    ],
    ids=["table-2", "table-4", "table-5", "table-6"],
)
def test_printed_parts_add_up_to_the_total(table):
    # The paper rounds each part: Adaptive γ = 2 of table 2 is off by 0.01 more than that allows, so 0.02.
    for spread, inventory, hedge, total in table:
        assert spread + inventory + hedge == pytest.approx(total, abs=0.021)


def test_every_table_and_figure_of_the_paper_is_an_item():
    names = {item.name for item in STUDY.items}
    assert {f"table-{n}" for n in range(1, 7)} <= names
    assert {f"figure-{n}" for n in range(1, 15)} <= names


def test_cases_are_those_of_the_items():
    assert {case.name for case in CASES} == {case for item in STUDY.items for case in item.cases}


def steps_of(makers=2, paths=8, horizon=40):
    """A random trace with all columns."""
    index = np.indices((paths, horizon, makers)).reshape(3, -1)
    columns = dict(zip(("path", "time", "maker"), index, strict=True))
    size = index.shape[1]
    columns |= {name: RNG.normal(size=size) for name in ("inventory", "epsilon_buy", "epsilon_sell")}
    columns |= {
        f"pnl_{part}": RNG.normal(size=size) for part in ("spread", "hedge", "inventory", "fees", "total")
    }
    columns |= {name: RNG.uniform(size=size) for name in ("hedge_fraction", "bought", "sold")}
    columns |= {"mid": np.full(size, 100.0), "bid": np.full(size, 99.9), "ask": np.full(size, 100.1)}
    return pl.DataFrame(columns)


def curve():
    steps = np.tile(np.arange(1, 9) * 1000.0, 2)
    pnl = 0.9 - 100 / steps
    return pl.DataFrame(
        {
            "seed": np.repeat([0, 1], 8),
            "timesteps": steps,
            "eval_pnl": pnl,
            "competitor_pnl": pnl / 2,
            "optimality_gap": 10 - pnl,
        }
    )


def frames():
    lags = np.arange(6)
    marks = {"case": ["seed 0"] * 6, "maker": [0] * 6, "lag": lags}
    marks |= {
        name: RNG.normal(size=6) for name in ("per_unit", "per_unit_error", "per_step", "per_step_error")
    }
    return {
        "curve": curve(),
        "trace": steps_of(),
        "traces": pl.concat(
            [steps_of(paths=1).with_columns(risk_aversion=pl.lit(gamma)) for gamma in (0.0, 2.0)]
        ),
        "inventory": pl.DataFrame(
            {"time": np.arange(40), "inventory": RNG.normal(size=40), "inventory_error": 0.1}
        ),
        "exact": pl.DataFrame({"inventory": lags * 1.0, "epsilon_buy": -0.5, "epsilon_sell": 0.0}),
        "levels": pl.DataFrame({"level": 1e-4 * np.arange(10), "volume": RNG.uniform(size=10)}),
        "curves": pl.DataFrame({"snapshot": [0] * 5, "size": np.arange(5.0), "spread": np.arange(5.0)}),
        "markouts": pl.DataFrame(marks),
        "quotes": pl.DataFrame(
            {"seed": [0] * 4, "maker": [0, 0, 1, 1], "timesteps": [1.0, 2.0] * 2, "epsilon": 0.1}
        ),
    }


class Answers(Outcomes):
    """Outcomes with every case, every table, and a number for every record that is looked up."""

    def __getitem__(self, case):
        return Outcome([], frames())

    def record(self, case, metric, /, maker=0, **parameters):
        value = 0.01 * (1 + len(case) + len(metric) + maker)
        return Record(case, maker, metric, value, 0.001, parameters=parameters)


@pytest.mark.parametrize("item", STUDY.items, ids=lambda item: item.name)
def test_item_has_tables_and_figures_and_decides_its_claims(item):
    answers = Answers({}, TINY)
    content = item.content(answers)
    assert content
    assert all(isinstance(part, Table | Figure) for part in content)
    for claim in item.claims:
        finding = evaluate_claim(claim, answers)
        assert finding.evidence


def test_claims_without_their_cases_cannot_be_decided():
    nothing = Outcomes({}, TINY)
    for item in STUDY.items:
        for claim in item.claims:
            assert evaluate_claim(claim, nothing).decision == "cannot be decided"


def excesses(values, below=1.0):
    """Outcomes with these excesses over fixed competitors, in the paper's unit, `below` percent under the optimum."""
    mean = {**cases.LEARNER, "replications": 5}
    return Outcomes(
        {
            cases.fixed_case(name, reward): Outcome(
                [
                    record_of(mean, "excess_total_over_1", values[name] / 100, 0.005),
                    record_of(mean, "excess_spread_over_1", values[name] / 100, 0.001),
                    *records_of(cases.OPTIMUM, supremum=values[name] / (100 - below)),
                    record_of(mean, "optimality_gap", 4.0 if values[name] < 0 else 1.0, 0.1),
                ]
            )
            for name in FIXED
            for reward in cases.REWARDS
        },
        Budget(quick=False, seeds=5, seed=0),
    )


def test_claims_of_table_1_follow_the_numbers():
    good = excesses({"persistent-0.5": 40, "persistent-0": 90, "random-0.5": 62, "random-1": 60})
    assert learner_tables.outperforms_fixed(good).decision == "holds"
    assert learner_tables.above_the_paper(good).decision == "holds"
    assert learner_tables.gaps(good).decision == "holds"
    assert learner_tables.excess_gaps(good).decision == "holds"
    far = excesses({"persistent-0.5": 40, "persistent-0": 90, "random-0.5": 62, "random-1": 60}, below=5.0)
    assert learner_tables.excess_gaps(far).decision == "does not hold"
    mixed = excesses({"persistent-0.5": 40, "persistent-0": 90, "random-0.5": 59, "random-1": -3})
    assert learner_tables.outperforms_fixed(mixed).decision == "does not hold"
    assert learner_tables.gaps(mixed).decision == "does not hold"
    close = excesses({"persistent-0.5": 40, "persistent-0": 90, "random-0.5": 60, "random-1": 60})
    assert learner_tables.above_the_paper(close).decision == "cannot be decided"


@pytest.fixture
def tiny(monkeypatch):
    """Training in seconds: a dozen small updates."""
    small = PPO(total_timesteps=2048, num_envs=16, num_steps=16, num_minibatches=2, hidden_sizes=(8,))

    def learner(budget, millions, gamma, gae_lambda=0.5):
        return dataclasses.replace(small, gamma=gamma, gae_lambda=gae_lambda)

    monkeypatch.setattr(cases, "learner", learner)
    monkeypatch.setattr(cases, "evaluation_steps", lambda budget: 4000)


def run(name):
    lines = []
    case = next(case for case in CASES if case.name == name)
    return Outcomes({name: case.outcome(TINY, lines.append)}, TINY), lines


def test_small_case_against_a_fixed_competitor_has_its_results(tiny):
    case = cases.fixed_case("persistent-0")
    found, lines = run(case)
    assert found.record(case, "supremum", **cases.OPTIMUM).value == pytest.approx(0.94, abs=1e-3)
    assert found.mean(case, "optimality_gap", **cases.LEARNER).dof == 1
    assert set(found.frame(case, "curve")["seed"]) == {0, 1}
    assert found.record(case, "epsilon_buy_std", **cases.EXPLORING).value > 0.003
    assert found.record(case, "supremum").parameters == {
        "experiment": "fixed",
        "competitor": "persistent-0",
        "reward": "own",
        **cases.OPTIMUM,
    }
    assert len(lines) > 10


def test_small_case_of_table_6_has_the_papers_order(monkeypatch):
    monkeypatch.setattr(cases, "evaluation_steps", lambda budget: 20_000)
    found, _ = run("hedging")
    (six_hours, day) = adaptive_tables.table_6(found)
    assert len(six_hours.rows) == len(day.rows) == 6
    # In days of 24 hours every row is in the paper's order, and its hedge cost near the paper's.
    for row, printed in zip(day.rows, adaptive_tables.TABLE_6, strict=True):
        assert row.cells[2].ours.value == pytest.approx(printed[2], abs=0.8)
    assert adaptive_tables.over_hedges(found).decision == "holds"
    assert adaptive_tables.adaptive_hedges_best(found).decision == "holds"


def test_default_book_has_the_papers_unit_spread():
    found, _ = run("book")
    assert found.record("book", "spread", size=1.0).value == pytest.approx(4.7, abs=0.01)
