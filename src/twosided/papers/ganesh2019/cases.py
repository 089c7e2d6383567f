"""Cases of the study: training and measurement for the tables and figures of Ganesh et al. (2019).

Records have the metrics of `evaluate` and the parameters of the maker. The small tables that figures need are `curve`
(one row per chunk of training and seed), `trace` (every step of some episodes) and others described at their cases.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from twosided.core.evaluation import trace
from twosided.core.markouts import adverse_selection, markouts
from twosided.core.policy import Policy
from twosided.core.records import Record
from twosided.core.reward import Reward, TotalPnL
from twosided.core.scenario import Scenario
from twosided.dealer.adaptive import AdaptiveQuoter
from twosided.dealer.distributions import Empirical
from twosided.dealer.exact.best_response import best_response
from twosided.dealer.exact.cost_curve import expected_costs
from twosided.dealer.exact.dynamic_programming import penalized_optimum
from twosided.dealer.exact.tiers import supremum
from twosided.dealer.exact.total_pnl import total_pnl_optimum, value_per_side
from twosided.dealer.investors import Tiers, UnitInvestors
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter, SplitPolicy
from twosided.dealer.reference_book import ReferenceBook
from twosided.learn.networks import JointPolicy
from twosided.learn.ppo import PPO, Agent
from twosided.learn.train import Progress, init_progress, policies_of, train
from twosided.papers.base import Budget, Case, Outcome, Report, dash_case, records_of, select_one
from twosided.papers.learning import (
    Parameters,
    evaluate_makers,
    evaluate_seeds,
    mean_of_replications,
    train_policies,
)
from twosided.prices import GeometricBrownian
from twosided.rewards import AsymmetricPenalty, ExcessPnL, SquarePenalty, StdPenalty

LEARNER: Parameters = {"policy": "learner"}
"""Parameters of the learner at the mode of its policy; a seed also has a `replication`, the mean the `replications`."""
EXPLORING: Parameters = {"policy": "exploring"}
"""Parameters of the first seed's learner with exploration; the paper's agents may have been evaluated in this way."""
OPTIMUM: Parameters = {"policy": "optimum", "method": "exact"}
"""Parameters of exact values."""

FIXED: Mapping[str, Policy] = {
    "persistent-0.5": PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=-0.5),
    "persistent-0": PersistentQuoter(epsilon_buy=0.0, epsilon_sell=0.0),
    "random-0.5": RandomQuoter(low=-0.5, high=0.5),
    "random-1": RandomQuoter(low=-1.0, high=1.0),
}
"""The competitors of tables 1 and 3; persistent ones hedge 0.2 as in section 7.6."""
ADAPTIVE = tuple((share, risk_aversion) for risk_aversion in (0.0, 1.0, 2.0) for share in (0.25, 0.5))
"""Market share targets and risk aversions of the adaptive makers of tables 2, 4 and 5."""
DRIFTS = (-1.0, -0.1, -0.01, 0.0, 0.01, 0.1, 1.0)
"""μ of figure 4, per year."""
PENALTIES: Mapping[str, Reward] = {
    "none": TotalPnL(),
    "stdev": StdPenalty(),
    "square": SquarePenalty(),
    "asymmetric": AsymmetricPenalty(),
}
"""The rewards of section 5.2, with the paper's weights."""
EXACT_PENALTIES = ("square", "asymmetric")
"""Penalties with an exact optimum."""
SKEWED = PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=0.0)
"""The competitor of figure 5, figures 13 and 14, and table 4."""
DAYS = {6.5: 1 / 6552, 24.0: 1 / 24192}
"""Years in a step of 15 minutes, by the hours of a trading day; 252 days make a year."""

PAPER = PPO(
    hidden_sizes=(256, 256),
    num_envs=32,
    num_steps=200,
    num_epochs=1,
    num_minibatches=25,
    clip_eps=0.3,
    learning_rate=5e-5,
    learning_rate_end=1.0,
    initial_std=1.0,
    final_std=None,
    gamma=0.99,
    gae_lambda=1.0,
)
"""Settings of section 5.3: 2 x 256 tanh, clip 0.3, minibatches of 256, Adam at 5e-5, rollouts of 200 steps, one epoch.
Where it states none, those of RLlib at that time: discount 0.99, no decay of advantages, an initial standard deviation
of 1."""


