"""Hedging a blend of assets (Bakshaev 2020, section 7): the weights that the reward identifies, and that SAC learns."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from twosided.core.evaluation import trace
from twosided.core.policy import Policy
from twosided.core.records import Parameter
from twosided.core.scenario import Scenario
from twosided.hedging.hedgers import PortfolioHedger, ValueHedger
from twosided.hedging.portfolio import PortfolioMarket
from twosided.hedging.rewards import PositionPenalty
from twosided.learn.sac import SAC
from twosided.papers.bakshaev2020.common import STEPS, dashboard, evaluation_steps
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
    Report,
    Row,
    Table,
    all_of,
    dash_case,
    greater,
    records_of,
    select,
    select_one,
    within,
)
from twosided.papers.learning import (
    Parameters,
    difference,
    evaluate_makers,
    evaluate_replications,
    over_replications,
    train_policies,
)
from twosided.prices.assets import EqualCorrelation

WEIGHTS = (0.0, 0.25, 0.5, 1.0)
"""Values of w, weight of the first asset."""
SPLIT_WEIGHTS = (0.0, 0.25)
"""Values of w at which splits of a hedge are compared."""
CORRELATIONS = (0.0, 0.5, 0.9)
"""Values of ρ, correlation of the two assets."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the portfolio's value that rule-based hedgers hedge with the first asset."""
DISCOUNT = 0.7
VARIANCE = 0.5
"""α, per unit of currency: the variance term's weight, where it is added."""
TRAINING_STEPS = 256
"""Steps of an episode during training."""
SHORT = 32
"""Steps of an episode with many assets, in training and evaluation: exploration in many directions adds up, and outside
the range of its training a learner's hedges diverge."""
ASSETS = (10, 100)
MAX_HEDGES = {10: 6.0, 100: 1.0}
"""Largest hedge per asset in units, by the number of assets; small, because each asset is a small part of the blend."""
MANY_SETTINGS: Mapping[int, dict[str, Any]] = {
    10: {"total_timesteps": 96_000, "initial_ent_coef": 0.01, "target_entropy": -15.0},
    100: {
        "total_timesteps": 400_000,
        "num_envs": 256,
        "gradient_steps": 4,
        "batch_size": 512,
        "buffer_size": 131_072,
        "learning_starts": 8192,
        "hidden_sizes": (256,),
        "activation": "silu",
        "target_entropy": 30.0,
        "initial_ent_coef": 1e-3,
        "ent_coef_lr": 3e-3,
        "actor_lr": 3e-4,
    },
}
"""Changes of the settings of two assets, by the number of assets. A single one of a hundred hedges moves the value by a
hundredth of the effect of clients' trades, so learning it needs much exploration. A second layer as narrow as for two
assets cannot represent a hundred slopes."""
RELATIVE_TOLERANCE = 0.1
"""Tolerance of a hedge, relative to the weight."""
ZERO_TOLERANCE = 0.05
"""Tolerance of a hedge, relative to the client position, if the weight is 0."""
PRINTED = PositionPenalty()
"""Eq. 38 and 39 with the paper's values."""
LEARNABLE = PositionPenalty(weight=0.02, max_position=2560.0, subtract_baseline=True, discount=DISCOUNT)
"""Eq. 38 and 39 with a slope of 2 per unit, at which PnL still matters, and a limit at which the exponential of a
learner's initial over-hedging is finite; without the positions from clients' trades, which no action affects."""
MANY = dataclasses.replace(LEARNABLE, overhedge_weight=0.0, variance_weight=2.0)
"""For many assets: the joint over-hedging of a hundred is not finite under the exponential of eq. 38."""
VARIED = dataclasses.replace(LEARNABLE, variance_weight=VARIANCE)
"""The same with a variance term, on inventory PnL squared."""


def scenario(weight: float, correlation: float, reward: PositionPenalty) -> Scenario:
    """Return the market of two assets, as in the paper."""
    market = PortfolioMarket(
        prices=EqualCorrelation(correlation=correlation),
        weights=(weight, 1 - weight),
        max_hedge=64.0,
        breach_multiple=5.0,
    )
    return Scenario(market, (), reward, STEPS)


def with_prices(plain: Scenario) -> Scenario:
    """Return the scenario with observed prices, which rule-based hedgers need."""
    return dataclasses.replace(plain, market=dataclasses.replace(plain.market, extended_observation=True))


