"""The cases of the study: what is trained and measured for the tables and figures of Ganesh et al. (2019).

A case leaves records, by policy and metric as `evaluate` has them, and the small tables that its figures need: `curve`
(a row a chunk of training and seed), `trace` (every step of some episodes) and what else is said at each.
"""

import dataclasses
from collections.abc import Callable, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from twosided.core.evaluation import evaluate, trace
from twosided.core.markouts import adverse_selection, markouts
from twosided.core.policy import Policy
from twosided.core.records import MEAN, Record, find, mean_of_cases
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
from twosided.learn.train import Progress, begin, policies_of, train
from twosided.papers.base import Budget, Case, Outcome, Tell
from twosided.papers.learning import exact, fit
from twosided.prices import GeometricBrownian
from twosided.rewards import AsymmetricPenalty, DeviationPenalty, ExcessPnL, SquarePenalty

EXPLORING = "exploring"
"""The case of the policy that still explores, which the paper's agents may have been judged as."""

FIXED: Mapping[str, Policy] = {
    "persistent-0.5": PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=-0.5),
    "persistent-0": PersistentQuoter(epsilon_buy=0.0, epsilon_sell=0.0),
    "random-0.5": RandomQuoter(low=-0.5, high=0.5),
    "random-1": RandomQuoter(low=-1.0, high=1.0),
}
"""The competitors of tables 1 and 3; persistent ones hedge 0.2 as in section 7.6."""
ADAPTIVE = tuple((share, aversion) for aversion in (0, 1, 2) for share in (0.25, 0.5))
"""Market share targets and risk aversions of the adaptive makers of tables 2, 4 and 5."""
DRIFTS = (-1.0, -0.1, -0.01, 0.0, 0.01, 0.1, 1.0)
"""μ of figure 4, a year."""
PENALTIES: Mapping[str, Reward] = {
    "none": TotalPnL(),
    "stdev": DeviationPenalty(),
    "square": SquarePenalty(),
    "asymmetric": AsymmetricPenalty(),
}
"""The rewards of section 5.2, with the paper's weights."""
SKEWED = PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=0.0)
"""The competitor of figure 5, figures 13 and 14, and table 4."""
DAYS = {"6.5 h": 1 / 6552, "24 h": 1 / 24192}
"""Years in a step of 15 minutes, by the hours of a trading day; 252 of them make a year."""

PAPER = PPO(
    hidden=(256, 256),
    paths=32,
    rollout_steps=200,
    epochs=1,
    minibatches=25,
    clip=0.3,
    learning_rate=5e-5,
    learning_rate_end=1.0,
    initial_std=1.0,
    final_std=None,
    discount=0.99,
    decay=1.0,
)
"""What section 5.3 states: 2 x 256 tanh, clip 0.3, minibatches of 256, Adam at 5e-5, rollouts of 200 steps, one pass.
What it leaves open is as in RLlib then: discount 0.99, no decay of advantages, an initial deviation of 1."""


def learner(budget: Budget, millions: float, discount: float, decay: float = 0.5) -> PPO:
    """Our settings; a tenth of the steps when quick, and 100,000 at least."""
    steps = round(1e6 * millions) // (10 if budget.quick else 1)
    return PPO(steps=max(steps, 100_000), discount=discount, decay=decay)


def patient(config: PPO) -> PPO:
    """The same with one pass over every step, for rewards in which the future counts: more passes learn its noise."""
    return dataclasses.replace(config, epochs=1)


def judged_steps(budget: Budget) -> int:
    return 100_000 if budget.quick else 2_000_000


def judge(
    scenario: Scenario,
    policies: tuple[Policy, ...],
    budget: Budget,
    tell: Tell,
    supremum: float | None = None,
    others: Mapping[str, Policy] = {},
) -> list[Record]:
    """Records of every seed's policy at its mode, of their mean, and of others."""
    cases = {f"seed {i}": policy for i, policy in enumerate(policies)}
    records = evaluate(
        scenario,
        {**cases, **others},
        seed=budget.seed,
        steps=judged_steps(budget),
        optimum=supremum,
        progress=lambda case: tell(f"judging {case}"),
    )
    return records + mean_of_cases(records, list(cases), MEAN)