def learner(budget: Budget, millions: float, gamma: float, gae_lambda: float = 0.5) -> PPO:
    """Return our settings of PPO; a tenth of the steps when quick, but at least 100,000."""
    steps = round(1e6 * millions) // (10 if budget.quick else 1)
    return PPO(total_timesteps=max(steps, 100_000), gamma=gamma, gae_lambda=gae_lambda)


def one_epoch(config: PPO) -> PPO:
    """Return our settings with one epoch, for rewards with a long horizon, because more epochs fit their noise."""
    return dataclasses.replace(config, num_epochs=1)


def evaluation_steps(budget: Budget) -> int:
    return 100_000 if budget.quick else 2_000_000


def evaluate_learner(
    scenario: Scenario,
    policies: tuple[Policy, ...],
    budget: Budget,
    report: Report,
    supremum: float | None = None,
    others: Sequence[tuple[Parameters, Policy]] = (),
    learner: Parameters = LEARNER,
) -> list[Record]:
    """Records of every seed's policy at its mode, of other makers, and of the mean over the seeds."""
    steps = evaluation_steps(budget)
    return evaluate_seeds(scenario, (learner, policies), others, budget.seed, steps, supremum, report)


def against_fixed(competitor: str, reward: str) -> Callable[[Budget, Report], Outcome]:
    """Tables 1 and 3, figures 1, 3 and 8 to 11: PPO against a competitor with fixed distributions."""

    def run(budget: Budget, report: Report) -> Outcome:
        scenario = Scenario(DealerMarket(), (FIXED[competitor],), REWARDS[reward])
        own = total_pnl_optimum(scenario)
        best = own if reward == "own" else total_pnl_optimum(scenario, "excess")
        policies, curve = train_policies(scenario, _settings(reward, budget, own=0.0), budget, report)
        exploring = [(EXPLORING, dataclasses.replace(policies[0], explore=True))]
        records = evaluate_learner(scenario, policies, budget, report, own.value, exploring)
        records += records_of(
            OPTIMUM, supremum=best.value, epsilon_buy=best.buy.epsilon, epsilon_sell=best.sell.epsilon
        )
        curve = curve.with_columns(optimality_gap=100 * (1 - pl.col("eval_pnl") / own.value))
        return Outcome(records, {"curve": curve, "trace": trace(scenario, policies[0], budget.seed, 32)})

    return run


REWARDS: Mapping[str, Reward] = {"own": TotalPnL(), "relative": ExcessPnL(), "ahead": ExcessPnL()}
"""Rewards of the makers of tables 1, 2 and 3. The last has a discount above 0: flow that a maker leaves to a competitor
costs that competitor hedges in later steps, which matters only to excess PnL."""
MILLIONS = 1.0
"""Million steps of training per seed, with a discount of 0."""


def _settings(reward: str, budget: Budget, own: float) -> PPO:
    """Our settings for a reward; `own` is the discount of makers whose reward is their own PnL."""
    if reward == "ahead":
        config = one_epoch(learner(budget, 3 * MILLIONS, gamma=0.7))
        return dataclasses.replace(config, activation="relu")
    return learner(budget, MILLIONS, gamma=own if reward == "own" else 0.0)


def against_fixed_as_printed(competitor: str) -> Callable[[Budget, Report], Outcome]:
    """Train and evaluate as `against_fixed`, with the paper's settings of PPO."""

    def run(budget: Budget, report: Report) -> Outcome:
        scenario = Scenario(DealerMarket(), (FIXED[competitor],))
        steps = 100_000 if budget.quick else 2_000_000
        policies, curve = train_policies(
            scenario, dataclasses.replace(PAPER, total_timesteps=steps), budget, report
        )
        supremum = total_pnl_optimum(scenario).value
        curve = curve.with_columns(optimality_gap=100 * (1 - pl.col("eval_pnl") / supremum))
        return Outcome(evaluate_learner(scenario, policies, budget, report, supremum), {"curve": curve})

    return run


