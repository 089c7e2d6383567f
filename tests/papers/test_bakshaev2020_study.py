"""Study of Bakshaev (2020), one asset, skew and signal: small cases, items and claims.

Makers that hedge by a rule replace trained policies; training is tested in test_sac.py.
"""

import dataclasses
from functools import partial

import numpy as np
import polars as pl
import pytest

from twosided.core.scenario import Scenario
from twosided.hedging.exact import hedging_optimum
from twosided.hedging.hedgers import FractionalHedger
from twosided.learn.train import Progress
from twosided.papers.bakshaev2020 import common, signal, single_asset, skew, stability
from twosided.papers.bakshaev2020.study import STUDY
from twosided.papers.base import Budget, Figure, Outcomes, Table, evaluate_claim, record_of
from twosided.papers.learning import difference, replications

pytestmark = pytest.mark.extended

FEW = Budget(quick=True, seeds=2, seed=0)
OURS = (single_asset, stability, skew, signal)


def rules(seeds):
    return tuple(FractionalHedger(0.4 + 0.2 * i) for i in range(seeds))


def rule_training(scenario, learner, budget, report, chunks=20, look=lambda progress: None):
    """In place of training: hedgers by a rule, and a curve of two points."""
    for iteration in (1, 2):
        look(Progress(iteration, 2, None, {}))
        report(f"{iteration} of 2")
    rows = [
        {"seed": i, "timesteps": s, "reward": 0.1 * i + s} for s in (1.0, 2.0) for i in range(budget.seeds)
    ]
    return rules(budget.seeds), pl.DataFrame(rows)


def stopped_training(scenario, learner, seed, seeds, chunks, resume, after_chunk):
    """In place of training until the policy is good enough."""
    stops = [after_chunk(Progress(i, 2, None, {"timesteps": np.array([100.0 * i])})) for i in (1, 2)]
    assert stops == [True, True]  # in so short an episode a hedger of 0.4 holds little


def constant_evaluation(scenario, learned, others, budget, report, steps):
    """In place of evaluation: replications in which learners with skew earn exactly 1 more than all other makers."""
    assert all(len(policies) == budget.seeds for _, policies in learned)
    metrics = ("reward", "sharpe", "pnl_total", "inventory_std")
    ahead = [maker for maker, _ in learned if maker.get("skews", True)]
    return [
        record_of({**maker, "replication": i}, metric, 10.0 * i + (maker in ahead))
        for i in range(budget.seeds)
        for maker, _ in (*learned, *others)
        for metric in metrics
    ]


@pytest.fixture(scope="module")
def found():
    """Outcomes of all cases of these modules."""
    patch = pytest.MonkeyPatch()
    known = {}

    def small(scenario):
        """The optimum, solved once for every market and reward."""
        key = (scenario.market.allow_skew, scenario.market.elasticity, scenario.reward.weight)
        if key not in known:
            known[key] = hedging_optimum(
                scenario, num_volatilities=2, num_trends=1, num_skews=3, num_paths=32
            )
        return known[key]

    for module in OURS:
        patch.setattr(module, "train_policies", rule_training)
        patch.setattr(module, "evaluation_steps", lambda budget: 2048)
        patch.setattr(module, "hedging_optimum", lambda scenario, **_: small(scenario), raising=False)
    for module in (skew, signal):
        patch.setattr(module, "evaluate_replications", constant_evaluation)
    patch.setattr(common, "STEPS", 32)
    for module in (single_asset, stability):
        patch.setattr(module, "without_breaches", common.hedging)
    patch.setattr(single_asset, "FRACTIONS", (0.5, 1.0))
    patch.setattr(single_asset, "NoHedger", partial(FractionalHedger, 0.0))
    patch.setattr(single_asset, "FullHedger", partial(FractionalHedger, 1.0))
    patch.setattr(stability, "policies_of", lambda scenario, learner, states, seeds: rules(seeds))
    patch.setattr(stability, "train", stopped_training)
    patch.setattr(skew, "BETAS", (0.5, 120.0))
    lines = []
    outcomes = {case.name: case.outcome(FEW, lines.append) for module in OURS for case in module.CASES}
    assert lines
    yield Outcomes(outcomes, FEW)
    patch.undo()


def test_cases_are_those_of_the_items():
    assert {case.name for case in STUDY.cases} == {case for item in STUDY.items for case in item.cases}


@pytest.mark.parametrize(
    "item", [item for module in OURS for item in module.ITEMS], ids=lambda item: item.name
)
def test_item_has_tables_and_figures_and_decides_its_claims(found, item):
    content = item.content(found)
    assert content and all(isinstance(part, Table | Figure) for part in content)
    for claim in item.claims:
        assert evaluate_claim(claim, found).evidence


def test_steps_and_seconds_until_as_good_are_recorded(found):
    assert found.record("our-settings", "steps", policy="SAC").value == 200
    assert found.record("our-settings", "seconds").value > 0


def test_learners_are_compared_by_replication(found):
    case = skew.learned_case(skew.PAYS)
    with_skew, without = ({"policy": "SAC", "skews": skews} for skews in (True, False))
    assert replications(found, case, "sharpe", **with_skew) == [1.0, 11.0]
    gain = difference(found, case, "sharpe", with_skew, without)
    assert (gain.value, gain.error, gain.dof) == (1.0, 0.0, 1)
    assert evaluate_claim(skew.ITEMS[1].claims[0], found).decision == "holds"


def test_gap_is_to_the_exact_policy_on_common_random_numbers(found):
    # At the paper's weight the full hedger is optimal, so fractions of 0.4 and 0.6 lose to it in every replication.
    gap = single_asset.gap(found, 3.0)
    case = single_asset.learned_case(3.0)
    exact, ours = (np.array(replications(found, case, "reward", policy=name)) for name in ("optimum", "SAC"))
    assert (ours < exact).all()
    value = found.record(case, "reward", policy="optimum", method="exact").value
    assert gap.value == pytest.approx(100 * (exact - ours).mean() / abs(value))
    assert evaluate_claim(single_asset.ITEMS[1].claims[0], found).decision != "holds"


def test_learner_is_charged_for_a_breach_at_its_own_discount():
    scenario = common.training_scenario(common.hedging(), common.learner(FEW))
    assert isinstance(scenario, Scenario)
    assert scenario.reward == dataclasses.replace(common.hedging().reward, discount=0.9)


def test_path_statistics_match_hand_calculation():
    # Two paths of four steps: hedges of full size that swing once on the first and never on the second.
    steps = pl.DataFrame(
        {
            "path": [0] * 4 + [1] * 4,
            "hedge": [32.0, -32.0, 5.0, 32.0, 32.0, 5.0, -32.0, -32.0],
            "inventory": [1.0, -1.0, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0],
            "pnl_total": [1.0, 3.0, 1.0, 3.0, 0.0, 4.0, 0.0, 4.0],
        }
    )
    records = {r.metric: (r.value, r.error) for r in common.of_paths({"policy": "x"}, steps)}
    assert records["path_swings"] == (12.5, 12.5)
    assert records["path_position"] == (1.0, 1.0)
    assert records["path_pnl"] == (8.0, 0.0) and records["path_pnl_std"][0] == 0.0
    np.testing.assert_allclose(records["path_sharpe"][0], 100 * (2.0 + 1.0) / 2)