def against_fixed(name: str, kind: str) -> Callable[[Budget, Tell], Outcome]:
    """Tables 1 and 3, figures 1, 3 and 8 to 11: PPO against a competitor with fixed laws."""

    def run(budget: Budget, tell: Tell) -> Outcome:
        scenario = Scenario(DealerMarket(), (FIXED[name],), KINDS[kind])
        own = total_pnl_optimum(scenario)
        best = own if kind == "own" else total_pnl_optimum(scenario, "excess")
        policies, curve = fit(scenario, _paid(kind, budget, own=0.0), budget, tell)
        exploring = {EXPLORING: dataclasses.replace(policies[0], explore=True)}
        records = judge(scenario, policies, budget, tell, own.value, exploring)
        records += exact(
            "exact", supremum=best.value, epsilon_buy=best.buy.epsilon, epsilon_sell=best.sell.epsilon
        )
        curve = curve.with_columns(gap=100 * (1 - pl.col("score") / own.value))
        return Outcome(records, {"curve": curve, "trace": trace(scenario, policies[0], budget.seed, 32)})

    return run


KINDS: Mapping[str, Reward] = {"own": TotalPnL(), "relative": ExcessPnL(), "ahead": ExcessPnL()}
"""What the makers of tables 1, 2 and 3 are paid. The last looks ahead: what it leaves to a competitor costs that one
hedges later on, which only excess has a reason to mind."""
MILLIONS = 1.0
"""Million steps of training, a seed, of those that look a step ahead."""


def _paid(kind: str, budget: Budget, own: float) -> PPO:
    """Our settings for makers of a kind; `own` is the discount of those that are paid their own PnL."""
    if kind == "ahead":
        config = patient(learner(budget, 3 * MILLIONS, discount=0.7))
        return dataclasses.replace(config, activation="relu")
    return learner(budget, MILLIONS, discount=own if kind == "own" else 0.0)


def against_fixed_as_printed(name: str) -> Callable[[Budget, Tell], Outcome]:
    """The same with the paper's own settings of PPO."""

    def run(budget: Budget, tell: Tell) -> Outcome:
        scenario = Scenario(DealerMarket(), (FIXED[name],))
        steps = 100_000 if budget.quick else 2_000_000
        policies, curve = fit(scenario, dataclasses.replace(PAPER, steps=steps), budget, tell)
        supremum = total_pnl_optimum(scenario).value
        curve = curve.with_columns(gap=100 * (1 - pl.col("score") / supremum))
        return Outcome(judge(scenario, policies, budget, tell, supremum), {"curve": curve})

    return run


def against_adaptive(share: float, aversion: float, kind: str) -> Callable[[Budget, Tell], Outcome]:
    """Table 2 and figure 2, and the best response to what the adaptive maker quotes in the long run."""

    def run(budget: Budget, tell: Tell) -> Outcome:
        rival = AdaptiveQuoter(market_share_target=share, risk_aversion=float(aversion))
        scenario = Scenario(DealerMarket(), (rival,), KINDS[kind])
        # The adaptive maker learns back, so even what a maker wins itself has a future.
        policies, curve = fit(scenario, _paid(kind, budget, own=0.9), budget, tell)
        records = judge(scenario, policies, budget, tell)
        steps = trace(scenario, policies[0], budget.seed, 32)
        quoted = steps.filter(pl.col("maker") == 1)
        for side in ("buy", "sell"):
            response = best_response(Empirical(quoted[f"epsilon_{side}"].round(4).to_numpy()))
            records += exact("best response", **{f"epsilon_{side}": response.maximizers[0]})
        # A maker alone in the market, at the largest ε there is, wins both sides at twice the exchange's spread.
        records += exact("alone", pnl_total=2 * 2 * value_per_side(DealerMarket()))
        return Outcome(records, {"curve": curve, "trace": steps})

    return run


def adaptive_against(competitors: Mapping[str, Policy]) -> Callable[[Budget, Tell], Outcome]:
    """Tables 4 and 5: adaptive makers in the judged seat, for both lengths of the trading day."""

    def run(budget: Budget, tell: Tell) -> Outcome:
        records = []
        for name, competitor in competitors.items():
            for hours, step in DAYS.items():
                scenario = Scenario(DealerMarket(price=GeometricBrownian(time_step=step)), (competitor,))
                makers = {
                    f"{name}, {hours}, {share}, {aversion}": AdaptiveQuoter(
                        market_share_target=share, risk_aversion=float(aversion), time_step=step
                    )
                    for share, aversion in ADAPTIVE
                }
                tell(f"{name}, days of {hours}")
                records += evaluate(scenario, makers, budget.seed, judged_steps(budget))
        return Outcome(records)

    return run