def learner(budget: Budget) -> SAC:
    """Return our settings of SAC.

    A hedge is revalued in the next step and can be changed in every step, so a discount factor of 0.7 suffices.
    """
    return SAC(
        total_timesteps=32_000 if budget.quick else 256_000,
        num_envs=64,
        gradient_steps=8,
        buffer_size=65_536,
        gamma=DISCOUNT,
        actor_lr=1e-3,
        critic_lr=1e-3,
        ent_coef_lr=1e-3,
        # Low: positions from exploration are kept.
        target_entropy=-8.0,
    )


def splits(budget: Budget, report: Report) -> Outcome:
    """Return the rewards of hedgers that split the same value between the assets in different ways."""
    records = []
    for weight in SPLIT_WEIGHTS:
        for name, reward in (("printed", PRINTED), ("variance", VARIED)):
            for correlation in (CORRELATIONS[0], CORRELATIONS[-1]):
                evaluated = with_prices(scenario(weight, correlation, reward))
                hedgers = [
                    (_split(weight, name, correlation, share), ValueHedger(shares=(share, 1 - share)))
                    for share in SHARES
                ]
                steps = evaluation_steps(budget) // 2
                records += evaluate_replications(evaluated, [], hedgers, budget, report, steps)
    return Outcome(records)


def _split(weight: float, reward: str, correlation: float, share: float) -> dict[str, Parameter]:
    return {"weight": weight, "reward": reward, "correlation": correlation, "share": share}


def learned(correlation: float, reward: PositionPenalty) -> Callable[[Budget, Report], Outcome]:
    """Train SAC at every weight; figures 10 and 11 show w = 0.5 and 0."""

    def run(budget: Budget, report: Report) -> Outcome:
        records, frames = [], []
        for weight in WEIGHTS:
            evaluated = scenario(weight, correlation, reward)
            training = dataclasses.replace(evaluated, horizon=TRAINING_STEPS)
            policies, _ = train_policies(
                training,
                learner(budget),
                budget,
                lambda line, w=weight: report(f"w = {w:g}: {line}"),
                chunks=5,
            )
            for i, policy in enumerate(policies):
                steps = trace(evaluated, policy, budget.seed + i, 16 if budget.quick else 64)
                own = {"policy": "SAC", "weight": weight, "replication": i}
                records += records_of(own, **exposures(steps))
                if i == 0:
                    frames.append(steps.filter(pl.col("path") == 0).with_columns(weight=pl.lit(weight)))
            best = trace(with_prices(evaluated), PortfolioHedger((weight, 1 - weight)), budget.seed, 64)
            records += records_of({"policy": "true weights", "weight": weight}, **exposures(best))
        return Outcome(records, {"traces": pl.concat(frames)})

    return run


def exposures(steps: pl.DataFrame) -> dict[str, float]:
    """hedge_k: slope of the hedge in asset k on the client position at its decision; pnl, of a step; risk: standard
    deviation of inventory PnL; sharpe: of a step, percent."""
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


def many(budget: Budget, report: Report) -> Outcome:
    """Evaluate one learner, no hedge, and the hedge with the true weights, for ten assets and for a hundred."""
    records = []
    for assets in ASSETS:
        market = PortfolioMarket(
            prices=EqualCorrelation(num_assets=assets, correlation=0.5),
            weights=(1 / assets,) * assets,
            max_hedge=MAX_HEDGES[assets],
            breach_multiple=5.0,
        )
        evaluated = Scenario(market, (), MANY, SHORT)
        config = dataclasses.replace(learner(budget), **MANY_SETTINGS[assets])
        if budget.quick:
            config = dataclasses.replace(config, total_timesteps=16_000)
        one = dataclasses.replace(budget, seeds=1)
        (policy,), _ = train_policies(
            evaluated, config, one, lambda line, n=assets: report(f"{n} assets: {line}"), chunks=5
        )
        steps = evaluation_steps(budget) // 10
        unhedged, sac, true = (
            {"policy": name, "assets": assets} for name in ("unhedged", "SAC", "true weights")
        )
        makers: list[tuple[Parameters, Policy]] = [
            (unhedged, ValueHedger(shares=(0.0,) * assets)),
            (sac, policy),
        ]
        records += evaluate_makers(evaluated, makers, budget.seed, steps)
        hedger = PortfolioHedger(market.weights)
        records += evaluate_makers(with_prices(evaluated), [(true, hedger)], budget.seed, steps)
        found = exposures(trace(evaluated, policy, budget.seed, 16))
        slopes = [value for name, value in found.items() if name.startswith("hedge_")]
        records += records_of(
            sac, hedge_smallest=max(slopes), hedge_average=sum(slopes) / assets, hedge_largest=min(slopes)
        )
    return Outcome(records)


