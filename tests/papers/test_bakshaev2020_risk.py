"""The study's cases of the price of risk and of portfolios, on little: what they tell, their items and claims."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from twosided.hedging.hedgers import PortfolioHedger
from twosided.papers.bakshaev2020 import portfolio, price_of_risk
from twosided.papers.base import Budget, Figure, Outcomes, Table, judge

FEW = Budget(quick=True, seeds=2, seed=0)
PARTS = (price_of_risk, portfolio)


def risk_policies(*_):
    """In the place of learners: the optimum, and the optimum with less skew."""
    best = price_of_risk.price_of_risk(price_of_risk.scenario(0.1), 300)
    return tuple(dataclasses.replace(best, skew=part * best.skew).policy(32.0) for part in (1.0, 0.97))


def risk_fit(scenario, learner, budget, tell, chunks, look):
    look(SimpleNamespace(states=None, curve={"steps": np.array([9, 9])}))
    tell("trained")
    return risk_policies(), None


def portfolio_fit(scenario, learner, budget, tell, chunks):
    """In the place of learners: who is told the weights."""
    tell("trained")
    hedgers = [PortfolioHedger(scenario.market.weights, fraction) for fraction in (1.0, 0.99)]
    return tuple(hedgers[: budget.seeds]), None


@pytest.fixture(scope="module")
def found():
    """Cases on short episodes, with known policies for learned ones; what differs by a number alone runs once."""
    patch = pytest.MonkeyPatch()
    for part in PARTS:
        patch.setattr(part, "STEPS", 40)
    patch.setattr(price_of_risk, "fit", risk_fit)
    patch.setattr(price_of_risk, "policies_of", risk_policies)
    patch.setattr(portfolio, "fit", portfolio_fit)
    patch.setattr(portfolio, "judged_steps", lambda budget: 4000)
    patch.setattr(portfolio, "CORRELATIONS", (0.0, 0.9))
    patch.setattr(portfolio, "WEIGHTS", (0.0, 0.5))
    patch.setattr(portfolio, "SHARES", (0.0, 0.25, 0.5))
    patch.setattr(portfolio, "ASSETS", (2,))
    patch.setattr(portfolio, "MOST", {2: 64.0})
    patch.setattr(portfolio, "LESSONS", {2: {}})
    patch.setattr(price_of_risk, "EXCHANGE", (0.1, 0.18))
    patch.setattr(price_of_risk, "LEARNED", (0.1,))
    processes = {name: price_of_risk.PROCESSES[name] for name in ("Brownian", "drift")}
    patch.setattr(price_of_risk, "PROCESSES", processes)
    told = []
    two = portfolio.learned(0.0, portfolio.VARIED)(FEW, told.append)
    outcomes = {
        "price-of-risk": price_of_risk.exact(FEW, told.append),
        "price-of-risk-1": price_of_risk.learned(0.1)(FEW, told.append),
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


def test_claims_are_decided_by_who_plays(found):
    """Policies that are the optimum, and nearly, are found to be; what they ask for is not the hedge spread."""
    claims = {
        claim.text: judge(claim, found).verdict for part in PARTS for i in part.ITEMS for claim in i.claims
    }
    assert claims["The client spread converges to the hedge spread."] == "does not hold"
    assert claims["Each raises what clients must pay a hedger that dislikes variance."] == "holds"
    assert claims["The printed reward is highest at the true weights."] == "does not hold"
    asked = price_of_risk.asked(found, 0.1)
    assert asked.value == pytest.approx(101, abs=5)
    for weight in portfolio.WEIGHTS:
        for asset, true in enumerate((weight, 1 - weight)):
            assert portfolio.exposure(found, "portfolio-1", weight, asset).value == pytest.approx(
                -true, abs=0.02
            )


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