HEDGES = ("random", "persistent", "adaptive 1", "adaptive 2", "ignoring 1", "ignoring 2")
"""The rows of table 6."""


def hedging(budget: Budget, tell: Tell) -> Outcome:
    """Table 6: the same prices with different hedges, against PersistentQuoter(0), for both lengths of the
    trading day."""
    records = []
    for hours, step in DAYS.items():
        scenario = Scenario(DealerMarket(price=GeometricBrownian(time_step=step)), (FIXED["persistent-0"],))
        priced = AdaptiveQuoter(market_share_target=0.5, risk_aversion=0.0, time_step=step)
        ways: dict[str, Policy] = {"random": RandomQuoter(), "persistent": PersistentQuoter(hedge=0.2)}
        for internalize, name in ((True, "adaptive"), (False, "ignoring")):
            for aversion in (1, 2):
                ways[f"{name} {aversion}"] = dataclasses.replace(
                    priced, risk_aversion=float(aversion), internalize=internalize
                )
        makers = {f"{hours}, {name}": SplitPolicy(priced, way) for name, way in ways.items()}
        tell(f"days of {hours}")
        records += evaluate(scenario, makers, budget.seed, judged_steps(budget))
    return Outcome(records)


def skewing(budget: Budget, tell: Tell) -> Outcome:
    """Figures 13 and 14: how often the adaptive maker's lower quote is each ε of its grid, by side."""
    scenario = Scenario(DealerMarket(), (SKEWED,))
    records, frames = [], {}
    for aversion in (0, 2):
        maker = AdaptiveQuoter(market_share_target=0.25, risk_aversion=float(aversion))
        steps = trace(scenario, maker, budget.seed, 16 if budget.quick else 128)
        own = steps.filter(pl.col("maker") == 0)
        buy, sell = (own[f"epsilon_{side}"].to_numpy() for side in ("buy", "sell"))
        highest = np.round(np.maximum(buy, sell), 1)
        case = f"risk aversion {aversion}"
        records.append(Record(case, 0, "highest_is_0", float((highest == 0).mean())))
        for side, lower in (("buy", buy[buy < sell]), ("sell", sell[sell < buy])):
            values, counts = np.unique(np.round(lower, 1), return_counts=True)
            most = int(np.argmax(counts))
            records.append(Record(case, 0, f"lowest_{side}", float(values[most])))
            records.append(Record(case, 0, f"lowest_{side}_share", float(counts[most] / counts.sum())))
        frames[f"trace-{aversion}"] = steps.filter(pl.col("path") == 0)
        tell(case)
    return Outcome(records, frames)


def drifting(drift: float) -> Callable[[Budget, Tell], Outcome]:
    """Figure 4: three makers, and a midprice that drifts."""

    def run(budget: Budget, tell: Tell) -> Outcome:
        market = DealerMarket(price=GeometricBrownian(drift=drift), num_makers=3)
        scenario = Scenario(
            market, (AdaptiveQuoter(market_share_target=0.5, risk_aversion=1.0), FIXED["persistent-0"])
        )
        policies, curve = fit(scenario, learner(budget, 1.0, discount=0.97, decay=0.9), budget, tell)
        steps = trace(scenario, policies[0], budget.seed, 16)
        by_time = (
            steps.filter(pl.col("maker") == 0)
            .group_by("time")
            .agg(pl.col("inventory").mean(), inventory_error=pl.col("inventory").std() / 4)
            .sort("time")
        )
        return Outcome(judge(scenario, policies, budget, tell), {"curve": curve, "inventory": by_time})

    return run


def penalised(name: str) -> Callable[[Budget, Tell], Outcome]:
    """Figure 5: PPO with a risk penalty, and the exact optimum of the penalties that have one."""

    def run(budget: Budget, tell: Tell) -> Outcome:
        scenario = Scenario(DealerMarket(), (SKEWED,), PENALTIES[name])
        records, frames, best = [], {}, None
        if name in ("square", "asymmetric"):
            tell("solving the dynamic program")
            best = penalized_optimum(scenario)
            records += exact(
                "exact",
                reward=best.value,
                bound=best.errors.bound,
                gain=best.gain,
                inventory_std=best.inventory_std,
            )
            curve = best.curve
            reached = curve.visits > 1e-5
            columns = ("inventory", "epsilon_buy", "epsilon_sell", "visits", "hedge")
            frames["exact"] = pl.DataFrame({c: getattr(curve, c)[reached] for c in columns})
        config = patient(learner(budget, PENALISED_MILLIONS if best else 2.0, discount=0.7))
        policies, frames["curve"] = fit(scenario, config, budget, tell)
        others = {"exact policy": best.policy} if best else {}
        records += judge(scenario, policies, budget, tell, others=others)
        frames["trace"] = trace(scenario, policies[0], budget.seed, 64)
        return Outcome(records, frames)

    return run


