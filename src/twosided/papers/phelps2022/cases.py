"""Cases of the study: simulation, learning and exact solution for the slides of Phelps (2022) and the extensions.

Rewards are those of a step, in ticks. Every sampled number has its exact value beside it: the market is a Markov chain
(`twosided.electronic.exact`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import polars as pl

from twosided.core.evaluation import trace
from twosided.core.mdp import Exact
from twosided.core.policy import Policy
from twosided.core.records import Parameter, Record
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario, Step
from twosided.electronic.cells import CombinedCells, ImbalanceCells, InventoryCells, SpreadCells
from twosided.electronic.chain import ElectronicChain, electronic_chain
from twosided.electronic.exact import (
    best_table,
    bootstrapped_values,
    day_value,
    full_information,
    information_value,
    state_action_values,
    state_values,
    threshold_map,
)
from twosided.electronic.market import CHANGES, ElectronicMarket, TwoSidedElectronicMarket
from twosided.electronic.policies import ImbalanceTable, ThresholdPolicy, quote_changes
from twosided.learn.actor_critic import ActorCritic
from twosided.learn.adaptation import adapt
from twosided.learn.base import Learner
from twosided.learn.monte_carlo import (
    MonteCarloControl,
    MonteCarloEstimates,
    monte_carlo_action_values,
    monte_carlo_values,
)
from twosided.learn.policy_iteration import policy_iteration
from twosided.learn.tables import FinitePolicy, TabularPolicy
from twosided.learn.temporal_difference import SARSA, ExpectedSARSA, QLearning
from twosided.learn.train import Progress, train
from twosided.papers.base import Budget, Case, Outcome, Report, record_of, records_of
from twosided.papers.learning import evaluate_makers, mean_of_replications
from twosided.papers.phelps2022 import EXPLORATION, HORIZON, LIMIT
from twosided.rewards import SpreadPnL, WeightedReward

CELLS = ImbalanceCells(LIMIT)
WIDE_CELLS = ImbalanceCells(LIMIT + 1)
"""The slides leave out imbalances beyond the limit, which are the first and last row here."""
REVERSED = ImbalanceTable(changes=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0), epsilon=EXPLORATION)
"""The exploring policy as printed: its signs are reversed, and beyond ±2 it leaves the quote unchanged."""
EXPLORING = ThresholdPolicy(2, epsilon=EXPLORATION)
"""The exploring policy as intended."""
WIDE_MISPRICING = 160
"""Largest mispricing of the chain in ticks, for the policy whose quote diverges from the price."""
LISTING = SARSA(
    trace_decay=0.0,
    gamma=0.0,
    alpha=0.01,
    alpha_end=0.01,
    epsilon=0.1,
    epsilon_end=0.1,
    num_steps=HORIZON,
)
"""SARSA with the settings of the listing."""
LEARNERS: Mapping[str, Learner] = {
    "sarsa-listing": LISTING,
    "sarsa-lambda": SARSA(),
    "sarsa-0": SARSA(gamma=0.0, trace_decay=0.0),
    "expected-sarsa": ExpectedSARSA(),
    "q-learning": QLearning(),  # pyright: ignore[reportCallIssue]  (its λ is no parameter)
    "actor-critic": ActorCritic(),
    "monte-carlo": MonteCarloControl(),
}
"""The learners to compare, each trained for 5,000 days."""
SEEDS = 20
"""Number of seeds of each tabular learner; training is cheap."""
TIE_TOLERANCE = 1e-6
"""Largest difference between the values of tied tables, in ticks per step: the chain's rounding."""
RATES = tuple(round(0.025 * k, 3) for k in range(1, 16))
"""λ_u and λ_i of the map."""
MARKETS = {
    "slides": ElectronicMarket(),
    "uninformed": ElectronicMarket(price_change=0.05, uninformed=0.4, informed=0.1),
}
"""Successive markets of the adaptation case."""
QUALITIES = (0.0, 0.1, 0.3)
INFORMED = (0.2, 0.4, 0.5)
"""Weights of quality, and λ_i at the expense of λ_u, of the market with a bid and an ask."""
CHARGES = (0.0, 0.1, 0.3)
"""Weights of inventory in that market, in ticks per unit held and step."""


