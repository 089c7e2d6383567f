"""The cases of the study: what is simulated, learned and solved for the slides of Phelps (2022) and beyond them.

Rewards are a step's, in ticks. Every number that is sampled has its exact value beside it: the market is a Markov
chain (`twosided.electronic.exact`).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
import polars as pl

from twosided.core.evaluation import evaluate, trace
from twosided.core.mdp import Exact
from twosided.core.policy import Policy
from twosided.core.records import MEAN, Record, mean_of_cases
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
    Sampled,
    monte_carlo_action_values,
    monte_carlo_values,
)
from twosided.learn.policy_iteration import policy_iteration
from twosided.learn.tables import FinitePolicy, TabularPolicy
from twosided.learn.temporal_difference import SARSA, ExpectedSARSA, QLearning
from twosided.learn.train import Progress, train
from twosided.papers.base import Budget, Case, Outcome, Tell
from twosided.papers.learning import exact
from twosided.papers.phelps2022 import EXPLORATION, HORIZON, LIMIT
from twosided.rewards import SpreadPnL, WeightedReward

CELLS = ImbalanceCells(LIMIT)
WIDER = ImbalanceCells(LIMIT + 1)
"""Where the slides leave out what is beyond the limit: the first and the last row are."""
TURNED_ROUND = ImbalanceTable(changes=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0), epsilon=EXPLORATION)
"""The exploring policy as printed: its signs are turned round, and beyond ±2 it stays."""
EXPLORING = ThresholdPolicy(2, epsilon=EXPLORATION)
"""What it is meant to be."""
FAR = 160
"""Mispricing that the chain follows where the quote runs away from the price, in ticks."""
LISTING = SARSA(
    trace_decay=0.0,
    discount=0.0,
    step_size=0.01,
    step_size_end=0.01,
    epsilon=0.1,
    epsilon_end=0.1,
    rollout_steps=HORIZON,
)
"""SARSA with the settings of the listing."""
LEARNERS: Mapping[str, Learner] = {
    "SARSA, as in the slides": LISTING,
    "SARSA(λ)": SARSA(),
    "SARSA(0)": SARSA(discount=0.0, trace_decay=0.0),
    "expected SARSA": ExpectedSARSA(),
    "Q-learning": QLearning(),  # pyright: ignore[reportCallIssue]  (its λ is no parameter)
    "actor-critic": ActorCritic(),
    "Monte Carlo control": MonteCarloControl(),
}
"""Each for 5,000 days."""
SEEDS = 20
"""Learners of each kind side by side: they cost little."""
TIED = 1e-6
"""What the values of tables that tie may differ by, in ticks a step: the chain's own rounding."""
RATES = tuple(round(0.025 * k, 3) for k in range(1, 16))
"""λ_u and λ_i of the map."""
UNCHANGED, CHANGED = "as in the slides", "mostly uninformed"
"""The markets that follow each other in the case of adaptation."""
QUALITIES = (0.0, 0.1, 0.3)
INFORMED = (0.2, 0.4, 0.5)
"""Weights of quality, and λ_i at the expense of λ_u, of the market of two prices."""
CHARGES = (0.0, 0.1, 0.3)
"""Weights of inventory there, ticks a unit held and step."""


def _scenario(market: ElectronicMarket = ElectronicMarket()) -> Scenario:
    return Scenario(market, (), SpreadPnL(), horizon=HORIZON)


def _days(budget: Budget, days: int) -> int:
    return days // (20 if budget.quick else 1)


def day(budget: Budget, tell: Tell) -> Outcome:
    """Slides 1.3.12 to 1.3.21: one day under π_2, and one of uninformed orders alone."""

    def lived(observation, memory, step: Step) -> dict:
        quotes = step.transition.quotes
        order = (step.transition.sold - step.transition.bought)[0]
        # Where there is one price, bid and ask are it.
        return {
            "price": quotes.mid_after[0],
            "quote": quotes.bid[0],
            "imbalance": observation.imbalance,
            "order": order,
            "reward": step.reward,
        }

    def frame(market: ElectronicMarket, policy: Policy) -> pl.DataFrame:
        kept = episodes(_scenario(market), policy, jax.random.key(budget.seed), 1, lived)
        columns = {name: np.asarray(values, float).ravel() for name, values in kept.items()}
        return pl.DataFrame({"time": np.arange(HORIZON)} | columns)

    informed = frame(ElectronicMarket(), ThresholdPolicy(2))
    alone = frame(ElectronicMarket(price_change=0.4, uninformed=0.1, informed=0.0), ThresholdPolicy(2))
    alone = alone.select("time", orders=pl.col("order").cum_sum())
    reward = float(informed["reward"].to_numpy().mean())
    return Outcome(exact("day", reward=reward), {"day": informed, "uninformed": alone})