PENALISED_MILLIONS = 16.0
"""Million steps of training, a seed, where there is an exact optimum to come close to."""
TOXIC_BOOK = ReferenceBook(spread_mean=4e-4, spread_std=2e-4, spread_min=4e-5, spread_max=1e-3, tick=4e-4)
"""Section 7.4's high S_ref: four times the usual spreads, so that S_ref(1) exceeds what a step's move takes."""
FORESIGHT = 5
"""Steps that the toxic investors see ahead."""


def toxic(budget: Budget, tell: Tell) -> Outcome:
    """Figure 12: investors who know what comes; hedging is free."""
    market = DealerMarket(
        flow=UnitInvestors(informed=20, foresight=FORESIGHT), book=TOXIC_BOOK, hedge_cost=0.0
    )
    rival = AdaptiveQuoter(market_share_target=0.5, risk_aversion=2.0, tick=4e-4, hedge_cost=0.0)
    scenario = Scenario(market, (rival,))
    policies, curve = fit(scenario, learner(budget, 2.0, discount=0.9, decay=0.9), budget, tell)
    records = judge(scenario, policies, budget, tell)
    steps = judged_steps(budget) // 4
    first = {"seed 0": policies[0]}
    split = adverse_selection(scenario, first, FORESIGHT, budget.seed, steps)
    records += [dataclasses.replace(record, case="split") for record in split]
    shown = trace(scenario, policies[0], budget.seed, 32)
    marks = markouts(scenario, first, 20, budget.seed, steps)
    return Outcome(records, {"curve": curve, "trace": shown, "markouts": marks})


TIERS = Tiers((UnitInvestors(count=14), UnitInvestors(count=6, informed=6)))
"""Fourteen investors who know nothing, and six who know the next move."""


def tiered(budget: Budget, tell: Tell) -> Outcome:
    """What knowing the client earns: PPO with one price for all and with one for each tier, and both optima."""
    records, frames = [], {}
    for by_tier in (False, True):
        name = "by tier" if by_tier else "one price"
        market = DealerMarket(flow=TIERS, by_tier=by_tier, hedge_cost=0.0)
        scenario = Scenario(market, (RandomQuoter(low=-0.5, high=0.5),))
        best = supremum(scenario)
        policies, curve = fit(scenario, learner(budget, 2.0, discount=0.0), budget, tell)
        found = judge(scenario, policies, budget, tell, best)
        records += [dataclasses.replace(record, case=f"{name}, {record.case}") for record in found]
        records += exact(f"{name}, exact", pnl_total=best)
        frames[name.replace(" ", "-")] = curve
    return Outcome(records, frames)


