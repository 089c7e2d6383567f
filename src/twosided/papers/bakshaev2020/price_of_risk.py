"""The market price of risk (Bakshaev 2020, section 6): where the reward puts the client spread, and SAC with it."""

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
from twosided.papers.bakshaev2020.common import CLOSE, LARGEST, STEPS, actions, curves, dashboard
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
from twosided.papers.learning import fit
from twosided.plots import figure_lines
from twosided.prices import Garch, GeometricBrownian, MertonJumps, PriceProcess

CLIENT = 0.2
"""ν of the client spread before any skew, as in the paper."""
EXCHANGE = (0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2)
"""ν of the exchange's spread."""
LEARNED = (0.1, 0.14, 0.18)
"""Those that are learned at; the first is the paper's."""
WEIGHT = 0.02
"""γ. A slope of 2 a unit is ten times what a unit's hedge costs, so that it decides the hedge as the paper's 3 does,
with 150 times less noise."""
MOST_HELD = 64.0
"""Position limit while learning, units: the market starts anew beyond 1.5 of them, where no good hedger gets."""
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
"""The departures of section 6, all of the same variance over an episode."""
AVERSION = 0.01
"""Price of inventory PnL squared, per unit of currency."""
WHERE = np.arange(-32.0, 33.0)
"""Positions of the curves of skews, units."""


def scenario(exchange: float, weight: float = 3.0) -> Scenario:
    """The paper's, without its look-ahead and with its clamp at work."""
    market = HedgingMarket(
        client_spread=StochasticSpread(multiplier=CLIENT),
        exchange_spread=StochasticSpread(multiplier=exchange),
        allow_skew=True,
        elasticity=0.0,
    )
    return Scenario(market, (), PriceOfRisk(weight=weight), STEPS)


def taught(exchange: float) -> Scenario:
    """The same optimum with less noise: a skew moves no trade, so what clients bring is nobody's doing."""
    asked = scenario(exchange)
    market = dataclasses.replace(asked.market, max_position=MOST_HELD)
    reward = PriceOfRisk(weight=WEIGHT, subtract_baseline=True, discount=0.0)
    return dataclasses.replace(asked, market=market, reward=reward)


def learner(budget: Budget) -> SAC:
    """Nothing that is done in a step is worth more in a later one (see exact/price_of_risk.py): discount 0. Actions end
    within a fiftieth of the box, since more would blunt the corners of the best skew."""
    return SAC(
        steps=32_000 if budget.quick else 384_000,
        paths=64,
        updates=8,
        buffer=131_072,
        discount=0.0,
        actor_rate=1e-3,
        critic_rate=1e-3,
        temperature_rate=1e-3,
        target_entropy=-8.0,
    )


def exact(budget: Budget, tell: Tell) -> Outcome:
    """The optimum over hedge spreads, and over what section 6 says adds to it."""
    paths = 300 if budget.quick else 3000
    records = []
    for exchange in EXCHANGE:
        tell(f"exchange at {exchange}")
        records += _told(_name(exchange), price_of_risk(scenario(exchange), paths, budget.seed))
    for name, process in PROCESSES.items():
        tell(name)
        asked = scenario(LEARNED[0])
        asked = dataclasses.replace(asked, market=dataclasses.replace(asked.market, price=process))
        records += _told(name, price_of_risk(asked, paths, budget.seed))
    return Outcome(records)


def _told(case: str, found: PriceOfRiskOptimum) -> list[Record]:
    estimates = {
        "asked": found.client_spread,
        "missed": found.mismatch,
        "cost": found.hedge_cost,
        "loss": found.inventory_loss,
        "square": found.inventory_square,
        "hurdle": found.hurdle(AVERSION),
    }
    over = tuple(x / found.exchange_spread for x in found.client_spread)
    estimates["over"] = (over[0], over[1])
    plain = {"unskewed": found.unskewed_spread, "exchange": found.exchange_spread}
    return [
        *(Record(case, 0, name, *estimate) for name, estimate in estimates.items()),
        *(Record(case, 0, name, value) for name, value in plain.items()),
    ]