def _scenario(market: ElectronicMarket = ElectronicMarket()) -> Scenario:
    return Scenario(market, (), SpreadPnL(), horizon=HORIZON)


def _days(budget: Budget, days: int) -> int:
    return days // (20 if budget.quick else 1)


def training_days(budget: Budget) -> int:
    """Days of a learner's training."""
    return _days(budget, 5_000)


def day(budget: Budget, report: Report) -> Outcome:
    """Slides 1.3.12 to 1.3.21: one day under π_2, and one of uninformed orders alone."""

    def recorded(observation, policy_state, step: Step) -> dict[str, Any]:
        quotes = step.transition.quotes
        order = (step.transition.sold - step.transition.bought)[0]
        # In the market with one price, bid and ask both equal it.
        return {
            "price": quotes.mid_after[0],
            "quote": quotes.bid[0],
            "imbalance": observation.imbalance,
            "order": order,
            "reward": step.reward,
        }

    def frame(market: ElectronicMarket, policy: Policy) -> pl.DataFrame:
        kept = episodes(_scenario(market), policy, jax.random.key(budget.seed), 1, recorded)
        columns = {name: np.asarray(values, float).ravel() for name, values in kept.items()}
        return pl.DataFrame({"time": np.arange(HORIZON)} | columns)

    informed = frame(ElectronicMarket(), ThresholdPolicy(2))
    alone = frame(ElectronicMarket(price_change=0.4, uninformed=0.1, informed=0.0), ThresholdPolicy(2))
    alone = alone.select("time", orders=pl.col("order").cum_sum())
    reward = float(informed["reward"].to_numpy().mean())
    return Outcome(records_of({"threshold": 2}, reward=reward), {"day": informed, "uninformed": alone})


def values(budget: Budget, report: Report) -> Outcome:
    """Slide 1.5.2: v(π_h)."""
    chain, records = electronic_chain(ElectronicMarket(), horizon=HORIZON), []
    for h in (1, 2, 3):
        report(f"threshold {h}")
        maker = {"threshold": h, "method": "sampled"}, ThresholdPolicy(h)
        records += evaluate_makers(_scenario(), [maker], budget.seed, _days(budget, 100_000) * HORIZON)
        records += records_of(
            {"threshold": h, "method": "exact"}, reward=day_value(chain, ThresholdPolicy(h)).value
        )
    return Outcome(records)


def states(budget: Budget, report: Report) -> Outcome:
    """Slide 1.5.6: v(s) of π_1 and π_2."""
    chain, records = electronic_chain(ElectronicMarket(), horizon=HORIZON), []
    for h in (1, 2):
        policy, cells = ThresholdPolicy(h), ImbalanceCells(h)
        report(f"threshold {h}")
        found = monte_carlo_values(_scenario(), policy, cells, budget.seed, _days(budget, 100_000))
        records += _state_values(
            {"threshold": h, "method": "sampled"}, found.values[:, 0], found.errors[:, 0]
        )
        records += _state_values({"threshold": h, "method": "exact"}, state_values(chain, policy, cells))
    return Outcome(records)


def pairs(budget: Budget, report: Report) -> Outcome:
    """Slides 1.5.8 to 1.5.10: Q(s, a) of π_2, and of the exploring policy as printed and as intended."""
    cases: dict[str, tuple[FinitePolicy, int]] = {
        "threshold": (ThresholdPolicy(2), 60),
        "reversed": (REVERSED, WIDE_MISPRICING),
        "exploring": (EXPLORING, 60),
    }
    records = []
    for name, (policy, reach) in cases.items():
        chain = electronic_chain(
            ElectronicMarket(), horizon=HORIZON, mispricing_limit=reach, imbalance_limit=20
        )
        exact = state_action_values(chain, policy, WIDE_CELLS)[1:-1]
        records += _action_values({"policy": name, "method": "exact"}, exact)
        for average in ("pooled", "by episode"):
            report(f"{name}, {average}")
            found = monte_carlo_action_values(
                _scenario(), policy, WIDE_CELLS, budget.seed, _days(budget, 100_000), average=average
            )
            parameters = {"policy": name, "method": "sampled", "average": average}
            records += _action_values(parameters, found.values[1:-1], found.errors[1:-1])
    return Outcome(records)