def learned_case(correlation: float) -> str:
    return select_one(CASES, correlation=correlation, reward="variance")


def printed_case() -> str:
    return select_one(CASES, reward="printed")


def exposure(found: Outcomes, case: str, weight: float, asset: int) -> Estimate:
    """Return the hedge in one asset as a multiple of the client position, mean of seeds."""
    return over_replications(found, case, f"hedge_{asset}", policy="SAC", weight=weight)


def weights(found: Outcomes) -> list[Table | Figure]:
    rows = []
    for correlation in CORRELATIONS:
        for weight in WEIGHTS:
            rows.append(
                Row(f"ρ = {correlation:g}, w = {weight:g}", _cells(found, learned_case(correlation), weight))
            )
    parts: list[Table | Figure] = [Table(COLUMNS, tuple(rows), NOTE)]
    for number, weight in ((10, 0.5), (11, 0.0)):
        steps = found.frame(learned_case(CORRELATIONS[0]), "traces").filter(pl.col("weight") == weight)
        parts.append(dashboard(f"Figure {number}: w = {weight:g}, the first seed", steps))
    return parts


COLUMNS = ("first hedge", "second hedge", "PnL", "risk", "risk, true weights", "Sharpe, %", "true weights")
NOTE = (
    "Hedges in units of the client position, by regression over evaluated steps; exact: minus the weights. PnL of "
    "a step and risk, the standard deviation of its inventory PnL, in currency; Sharpe ratio of a step. True weights: "
    "a hedger that knows them and observes prices."
)


def _cells(found: Outcomes, case: str, weight: float) -> tuple[Cell, ...]:
    def seeds(metric: str) -> Estimate:
        return over_replications(found, case, metric, policy="SAC", weight=weight)

    def true(metric: str) -> Estimate:
        return Estimate(found.record(case, metric, policy="true weights", weight=weight).value)

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
    for weight in SPLIT_WEIGHTS:
        for name in ("printed", "variance"):
            for correlation in (CORRELATIONS[0], CORRELATIONS[-1]):
                true = _split(weight, name, correlation, weight)
                cells = [
                    Cell(difference(found, "portfolio-splits", "reward", split, true), digits=1)
                    for split in (_split(weight, name, correlation, share) for share in SHARES)
                ]
                label = "as printed" if name == "printed" else "with a variance term"
                rows.append(Row(f"{label}, w = {weight:g}, ρ = {correlation:g}", tuple(cells)))
    note = (
        "Reward of a step less that of the true split, in currency, of hedgers that hedge the same value in every step "
        "and split it differently, on common random numbers. As printed: γ = 3, φ = 5."
    )
    columns = tuple(f"{u:g} in asset 1" for u in SHARES)
    money = []
    for u in SHARES:
        split = _split(0.25, "printed", 0.0, u)
        metrics = (("reward", 1, 0), ("pnl_total", STEPS, 0), ("sharpe", 100, 1))
        cells = [
            Cell(over_replications(found, "portfolio-splits", metric, **split).times(scale), digits=digits)
            for metric, scale, digits in metrics
        ]
        money.append(Row(f"{u:g} in asset 1", tuple(cells)))
    learned_rows = [Row(f"w = {weight:g}", _cells(found, printed_case(), weight)) for weight in WEIGHTS]
    return [
        Table(columns, tuple(rows), note, "Rewards of splits"),
        Table(
            ("reward", "PnL of a path", "Sharpe, %"),
            tuple(money),
            "Printed reward, w = 0.25, ρ = 0. PnL in currency, reward and Sharpe ratio of a step.",
            "PnL of splits",
        ),
        Table(COLUMNS, tuple(learned_rows), f"ρ = 0. {NOTE}", "Learned weights without a variance term"),
    ]