def against_adaptive(share: float, risk_aversion: float, reward: str) -> Callable[[Budget, Report], Outcome]:
    """Table 2 and figure 2, and the best response to the adaptive maker's quotes in the long run."""

    def run(budget: Budget, report: Report) -> Outcome:
        competitor = AdaptiveQuoter(market_share_target=share, risk_aversion=risk_aversion)
        scenario = Scenario(DealerMarket(), (competitor,), REWARDS[reward])
        # The adaptive maker responds, so the reward of own PnL depends on the future too.
        policies, curve = train_policies(scenario, _settings(reward, budget, own=0.9), budget, report)
        records = evaluate_learner(scenario, policies, budget, report)
        steps = trace(scenario, policies[0], budget.seed, 32)
        quoted = steps.filter(pl.col("maker") == 1)
        for side in ("buy", "sell"):
            response = best_response(Empirical(quoted[f"epsilon_{side}"].round(4).to_numpy()))
            parameters = {"policy": "best response", "method": "exact"}
            records += records_of(parameters, **{f"epsilon_{side}": response.maximizers[0]})
        # A monopolist at the largest ε wins both sides at twice the exchange's spread.
        alone = {"policy": "alone", "method": "exact"}
        records += records_of(alone, pnl_total=2 * 2 * value_per_side(DealerMarket()))
        return Outcome(records, {"curve": curve, "trace": steps})

    return run


def adaptive_against(competitors: Sequence[tuple[Parameters, Policy]]) -> Callable[[Budget, Report], Outcome]:
    """Tables 4 and 5: adaptive makers in the first seat, for both lengths of the trading day."""

    def run(budget: Budget, report: Report) -> Outcome:
        records = []
        for parameters, competitor in competitors:
            for hours, step in DAYS.items():
                scenario = Scenario(DealerMarket(price=GeometricBrownian(time_step=step)), (competitor,))
                makers = [
                    (
                        {**parameters, "day_hours": hours, "share": share, "risk_aversion": risk_aversion},
                        AdaptiveQuoter(
                            market_share_target=share, risk_aversion=risk_aversion, time_step=step
                        ),
                    )
                    for share, risk_aversion in ADAPTIVE
                ]
                report(f"days of {hours:g} h")
                records += evaluate_makers(scenario, makers, budget.seed, evaluation_steps(budget))
        return Outcome(records)

    return run


HEDGERS: Sequence[Parameters] = (
    {"hedger": "random"},
    {"hedger": "persistent"},
    {"hedger": "adaptive", "risk_aversion": 1.0},
    {"hedger": "adaptive", "risk_aversion": 2.0},
    {"hedger": "ignoring", "risk_aversion": 1.0},
    {"hedger": "ignoring", "risk_aversion": 2.0},
)
"""The rows of table 6."""


def hedging(budget: Budget, report: Report) -> Outcome:
    """Table 6: the same prices with different hedges, against PersistentQuoter(0), for both lengths of the
    trading day."""
    records = []
    for hours, step in DAYS.items():
        scenario = Scenario(DealerMarket(price=GeometricBrownian(time_step=step)), (FIXED["persistent-0"],))
        priced = AdaptiveQuoter(market_share_target=0.5, risk_aversion=0.0, time_step=step)
        policies: list[Policy] = [RandomQuoter(), PersistentQuoter(hedge=0.2)]
        for internalize in (True, False):
            for risk_aversion in (1.0, 2.0):
                policies.append(
                    dataclasses.replace(priced, risk_aversion=risk_aversion, internalize=internalize)
                )
        makers = [
            ({**hedger, "day_hours": hours}, SplitPolicy(priced, policy))
            for hedger, policy in zip(HEDGERS, policies, strict=True)
        ]
        report(f"days of {hours:g} h")
        records += evaluate_makers(scenario, makers, budget.seed, evaluation_steps(budget))
    return Outcome(records)


def skewing(budget: Budget, report: Report) -> Outcome:
    """Figures 13 and 14: how often the adaptive maker's lower quote is each ε of its grid, by side."""
    scenario = Scenario(DealerMarket(), (SKEWED,))
    records, frames = [], []
    for risk_aversion in (0.0, 2.0):
        maker = AdaptiveQuoter(market_share_target=0.25, risk_aversion=risk_aversion)
        steps = trace(scenario, maker, budget.seed, 16 if budget.quick else 128)
        own = steps.filter(pl.col("maker") == 0)
        buy, sell = (own[f"epsilon_{side}"].to_numpy() for side in ("buy", "sell"))
        higher = np.round(np.maximum(buy, sell), 1)
        parameters = {"risk_aversion": risk_aversion}
        records += records_of(parameters, higher_is_0=float((higher == 0).mean()))
        for side, lower in (("buy", buy[buy < sell]), ("sell", sell[sell < buy])):
            values, counts = np.unique(np.round(lower, 1), return_counts=True)
            most = int(np.argmax(counts))
            mode = {"lower_mode": float(values[most]), "lower_mode_share": float(counts[most] / counts.sum())}
            records += records_of({**parameters, "side": side}, **mode)
        frames.append(steps.filter(pl.col("path") == 0).with_columns(risk_aversion=pl.lit(risk_aversion)))
        report(f"risk aversion {risk_aversion:g}")
    return Outcome(records, {"traces": pl.concat(frames)})