def learned(exchange: float) -> Callable[[Budget, Tell], Outcome]:
    """Figures 7 and 8 at one hedge spread."""

    def run(budget: Budget, tell: Tell) -> Outcome:
        tell("the optimum")
        best = price_of_risk(scenario(exchange), 300 if budget.quick else 2000, budget.seed)
        judged, lesson, config = scenario(exchange, WEIGHT), taught(exchange), learner(budget)
        paths = 16 if budget.quick else 100
        rows: list[dict[str, float]] = []

        def look(progress: Progress) -> None:
            for i, policy in enumerate(policies_of(lesson, config, progress.states, budget.seeds)):
                spread = _asked(judged, policy, budget.seed, 8)
                rows.append({"seed": i, "steps": float(progress.curve["steps"][i]), "asked": spread["asked"]})

        policies, _ = fit(lesson, config, budget, tell, 10, look)
        records, skews = [], []
        for i, policy in enumerate(policies):
            told = _asked(judged, policy, budget.seed + i, paths)
            records += [Record(f"SAC, {i}", 0, name, value) for name, value in told.items()]
            skews.append(np.abs(actions(policy, WHERE)["skew"]))
        told = _asked(judged, best.policy(LARGEST), budget.seed, paths)
        records += [Record("exact", 0, name, value) for name, value in told.items()]
        exact_skew = np.abs(np.interp(WHERE, best.positions, np.abs(best.skew)))
        frames = {
            "curve": pl.DataFrame(rows),
            "skews": curves(WHERE, "skew", {"SAC": np.stack(skews), "exact": exact_skew[None]}),
            "trace": trace(judged, policies[0], budget.seed, 1),
        }
        return Outcome(records, frames)

    return run


def _asked(judged: Scenario, policy: Policy, seed: int, paths: int) -> dict[str, float]:
    """asked: the half-spread to clients after the skew, mean of both sides; exchange: the exchange's; missed: E|client
    PnL + hedge PnL|; unhedged: mean size of what is left of the position that was seen, units."""
    steps = trace(judged, policy, seed, paths)
    left = (pl.col("inventory") + pl.col("hedge")).abs()
    beyond = (pl.col("inventory").abs() - LARGEST).clip(lower_bound=0)
    row = steps.select(
        asked=((pl.col("ask") - pl.col("bid")) / 2).mean(),
        exchange=((pl.col("exchange_ask") - pl.col("exchange_bid")) / 2).mean(),
        missed=(pl.col("pnl_spread") + pl.col("pnl_hedge")).abs().mean(),
        unhedged=(left - beyond).abs().mean(),
    ).row(0, named=True)
    return {name: float(value) for name, value in row.items()}


def _name(exchange: float) -> str:
    return f"exchange {exchange:g}"


def learned_case(exchange: float) -> str:
    return f"price-of-risk-{LEARNED.index(exchange) + 1}"


def asked(found: Outcomes, exchange: float) -> Estimate:
    """What the learners ask for, mean of seeds, in percent of the exact."""
    return _over_seeds(found, exchange, "asked").times(100 / _exact(found, exchange, "asked"))


def _over_seeds(found: Outcomes, exchange: float, metric: str) -> Estimate:
    case = learned_case(exchange)
    return mean([found.record(case, f"SAC, {i}", metric).value for i in range(found.budget.seeds)])


def _exact(found: Outcomes, exchange: float, metric: str) -> float:
    return found.record("price-of-risk", _name(exchange), metric).value


