"""The study's cases of the price of risk and of portfolios, on little: what they tell, their items and claims."""

import dataclasses

import polars as pl
import pytest

from twosided.studies.bakshaev2020 import portfolio, price_of_risk
from twosided.studies.base import Budget, Figure, Outcomes, Table, judge

FEW = Budget(quick=True, seeds=2, seed=0)
PARTS = (price_of_risk, portfolio)


def tiny(learner):
    def of(*arguments):
        return dataclasses.replace(
            learner(*arguments),
            steps=64,
            paths=8,
            rollout_steps=4,
            updates=1,
            batch=8,
            warmup=16,
            hidden=(4,),
        )

    return of


@pytest.fixture(scope="module")
def found():
    """Cases on short episodes, with learners that learn nothing; what differs by a number alone runs once."""
    patch = pytest.MonkeyPatch()
    for part in PARTS:
        patch.setattr(part, "STEPS", 24)
        patch.setattr(part, "learner", tiny(part.learner))
    patch.setattr(portfolio, "judged_steps", lambda budget: 480)
    patch.setattr(portfolio, "LESSON", 24)
    patch.setattr(portfolio, "CORRELATIONS", (0.0, 0.9))
    patch.setattr(portfolio, "WEIGHTS", (0.0, 0.5))
    patch.setattr(portfolio, "ASSETS", (2,))
    patch.setattr(portfolio, "MOST", {2: 6.0})
    patch.setattr(price_of_risk, "EXCHANGE", (0.1, 0.18))
    patch.setattr(price_of_risk, "LEARNED", (0.1, 0.18))
    processes = {name: price_of_risk.PROCESSES[name] for name in ("Brownian", "drift")}
    patch.setattr(price_of_risk, "PROCESSES", processes)
    told = []
    risk, two = (
        run(FEW, told.append)
        for run in (price_of_risk.learned(0.1), portfolio.learned(0.0, portfolio.VARIED))
    )
    outcomes = {
        "price-of-risk": price_of_risk.exact(FEW, told.append),
        "price-of-risk-1": risk,
        "price-of-risk-2": risk,
        "portfolio-told": portfolio.told(FEW, told.append),
        "portfolio-1": two,
        "portfolio-2": two,
        "portfolio-printed": two,
        "portfolio-many": portfolio.many(FEW, told.append),
    }
    assert told
    yield Outcomes(outcomes, FEW)
    patch.undo()


@pytest.mark.parametrize("item", [item for part in PARTS for item in part.ITEMS], ids=lambda item: item.name)
def test_an_item_shows_tables_and_figures_and_judges_its_claims(found, item):
    content = item.content(found)
    assert content and all(isinstance(part, Table | Figure) for part in content)
    for claim in item.claims:
        assert judge(claim, found).evidence


def test_what_is_exact_needs_no_training(found):
    claims = {
        claim.text: judge(claim, found).verdict for part in PARTS for i in part.ITEMS for claim in i.claims
    }
    assert claims["Each raises what clients must pay a hedger that dislikes variance."] != "does not hold"
    assert claims["The printed reward is highest at the true weights."] == "does not hold"


def test_exposures_are_the_slopes_of_hedges_on_the_position_they_were_chosen_on():
    client = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0]
    steps = pl.DataFrame(
        {
            "path": [0] * 6 + [1] * 6,
            "client_position": client + [2 * x for x in client],
            "hedge_position_0": [7.0]
            + [-0.25 * x for x in client[:-1]]
            + [7.0]
            + [-0.5 * x for x in client[:-1]],
            "hedge_position_1": [0.0]
            + [1 - 0.75 * x for x in client[:-1]]
            + [0.0]
            + [1 - 1.5 * x for x in client[:-1]],
            "pnl_total": [1.0, 2.0] * 6,
            "pnl_inventory": [1.0, -1.0] * 6,
        }
    )
    found = portfolio.exposures(steps)
    assert (found["hedge_0"], found["hedge_1"]) == pytest.approx((-0.25, -0.75))
    assert found["pnl"] == pytest.approx(1.5)