def values(budget: Budget, tell: Tell) -> Outcome:
    """Slide 1.5.2: v(π_h)."""
    chain, records = electronic_chain(ElectronicMarket(), horizon=HORIZON), []
    for h in (1, 2, 3):
        tell(f"threshold {h}")
        case = {f"threshold {h}": ThresholdPolicy(h)}
        records += evaluate(_scenario(), case, budget.seed, _days(budget, 100_000) * HORIZON)
        records += exact(f"exact {h}", reward=day_value(chain, ThresholdPolicy(h)).value)
    return Outcome(records)


def states(budget: Budget, tell: Tell) -> Outcome:
    """Slide 1.5.6: v(s) of π_1 and π_2; and what the slides' code averages, which masks with another day."""
    chain, records = electronic_chain(ElectronicMarket(), horizon=HORIZON), []
    for h in (1, 2):
        policy, cells = ThresholdPolicy(h), ImbalanceCells(h)
        tell(f"threshold {h}")
        found = monte_carlo_values(_scenario(), policy, cells, budget.seed, _days(budget, 100_000))
        records += _table(f"threshold {h}", found.values, found.errors)
        records += _table(f"exact {h}", state_values(chain, policy, cells)[:, None])
    return Outcome(records)


def pairs(budget: Budget, tell: Tell) -> Outcome:
    """Slides 1.5.8 to 1.5.10: Q(s, a) of π_2, and of the exploring policy as printed and as meant."""
    cases: dict[str, tuple[FinitePolicy, int]] = {
        "threshold 2": (ThresholdPolicy(2), 60),
        "turned round": (TURNED_ROUND, FAR),
        "exploring": (EXPLORING, 60),
    }
    records = []
    for name, (policy, reach) in cases.items():
        chain = electronic_chain(
            ElectronicMarket(), horizon=HORIZON, mispricing_limit=reach, imbalance_limit=20
        )
        records += _table(f"{name}, exact", state_action_values(chain, policy, WIDER)[1:-1])
        for average in ("pooled", "by episode"):
            tell(f"{name}, {average}")
            found = monte_carlo_action_values(
                _scenario(), policy, WIDER, budget.seed, _days(budget, 100_000), average=average
            )
            records += _table(f"{name}, {average}", found.values[1:-1], found.errors[1:-1])
    return Outcome(records)


def iteration(budget: Budget, tell: Tell) -> Outcome:
    """Slide 1.7: policy iteration from several first policies, with exact values and with sampled ones."""
    chain = electronic_chain(ElectronicMarket(), horizon=HORIZON)
    days = _days(budget, 20_000)

    def known(policy: TabularPolicy) -> np.ndarray:
        return state_action_values(chain, policy, CELLS)

    def sampled(policy: TabularPolicy) -> np.ndarray:
        found: Sampled = monte_carlo_action_values(_scenario(), policy, CELLS, budget.seed, days)
        return found.values

    firsts = {
        "always stay": [1] * 5,
        "always lower": [0] * 5,
        "always raise": [2] * 5,
        "turned round": [2, 2, 1, 0, 0],
    }
    rows = []
    for how, action_values in (("exact", known), ("sampled", sampled)):
        for name, first in firsts.items():
            tell(f"{how}, from {name}")
            most = 20 if how == "exact" else 5
            found = policy_iteration(action_values, CELLS, quote_changes(), np.array(first), 0.1, most)
            last = ImbalanceTable(tuple(CHANGES[c] for c in found.choices[-1]))
            rows.append(
                {
                    "values": how,
                    "first": name,
                    "improvements": len(found.choices) - 1,
                    "circle": found.circle,
                    "last": " ".join(f"{CHANGES[c]:+.0f}" for c in found.choices[-1]),
                    "worth": day_value(chain, last).value,
                }
            )
    return Outcome([], {"iterations": pl.DataFrame(rows)})


def learning(budget: Budget, tell: Tell) -> Outcome:
    """Slides 1.15 to 1.19: SARSA as in the listing after a day and after 5,000, and ours."""
    chain, frames = electronic_chain(ElectronicMarket(), horizon=HORIZON), {}
    _, one_day = train(_scenario(), _shorter(LISTING, HORIZON), budget.seed, SEEDS, 1)
    records = _table("listing, one day", _learned_tables(one_day)[0])
    for name, learner in (("listing", LISTING), ("ours", SARSA())):

        def look(progress: Progress, name=name) -> None:
            tell(f"{name}, {100 * progress.iteration / progress.iterations:.0f}% of the days")

        policies, progress = train(
            _scenario(), _shorter(learner, _steps(budget)), budget.seed, SEEDS, 5, after_chunk=look
        )
        q = _learned_tables(progress)
        records += _table(name, q.mean(0), q.std(0, ddof=1) / np.sqrt(SEEDS)) + _table(
            f"{name}, seed 0", q[0]
        )
        # What each settles on if its policy stays as it is: most learners have the same.
        settled = {
            policy: _settled(chain, learner, policy) for policy in dict.fromkeys(map(_changes, policies))
        }
        limits = np.array([settled[_changes(policy)] for policy in policies])
        records += _table(f"{name}, exact", limits[0]) + _table(
            f"{name}, furthest", np.abs(q - limits).max(0)
        )
        if name == "ours":
            frames["final"] = trace(_scenario(), policies[0], budget.seed, 1)
    return Outcome(records, frames)