def hundreds(found: Outcomes) -> list[Table | Figure]:
    rows = []
    for assets in ASSETS:
        for policy in ("unhedged", "SAC", "true weights"):
            maker = {"assets": assets, "policy": policy}
            cells = [
                Cell(found.estimate("portfolio-many", metric, **maker).times(scale), digits=digits)
                for metric, scale, digits in (
                    ("reward", 1, 0),
                    ("pnl_total", 1, 2),
                    ("inventory_pnl_std", 1, 1),
                    ("sharpe", 100, 1),
                )
            ]
            slopes = [
                Cell(found.estimate("portfolio-many", metric, **maker), exact=-1 / assets, digits=4)
                if policy == "SAC"
                else Cell(None)
                for metric in ("hedge_smallest", "hedge_average", "hedge_largest")
            ]
            rows.append(Row(f"{assets} assets, {policy}", (*cells, *slopes)))
    columns = ("reward", "PnL", "risk", "Sharpe, %", "smallest hedge", "mean hedge", "largest hedge")
    note = f"Equal weights, ρ = 0.5, episodes of {SHORT} steps, one learner each. {NOTE}"
    return [Table(columns, tuple(rows), note)]


def weights_are_learned(found: Outcomes) -> Finding:
    return all_of(
        _close(found, learned_case(correlation), correlation, weight)
        for correlation in CORRELATIONS
        for weight in WEIGHTS
    )


def printed_weights_are_learned(found: Outcomes) -> Finding:
    return all_of(_close(found, printed_case(), CORRELATIONS[0], weight) for weight in WEIGHTS)


def _close(found: Outcomes, case: str, correlation: float, weight: float) -> Finding:
    return all_of(
        within(
            exposure(found, case, weight, asset),
            -true,
            RELATIVE_TOLERANCE * true if true else ZERO_TOLERANCE,
            name=f"ρ = {correlation:g}, w = {weight:g}: hedge in asset {asset + 1}",
            digits=3,
        )
        for asset, true in enumerate((weight, 1 - weight))
    )


def printed_reward_is_highest(found: Outcomes) -> Finding:
    return _true_is_best(found, "printed")


def variance_reward_is_highest(found: Outcomes) -> Finding:
    return _true_is_best(found, "variance")


def _split_label(split: Parameters) -> str:
    weight, correlation, share = (f"{split[name]:g}" for name in ("weight", "correlation", "share"))
    return f"w {weight}, {split['reward']}, ρ {correlation}, {share} in asset 1"


def _true_is_best(found: Outcomes, name: str) -> Finding:
    findings = []
    for weight in SPLIT_WEIGHTS:
        for correlation in (CORRELATIONS[0], CORRELATIONS[-1]):
            true = _split(weight, name, correlation, weight)
            for share in SHARES:
                if share != weight:
                    other = _split(weight, name, correlation, share)
                    findings.append(
                        greater(
                            over_replications(found, "portfolio-splits", "reward", **true),
                            over_replications(found, "portfolio-splits", "reward", **other),
                            difference=difference(found, "portfolio-splits", "reward", true, other),
                            names=(f"{_split_label(true)}: the reward", f"with {share:g}"),
                            digits=1,
                        )
                    )
    return all_of(findings)


def many_improve(found: Outcomes) -> Finding:
    return all_of(
        greater(
            found.estimate("portfolio-many", metric, assets=assets, policy="SAC"),
            found.estimate("portfolio-many", metric, assets=assets, policy="unhedged"),
            names=(f"{metric} of SAC, {assets} assets", "unhedged"),
            digits=3,
        )
        for assets in ASSETS
        for metric in ("reward", "sharpe")
    )


CASES = (
    Case("portfolio-splits", splits),
    *(
        Case(
            dash_case("portfolio", "variance", correlation),
            learned(correlation, VARIED),
            {"correlation": correlation, "reward": "variance"},
        )
        for correlation in CORRELATIONS
    ),
    Case(
        "portfolio-printed",
        learned(CORRELATIONS[0], LEARNABLE),
        {"correlation": CORRELATIONS[0], "reward": "printed"},
    ),
    Case("portfolio-many", many),
)

ITEMS = (
    Item(
        "portfolio",
        "Learned weights",
        "Figures 10 and 11, with a variance term in the reward.",
        select(CASES, reward="variance"),
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
        "Weights identified by the printed reward",
        "Eq. 38 and 39.",
        ("portfolio-splits", printed_case()),
        unidentified,
        (
            Claim(
                "section 7", "The printed reward is highest at the true weights.", printed_reward_is_highest
            ),
            Claim(
                "this project",
                "With a variance term it is highest there.",
                variance_reward_is_highest,
            ),
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
        "The paper’s conclusion proposes tens or hundreds.",
        ("portfolio-many",),
        hundreds,
        (Claim("section 8", "It learns to hedge tens and hundreds of assets.", many_improve),),
    ),
)