def iteration(budget: Budget, report: Report) -> Outcome:
    """Slide 1.7: policy iteration from several first policies, with exact values and with sampled ones."""
    chain = electronic_chain(ElectronicMarket(), horizon=HORIZON)
    days = _days(budget, 20_000)

    def exact(policy: TabularPolicy) -> np.ndarray:
        return state_action_values(chain, policy, CELLS)

    def sampled(policy: TabularPolicy) -> np.ndarray:
        found: MonteCarloEstimates = monte_carlo_action_values(_scenario(), policy, CELLS, budget.seed, days)
        return found.values

    firsts = {
        "always stay": [1] * 5,
        "always lower": [0] * 5,
        "always raise": [2] * 5,
        "reversed": [2, 2, 1, 0, 0],
    }
    rows = []
    for method, action_values in (("exact", exact), ("sampled", sampled)):
        for name, first in firsts.items():
            report(f"{method}, from {name}")
            most = 20 if method == "exact" else 5
            found = policy_iteration(action_values, CELLS, quote_changes(), np.array(first), 0.1, most)
            last = ImbalanceTable(tuple(CHANGES[c] for c in found.choices[-1]))
            rows.append(
                {
                    "method": method,
                    "first": name,
                    "improvements": len(found.choices) - 1,
                    "cycle": found.cycle_length,
                    "last": [int(CHANGES[c]) for c in found.choices[-1]],
                    "value": day_value(chain, last).value,
                }
            )
    return Outcome([], {"iterations": pl.DataFrame(rows)})


def learning(budget: Budget, report: Report) -> Outcome:
    """Slides 1.15 to 1.19: SARSA with the settings of the listing after a day and after 5,000, and with ours."""
    chain, frames = electronic_chain(ElectronicMarket(), horizon=HORIZON), {}
    _, one_day = train(_scenario(), _shortened(LISTING, HORIZON), budget.seed, SEEDS, 1)
    records = _action_values(
        {"settings": "listing", "days": 1, "replication": 0}, _learned_tables(one_day)[0]
    )
    days = training_days(budget)
    for name, learner in (("listing", LISTING), ("ours", SARSA())):

        def look(progress: Progress, name=name) -> None:
            report(f"{name}, {100 * progress.iteration / progress.iterations:.0f}% of the days")

        policies, progress = train(
            _scenario(), _shortened(learner, days * HORIZON), budget.seed, SEEDS, 5, after_chunk=look
        )
        q = _learned_tables(progress)
        parameters = {"settings": name, "days": days}
        records += _action_values(
            {**parameters, "replications": SEEDS}, q.mean(0), q.std(0, ddof=1) / np.sqrt(SEEDS)
        )
        records += _action_values({**parameters, "replication": 0}, q[0])
        # The table that each learner converges to under its final policy, which most learners have in common.
        limits_of = {
            policy: _limit(chain, learner, policy) for policy in dict.fromkeys(map(_changes, policies))
        }
        limits = np.array([limits_of[_changes(policy)] for policy in policies])
        records += _action_values({**parameters, "replication": 0}, limits[0], metric="limit")
        records += _action_values(parameters, np.abs(q - limits).max(0), metric="max_distance")
        if name == "ours":
            frames["final"] = trace(_scenario(), policies[0], budget.seed, 1)
    return Outcome(records, frames)


def learners(budget: Budget, report: Report) -> Outcome:
    """The exact values of each learner's greedy policies."""
    chain = electronic_chain(ElectronicMarket(), horizon=HORIZON)
    best = best_table(chain, LIMIT)
    records = records_of({"learner": "optimum"}, value=best.value.value)
    for name, learner in LEARNERS.items():
        report(name)
        steps = training_days(budget) * HORIZON
        policies, _ = train(_scenario(), _shortened(learner, steps), budget.seed, SEEDS, 1)
        reached = np.array([_value(best, policy) for policy in policies])
        share = float((reached >= best.value.value - TIE_TOLERANCE).mean())
        records += records_of({"learner": name}, optimal_share=share, value_min=reached.min())
        records.append(_mean_value({"learner": name}, reached, budget))
    return Outcome(records)