def learners(budget: Budget, tell: Tell) -> Outcome:
    """What each way of learning comes to, judged by the exact value of its greedy policy."""
    chain = electronic_chain(ElectronicMarket(), horizon=HORIZON)
    best = best_table(chain, LIMIT)
    records = exact("best", value=best.value.value)
    for name, learner in LEARNERS.items():
        tell(name)
        policies, _ = train(_scenario(), _shorter(learner, _steps(budget)), budget.seed, SEEDS, 1)
        worth = np.array([_worth(best, policy) for policy in policies])
        share = float((worth >= best.value.value - TIED).mean())
        records += exact(name, share=share, worst=worth.min())
        records.append(
            Record(name, 0, "value", worth.mean(), worth.std(ddof=1) / np.sqrt(SEEDS), budget.seed)
        )
    return Outcome(records)


def optimum(budget: Budget, tell: Tell) -> Outcome:
    """Beyond the slides: the best table of all, what seeing the price is worth, and where each threshold is best."""
    tell("all tables")
    # Wide enough to tell apart all tables that do not tie.
    wide = electronic_chain(ElectronicMarket(), horizon=HORIZON, imbalance_limit=30)
    best = best_table(wide, LIMIT)
    tied = best.values >= best.value.value - TIED
    records = _bounded("best", best.value) + exact("best", tied=tied.sum(), tables=len(tied))
    records += exact("best", **{f"change_{i}": change for i, change in enumerate(best.changes)})
    records += exact("best", threshold_1=day_value(wide, ThresholdPolicy(1)).value)
    tell("full information")
    records += _bounded("full information", full_information(wide))
    records += _bounded("after the event", full_information(wide, after_event=True))
    records += _bounded("information", information_value(wide, best))
    tell("the map of thresholds")
    rates = RATES[::3] if budget.quick else RATES
    found = threshold_map(rates, [2 * rate for rate in rates])
    grid = [
        {"uninformed": rates[i], "informed": 2 * rates[j], "threshold": k + 1, "value": float(found[i, j, k])}
        for i, j, k in np.ndindex(found.shape)
    ]
    return Outcome(records, {"map": pl.DataFrame(grid)})


def adaptation(budget: Budget, tell: Tell) -> Outcome:
    """Slide 1.20's promise: the maker goes on learning where the market changes under it."""
    calm = ElectronicMarket(price_change=0.05, uninformed=0.4, informed=0.1)
    markets = {UNCHANGED: ElectronicMarket(), CHANGED: calm}
    # Steps ten times as large average too little: they leave some learners far worse than they began.
    learner = _shorter(SARSA(), _steps(budget))
    chains = [electronic_chain(market, horizon=HORIZON) for market in markets.values()]
    names, rows = list(markets), []

    def look(scenario: int, progress: Progress) -> None:
        done = scenario + progress.iteration / progress.iterations
        policies = learner.policy(_scenario(), jax.tree.map(lambda leaf: leaf[0], progress.states))
        assert isinstance(policies, TabularPolicy)
        rows.append(
            {
                "days": done * _steps(budget) / HORIZON,
                "market": names[scenario],
                "reward": float(np.mean(progress.curve["reward"])),
                "greedy": day_value(chains[scenario], policies).value,
            }
        )
        tell(f"{names[scenario]}, {100 * progress.iteration / progress.iterations:.0f}%")

    found = adapt([_scenario(market) for market in markets.values()], learner, budget.seed, SEEDS, 10, look)
    records = []
    for name, chain, policies in zip(names, chains, found, strict=True):
        best = best_table(chain, LIMIT)
        worth = np.array([_worth(best, policy) for policy in policies])
        before = np.array([_worth(best, policy) for policy in found[0]])
        records += exact(name, best=best.value.value, share=(worth >= best.value.value - TIED).mean())
        records.append(
            Record(name, 0, "value", worth.mean(), worth.std(ddof=1) / np.sqrt(SEEDS), budget.seed)
        )
        records += exact(name, before=before.mean())
    return Outcome(records, {"adaptation": pl.DataFrame(rows)})


