"""The market price of risk (Bakshaev 2020, section 6): the client spread that is optimal for the reward, and SAC's."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from twosided.core.evaluation import trace
from twosided.core.policy import Policy
from twosided.core.records import Record
from twosided.core.scenario import Scenario
from twosided.hedging.market import HedgingMarket
from twosided.hedging.price_of_risk import PriceOfRiskOptimum, price_of_risk
from twosided.hedging.rewards import PriceOfRisk
from twosided.hedging.spreads import StochasticSpread
from twosided.learn.sac import SAC
from twosided.learn.train import Progress, policies_of
from twosided.papers.bakshaev2020.common import (
    MAX_GAP,
    MAX_HEDGE,
    POLICY_LABELS,
    STEPS,
    actions,
    curves,
    dashboard,
)
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
    record_of,
    records_of,
    select_one,
    within,
)
from twosided.papers.learning import Parameters, labelled, over_replications, train_policies
from twosided.plots import figure_lines
from twosided.prices import Garch, GeometricBrownian, MertonJumps, PriceProcess

CLIENT = 0.2
"""ν of the client spread before any skew, as in the paper."""
EXCHANGE = (0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2)
"""ν of the exchange's spread."""
LEARNED = (0.1, 0.14, 0.18)
"""ν of the exchange's spread at which SAC is trained; the first is the paper's."""
WEIGHT = 0.02
"""γ. A slope of 2 per unit is ten times the cost of a unit's hedge, so it determines the hedge as the paper's 3 does,
with 150 times less noise."""
TRAINING_MAX_POSITION = 64.0
"""Position limit during training, units: the market restarts beyond 1.5 times it, which no good hedger reaches."""
STEP = 1 / 512
JUMPS = 0.03
PROCESSES: Mapping[str, PriceProcess] = {
    "Brownian": GeometricBrownian(initial=100.0, volatility=0.15, time_step=STEP),
    "jumps": MertonJumps(
        volatility=(0.15**2 - 5 * JUMPS**2) ** 0.5, jump_rate=5.0, jump_std=JUMPS, time_step=STEP
    ),
    "clusters": Garch(time_step=STEP),
    "drift": GeometricBrownian(initial=100.0, drift=0.5, volatility=0.15, time_step=STEP),
}
"""The price processes of section 6, all with the same variance over an episode."""
RISK_AVERSION = 0.01
"""Price of inventory PnL squared, per unit of currency."""
POSITIONS = np.arange(-32.0, 33.0)
"""Positions of the curves of skews, units."""


def scenario(exchange: float, weight: float = 3.0) -> Scenario:
    """The paper's, without its look-ahead and with an effective clamp."""
    market = HedgingMarket(
        client_spread=StochasticSpread(multiplier=CLIENT),
        exchange_spread=StochasticSpread(multiplier=exchange),
        allow_skew=True,
        elasticity=0.0,
    )
    return Scenario(market, (), PriceOfRisk(weight=weight), STEPS)


def training_scenario(exchange: float) -> Scenario:
    """The same optimum with less noise: a skew affects no trade, so the reward leaves out the clients' trades."""
    full = scenario(exchange)
    market = dataclasses.replace(full.market, max_position=TRAINING_MAX_POSITION)
    reward = PriceOfRisk(weight=WEIGHT, subtract_baseline=True, discount=0.0)
    return dataclasses.replace(full, market=market, reward=reward)


def learner(budget: Budget) -> SAC:
    """An action affects only the reward of its own step (see hedging/price_of_risk.py), so the discount is 0. Final
    actions vary by less than a fiftieth of their range; more would smooth the kinks of the optimal skew."""
    return SAC(
        total_timesteps=32_000 if budget.quick else 384_000,
        num_envs=64,
        gradient_steps=8,
        buffer_size=131_072,
        gamma=0.0,
        actor_lr=1e-3,
        critic_lr=1e-3,
        ent_coef_lr=1e-3,
        target_entropy=-8.0,
    )


def optimum(budget: Budget, report: Report) -> Outcome:
    """The optimum over hedge spreads, and with the features of section 6 that add to it."""
    paths = 300 if budget.quick else 3000
    records = []
    for exchange in EXCHANGE:
        report(f"exchange at {exchange}")
        found = price_of_risk(scenario(exchange), paths, budget.seed)
        records += _records({"exchange_multiplier": exchange}, found)
    for name, process in PROCESSES.items():
        report(name)
        plain = scenario(LEARNED[0])
        changed = dataclasses.replace(plain, market=dataclasses.replace(plain.market, price=process))
        records += _records({"process": name}, price_of_risk(changed, paths, budget.seed))
    return Outcome(records)