def drifting(drift: float) -> Callable[[Budget, Report], Outcome]:
    """Figure 4: three makers, and a midprice with a drift."""

    def run(budget: Budget, report: Report) -> Outcome:
        market = DealerMarket(price=GeometricBrownian(drift=drift), num_makers=3)
        scenario = Scenario(
            market, (AdaptiveQuoter(market_share_target=0.5, risk_aversion=1.0), FIXED["persistent-0"])
        )
        config = learner(budget, 1.0, gamma=0.97, gae_lambda=0.9)
        policies, curve = train_policies(scenario, config, budget, report)
        steps = trace(scenario, policies[0], budget.seed, 16)
        by_time = (
            steps.filter(pl.col("maker") == 0)
            .group_by("time", maintain_order=True)
            .agg(pl.col("inventory").mean(), inventory_error=pl.col("inventory").std() / 4)
            .sort("time")
        )
        records = evaluate_learner(scenario, policies, budget, report)
        return Outcome(records, {"curve": curve, "inventory": by_time})

    return run


def penalised(name: str) -> Callable[[Budget, Report], Outcome]:
    """Figure 5: PPO with a risk penalty, and the exact optimum of the penalties that have one."""

    def run(budget: Budget, report: Report) -> Outcome:
        scenario = Scenario(DealerMarket(), (SKEWED,), PENALTIES[name])
        records, frames, best = [], {}, None
        if name in EXACT_PENALTIES:
            report("solving the dynamic program")
            best = penalized_optimum(scenario)
            records += records_of(
                OPTIMUM,
                reward=best.value,
                bound=best.errors.bound,
                gain=best.gain,
                inventory_std=best.inventory_std,
            )
            curve = best.curve
            reached = curve.visits > 1e-5
            columns = ("inventory", "epsilon_buy", "epsilon_sell", "visits", "hedge")
            frames["exact"] = pl.DataFrame({c: getattr(curve, c)[reached] for c in columns})
        config = one_epoch(learner(budget, PENALISED_MILLIONS if best else 2.0, gamma=0.7))
        policies, frames["curve"] = train_policies(scenario, config, budget, report)
        others = [({"policy": "optimum", "method": "sampled"}, best.policy)] if best else []
        records += evaluate_learner(scenario, policies, budget, report, others=others)
        frames["trace"] = trace(scenario, policies[0], budget.seed, 64)
        return Outcome(records, frames)

    return run


PENALISED_MILLIONS = 16.0
"""Million steps of training per seed, for penalties with an exact optimum to compare with."""
TOXIC_BOOK = ReferenceBook(spread_mean=4e-4, spread_std=2e-4, spread_min=4e-5, spread_max=1e-3, tick=4e-4)
"""Section 7.4's high S_ref: four times the usual spreads, so that S_ref(1) exceeds the loss from a step's move."""
FORESIGHT = 5
"""Number of steps ahead that the toxic investors know the midprice."""


def toxic(budget: Budget, report: Report) -> Outcome:
    """Figure 12: investors who know the future midprice; hedging is free."""
    market = DealerMarket(
        flow=UnitInvestors(informed=20, foresight=FORESIGHT), book=TOXIC_BOOK, hedge_cost=0.0
    )
    competitor = AdaptiveQuoter(market_share_target=0.5, risk_aversion=2.0, tick=4e-4, hedge_cost=0.0)
    scenario = Scenario(market, (competitor,))
    policies, curve = train_policies(
        scenario, learner(budget, 2.0, gamma=0.9, gae_lambda=0.9), budget, report
    )
    records = evaluate_learner(scenario, policies, budget, report)
    steps = evaluation_steps(budget) // 4
    first = {"seed 0": policies[0]}
    split = adverse_selection(scenario, first, FORESIGHT, budget.seed, steps)
    parameters = {**LEARNER, "replication": 0, "adverse_selection_steps": FORESIGHT}
    records += [dataclasses.replace(record, case="", parameters=parameters) for record in split]
    shown = trace(scenario, policies[0], budget.seed, 32)
    marks = markouts(scenario, first, 20, budget.seed, steps)
    return Outcome(records, {"curve": curve, "trace": shown, "markouts": marks})


