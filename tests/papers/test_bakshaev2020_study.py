"""The study of Bakshaev (2020), one asset, skew and signal: its cases, items and claims in the small.

Training is left out, which test_sac.py is about: where the cases train, makers that hedge by a rule stand in.
"""

import dataclasses
from functools import partial

import numpy as np
import polars as pl
import pytest

from twosided.core.records import Record
from twosided.core.scenario import Scenario
from twosided.hedging.exact import hedging_optimum
from twosided.hedging.hedgers import FractionalHedger
from twosided.learn.train import Progress
from twosided.papers.bakshaev2020 import common, signal, single_asset, skew, stability
from twosided.papers.bakshaev2020.study import STUDY
from twosided.papers.base import Budget, Figure, Outcomes, Table, judge
from twosided.papers.learning import difference, drawing, drawings

FEW = Budget(quick=True, seeds=2, seed=0)
OURS = (single_asset, stability, skew, signal)


def rules(seeds):
    return tuple(FractionalHedger(0.4 + 0.2 * i) for i in range(seeds))


def fitted(scenario, learner, budget, tell, chunks=20, look=lambda progress: None):
    """In place of training: hedgers by a rule, and a curve of two points."""
    for iteration in (1, 2):
        look(Progress(iteration, 2, None, {}))
        tell(f"{iteration} of 2")
    rows = [{"seed": i, "steps": s, "reward": 0.1 * i + s} for s in (1.0, 2.0) for i in range(budget.seeds)]
    return rules(budget.seeds), pl.DataFrame(rows)


def looked_at(scenario, learner, seed, seeds, chunks, resume, after_chunk):
    """In place of training until a look is content."""
    stops = [after_chunk(Progress(i, 2, None, {"steps": np.array([100.0 * i])})) for i in (1, 2)]
    assert stops == [True, True]  # so short an episode leaves a hedger of 0.4 little to hold


def judged(scenario, learned, others, budget, tell, steps):
    """In place of playing: two drawings in which what was learned earns 1 more than anything else, exactly."""
    assert all(len(policies) == budget.seeds for policies in learned.values())
    metrics = ("reward", "sharpe", "pnl_total", "inventory_std")
    return [
        Record(drawing(name, i), 0, metric, 10.0 * i + (name in learned and "without" not in name))
        for i in range(budget.seeds)
        for name in (*learned, *others)
        for metric in metrics
    ]


@pytest.fixture(scope="module")
def found():
    """All cases of ours."""
    patch = pytest.MonkeyPatch()
    known = {}

    def small(scenario):
        """Solved once for every market and reward."""
        key = (scenario.market.allow_skew, scenario.market.elasticity, scenario.reward.weight)
        if key not in known:
            known[key] = hedging_optimum(scenario, num_volatilities=2, num_trends=1, num_skews=3, num_paths=32)
        return known[key]

    for module in OURS:
        patch.setattr(module, "fit", fitted)
        patch.setattr(module, "judged_steps", lambda budget: 2048)
        patch.setattr(module, "hedging_optimum", lambda scenario, **_: small(scenario), raising=False)
    for module in (skew, signal):
        patch.setattr(module, "judge_in_turn", judged)
    patch.setattr(common, "STEPS", 32)
    for module in (single_asset, stability):
        patch.setattr(module, "followed", common.hedging)
    patch.setattr(single_asset, "FRACTIONS", (0.5, 1.0))
    patch.setattr(single_asset, "NoHedger", partial(FractionalHedger, 0.0))
    patch.setattr(single_asset, "FullHedger", partial(FractionalHedger, 1.0))
    patch.setattr(stability, "policies_of", lambda scenario, learner, states, seeds: rules(seeds))
    patch.setattr(stability, "train", looked_at)
    patch.setattr(skew, "BETAS", (0.5, 120.0))
    told = []
    outcomes = {case.name: case.run(FEW, told.append) for module in OURS for case in module.CASES}
    assert told
    yield Outcomes(outcomes, FEW)
    patch.undo()


def test_every_case_belongs_to_an_item():
    assert {case.name for case in STUDY.cases} == {case for item in STUDY.items for case in item.cases}


@pytest.mark.parametrize(
    "item", [item for module in OURS for item in module.ITEMS], ids=lambda item: item.name
)
def test_an_item_shows_tables_and_figures_and_judges_its_claims(found, item):
    content = item.content(found)
    assert content and all(isinstance(part, Table | Figure) for part in content)
    for claim in item.claims:
        assert judge(claim, found).evidence


def test_the_time_to_what_theirs_reached_is_told(found):
    record = found.record("as-ours", "ours", "steps")
    assert record.value == 200 and found.record("as-ours", "ours", "seconds").value > 0


def test_what_is_learned_is_compared_drawing_by_drawing(found):
    assert drawings(found, "skew", "SAC with skew", "sharpe") == [1.0, 11.0]
    gain = difference(found, "skew", "SAC with skew", "SAC without", "sharpe")
    assert (gain.value, gain.error, gain.freedom) == (1.0, 0.0, 1)
    assert judge(skew.ITEMS[1].claims[0], found).verdict == "holds"


def test_the_gap_is_to_the_exact_policy_on_the_same_chance(found):
    # The dummy is that policy at the paper's weight, so fractions of 0.4 and 0.6 lose to it on every drawing.
    gap = single_asset.gap(found, 3.0)
    case = single_asset.learned_case(3.0)
    exact, ours = (np.array(drawings(found, case, name, "reward")) for name in ("exact", "SAC"))
    assert (ours < exact).all()
    value = found.record(case, "exact", "reward").value
    assert gap.value == pytest.approx(100 * (exact - ours).mean() / abs(value))
    assert judge(single_asset.ITEMS[1].claims[0], found).verdict != "holds"


def test_the_learner_is_charged_for_a_breach_by_its_own_discount():
    scenario = common.taught(common.hedging(), common.learner(FEW))
    assert isinstance(scenario, Scenario)
    assert scenario.reward == dataclasses.replace(common.hedging().reward, discount=0.9)


def test_what_a_path_of_steps_says():
    # Two paths of four steps: hedges of full size that swing once on the first and never on the second.
    steps = pl.DataFrame(
        {
            "path": [0] * 4 + [1] * 4,
            "hedge": [32.0, -32.0, 5.0, 32.0, 32.0, 5.0, -32.0, -32.0],
            "inventory": [1.0, -1.0, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0],
            "pnl_total": [1.0, 3.0, 1.0, 3.0, 0.0, 4.0, 0.0, 4.0],
        }
    )
    records = {r.metric: (r.value, r.error) for r in common.of_paths("x", steps)}
    assert records["swings"] == (12.5, 12.5)
    assert records["position"] == (1.0, 1.0)
    assert records["pnl"] == (8.0, 0.0) and records["pnl_deviation"][0] == 0.0
    np.testing.assert_allclose(records["sharpe"][0], 100 * (2.0 + 1.0) / 2)