def _records(parameters: Parameters, found: PriceOfRiskOptimum) -> list[Record]:
    estimates = {
        "client_spread": found.client_spread,
        "mismatch": found.mismatch,
        "hedge_cost": found.hedge_cost,
        "inventory_loss": found.inventory_loss,
        "inventory_square": found.inventory_square,
        "hurdle": found.hurdle(RISK_AVERSION),
    }
    over = tuple(x / found.exchange_spread for x in found.client_spread)
    estimates["spread_ratio"] = (over[0], over[1])
    plain = {"unskewed_spread": found.unskewed_spread, "hedge_spread": found.exchange_spread}
    return [
        *(record_of(parameters, name, *estimate) for name, estimate in estimates.items()),
        *(record_of(parameters, name, value) for name, value in plain.items()),
    ]


def learned(exchange: float) -> Callable[[Budget, Report], Outcome]:
    """Figures 7 and 8 at one hedge spread."""

    def run(budget: Budget, report: Report) -> Outcome:
        report("the optimum")
        best = price_of_risk(scenario(exchange), 300 if budget.quick else 2000, budget.seed)
        evaluated, training = scenario(exchange, WEIGHT), training_scenario(exchange)
        config = learner(budget)
        paths = 16 if budget.quick else 100
        rows: list[dict[str, float]] = []

        def look(progress: Progress) -> None:
            for i, policy in enumerate(policies_of(training, config, progress.states, budget.seeds)):
                spread = _spreads(evaluated, policy, budget.seed, 8)
                rows.append(
                    {
                        "seed": i,
                        "timesteps": float(progress.curve["timesteps"][i]),
                        "client_spread": spread["client_spread"],
                    }
                )

        policies, _ = train_policies(training, config, budget, report, 10, look)
        records, skews = [], []
        for i, policy in enumerate(policies):
            spread = _spreads(evaluated, policy, budget.seed + i, paths)
            records += records_of({"policy": "SAC", "replication": i}, **spread)
            skews.append(np.abs(actions(policy, POSITIONS)["skew"]))
        spread = _spreads(evaluated, best.policy(MAX_HEDGE), budget.seed, paths)
        records += records_of({"policy": "optimum"}, **spread)
        exact_skew = np.abs(np.interp(POSITIONS, best.positions, np.abs(best.skew)))
        frames = {
            "curve": pl.DataFrame(rows),
            "skews": curves(
                POSITIONS,
                "skew",
                [({"policy": "SAC"}, np.stack(skews)), ({"policy": "optimum"}, exact_skew[None])],
            ),
            "trace": trace(evaluated, policies[0], budget.seed, 1),
        }
        return Outcome(records, frames)

    return run


def _spreads(scenario: Scenario, policy: Policy, seed: int, paths: int) -> dict[str, float]:
    """client_spread: the half-spread to clients after the skew, mean of both sides; hedge_spread: the exchange's;
    mismatch: E|client PnL + hedge PnL|; unhedged: mean size of the rest of the observed position, units."""
    steps = trace(scenario, policy, seed, paths)
    left = (pl.col("inventory") + pl.col("hedge")).abs()
    beyond = (pl.col("inventory").abs() - MAX_HEDGE).clip(lower_bound=0)
    row = steps.select(
        client_spread=((pl.col("ask") - pl.col("bid")) / 2).mean(),
        hedge_spread=((pl.col("exchange_ask") - pl.col("exchange_bid")) / 2).mean(),
        mismatch=(pl.col("pnl_spread") + pl.col("pnl_hedge")).abs().mean(),
        unhedged=(left - beyond).abs().mean(),
    ).row(0, named=True)
    return {name: float(value) for name, value in row.items()}


def learned_case(exchange: float) -> str:
    return select_one(CASES, exchange_multiplier=exchange)


def client_spread(found: Outcomes, exchange: float) -> Estimate:
    """The learners' client spread, mean of seeds, in percent of the exact one."""
    return _over_seeds(found, exchange, "client_spread").times(100 / _exact(found, exchange, "client_spread"))


def _over_seeds(found: Outcomes, exchange: float, metric: str) -> Estimate:
    return over_replications(found, learned_case(exchange), metric, policy="SAC")


def _exact(found: Outcomes, exchange: float, metric: str) -> float:
    return found.record("price-of-risk", metric, exchange_multiplier=exchange).value


