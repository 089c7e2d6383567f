"""Hedging a blend of assets (Bakshaev 2020, section 7): which weights the reward tells, and which SAC learns."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from twosided.core.evaluation import evaluate, trace
from twosided.core.policy import Policy
from twosided.core.records import Record
from twosided.core.scenario import Scenario
from twosided.hedging.hedgers import PortfolioHedger, ValueHedger
from twosided.hedging.portfolio import PortfolioMarket
from twosided.hedging.rewards import PositionPenalty
from twosided.learn.sac import SAC
from twosided.papers.bakshaev2020.common import STEPS, dashboard, judged_steps
from twosided.papers.base import (
    Budget,
    Case,
    Cell,
    Claim,
    Estimate,
    Figure,
    Finding,
    Item,
    Outcome,
    Outcomes,
    Row,
    Table,
    Tell,
    all_of,
    greater,
    mean,
    within,
)
from twosided.papers.learning import difference, fit, judge_in_turn, over_drawings
from twosided.prices.assets import EqualCorrelation

WEIGHTS = (0.0, 0.25, 0.5, 1.0)
"""w of the first asset."""
CORRELATIONS = (0.0, 0.5, 0.9)
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of a portfolio's value that a fixed hedger puts on the first asset."""
DISCOUNT = 0.7
VARIANCE = 0.5
"""α, per unit of currency: the variance term's weight, where it is added."""
LESSON = 256
"""Steps of an episode while learning."""
SHORT = 32
"""And of one with many assets, judged too: what is explored in so many directions adds up, and beyond what it has lived
a learner's hedges run away."""
ASSETS = (10, 100)
MOST = {10: 6.0, 100: 1.0}
"""Largest hedge of each of many assets, units: their parts of the blend are small."""
LESSONS: Mapping[int, dict[str, Any]] = {
    10: {"steps": 96_000, "initial_temperature": 0.01, "target_entropy": -15.0},
    100: {
        "steps": 400_000,
        "paths": 256,
        "updates": 4,
        "batch": 512,
        "buffer": 131_072,
        "warmup": 8192,
        "hidden": (256,),
        "activation": "silu",
        "target_entropy": 30.0,
        "initial_temperature": 1e-3,
        "temperature_rate": 3e-3,
        "actor_rate": 3e-4,
    },
}
"""What is changed in the learner of two assets, by their number. What a single one of a hundred hedges moves the value
by is a hundredth of what clients' trades do: it is heard only where exploring is loud, and second layers as narrow as
for two have no room for a hundred slopes."""
TENTH = 0.1
"""Of a weight."""
NOUGHT = 0.05
"""Of the client position, where the weight is 0."""
PRINTED = PositionPenalty()
"""Eq. 38 and 39 with the paper's values."""
LEARNABLE = PositionPenalty(weight=0.02, max_position=2560.0, subtract_baseline=True, discount=DISCOUNT)
"""Eq. 38 and 39 with a slope of 2 a unit, at which PnL is not lost, and a limit at which the exponential of what a
learner hedges too much at first is still a number; without what clients bring, which is nobody's doing."""
MANY = dataclasses.replace(LEARNABLE, overhedge_weight=0.0, variance_weight=2.0)
"""For many assets: what a hundred hedge too much together has no number under the exponential of eq. 38."""
VARIED = dataclasses.replace(LEARNABLE, variance_weight=VARIANCE)
"""And with a variance term, on inventory PnL squared."""


def scenario(weight: float, correlation: float, reward: PositionPenalty) -> Scenario:
    """Two assets, as in the paper; a maker that is judged sees prices, which the paper's does not."""
    market = PortfolioMarket(
        prices=EqualCorrelation(correlation=correlation),
        weights=(weight, 1 - weight),
        max_hedge=64.0,
        breach_multiple=5.0,
    )
    return Scenario(market, (), reward, STEPS)


def informed(asked: Scenario) -> Scenario:
    """The market shows prices too, which fixed hedgers go by."""
    return dataclasses.replace(asked, market=dataclasses.replace(asked.market, extended_observation=True))


def learner(budget: Budget) -> SAC:
    """What is hedged is revalued in the next step, and can be changed in any: a discount of 0.7 sees far enough."""
    return SAC(
        steps=32_000 if budget.quick else 256_000,
        paths=64,
        updates=8,
        buffer=65_536,
        discount=DISCOUNT,
        actor_rate=1e-3,
        critic_rate=1e-3,
        temperature_rate=1e-3,
        # Narrow: what is explored is held on.
        target_entropy=-8.0,
    )