def optimum(budget: Budget, report: Report) -> Outcome:
    """The best of all tables, the value of observing the price, and the map of the best threshold."""
    report("all tables")
    # Wide enough to separate all tables that do not tie.
    wide = electronic_chain(ElectronicMarket(), horizon=HORIZON, imbalance_limit=30)
    best = best_table(wide, LIMIT)
    tied = best.values >= best.value.value - TIE_TOLERANCE
    table: dict[str, Parameter] = {"solution": "best table"}
    records = _bounded(table, best.value) + records_of(table, tied=int(tied.sum()), tables=len(tied))
    for imbalance, change in zip(range(-LIMIT, LIMIT + 1), best.changes, strict=True):
        records += records_of({**table, "imbalance": imbalance}, change=change)
    records += records_of(
        {"solution": "threshold", "threshold": 1}, value=day_value(wide, ThresholdPolicy(1)).value
    )
    report("full information")
    records += _bounded({"solution": "price before the event"}, full_information(wide))
    records += _bounded({"solution": "price after the event"}, full_information(wide, after_event=True))
    records += _bounded({"solution": "value of information"}, information_value(wide, best))
    report("map of thresholds")
    rates = RATES[::3] if budget.quick else RATES
    found = threshold_map(rates, [2 * rate for rate in rates])
    grid = [
        {"uninformed": rates[i], "informed": 2 * rates[j], "threshold": k + 1, "value": float(found[i, j, k])}
        for i, j, k in np.ndindex(found.shape)
    ]
    return Outcome(records, {"map": pl.DataFrame(grid)})


def adaptation(budget: Budget, report: Report) -> Outcome:
    """Slide 1.20: the maker keeps learning while the market changes."""
    steps = training_days(budget) * HORIZON
    # With step sizes ten times as large, values are averaged too little, and some learners end far worse than before.
    learner = _shortened(SARSA(), steps)
    chains = [electronic_chain(market, horizon=HORIZON) for market in MARKETS.values()]
    names, rows = list(MARKETS), []

    def look(scenario: int, progress: Progress) -> None:
        done = scenario + progress.iteration / progress.iterations
        policies = learner.policy(_scenario(), jax.tree.map(lambda leaf: leaf[0], progress.states))
        assert isinstance(policies, TabularPolicy)
        rows.append(
            {
                "days": done * steps / HORIZON,
                "market": names[scenario],
                "reward": float(np.mean(progress.curve["reward"])),
                "value": day_value(chains[scenario], policies).value,
            }
        )
        report(f"market {names[scenario]}, {100 * progress.iteration / progress.iterations:.0f}%")

    scenarios = [_scenario(market) for market in MARKETS.values()]
    found = adapt(scenarios, learner, budget.seed, SEEDS, 10, look)
    records = []
    for name, chain, policies in zip(names, chains, found, strict=True):
        best = best_table(chain, LIMIT)
        reached = np.array([_value(best, policy) for policy in policies])
        before = np.array([_value(best, policy) for policy in found[0]])
        share = (reached >= best.value.value - TIE_TOLERANCE).mean()
        records += records_of({"market": name}, optimum=best.value.value, optimal_share=share)
        records.append(_mean_value({"market": name}, reached, budget))
        records += records_of({"market": name}, value_without_adapting=before.mean())
    return Outcome(records, {"adaptation": pl.DataFrame(rows)})


def two_prices(budget: Budget, report: Report) -> Outcome:
    """Chan and Shelton's extended model: effects of the weight of quality, and of informed traders, on the spread."""
    records, learner = [], SARSA(cells=CombinedCells((CELLS, SpreadCells())))
    for informed in INFORMED:
        market = TwoSidedElectronicMarket(uninformed=(0.6 - informed) / 2, informed=informed)
        for quality in QUALITIES:
            parameters = {"informed": informed, "quality": quality}
            records += _quoting(parameters, market, WeightedReward(quality=quality), learner, budget)
            report(f"informed {informed:g}, quality {quality:g}")
    return Outcome(records)


def inventory(budget: Budget, report: Report) -> Outcome:
    """Chan and Shelton's extended model: effects of a charge for inventory on makers that observe theirs."""
    cells = CombinedCells((ImbalanceCells(1), InventoryCells(2), SpreadCells()))
    records = []
    for weight in CHARGES:
        reward = WeightedReward(inventory=weight)
        market, learner = TwoSidedElectronicMarket(), SARSA(cells=cells)
        records += _quoting({"charge": weight}, market, reward, learner, budget)
        report(f"charge {weight:g}")
    return Outcome(records)