def spreads(found: Outcomes) -> list[Table | Figure]:
    """Figure 7, over hedge spreads."""
    rows = []
    for exchange in EXCHANGE:
        hedge, best = (
            found.estimate("price-of-risk", metric, exchange_multiplier=exchange)
            for metric in ("hedge_spread", "client_spread")
        )
        ours = _over_seeds(found, exchange, "client_spread") if exchange in LEARNED else None
        mismatch = _over_seeds(found, exchange, "mismatch") if exchange in LEARNED else None
        cells = (
            Cell(hedge, digits=4),
            Cell(ours, exact=best.value, digits=4),
            Cell(best.times(1 / hedge.value), digits=3),
            Cell(mismatch, exact=_exact(found, exchange, "mismatch"), digits=3),
        )
        rows.append(Row(f"ν = {exchange:g}", cells))
    unskewed = _exact(found, LEARNED[0], "unskewed_spread")
    note = (
        "Half-spreads in currency, means of both sides and of all steps; the client’s is after the skew, and "
        f"{unskewed:.3f} before it. Mismatch: E|client PnL + hedge PnL| of a step, which the reward makes small. "
        "Exact: the weighted median of hedging/price_of_risk.py."
    )
    columns = ("hedge spread", "client spread", "exact over hedge spread", "mismatch")
    parts: list[Table | Figure] = [Table(columns, tuple(rows), note)]
    for exchange in LEARNED:
        case = learned_case(exchange)
        curve = found.frame(case, "curve")
        levels = {
            "exact": _exact(found, exchange, "client_spread"),
            "hedge": _exact(found, exchange, "hedge_spread"),
        }
        drawn = figure_lines(
            curve,
            "timesteps",
            {"client_spread": "client half-spread, currency"},
            "seed",
            x_title="market steps of training, per seed",
            levels=levels,
        )
        parts.append(
            Figure(f"Learning the client spread at ν = {exchange:g}", "Figure 7, one line per seed.", drawn)
        )
        drawn = figure_lines(
            labelled(found.frame(case, "skews"), POLICY_LABELS.__getitem__, "policy"),
            "position",
            {"skew": "|skew|"},
            "series",
            x_title="position, units",
        )
        parts.append(
            Figure(
                f"The skew at ν = {exchange:g}",
                "Absolute skew, mean of seeds with its 95% band.",
                drawn,
            )
        )
    steps = found.frame(learned_case(LEARNED[0]), "trace")
    parts.append(dashboard(f"Figure 8: the first seed at ν = {LEARNED[0]:g}", steps))
    return parts


def premium(found: Outcomes) -> list[Table | Figure]:
    rows = []
    for name in PROCESSES:
        metrics = {
            "client_spread": 4,
            "spread_ratio": 3,
            "hedge_cost": 4,
            "inventory_loss": 4,
            "inventory_square": 2,
            "hurdle": 4,
        }
        cells = tuple(
            Cell(found.estimate("price-of-risk", metric, process=name), digits=d)
            for metric, d in metrics.items()
        )
        rows.append(Row(name, cells))
    note = (
        f"At ν = {LEARNED[0]:g}; returns around the drift have the same variance. The half-spread of the reward’s "
        "optimum in currency, and its ratio to the exchange’s half-spread; then, in currency per unit traded with "
        "clients, the half-spread at which a hedger of the whole position breaks even (the hurdle): the cost of its "
        f"hedges, its loss from drift, and {RISK_AVERSION:g} per unit of inventory PnL squared."
    )
    columns = ("client spread", "over the hedge spread", "hedges", "drift", "inventory PnL²", "hurdle")
    return [Table(columns, tuple(rows), note)]


def converges_to_hedge_spread(found: Outcomes) -> Finding:
    return all_of(
        within(
            _over_seeds(found, exchange, "client_spread").times(
                100 / _exact(found, exchange, "hedge_spread")
            ),
            100.0,
            MAX_GAP,
            name=f"client over hedge spread at ν = {exchange:g}, %,",
            digits=1,
        )
        for exchange in LEARNED
    )


def converges_to_optimum(found: Outcomes) -> Finding:
    return all_of(
        within(
            client_spread(found, exchange),
            100.0,
            MAX_GAP,
            name=f"client spread over the exact at ν = {exchange:g}, %,",
            digits=1,
        )
        for exchange in LEARNED
    )


def _adds(found: Outcomes, metric: str) -> Finding:
    plain, *others = PROCESSES
    return all_of(
        greater(
            found.estimate("price-of-risk", metric, process=name),
            found.estimate("price-of-risk", metric, process=plain),
            names=(name, plain),
            digits=4,
        )
        for name in others
    )


def reward_prices_risk(found: Outcomes) -> Finding:
    return _adds(found, "spread_ratio")


def risk_costs(found: Outcomes) -> Finding:
    return _adds(found, "hurdle")


CASES = (
    Case("price-of-risk", optimum),
    *(
        Case(dash_case("price-of-risk", exchange), learned(exchange), {"exchange_multiplier": exchange})
        for exchange in LEARNED
    ),
)

ITEMS = (
    Item(
        "price-of-risk",
        "The client spread that pays for hedges",
        "Figures 7 and 8.",
        ("price-of-risk", *(learned_case(exchange) for exchange in LEARNED)),
        spreads,
        (
            Claim("section 6", "The client spread converges to the hedge spread.", converges_to_hedge_spread),
            Claim(
                "this project",
                "SAC’s client spread is within 5% of the optimum of the reward.",
                converges_to_optimum,
            ),
        ),
    ),
    Item(
        "premium",
        "Effects of jumps, clusters and drift",
        "Section 6.",
        ("price-of-risk",),
        premium,
        (
            Claim(
                "section 6",
                "The optimal client spread over the hedge spread has a premium for each.",
                reward_prices_risk,
            ),
            Claim(
                "this project",
                "Each raises the spread at which a hedger averse to variance breaks even.",
                risk_costs,
            ),
        ),
    ),
)