TIERS = Tiers((UnitInvestors(count=14), UnitInvestors(count=6, informed=6)))
"""Fourteen uninformed investors, and six who know the next price move."""


def tiered(budget: Budget, report: Report) -> Outcome:
    """Value of tiering: PPO with one price for all clients and with one for each tier, and both optima."""
    records, curves = [], []
    for by_tier in (False, True):
        market = DealerMarket(flow=TIERS, by_tier=by_tier, hedge_cost=0.0)
        scenario = Scenario(market, (RandomQuoter(low=-0.5, high=0.5),))
        best = supremum(scenario)
        policies, curve = train_policies(scenario, learner(budget, 2.0, gamma=0.0), budget, report)
        own = {**LEARNER, "by_tier": by_tier}
        records += evaluate_learner(scenario, policies, budget, report, best, learner=own)
        records += records_of({**OPTIMUM, "by_tier": by_tier}, pnl_total=best)
        curves.append(curve.with_columns(by_tier=pl.lit(by_tier)))
    return Outcome(records, {"curves": pl.concat(curves)})


def duel(budget: Budget, report: Report) -> Outcome:
    """Train two makers at the same time, and measure the gain of a best response to either."""
    config, seeds = learner(budget, 2.0, gamma=0.0), range(budget.seeds)
    pair = Scenario(DealerMarket(), (), learners=2)
    quotes = []

    def pairs(policies: Sequence[Policy]) -> list[tuple[Parameters, Policy]]:
        return [({**LEARNER, "replication": i}, policy) for i, policy in enumerate(policies)]

    def look(progress: Progress) -> None:
        policies = policies_of(pair, config, progress.states, budget.seeds)
        found = evaluate_makers(pair, pairs(policies), budget.seed, 20_000)
        sides = [r for r in found if r.metric in ("epsilon_buy_mean", "epsilon_sell_mean")]
        for seed in seeds:
            for maker in (0, 1):
                own = [r.value for r in sides if r.parameters["replication"] == seed and r.maker == maker]
                timesteps = float(progress.curve["timesteps"][seed])
                quotes.append(
                    {"seed": seed, "maker": maker, "timesteps": timesteps, "epsilon": float(np.mean(own))}
                )
        report(f"{100 * progress.iteration / progress.iterations:.0f}% of the pair trained")

    report("compiling")
    policies, progress = train(pair, config, budget.seed, budget.seeds, after_chunk=look)
    records = evaluate_makers(pair, pairs(policies), budget.seed, evaluation_steps(budget))
    records += mean_of_replications(records, LEARNER)

    # The first pair: each seat's best response to the other, from scratch and from the seat's own parameters.
    first = policies[0]
    assert isinstance(first, JointPolicy)
    response = learner(budget, 1.0, gamma=0.0)
    for seat, competitor in ((0, first.policies[1]), (1, first.policies[0])):
        scenario = Scenario(DealerMarket(), (competitor,))
        fresh = init_progress(scenario, response, budget.seed, budget.seeds)
        trained = jax.tree.map(lambda leaf, seat=seat: leaf[0, seat], progress.states.agents)
        starts = {"scratch": (response, fresh), "trained": _continued(response, fresh, trained)}
        as_trained = {"policy": "as trained", "seat": seat}
        found: list[Record] = []
        for name, (settings, start) in starts.items():
            responses, _ = train_policies(scenario, settings, budget, report, resume=start)
            others = [({**as_trained, "start": name}, first.policies[seat])]
            own = {"policy": "response", "seat": seat, "start": name}
            found = evaluate_learner(scenario, responses, budget, report, others=others, learner=own)
            records += [record for record in found if record.maker == 0]
        # No order is won at more than the competitor asks for it.
        asked = [
            next(
                record.value
                for record in found
                if record.parameters["policy"] == "as trained"
                and (record.metric, record.maker) == (f"epsilon_{side}_mean", 1)
            )
            for side in ("buy", "sell")
        ]
        most = value_per_side(DealerMarket()) * sum(1 + epsilon for epsilon in asked)
        records += records_of({"policy": "response", "seat": seat, "method": "bound"}, pnl_total=most)
    # Both at the largest ε, twice the exchange's spread, with half of both sides each.
    records += records_of({"policy": "collusive"}, pnl_total=2 * value_per_side(DealerMarket()))
    return Outcome(records, {"quotes": pl.DataFrame(quotes)})


