"""Small cases of the price of risk and of portfolios: their results, items and claims."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from twosided.hedging.hedgers import PortfolioHedger
from twosided.learn.train import Progress
from twosided.papers.bakshaev2020 import portfolio, price_of_risk
from twosided.papers.base import Budget, Case, Figure, Outcomes, Table, evaluate_claim

pytestmark = pytest.mark.extended

FEW = Budget(quick=True, seeds=2, seed=0)
PARTS = (price_of_risk, portfolio)


def risk_policies(*_):
    """In place of learners: the optimum, and the optimum with less skew."""
    best = price_of_risk.price_of_risk(price_of_risk.scenario(0.1), 300)
    return tuple(dataclasses.replace(best, skew=part * best.skew).policy(32.0) for part in (1.0, 0.97))


def risk_training(scenario, learner, budget, report, chunks, look):
    look(Progress(1, 1, None, {"timesteps": np.array([9, 9])}))
    report("trained")
    return risk_policies(), None


def portfolio_training(scenario, learner, budget, report, chunks):
    """In place of learners: hedgers with the true weights."""
    report("trained")
    hedgers = [PortfolioHedger(scenario.market.weights, fraction) for fraction in (1.0, 0.99)]
    return tuple(hedgers[: budget.seeds]), None


@pytest.fixture(scope="module")
def found():
    """Cases on short episodes with known policies in place of learned ones. Cases that differ by a number run once."""
    patch = pytest.MonkeyPatch()
    for part in PARTS:
        patch.setattr(part, "STEPS", 40)
    patch.setattr(price_of_risk, "train_policies", risk_training)
    patch.setattr(price_of_risk, "policies_of", risk_policies)
    patch.setattr(portfolio, "train_policies", portfolio_training)
    patch.setattr(portfolio, "evaluation_steps", lambda budget: 4000)
    patch.setattr(portfolio, "CORRELATIONS", (0.0, 0.9))
    patch.setattr(portfolio, "WEIGHTS", (0.0, 0.5))
    patch.setattr(portfolio, "SHARES", (0.0, 0.25, 0.5))
    patch.setattr(portfolio, "ASSETS", (2,))
    patch.setattr(portfolio, "MAX_HEDGES", {2: 64.0})
    patch.setattr(portfolio, "MANY_SETTINGS", {2: {}})
    patch.setattr(price_of_risk, "EXCHANGE", (0.1, 0.18))
    patch.setattr(price_of_risk, "LEARNED", (0.1,))
    processes = {name: price_of_risk.PROCESSES[name] for name in ("Brownian", "drift")}
    patch.setattr(price_of_risk, "PROCESSES", processes)
    lines = []
    two = portfolio.learned(0.0, portfolio.VARIED)(FEW, lines.append)

    def run(case):
        if case.name.startswith("portfolio") and case.parameters:
            return Case(case.name, lambda budget, report: two, case.parameters).outcome(FEW, lines.append)
        return case.outcome(FEW, lines.append)

    made = {price_of_risk.learned_case(0.1), *map(portfolio.learned_case, (0.0, 0.9))}
    made |= {"price-of-risk", "portfolio-splits", "portfolio-many", portfolio.printed_case()}
    outcomes = {case.name: run(case) for part in PARTS for case in part.CASES if case.name in made}
    assert lines
    yield Outcomes(outcomes, FEW)
    patch.undo()


@pytest.mark.parametrize("item", [item for part in PARTS for item in part.ITEMS], ids=lambda item: item.name)
def test_item_has_tables_and_figures_and_decides_its_claims(found, item):
    content = item.content(found)
    assert content and all(isinstance(part, Table | Figure) for part in content)
    for claim in item.claims:
        assert evaluate_claim(claim, found).evidence


def test_claims_recognise_optimal_policies(found):
    """Policies equal or close to the optimum are found to be so, and their client spread is not the hedge spread."""
    claims = {
        claim.text: evaluate_claim(claim, found).decision
        for part in PARTS
        for i in part.ITEMS
        for claim in i.claims
    }
    assert claims["The client spread converges to the hedge spread."] == "does not hold"
    assert claims["Each raises the spread at which a hedger averse to variance breaks even."] == "holds"
    assert claims["The printed reward is highest at the true weights."] == "does not hold"
    spread = price_of_risk.client_spread(found, 0.1)
    assert spread.value == pytest.approx(101, abs=5)
    for weight in portfolio.WEIGHTS:
        for asset, true in enumerate((weight, 1 - weight)):
            exposure = portfolio.exposure(found, portfolio.learned_case(0.0), weight, asset)
            assert exposure.value == pytest.approx(-true, abs=0.02)


def test_exposures_are_slopes_of_hedges_on_the_previous_client_position():
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