def spreads(found: Outcomes) -> list[Table | Figure]:
    """Figure 7, over hedge spreads."""
    rows = []
    for exchange in EXCHANGE:
        hedge, best = (found.estimate("price-of-risk", _name(exchange), m) for m in ("exchange", "asked"))
        ours = _over_seeds(found, exchange, "asked") if exchange in LEARNED else None
        missed = _over_seeds(found, exchange, "missed") if exchange in LEARNED else None
        cells = (
            Cell(hedge, digits=4),
            Cell(ours, exact=best.value, digits=4),
            Cell(best.times(1 / hedge.value), digits=3),
            Cell(missed, exact=_exact(found, exchange, "missed"), digits=3),
        )
        rows.append(Row(f"ν = {exchange:g}", cells))
    unskewed = _exact(found, LEARNED[0], "unskewed")
    note = (
        "Half-spreads in currency, means of both sides and of all steps; the client’s is after the skew, and "
        f"{unskewed:.3f} before it. Missed: E|client PnL + hedge PnL| of a step, which the reward makes small. "
        "Exact: the weighted median of exact/price_of_risk.py."
    )
    columns = ("hedge spread", "client spread", "exact over hedge spread", "missed")
    parts: list[Table | Figure] = [Table(columns, tuple(rows), note)]
    for exchange in LEARNED:
        case = learned_case(exchange)
        curve = found.frame(case, "curve")
        levels = {"exact": _exact(found, exchange, "asked"), "hedge": _exact(found, exchange, "exchange")}
        drawn = figure_lines(
            curve,
            "steps",
            {"asked": "client half-spread, currency"},
            "seed",
            x_title="market steps of training, a seed",
            levels=levels,
        )
        parts.append(
            Figure(f"Learning the client spread at ν = {exchange:g}", "Figure 7, seed by seed.", drawn)
        )
        drawn = figure_lines(
            found.frame(case, "skews"), "position", {"skew": "|skew|"}, "who", x_title="position, units"
        )
        parts.append(
            Figure(
                f"The skew at ν = {exchange:g}",
                "Mean of seeds with its 95% band; its side is left out.",
                drawn,
            )
        )
    steps = found.frame(learned_case(LEARNED[0]), "trace")
    parts.append(dashboard(f"Figure 8: the first seed at ν = {LEARNED[0]:g}", steps))
    return parts


def premium(found: Outcomes) -> list[Table | Figure]:
    rows = []
    for name in PROCESSES:
        metrics = {"asked": 4, "over": 3, "cost": 4, "loss": 4, "square": 2, "hurdle": 4}
        cells = tuple(Cell(found.estimate("price-of-risk", name, m), digits=d) for m, d in metrics.items())
        rows.append(Row(name, cells))
    note = (
        f"At ν = {LEARNED[0]:g}; moves around the drift have the same variance. The half-spread of the reward’s "
        "optimum in currency, and over that of the exchange; then, in currency a unit that is traded with clients, "
        "what they must pay for the PnL of who hedges everything to be nothing (the hurdle): what its hedges cost, "
        f"what drift takes, and {AVERSION:g} for each of the inventory PnL squared."
    )
    columns = ("client spread", "over the hedge spread", "hedges", "drift", "inventory PnL²", "hurdle")
    return [Table(columns, tuple(rows), note)]


def converges_to_hedge_spread(found: Outcomes) -> Finding:
    return all_of(
        within(
            _over_seeds(found, exchange, "asked").times(100 / _exact(found, exchange, "exchange")),
            100.0,
            CLOSE,
            name=f"client over hedge spread at ν = {exchange:g}, %,",
            digits=1,
        )
        for exchange in LEARNED
    )


def converges_to_optimum(found: Outcomes) -> Finding:
    return all_of(
        within(
            asked(found, exchange),
            100.0,
            CLOSE,
            name=f"client spread over the exact at ν = {exchange:g}, %,",
            digits=1,
        )
        for exchange in LEARNED
    )


def _adds(found: Outcomes, metric: str) -> Finding:
    plain, *others = PROCESSES
    return all_of(
        greater(
            found.estimate("price-of-risk", name, metric),
            found.estimate("price-of-risk", plain, metric),
            names=(name, plain),
            digits=4,
        )
        for name in others
    )


def reward_prices_risk(found: Outcomes) -> Finding:
    return _adds(found, "over")


def risk_costs(found: Outcomes) -> Finding:
    return _adds(found, "hurdle")


CASES = (
    Case("price-of-risk", exact),
    *(Case(learned_case(exchange), learned(exchange)) for exchange in LEARNED),
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
                "SAC’s client spread is within 5% of the reward’s own optimum.",
                converges_to_optimum,
            ),
        ),
    ),
    Item(
        "premium",
        "What jumps, clusters and drift add",
        "Section 6.",
        ("price-of-risk",),
        premium,
        (
            Claim(
                "section 6",
                "The client spread that the reward finds, beside the hedge spread, has a premium for each.",
                reward_prices_risk,
            ),
            Claim(
                "this project",
                "Each raises what clients must pay a hedger that dislikes variance.",
                risk_costs,
            ),
        ),
    ),
)