def _continued(config: PPO, fresh: Progress, agent: Agent) -> tuple[PPO, Progress]:
    """Settings and initial state of learners that continue from a trained agent and explore only near it."""
    config = dataclasses.replace(config, initial_std=RESPONSE_STD)
    fresh_agents = fresh.states.agents
    learned = jax.tree.map(lambda leaf, old: jnp.broadcast_to(leaf, old.shape), agent, fresh_agents)
    learned = eqx.tree_at(
        lambda a: a.networks.log_std,
        learned,
        jnp.full_like(learned.networks.log_std, np.log(RESPONSE_STD)),
    )
    states = eqx.tree_at(lambda s: s.agents, fresh.states, learned)
    return config, dataclasses.replace(fresh, states=states)


RESPONSE_STD = 0.03
"""Initial standard deviation of ε of a response that continues from a trained seat."""


def book(budget: Budget, report: Report) -> Outcome:
    """Figures 6 and 7: snapshots of the exchange's book and their spread curves."""
    model = ReferenceBook()
    shots = model.snapshot(model.shocks(jax.random.key(budget.seed), (24,)))
    sizes = jnp.linspace(0.0, 3.0, 61)
    curves = jax.vmap(lambda shot: jax.vmap(shot.spread_curve)(sizes))(shots)
    levels = {"level": np.asarray(shots.level_prices[0]), "volume": np.asarray(shots.volumes[0])}
    lines = {
        "snapshot": np.repeat(np.arange(24), sizes.size),
        "size": np.tile(np.asarray(sizes), 24),
        "spread": 1e4 * np.asarray(curves).ravel(),
    }
    mean = float(expected_costs(model, [1.0]).mean())
    frames = {"levels": pl.DataFrame(levels), "curves": pl.DataFrame(lines)}
    return Outcome(records_of({"size": 1.0}, spread=1e4 * mean), frames)


def _cases() -> tuple[Case, ...]:
    random = [({"symmetric": symmetric}, RandomQuoter(symmetric=symmetric)) for symmetric in (True, False)]
    cases = [
        Case("book", book),
        Case("skewing", skewing),
        Case("hedging", hedging),
        Case("adaptive-persistent", adaptive_against([({}, SKEWED)])),
        Case("adaptive-random", adaptive_against(random)),
        Case("duel", duel),
        Case("tiers", tiered),
        Case("toxic", toxic),
    ]
    for competitor in FIXED:
        for reward in REWARDS:
            cases.append(
                Case(
                    dash_case("fixed", competitor, reward),
                    against_fixed(competitor, reward),
                    {"experiment": "fixed", "competitor": competitor, "reward": reward},
                )
            )
    cases.append(
        Case(
            "paper-settings",
            against_fixed_as_printed("random-1"),
            {"experiment": "paper settings", "competitor": "random-1", "reward": "own"},
        )
    )
    for share, risk_aversion in ADAPTIVE:
        for reward in REWARDS:
            target = {"share": share, "risk_aversion": risk_aversion, "reward": reward}
            cases.append(
                Case(
                    dash_case("adaptive", share, risk_aversion, reward),
                    against_adaptive(share, risk_aversion, reward),
                    {"experiment": "adaptive", **target},
                )
            )
    for drift in DRIFTS:
        cases.append(
            Case(dash_case("drift", drift), drifting(drift), {"experiment": "drift", "drift": drift})
        )
    for name in PENALTIES:
        cases.append(
            Case(dash_case("penalty", name), penalised(name), {"experiment": "penalty", "penalty": name})
        )
    return tuple(cases)


CASES = _cases()
"""Cases: short ones first, for early results; then the longest, so that several workers finish at similar times."""


def fixed_case(competitor: str, reward: str = "own") -> str:
    return select_one(CASES, experiment="fixed", competitor=competitor, reward=reward)


def adaptive_case(share: float, risk_aversion: float, reward: str = "own") -> str:
    parameters = {"share": share, "risk_aversion": risk_aversion, "reward": reward}
    return select_one(CASES, experiment="adaptive", **parameters)


def penalty_case(name: str) -> str:
    return select_one(CASES, experiment="penalty", penalty=name)