def _quoting(
    parameters: Mapping[str, Parameter],
    market: TwoSidedElectronicMarket,
    reward: WeightedReward,
    learner: SARSA,
    budget: Budget,
) -> list[Record]:
    """Means over seeds of makers with a bid and an ask after 10,000 days, their spread included."""
    scenario = Scenario(market, (), reward, horizon=HORIZON)
    steps = 2 * training_days(budget) * HORIZON
    policies, _ = train(scenario, _shortened(learner, steps), budget.seed, budget.seeds, 1)
    makers = [({**parameters, "replication": i}, policy) for i, policy in enumerate(policies)]
    found = evaluate_makers(scenario, makers, budget.seed, _days(budget, 20_000) * HORIZON)
    for own, policy in makers:
        traced = trace(scenario, policy, budget.seed, 64)
        by_path = (
            traced.group_by("path", maintain_order=True)
            .agg((pl.col("ask") - pl.col("bid")).mean())["ask"]
            .to_numpy()
        )
        error = float(by_path.std(ddof=1) / np.sqrt(by_path.size))
        found.append(record_of(own, "spread", float(by_path.mean()), error, budget.seed))
    return mean_of_replications(found, parameters)


def _changes(policy: Policy) -> tuple[float, ...]:
    """The change of quote of a greedy table, by cell."""
    assert isinstance(policy, TabularPolicy)
    return tuple(CHANGES[choice] for choice in np.asarray(policy.table).argmax(1))


def _limit(chain: ElectronicChain, learner: SARSA, changes: tuple[float, ...]) -> np.ndarray:
    """The table that SARSA(λ) converges to if it keeps these changes and its final exploration."""
    followed = ImbalanceTable(changes, epsilon=float(learner.epsilon_end))
    return bootstrapped_values(chain, followed, CELLS, float(learner.gamma), float(learner.trace_decay))


def _learned_tables(progress: Progress) -> np.ndarray:
    """The action values of every learner: seeds, cells, actions."""
    return np.asarray(progress.states.carry.policy_state.q)[:, 0]


def _value(best, policy: Policy) -> float:
    """The exact value of a greedy table, looked up among those of all tables."""
    return float(best.values[np.flatnonzero((best.tables == _changes(policy)).all(1))[0]])


def _mean_value(parameters: Mapping[str, Parameter], reached: np.ndarray, budget: Budget) -> Record:
    error = reached.std(ddof=1) / np.sqrt(SEEDS)
    return record_of(parameters, "value", reached.mean(), error, budget.seed)


def _shortened(learner: Learner, steps: int) -> Learner:
    """The learner with this many steps of training."""
    return dataclasses.replace(learner, total_timesteps=steps)


def _bounded(parameters: Mapping[str, Parameter], found: Exact) -> list[Record]:
    return records_of(parameters, value=found.value, bound=found.error)


def _state_values(
    parameters: Mapping[str, Parameter], values: np.ndarray, errors: np.ndarray | None = None
) -> list[Record]:
    """One record per imbalance; unknown values are left out."""
    limit = len(values) // 2
    return [
        record_of(
            {**parameters, "imbalance": i - limit},
            "value",
            float(value),
            None if errors is None else float(errors[i]),
        )
        for i, value in enumerate(values)
        if np.isfinite(value)
    ]


def _action_values(
    parameters: Mapping[str, Parameter],
    values: np.ndarray,
    errors: np.ndarray | None = None,
    metric: str = "action_value",
) -> list[Record]:
    """One record per imbalance and change of quote; unknown values are left out."""
    return [
        record_of(
            {**parameters, "imbalance": i - LIMIT, "change": int(CHANGES[j])},
            metric,
            float(values[i, j]),
            None if errors is None else float(errors[i, j]),
        )
        for i, j in np.ndindex(values.shape)
        if np.isfinite(values[i, j])
    ]


CASES = (
    Case("day", day),
    Case("values", values),
    Case("states", states),
    Case("pairs", pairs),
    Case("iteration", iteration),
    Case("learning", learning),
    Case("learners", learners),
    Case("optimum", optimum),
    Case("adaptation", adaptation),
    Case("two-prices", two_prices),
    Case("inventory", inventory),
)