def two_prices(budget: Budget, tell: Tell) -> Outcome:
    """Chan and Shelton's extended model: what the weight of quality and the informed do to the spread."""
    records, learner = [], SARSA(cells=CombinedCells((CELLS, SpreadCells())))
    for informed in INFORMED:
        market = TwoSidedElectronicMarket(uninformed=(0.6 - informed) / 2, informed=informed)
        for quality in QUALITIES:
            name = setting(informed, quality)
            records += _quoting(name, market, WeightedReward(quality=quality), learner, budget)
            tell(name)
    return Outcome(records)


def inventory(budget: Budget, tell: Tell) -> Outcome:
    """Chan and Shelton's extended model: what a charge for inventory does, for makers that see theirs."""
    cells = CombinedCells((ImbalanceCells(1), InventoryCells(2), SpreadCells()))
    records = []
    for weight in CHARGES:
        name = charged(weight)
        reward = WeightedReward(inventory=weight)
        records += _quoting(name, TwoSidedElectronicMarket(), reward, SARSA(cells=cells), budget)
        tell(name)
    return Outcome(records)


def _quoting(
    name: str, market: TwoSidedElectronicMarket, reward: WeightedReward, learner: SARSA, budget: Budget
) -> list[Record]:
    """Makers of two prices after 10,000 days, as means over seeds, their spread among them."""
    scenario = Scenario(market, (), reward, horizon=HORIZON)
    policies, _ = train(scenario, _shorter(learner, 2 * _steps(budget)), budget.seed, budget.seeds, 1)
    cases = {f"seed {i}": policy for i, policy in enumerate(policies)}
    found = evaluate(scenario, cases, budget.seed, _days(budget, 20_000) * HORIZON)
    for case, policy in cases.items():
        steps = trace(scenario, policy, budget.seed, 64)
        by_path = steps.group_by("path").agg((pl.col("ask") - pl.col("bid")).mean())["ask"].to_numpy()
        error = by_path.std(ddof=1) / np.sqrt(by_path.size)
        found.append(Record(case, 0, "spread", by_path.mean(), error, budget.seed))
    mean = mean_of_cases(found, list(cases), MEAN)
    return [Record(name, r.maker, r.metric, r.value, r.error, r.seed) for r in mean]


def setting(informed: float, quality: float) -> str:
    """The name of a market of two prices and a reward, in records."""
    return f"informed {informed:g}, quality {quality:g}"


def charged(weight: float) -> str:
    """The name of a charge for inventory, in records."""
    return f"charge {weight:g}"


def _changes(policy: Policy) -> tuple[float, ...]:
    """The change of quote of a greedy table, by cell."""
    assert isinstance(policy, TabularPolicy)
    return tuple(CHANGES[choice] for choice in np.asarray(policy.table).argmax(1))


def _settled(chain: ElectronicChain, learner: SARSA, changes: tuple[float, ...]) -> np.ndarray:
    """The table that SARSA(λ) settles on if it goes on with these changes and explores as at its end."""
    followed = ImbalanceTable(changes, epsilon=float(learner.epsilon_end))
    return bootstrapped_values(chain, followed, CELLS, float(learner.discount), float(learner.trace_decay))


def _learned_tables(progress: Progress) -> np.ndarray:
    """The action values of every learner: seeds, cells, actions."""
    return np.asarray(progress.states.carry.memory.q)[:, 0]


def _worth(best, policy: Policy) -> float:
    """The exact value of a greedy table, looked up among all of them."""
    return float(best.values[np.flatnonzero((best.tables == _changes(policy)).all(1))[0]])


def _steps(budget: Budget) -> int:
    return _days(budget, 5_000) * HORIZON


def _shorter(learner: Learner, steps: int) -> Learner:
    """The learner for so many steps."""
    return dataclasses.replace(learner, steps=steps)


def _bounded(case: str, found: Exact) -> list[Record]:
    return exact(case, value=found.value, bound=found.error)


def _table(case: str, values: np.ndarray, errors: np.ndarray | None = None) -> list[Record]:
    """A record an entry: `row, column`; entries that are unknown are left out."""
    return [
        Record(case, 0, f"{i}, {j}", float(values[i, j]), None if errors is None else float(errors[i, j]))
        for i, j in np.ndindex(values.shape)
        if np.isfinite(values[i, j])
    ]


_RUNS: Sequence[tuple[str, Callable[[Budget, Tell], Outcome]]] = (
    ("day", day),
    ("values", values),
    ("states", states),
    ("pairs", pairs),
    ("iteration", iteration),
    ("learning", learning),
    ("learners", learners),
    ("optimum", optimum),
    ("adaptation", adaptation),
    ("two-prices", two_prices),
    ("inventory", inventory),
)
CASES = tuple(Case(name, run) for name, run in _RUNS)