def duel(budget: Budget, tell: Tell) -> Outcome:
    """Two makers that learn at once, and how much more a best response to either would earn."""
    config, seeds = learner(budget, 2.0, discount=0.0), range(budget.seeds)
    pair = Scenario(DealerMarket(), (), learners=2)
    quotes = []

    def look(progress: Progress) -> None:
        policies = policies_of(pair, config, progress.states, budget.seeds)
        found = evaluate(pair, {str(i): p for i, p in enumerate(policies)}, budget.seed, 20_000)
        sides = [r for r in found if r.metric in ("epsilon_buy_mean", "epsilon_sell_mean")]
        for seed in seeds:
            for maker in (0, 1):
                mine = [r.value for r in sides if r.case == str(seed) and r.maker == maker]
                steps = float(progress.curve["steps"][seed])
                quotes.append({"seed": seed, "maker": maker, "steps": steps, "epsilon": float(np.mean(mine))})
        tell(f"{100 * progress.iteration / progress.iterations:.0f}% of the pair trained")

    tell("compiling")
    policies, progress = train(pair, config, budget.seed, budget.seeds, after_chunk=look)
    cases = [f"seed {i}" for i in seeds]
    records = evaluate(pair, dict(zip(cases, policies, strict=True)), budget.seed, judged_steps(budget))
    records += mean_of_cases(records, cases, MEAN)

    # The first pair: each seat's best response to the other, from scratch and from where the seat stands.
    first = policies[0]
    assert isinstance(first, JointPolicy)
    response = learner(budget, 1.0, discount=0.0)
    for seat, rival in ((0, first.policies[1]), (1, first.policies[0])):
        scenario = Scenario(DealerMarket(), (rival,))
        fresh = begin(scenario, response, budget.seed, budget.seeds)
        stands = jax.tree.map(lambda leaf, seat=seat: leaf[0, seat], progress.states.agents)
        ways = {"from scratch": (response, fresh), "trained on": _trained_on(response, fresh, stands)}
        for way, (settings, start) in ways.items():
            responses, _ = fit(scenario, settings, budget, tell, resume=start)
            found = judge(scenario, responses, budget, tell, others={"as trained": first.policies[seat]})
            own = [r for r in found if r.maker == 0]
            records += [dataclasses.replace(r, case=f"response {seat}, {way}, {r.case}") for r in own]
        # Nobody wins an order at more than the rival asks for it.
        asked = [find(found, "as trained", f"epsilon_{side}_mean", 1).value for side in ("buy", "sell")]
        most = value_per_side(DealerMarket()) * sum(1 + epsilon for epsilon in asked)
        records += exact(f"response {seat}", pnl_total=most)
    # Both at the largest ε there is, twice the exchange's spread, with half of both sides each.
    records += exact("collusive", pnl_total=2 * value_per_side(DealerMarket()))
    return Outcome(records, {"quotes": pl.DataFrame(quotes)})


def _trained_on(config: PPO, fresh: Progress, agent: Agent) -> tuple[PPO, Progress]:
    """Settings and a start for learners that go on from where one stands, and look only near to it."""
    config = dataclasses.replace(config, initial_std=NEAR)
    fresh_agents = fresh.states.agents
    learned = jax.tree.map(lambda leaf, old: jnp.broadcast_to(leaf, old.shape), agent, fresh_agents)
    learned = eqx.tree_at(
        lambda a: a.networks.log_std, learned, jnp.full_like(learned.networks.log_std, np.log(NEAR))
    )
    states = eqx.tree_at(lambda s: s.agents, fresh.states, learned)
    return config, dataclasses.replace(fresh, states=states)


NEAR = 0.03
"""Deviation of ε at which a response is looked for near to what a seat has learned."""


def book(budget: Budget, tell: Tell) -> Outcome:
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
    return Outcome(
        exact("book", spread_1=1e4 * mean), {"levels": pl.DataFrame(levels), "curves": pl.DataFrame(lines)}
    )


def _cases() -> tuple[Case, ...]:
    made = [Case("book", book), Case("skewing", skewing), Case("hedging", hedging)]
    made.append(Case("adaptive-persistent", adaptive_against({"persistent": SKEWED})))
    draws = {"one draw": RandomQuoter(symmetric=True), "two draws": RandomQuoter()}
    made.append(Case("adaptive-random", adaptive_against(draws)))
    made += [Case("duel", duel), Case("tiers", tiered), Case("toxic", toxic)]
    for name in FIXED:
        made += [Case(fixed_case(name, kind), against_fixed(name, kind)) for kind in KINDS]
    made.append(Case("random-1-as-printed", against_fixed_as_printed("random-1")))
    for share, aversion in ADAPTIVE:
        made += [
            Case(adaptive_case(share, aversion, kind), against_adaptive(share, aversion, kind))
            for kind in KINDS
        ]
    made += [Case(drift_case(drift), drifting(drift)) for drift in DRIFTS]
    made += [Case(f"penalty-{name}", penalised(name)) for name in PENALTIES]
    return tuple(made)


def fixed_case(name: str, kind: str) -> str:
    """The case of a fixed competitor and of what is trained on: own, relative or ahead."""
    return f"{_word(name)}-{kind}"


def adaptive_case(share: float, aversion: int, kind: str = "own") -> str:
    return f"adaptive-{_word(f'{share:g}')}-{aversion}-{kind}"


def drift_case(drift: float) -> str:
    return f"drift-{'down' if drift < 0 else 'up'}-{_word(f'{abs(drift):g}')}" if drift else "drift-0"


def _word(name: str) -> str:
    """A name without points."""
    return name.replace(".", "")


CASES = _cases()
"""Short ones first, so that there is something to see; then the longest, for which others would wait at the end."""