def told(budget: Budget, tell: Tell) -> Outcome:
    """What the reward says of hedgers that split the same value in different ways."""
    records = []
    for weight in (0.0, 0.25):
        for name, reward in (("printed", PRINTED), ("variance", VARIED)):
            for correlation in (CORRELATIONS[0], CORRELATIONS[-1]):
                asked = informed(scenario(weight, correlation, reward))
                hedgers = {
                    _split(weight, name, correlation, u): ValueHedger(shares=(u, 1 - u)) for u in SHARES
                }
                records += judge_in_turn(asked, {}, hedgers, budget, tell, judged_steps(budget) // 2)
    return Outcome(records)


def _split(weight: float, reward: str, correlation: float, share: float) -> str:
    return f"w {weight:g}, {reward}, ρ {correlation:g}, {share:g} in the first"


def learned(correlation: float, reward: PositionPenalty) -> Callable[[Budget, Tell], Outcome]:
    """SAC at every weight; figures 10 and 11 are of w = 0.5 and 0."""

    def run(budget: Budget, tell: Tell) -> Outcome:
        records, frames = [], {}
        for weight in WEIGHTS:
            asked = scenario(weight, correlation, reward)
            lesson = dataclasses.replace(asked, horizon=LESSON)
            policies, _ = fit(
                lesson, learner(budget), budget, lambda line, w=weight: tell(f"w = {w:g}: {line}"), chunks=5
            )
            for i, policy in enumerate(policies):
                steps = trace(asked, policy, budget.seed + i, 16 if budget.quick else 64)
                case = f"w {weight:g}, {i}"
                records += [Record(case, 0, name, value) for name, value in exposures(steps).items()]
                if i == 0:
                    frames[f"w-{weight:g}"] = steps.filter(pl.col("path") == 0)
            best = trace(informed(asked), PortfolioHedger((weight, 1 - weight)), budget.seed, 64)
            records += [Record(f"w {weight:g}, true", 0, name, x) for name, x in exposures(best).items()]
        return Outcome(records, frames)

    return run


def exposures(steps: pl.DataFrame) -> dict[str, float]:
    """hedge_k: slope of the hedge in asset k on the client position that it was chosen on; pnl, of a step;
    risk: deviation of inventory PnL; sharpe: of a step, percent."""
    seen = steps.with_columns(client=pl.col("client_position").shift(1).over("path")).drop_nulls("client")
    names = [name for name in steps.columns if name.startswith("hedge_position_")]
    client = pl.col("client")
    slopes = seen.select(
        (pl.cov(client, pl.col(name)) / client.var()).alias(f"hedge_{index}")
        for index, name in enumerate(names)
    )
    moments = steps.select(
        pnl=pl.col("pnl_total").mean(),
        risk=pl.col("pnl_inventory").std(),
        sharpe=100 * pl.col("pnl_total").mean() / pl.col("pnl_total").std(),
    )
    return {name: float(x) for row in (slopes, moments) for name, x in row.row(0, named=True).items()}


def many(budget: Budget, tell: Tell) -> Outcome:
    """Ten assets and a hundred, one learner each, beside no hedge and the hedge with the true weights."""
    records = []
    for assets in ASSETS:
        market = PortfolioMarket(
            prices=EqualCorrelation(num_assets=assets, correlation=0.5),
            weights=(1 / assets,) * assets,
            max_hedge=MOST[assets],
            breach_multiple=5.0,
        )
        asked = Scenario(market, (), MANY, SHORT)
        config = dataclasses.replace(learner(budget), **LESSONS[assets])
        if budget.quick:
            config = dataclasses.replace(config, steps=16_000)
        one = dataclasses.replace(budget, seeds=1)
        (policy,), _ = fit(asked, config, one, lambda line, n=assets: tell(f"{n} assets: {line}"), chunks=5)
        steps = judged_steps(budget) // 10
        makers: dict[str, Policy] = {"unhedged": ValueHedger(shares=(0.0,) * assets), "SAC": policy}
        records += evaluate(
            asked, {f"{assets}, {who}": maker for who, maker in makers.items()}, budget.seed, steps
        )
        true: dict[str, Policy] = {f"{assets}, true weights": PortfolioHedger(market.weights)}
        records += evaluate(informed(asked), true, budget.seed, steps)
        found = exposures(trace(asked, policy, budget.seed, 16))
        slopes = [value for name, value in found.items() if name.startswith("hedge_")]
        case = f"{assets}, SAC"
        records += [
            Record(case, 0, "hedge_least", max(slopes)),
            Record(case, 0, "hedge_mean", sum(slopes) / assets),
            Record(case, 0, "hedge_most", min(slopes)),
        ]
    return Outcome(records)


def learned_case(correlation: float) -> str:
    return f"portfolio-{CORRELATIONS.index(correlation) + 1}"


def exposure(found: Outcomes, case: str, weight: float, asset: int) -> Estimate:
    """To one asset, mean of seeds, in units of the client position."""
    return mean(
        [found.record(case, f"w {weight:g}, {i}", f"hedge_{asset}").value for i in range(found.budget.seeds)]
    )


def weights(found: Outcomes) -> list[Table | Figure]:
    rows = []
    for correlation in CORRELATIONS:
        for weight in WEIGHTS:
            rows.append(
                Row(f"ρ = {correlation:g}, w = {weight:g}", _cells(found, learned_case(correlation), weight))
            )
    parts: list[Table | Figure] = [Table(COLUMNS, tuple(rows), NOTE)]
    for number, weight in ((10, 0.5), (11, 0.0)):
        steps = found.frame(learned_case(CORRELATIONS[0]), f"w-{weight:g}")
        parts.append(dashboard(f"Figure {number}: w = {weight:g}, the first seed", steps))
    return parts


COLUMNS = ("first hedge", "second hedge", "PnL", "risk", "risk, true weights", "Sharpe, %", "true weights")
NOTE = (
    "Hedges in units of the client position, by regression over evaluated steps; exact: minus the weights. PnL of "
    "a step and risk, the deviation of its inventory PnL, in currency; Sharpe ratio of a step. True weights: the "
    "hedger that is told them and sees prices."
)


def _cells(found: Outcomes, case: str, weight: float) -> tuple[Cell, ...]:
    def seeds(metric: str) -> Estimate:
        return mean(
            [found.record(case, f"w {weight:g}, {i}", metric).value for i in range(found.budget.seeds)]
        )

    def true(metric: str) -> Estimate:
        return Estimate(found.record(case, f"w {weight:g}, true", metric).value)

    return (
        Cell(exposure(found, case, weight, 0), exact=-weight, digits=3),
        Cell(exposure(found, case, weight, 1), exact=weight - 1, digits=3),
        Cell(seeds("pnl")),
        Cell(seeds("risk"), digits=1),
        Cell(true("risk"), digits=1),
        Cell(seeds("sharpe"), digits=1),
        Cell(true("sharpe"), digits=1),
    )


def unidentified(found: Outcomes) -> list[Table | Figure]:
    rows = []
    for weight in (0.0, 0.25):
        for name in ("printed", "variance"):
            for correlation in (CORRELATIONS[0], CORRELATIONS[-1]):
                cases = [_split(weight, name, correlation, u) for u in SHARES]
                true = cases[SHARES.index(weight)]
                cells = [
                    Cell(difference(found, "portfolio-told", case, true, "reward"), digits=1)
                    for case in cases
                ]
                label = "as printed" if name == "printed" else "with a variance term"
                rows.append(Row(f"{label}, w = {weight:g}, ρ = {correlation:g}", tuple(cells)))
    note = (
        "Reward of a step above that of the true split, in currency, of hedgers that take the same value off the "
        "position on every step and split it in their own ways, on the same chance. As printed: γ = 3, φ = 5."
    )
    columns = tuple(f"{u:g} in the first" for u in SHARES)
    money = []
    for u in SHARES:
        case = _split(0.25, "printed", 0.0, u)
        metrics = (("reward", 1, 0), ("pnl_total", STEPS, 0), ("sharpe", 100, 1))
        cells = [
            Cell(over_drawings(found, "portfolio-told", case, metric).times(scale), digits=digits)
            for metric, scale, digits in metrics
        ]
        money.append(Row(f"{u:g} in the first", tuple(cells)))
    learned_rows = [Row(f"w = {weight:g}", _cells(found, "portfolio-printed", weight)) for weight in WEIGHTS]
    return [
        Table(columns, tuple(rows), note, "What the reward says of a split"),
        Table(
            ("reward", "PnL of a path", "Sharpe, %"),
            tuple(money),
            "Printed reward, w = 0.25, ρ = 0. PnL in currency, reward and Sharpe ratio of a step.",
            "And what PnL does",
        ),
        Table(COLUMNS, tuple(learned_rows), f"ρ = 0. {NOTE}", "What is learned without a variance term"),
    ]


def hundreds(found: Outcomes) -> list[Table | Figure]:
    rows = []
    for assets in ASSETS:
        for who in ("unhedged", "SAC", "true weights"):
            case = f"{assets}, {who}"
            cells = [
                Cell(found.estimate("portfolio-many", case, metric).times(scale), digits=digits)
                for metric, scale, digits in (
                    ("reward", 1, 0),
                    ("pnl_total", 1, 2),
                    ("inventory_pnl_std", 1, 1),
                    ("sharpe", 100, 1),
                )
            ]
            slopes = [
                Cell(found.estimate("portfolio-many", case, metric), exact=-1 / assets, digits=4)
                if who == "SAC"
                else Cell(None)
                for metric in ("hedge_least", "hedge_mean", "hedge_most")
            ]
            rows.append(Row(f"{assets} assets, {who}", (*cells, *slopes)))
    columns = ("reward", "PnL", "risk", "Sharpe, %", "least hedge", "mean hedge", "most hedge")
    note = f"Equal weights, ρ = 0.5, episodes of {SHORT} steps, one learner each. {NOTE}"
    return [Table(columns, tuple(rows), note)]


def weights_are_learned(found: Outcomes) -> Finding:
    return all_of(
        _close(found, learned_case(correlation), correlation, weight)
        for correlation in CORRELATIONS
        for weight in WEIGHTS
    )


def printed_weights_are_learned(found: Outcomes) -> Finding:
    return all_of(_close(found, "portfolio-printed", CORRELATIONS[0], weight) for weight in WEIGHTS)


def _close(found: Outcomes, case: str, correlation: float, weight: float) -> Finding:
    return all_of(
        within(
            exposure(found, case, weight, asset),
            -true,
            TENTH * true if true else NOUGHT,
            name=f"ρ = {correlation:g}, w = {weight:g}: hedge in asset {asset + 1}",
            digits=3,
        )
        for asset, true in enumerate((weight, 1 - weight))
    )


def reward_tells(found: Outcomes) -> Finding:
    return _true_is_best(found, "printed")


def variance_tells(found: Outcomes) -> Finding:
    return _true_is_best(found, "variance")


def _true_is_best(found: Outcomes, name: str) -> Finding:
    findings = []
    for weight in (0.0, 0.25):
        for correlation in (CORRELATIONS[0], CORRELATIONS[-1]):
            true = _split(weight, name, correlation, weight)
            for share in SHARES:
                if share != weight:
                    other = _split(weight, name, correlation, share)
                    findings.append(
                        greater(
                            over_drawings(found, "portfolio-told", true, "reward"),
                            over_drawings(found, "portfolio-told", other, "reward"),
                            difference=difference(found, "portfolio-told", true, other, "reward"),
                            names=(f"{true}: the reward", f"with {share:g}"),
                            digits=1,
                        )
                    )
    return all_of(findings)


def many_improve(found: Outcomes) -> Finding:
    return all_of(
        greater(
            found.estimate("portfolio-many", f"{assets}, SAC", metric),
            found.estimate("portfolio-many", f"{assets}, unhedged", metric),
            names=(f"{metric} of SAC, {assets} assets", "unhedged"),
            digits=3,
        )
        for assets in ASSETS
        for metric in ("reward", "sharpe")
    )


CASES = (
    Case("portfolio-told", told),
    *(Case(learned_case(correlation), learned(correlation, VARIED)) for correlation in CORRELATIONS),
    Case("portfolio-printed", learned(CORRELATIONS[0], LEARNABLE)),
    Case("portfolio-many", many),
)

ITEMS = (
    Item(
        "portfolio",
        "Weights that are learned",
        "Figures 10 and 11, with a variance term in the reward.",
        tuple(learned_case(correlation) for correlation in CORRELATIONS),
        weights,
        (
            Claim(
                "section 7",
                "The agent learns to hedge each asset with its weight, to a tenth (with a variance term).",
                weights_are_learned,
            ),
        ),
    ),
    Item(
        "portfolio-reward",
        "What the printed reward can tell",
        "Eq. 38 and 39.",
        ("portfolio-told", "portfolio-printed"),
        unidentified,
        (
            Claim("section 7", "The printed reward is highest at the true weights.", reward_tells),
            Claim("this project", "With a variance term it is.", variance_tells),
            Claim(
                "section 7",
                "The agent learns to hedge each asset with its weight (as printed).",
                printed_weights_are_learned,
            ),
        ),
    ),
    Item(
        "portfolio-many",
        "Ten assets and a hundred",
        "The paper’s conclusion asks for tens or hundreds.",
        ("portfolio-many",),
        hundreds,
        (Claim("section 8", "It learns to hedge tens and hundreds of assets.", many_improve),),
    ),
)
