"""Attack on every optimum: random and extreme parameters, against policies that must not earn more.

    python benchmarks/optima.py
    python benchmarks/optima.py --which quotes short-steps --cases 1000 --seed 7

Each case draws parameters, computes the optimum, and values competitors of it by an independent evaluation in NumPy (or
by the project's exact valuation of any policy): brute force over a grid of actions, random feasible policies, and
the optimum's own policy with small changes. The excess is how much more the best of them earns, as a share of the
optimum; a bound that the optimum states is subtracted where it has one. Refused cases raised `NotExact`.
"""

import contextlib
import functools
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure import Row, aim, arguments, report
from scipy.linalg import expm

from twosided.core.optimum import NotExact

LIMIT = 1e-6
"""Largest excess beyond the stated bound, relative to the optimum."""


@dataclass(frozen=True)
class Case:
    """Outcome of the attack on one optimum."""

    excess: float
    """Largest value of a competitor less the optimum."""
    bound: float
    """Bound that the optimum states on its own error."""
    scale: float
    """Size of the optimum, by which both are divided."""
    competitors: int
    """Number of competitors, at least."""
    parameters: str
    """Parameters of the case."""


def main() -> None:
    """Attack, and print the worst case of each optimum."""
    parser = arguments(__doc__.splitlines()[0], repeats=1)
    parser.add_argument(
        "--cases", type=int, default=200, help="random cases of the fastest ones (%(default)s)"
    )
    parser.add_argument(
        "--which", nargs="+", default=list(ATTACKS), choices=list(ATTACKS), help="optima to attack"
    )
    options = parser.parse_args()
    rows, aims = [], []
    for name in options.which:
        row, worst = attack(name, options.cases, options.seed)
        rows.append(row)
        aims.append(aim(f"{name}: excess beyond the stated bound", worst, f"below {LIMIT:g}", worst < LIMIT))
    report("Attack on the optima", rows, aims, options, "jax", "numpy", "scipy")
    if any(one["met"] != "yes" for one in aims):
        sys.exit(1)


def attack(name: str, cases: int, seed: int) -> tuple[Row, float]:
    """Return the row of one optimum, and its worst excess beyond the stated bound relative to the optimum."""
    function, fewer, one = ATTACKS[name]
    count, refused, tried, found, began = max(1, cases // fewer), 0, 0, [], time.monotonic()
    for number in range(count):
        try:
            case = one(np.random.default_rng([seed, number]))
        except NotExact:
            refused += 1
        else:
            finite = np.isfinite([case.excess, case.bound, case.scale]).all() and case.scale > 0
            found.append((case.excess / case.scale, case.bound / case.scale) if finite else (np.inf, 0.0))
            tried += case.competitors
            if not finite or case.excess - case.bound > LIMIT * case.scale:
                print(f"\n{name}, case {number}: {case}", file=sys.stderr)
        if sys.stderr.isatty():
            print(f"\r{name}: {number + 1} of {count}", end="", file=sys.stderr, flush=True)
    print(f"\r{name}: {count} cases in {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    excess = np.array(found).reshape(-1, 2)
    beyond = float((excess[:, 0] - excess[:, 1]).max(initial=-np.inf))
    row: Row = {
        "optimum": name,
        "function": function,
        "cases": float(len(found)),
        "refused": float(refused),
        "competitors": float(tried),
        "worst excess": f"{float(excess[:, 0].max(initial=-np.inf)):.1e}",
        "beyond its bound": f"{beyond:.1e}",
    }
    return row, beyond


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def zero_or(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw 0 in half of the cases, otherwise a log-uniform number."""
    return log_uniform(rng, low, high) if rng.random() < 0.5 else 0.0


# Limit orders.


def quote_scenario(rng: np.random.Generator, most: float = 1.0) -> Any:
    """Draw a scenario of the limit-order market; money is in units of 1/k times a power of ten."""
    from twosided.core.scenario import Scenario
    from twosided.limit_orders.fills import ExponentialFill
    from twosided.limit_orders.market import LimitOrderMarket
    from twosided.prices import Bachelier
    from twosided.rewards import InventoryPenalty

    steps, decay, step = int(rng.integers(1, 5)), log_uniform(rng, 0.01, 100), log_uniform(rng, 1e-3, 3)
    low = -rng.uniform(0, 8) if rng.random() < 0.5 else 0.0
    market = LimitOrderMarket(
        price=Bachelier(
            volatility=1.0, drift=float(rng.normal()) / decay * (rng.random() < 0.3), time_step=step
        ),
        fills=ExponentialFill(log_uniform(rng, 0.01, 1e4) / step**0.5, decay),
        max_inventory=float(rng.integers(1, 5)),
        min_offset=low / decay,
        max_offset=(low + log_uniform(rng, 0.5, 15)) / decay,
        fee=float(rng.normal()) / decay * (rng.random() < 0.5),
        session=steps,
    )
    reward = InventoryPenalty(
        running=zero_or(rng, 1e-2, 1e2 * most) / decay / step,
        final=zero_or(rng, 1e-2, 1e2 * most) / decay,
    )
    return Scenario(market, (), reward, steps)


@dataclass(frozen=True)
class QuoteModel:
    """Limit-order market in plain NumPy: values of quotes in steps of Δ, and in continuous time."""

    intensity: float
    decay: float
    step: float
    fee: float
    holding: np.ndarray
    """Expected earnings of each inventory per unit of time."""
    closing: np.ndarray
    """Reward at the close of each inventory."""

    @classmethod
    def of(cls, scenario: Any) -> "QuoteModel":
        """Return the model of a scenario."""
        market, reward = scenario.market, scenario.reward
        q = np.arange(-market.max_inventory, market.max_inventory + 1)
        drift, step = float(market.price.drift), float(market.price.time_step)
        return cls(
            float(market.fills.intensity),
            float(market.fills.decay),
            step,
            float(market.fee),
            drift * q - reward.running * q**2,
            -reward.final * q**2,
        )

    def rate(self, offset: np.ndarray) -> np.ndarray:
        """Return the fill rate; an infinite offset is no order."""
        with np.errstate(over="ignore"):
            return self.intensity * np.exp(-self.decay * offset)

    def fill_probability(self, offset: np.ndarray) -> np.ndarray:
        """Return the fill probability in a step."""
        return 1 - np.exp(-self.rate(offset) * self.step)

    def pair(self, after: np.ndarray, i: int, bid: np.ndarray, ask: np.ndarray) -> np.ndarray:
        """Return the value at inventory i of pairs of offsets, given the values of the states that follow."""
        g = after + self.holding * self.step
        b, s = self.fill_probability(bid), self.fill_probability(ask)
        up, down = (g[i + 1] if i + 1 < g.size else 0.0), (g[i - 1] if i else 0.0)
        with np.errstate(invalid="ignore"):
            earned = np.where(b > 0, b * (bid - self.fee), 0) + np.where(s > 0, s * (ask - self.fee), 0)
        return earned + (b * s + (1 - b) * (1 - s)) * g[i] + b * (1 - s) * up + s * (1 - b) * down

    def of_table(self, bid: np.ndarray, ask: np.ndarray) -> np.ndarray:
        """Return the values of a table of quotes, (steps + 1, inventories)."""
        values = [self.closing]
        for n in reversed(range(len(bid))):
            pairs = zip(range(self.closing.size), bid[n], ask[n], strict=True)
            values.append(np.array([float(self.pair(values[-1], i, b, a)) for i, b, a in pairs]))
        return np.array(values[::-1])

    def continuous(self, bid: np.ndarray, ask: np.ndarray) -> np.ndarray:
        """Return the values in continuous time of quotes that are constant within steps."""
        values, n = [self.closing], self.closing.size
        for b, a in zip(bid[::-1], ask[::-1], strict=True):
            buys, sells = self.rate(b), self.rate(a)
            with np.errstate(invalid="ignore"):
                earned = np.where(buys > 0, buys * (b - self.fee), 0) + np.where(
                    sells > 0, sells * (a - self.fee), 0
                )
            generator = np.zeros((n + 1, n + 1))
            generator[:n, :n] = np.diag(buys[:-1], 1) + np.diag(sells[1:], -1) - np.diag(buys + sells)
            generator[:n, n] = earned + self.holding
            values.append((expm(generator * self.step) @ np.append(values[-1], 1.0))[:n])
        return np.array(values[::-1])

    def certainty_equivalent(
        self, bid: np.ndarray, ask: np.ndarray, aversion: float, volatility: float
    ) -> np.ndarray:
        """Return -(1/γ) log E e^{-γ gains} in continuous time of quotes that are constant within steps."""
        q = np.arange(self.closing.size) - self.closing.size // 2
        u = np.ones(q.size)
        out, log_scale = [np.zeros(q.size)], 0.0
        for b, a in zip(bid[::-1], ask[::-1], strict=True):
            buys, sells = self.rate(b), self.rate(a)
            with np.errstate(over="ignore", invalid="ignore"):
                gain_b = np.where(buys > 0, buys * np.exp(-aversion * b), 0.0)
                gain_a = np.where(sells > 0, sells * np.exp(-aversion * a), 0.0)
            generator = np.diag(gain_b[:-1], 1) + np.diag(gain_a[1:], -1)
            generator += np.diag((aversion * volatility * q) ** 2 / 2 - buys - sells)
            u = expm(generator * self.step) @ u
            if not u.min() > 0:
                raise NotExact("the matrix exponential underflows")
            log_scale, u = log_scale + float(np.log(u.max())), u / u.max()
            out.append(-(np.log(u) + log_scale) / aversion)
        return np.array(out[::-1])


def no_order_beyond(bid: np.ndarray, ask: np.ndarray, max_offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the offsets, infinite where there is no order or the bound of inventory forbids it."""
    bid, ask = (np.where(x >= max_offset, np.inf, x) for x in (bid, ask))
    bid[..., -1] = ask[..., 0] = np.inf
    return bid, ask


def attack_quotes(rng: np.random.Generator) -> Case:
    """Attack `limit_order_optimum`: brute force in every step and state, tables, and changed quotes."""
    from twosided.limit_orders.exact import limit_order_optimum, limit_order_value
    from twosided.limit_orders.policies import FixedOffset

    scenario = quote_scenario(rng, most=rng.choice([1.0, 1e3]))
    best, model, market = limit_order_optimum(scenario), QuoteModel.of(scenario), scenario.market
    low, high = float(market.min_offset), float(market.max_offset)
    below = float(np.nextafter(np.float32(high), np.float32(-np.inf)))
    grid = np.append(np.linspace(low, below, 61), np.inf) if below >= low else np.array([np.inf])
    bid, ask = no_order_beyond(best.bid.copy(), best.ask.copy(), high)
    excess, competitors, last = -np.inf, 0, best.inventory.size - 1
    changes = np.concatenate([[0.0], *[[-d, d] for d in 10.0 ** np.arange(-7, 0.5, 0.5)]]) / model.decay
    for n, i in itertools.product(range(len(bid)), range(last + 1)):
        none = np.array([np.inf])
        near = [np.append(np.clip(x[n, i] + changes, low, below), np.inf) for x in (bid, ask)]
        for bids, asks in ((grid, grid), near):
            bids, asks = bids if i < last else none, asks if i else none
            values = model.pair(best.value[n + 1], i, bids[:, None], asks[None, :])
            excess, competitors = max(excess, values.max() - best.value[n, i]), competitors + values.size
    # Whole tables: random, and the optimum's own, which must attain its value.
    for _ in range(3):
        tables = no_order_beyond(*(rng.uniform(low, below, bid.shape) for _ in range(2)), np.inf)
        excess = max(excess, float((model.of_table(*tables) - best.value).max()))
    shortfall = float(np.abs(model.of_table(bid, ask) - best.value).max())
    excess = max(excess, shortfall - best.bound)
    for offset in rng.uniform(low, high, 2):
        # The quotes are in single precision.
        value = limit_order_value(scenario, FixedOffset(float(offset), float(offset))).value
        excess = max(excess, float((value - best.value).max()))
    return Case(
        excess,
        best.bound,
        float(np.abs(best.value).max()) + 1e-3 / model.decay,
        competitors + 5,
        str(scenario),
    )


def rival_quotes(
    rng: np.random.Generator, bid: np.ndarray, ask: np.ndarray, decay: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the quotes themselves, perturbed quotes and constant offsets, in units of 1 / decay."""
    bid, ask = no_order_beyond(bid, ask, np.inf)
    perturbed = [
        no_order_beyond(*(x + c / decay * rng.normal(size=x.shape) for x in (bid, ask)), np.inf)
        for c in (0.0, 1e-3, 0.1, 1.0)
    ]
    constant = [
        no_order_beyond(*(np.full_like(x, c / decay) for x in (bid, ask)), np.inf)
        for c in (0.5, 1.0, 2.0, 4.0)
    ]
    return [*perturbed, *constant]


def attack_short_steps(rng: np.random.Generator) -> Case:
    """Attack `short_step_optimum`: quotes in continuous time, valued by matrix exponentials."""
    from twosided.limit_orders.exact import short_step_optimum

    scenario = quote_scenario(rng, most=rng.choice([0.1, 10.0]))
    best, model = short_step_optimum(scenario), QuoteModel.of(scenario)
    rivals = rival_quotes(rng, best.bid, best.ask, model.decay)
    start = best.inventory.size // 2
    values = [model.continuous(*rival) for rival in rivals]
    # Values of states far from the start are as large as their penalties, and so is the rounding of the exponentials.
    scale = np.abs(best.value[:, start]).max() + 1e-6 * np.abs(best.value).max() + 1e-3 / model.decay
    excess = max(float((value - best.value)[:-1, start].max()) for value in values)
    return Case(excess, best.bound, float(scale), len(rivals), str(scenario))


def attack_risk_averse(rng: np.random.Generator) -> Case:
    """Attack `risk_averse_optimum`: certainty equivalents of other quotes, by matrix exponentials."""
    from dataclasses import replace

    from twosided.limit_orders.exact import risk_averse_solution
    from twosided.prices import Bachelier

    scenario = quote_scenario(rng)
    price = Bachelier(volatility=1.0, time_step=float(scenario.market.price.time_step))
    market = replace(scenario.market, price=price, fee=0.0)
    model = QuoteModel.of(replace(scenario, market=market))
    model = replace(model, holding=0 * model.holding, closing=0 * model.closing)
    aversion = log_uniform(rng, 0.01, 10) * model.decay
    volatility = zero_or(rng, 0.01, 3) / aversion / model.step**0.5 / float(market.max_inventory)
    best = risk_averse_solution(market, aversion, volatility)
    rivals = rival_quotes(rng, best.bid, best.ask, model.decay)
    values = [model.certainty_equivalent(*rival, aversion, volatility) for rival in rivals]
    excess = max(float((value - best.value)[:-1].max()) for value in values)
    return Case(excess, 0.0, float(np.abs(best.value).max()) + 1e-3 / model.decay, len(rivals), str(market))


# Dealer.


def random_distribution(rng: np.random.Generator) -> Any:
    """Draw a mixture of atoms and uniforms on [-1, 1], extremes included."""
    from twosided.dealer.distributions import Mixture, PointMass, Uniform

    def point() -> float:
        return float(rng.choice([-1.0, 0.0, 1.0, rng.uniform(-1, 1), np.round(rng.uniform(-1, 1), 1)]))

    def part() -> Any:
        low, high = sorted((point(), point()))
        return Uniform(low, high) if high > low and rng.random() < 0.6 else PointMass(low)

    parts = [part() for _ in range(rng.integers(1, 4))]
    weights = rng.dirichlet(np.ones(len(parts)))
    return parts[0] if len(parts) == 1 else Mixture(parts, weights.tolist())


def attack_best_response(rng: np.random.Generator) -> Case:
    """Attack `best_response`: a fine grid, and points around every breakpoint, by `objective_value` and by hand."""
    from twosided.dealer.exact.best_response import best_response, objective_value

    quotes = [random_distribution(rng) for _ in range(rng.integers(1, 4))]
    options: dict[str, Any] = {
        "objective": str(rng.choice(["own", "excess"])),
        "cost": zero_or(rng, 1e-3, 3.0),
    }
    if len(quotes) == 1:
        options["tie_probability"] = float(rng.choice([0.0, 0.5, 1.0, rng.random()]))
    best = best_response(quotes, **options)
    edges = np.concatenate([quote.breakpoints for quote in quotes] + [[-1.0, 1.0, best.epsilon]])
    around = (edges[:, None] + np.concatenate([[0], *[[-d, d] for d in 10.0 ** -np.arange(1, 15)]])).ravel()
    epsilon = np.clip(np.concatenate([np.linspace(-1, 1, 2001), around]), -1, 1)
    values = objective_value(epsilon, quotes, **options)
    if len(quotes) == 1 and options["objective"] == "own":
        one = quotes[0]
        values_lows = zip(*one.uniforms, strict=True)
        above = sum(w * np.clip((h - epsilon) / (h - low), 0, 1) for low, h, w in values_lows)
        atoms, weights = one.atoms
        tie = options["tie_probability"] * ((epsilon[:, None] == atoms) @ weights)
        by_hand = (1 + epsilon - options["cost"]) * (above + (atoms > epsilon[:, None]) @ weights + tie)
        values = np.maximum(values, by_hand)
    attained = objective_value(np.array([best.epsilon]), quotes, **options)[0]
    excess = max(values.max() - best.supremum, best.supremum - attained - 1e-6)
    return Case(float(excess), 0.0, 1.0, epsilon.size, f"{quotes} {options}")


def dealer_market(rng: np.random.Generator, **changes: Any) -> Any:
    """Draw a dealer market of unit investors."""
    from twosided.dealer.investors import UnitInvestors
    from twosided.dealer.market import DealerMarket

    flow = UnitInvestors(count=int(changes.pop("count", rng.integers(1, 4))), **changes)
    return DealerMarket(flow=flow)


@functools.cache
def tier_orders(informed: int) -> tuple[Any, Any]:
    """Return a market with tiers of investors, some informed, and their orders."""
    from twosided.dealer.exact.order_values import orders_by_tier
    from twosided.dealer.investors import Tiers, UnitInvestors
    from twosided.dealer.market import DealerMarket

    flow = Tiers((UnitInvestors(count=10), UnitInvestors(count=10, informed=informed)))
    market = DealerMarket(flow=flow)
    return market, orders_by_tier(market)


def attack_tiers(rng: np.random.Generator) -> Case:
    """Attack `best_fixed_quotes` and the supremum with informed investors: other constants, functions of the book."""
    from dataclasses import replace

    from twosided.core.scenario import Scenario
    from twosided.dealer.exact.best_response import objective_value
    from twosided.dealer.exact.tiers import best_fixed_quotes, supremum
    from twosided.dealer.exact.total_pnl import fixed_maker
    from twosided.dealer.quoters import PersistentQuoter, RandomQuoter

    market, orders = tier_orders(int(rng.choice([0, 1, 5, 10])))
    market = replace(market, by_tier=True)
    low, high = sorted(rng.uniform(-1, 1, 2))
    one = (
        RandomQuoter(float(low), float(high))
        if rng.random() < 0.5
        else PersistentQuoter(float(low), float(high))
    )
    scenario = Scenario(market, (one,))
    constant, anything, maker = best_fixed_quotes(scenario), supremum(scenario), fixed_maker(one)
    scale = 0.0
    total = {"constant": 0.0, "anything": 0.0}
    for tier in orders:
        for side, competitor in ((tier.buy, maker.buy), (tier.sell, maker.sell)):
            grid = np.clip(np.concatenate([np.linspace(-1, 1, 401), competitor.breakpoints - 1e-9]), -1, 1)
            win = objective_value(grid, competitor) / np.maximum(1 + grid, 1e-300) * (grid > -1)
            constants = side.value * (1 + grid) * win - side.toxicity * win
            books = side.values.ravel()[:, None] * ((1 + grid) * win) - side.toxicity * win
            total["constant"] += constants.max()
            total["anything"] += books.max(1).mean()
            scale += side.value
    excess = max(total["constant"] - constant.value, total["anything"] - anything, constant.value - anything)
    return Case(float(excess), 0.0, scale, 2 * 401, f"{one} {market.flow}")


def attack_penalized(rng: np.random.Generator) -> Case:
    """Attack `penalized_optimum`: an independent program with finer hedges and quotes on the same books, and fixed
    makers."""
    from twosided.core.scenario import Scenario
    from twosided.dealer.exact.bellman import BookSample
    from twosided.dealer.exact.best_response import best_response
    from twosided.dealer.exact.cost_curve import expected_costs
    from twosided.dealer.exact.dynamic_programming import penalized_optimum, penalized_value
    from twosided.dealer.exact.total_pnl import fixed_maker
    from twosided.dealer.quoters import PersistentQuoter, RandomQuoter
    from twosided.rewards import AsymmetricPenalty, SquarePenalty

    orders, horizon, top, fine = int(rng.integers(1, 3)), int(rng.integers(1, 5)), 4, 4
    market = dealer_market(rng, count=orders)
    weight = log_uniform(rng, 0.01, 100)
    reward = SquarePenalty(weight) if rng.random() < 0.5 else AsymmetricPenalty(min(weight, 10.0))
    a, b = sorted(rng.uniform(-1, 1, 2))
    competitor = (
        PersistentQuoter(float(a), float(b)) if rng.random() < 0.6 else RandomQuoter(float(a), float(b))
    )
    scenario = Scenario(market, (competitor,), reward, horizon)
    best = penalized_optimum(scenario, max_inventory=top, refinement=2, points=16, replicates=2)
    maker, mid = fixed_maker(competitor), float(market.price.initial)

    books = BookSample.sample(
        market.book, mid, float(market.hedge_cost), np.arange(2 * top * fine + 1) / fine, 16, 2
    )
    variance = float(market.price.volatility) ** 2 * float(market.price.time_step)
    from scipy.special import ndtr

    downside = -mid * (2 * ndtr(np.sqrt(variance) / 2) - 1)

    def penalty(z: np.ndarray) -> np.ndarray:
        if isinstance(reward, SquarePenalty):
            return -float(reward.weight) * mid**2 * np.expm1(variance) * z**2
        return float(reward.weight) * downside * np.abs(z)

    def side(distribution: Any) -> tuple[np.ndarray, np.ndarray]:
        grid = np.append(
            np.linspace(-1, 1, 41), np.concatenate([distribution.breakpoints + d for d in (-1e-7, 0, 1e-7)])
        )
        grid = np.clip(grid, -1, 1)
        return grid, distribution.survival(grid) + distribution.mass(grid) / 2

    # Ties are drawn for each order or for all at once; the competitor is undercut or not, but never met.
    (buy, p_buy), (sell, p_sell) = side(maker.buy), side(maker.sell)
    tie_buy, tie_sell = maker.buy.mass(buy), maker.sell.mass(sell)
    keep_b, keep_s = tie_buy == 0, tie_sell == 0
    buy, p_buy, sell, p_sell = buy[keep_b], p_buy[keep_b], sell[keep_s], p_sell[keep_s]
    grid = np.arange(-top * fine, top * fine + 1) / fine
    wide = np.arange(-2 * top * fine, 2 * top * fine + 1) / fine

    # All orders of a side are won or all are lost. Each order is a buy with probability 1/2.
    flows = {}
    for won_buy, won_sell in itertools.product((0, 1), repeat=2):
        one, all_orders = np.array([won_sell / 2, 1 - won_buy / 2 - won_sell / 2, won_buy / 2]), np.ones(1)
        for _ in range(orders):
            all_orders = np.convolve(all_orders, one)
        flows[won_buy, won_sell] = all_orders
    value = np.zeros((2, grid.size))
    pad = wide.size // 2 - grid.size // 2
    for _ in range(horizon):
        after = np.empty_like(value)
        for r in range(2):
            cost_of = books.hedge_cost[r]
            mean_cost = cost_of.mean(0)
            # Beyond the grid everything is hedged at once.
            extended = value[r, grid.size // 2] - mean_cost[np.rint(np.abs(wide) * fine).astype(int)]
            extended[pad : pad + grid.size] = value[r]
            f = extended + penalty(wide)
            expected = {}
            for outcome, flow in flows.items():
                expected[outcome] = sum(
                    flow[k] * f[pad + (k - orders) * fine : pad + (k - orders) * fine + grid.size]
                    for k in range(2 * orders + 1)
                )
            pb, ps = p_buy[:, None, None], p_sell[None, :, None]
            ahead = (
                pb * ps * expected[1, 1]
                + pb * (1 - ps) * expected[1, 0]
                + (1 - pb) * ps * expected[0, 1]
                + (1 - pb) * (1 - ps) * expected[0, 0]
            ).reshape(-1, grid.size)
            margin = (
                orders / 2 * ((1 + buy) * p_buy)[:, None] + orders / 2 * ((1 + sell) * p_sell)[None, :]
            ).ravel()
            total = np.zeros(grid.size)
            for s, cost in zip(books.order_value[r], cost_of, strict=True):
                kept = (s * margin[:, None] + ahead).max(0)
                for i, z in enumerate(grid):
                    between = (grid * np.sign(z) >= 0) & (np.abs(grid) <= abs(z)) if z else grid == 0
                    used = np.rint(np.abs(z - grid[between]) * fine).astype(int)
                    total[i] += (kept[between] - cost[used]).max()
            after[r] = total / len(cost_of)
        value = after
    brute = value[:, grid.size // 2].mean() / horizon
    least = best_response(maker.buy).supremum + best_response(maker.sell).supremum
    large = float((least * orders / 2 * mid * expected_costs(market.book, [1.0])[:, 0]).mean())
    brute += large - least * orders / 2 * books.order_value.mean()
    rivals = [PersistentQuoter(*rng.uniform(-1, 1, 2).tolist(), hedge=0.0) for _ in range(3)]
    fixed = max(penalized_value(scenario, rival) for rival in rivals) - 4 * best.errors.book
    bound = best.errors.bound
    return Case(
        float(max(brute, fixed) - best.value),
        bound,
        large,
        margin.size + 3,
        f"{market} {reward} {competitor} {horizon}",
    )


# Hedging.


def attack_hedging(rng: np.random.Generator) -> Case:
    """Attack the dynamic program of `hedging_optimum`: a plain Bellman recursion, and tables in its chain of bins."""
    from twosided.core.reward import TotalPnL
    from twosided.hedging import exact
    from twosided.hedging.client_flow import price_bins
    from twosided.hedging.clients import PoissonClients
    from twosided.hedging.market import HedgingMarket
    from twosided.hedging.rewards import PositionPenalty, PriceOfRisk

    kind = rng.integers(3)
    skewed = bool(rng.random() < 0.7 or kind == 2)
    market = HedgingMarket(
        clients=PoissonClients(scale=log_uniform(rng, 0.5, 5)),
        max_hedge=float(rng.integers(1, 5)),
        max_position=float(rng.integers(4, 10)),
        allow_skew=skewed,
        elasticity=0.0 if kind == 2 or not skewed else float(rng.choice([0.0, 1.0, 5.0])),
    )
    scale = float(market.max_position)
    if kind == 0:
        reward: Any = TotalPnL()
    else:
        weight, variance = log_uniform(rng, 1e-4, 1.0), zero_or(rng, 1e-3, 1.0)
        reward = (PositionPenalty if kind == 1 else PriceOfRisk)(
            weight=weight, max_position=scale, variance_weight=variance
        )
    horizon = int(rng.integers(1, 4))
    skews = np.linspace(-1, 1, 5) if skewed else np.zeros(1)
    bins = price_bins(market, 8, 2, 1, 64, int(rng.integers(1000)))
    program = exact._Program.build(market, reward, bins, skews)
    best = program.solve(horizon)
    rows, q, top = bins.num_bins, program.position, int(program.max_hedge)

    # Bellman recursion, in loops over bins, positions and actions.
    penalty = {float(u): float(x) for u, x in zip(program.reachable, program.penalty, strict=True)}
    value = np.zeros((rows, q.size))
    for _ in range(horizon):
        ahead = np.zeros((rows, q.size))
        for i, j in itertools.product(range(rows), range(rows)):
            for n, mass in zip(bins.net_units, bins.net_trades[i, j], strict=True):
                if mass * bins.transition[i, j] == 0:
                    continue
                at = q + n
                inside = np.abs(at) <= q[-1]
                f = np.where(inside, np.interp(at, q, value[j]), 0.0) - np.array([penalty[x] for x in at])
                ahead[i] += bins.transition[i, j] * mass * f
        new = np.full((rows, q.size), -np.inf)
        for i, a, k in itertools.product(range(rows), range(-top, top + 1), range(skews.size)):
            held = (q + a >= q[0]) & (q + a <= q[-1])
            pnl = (
                program.spread_pnl[i, k] - program.hedge_cost[i] * abs(a)
                if program.mismatch is None
                else -program.mismatch[i, abs(a), k]
            )
            x = np.interp(q + a - skews[k] * program.skew_volume[i], q, ahead[i]) + pnl
            new[i] = np.maximum(new[i], np.where(held, x, -np.inf))
        value = new - program.variance_penalty
    excess = float(np.abs(value - best.value).max())
    competitors = 0
    for change in (0, 1, 2, 100):
        step = rng.integers(-change, change + 1, best.hedge.shape)
        hedge = np.clip(best.hedge + step, -top, top)
        hedge = np.clip(q + hedge, q[0], q[-1]) - q
        skew = best.skew if change == 0 else rng.choice(skews, best.skew.shape)
        excess = max(excess, float((program.evaluate(horizon, hedge, skew) - best.value).max()))
        competitors += 1
    size = max(float(np.abs(best.value).max()), float(np.abs(program.spread_pnl).max()))
    return Case(excess, 0.0, size, competitors + (2 * top + 1) * skews.size, f"{market} {reward}")


def attack_price_of_risk(rng: np.random.Generator) -> Case:
    """Attack the skew of `price_of_risk`: a grid of skews at each position of the same sample."""
    from twosided.hedging.price_of_risk import weighted_median

    # The optimal share of one side minimises a weighted sum of distances; ties and zeros included.
    size = int(rng.integers(1, 40))
    cost, width = np.round(rng.exponential(size=size), 1), np.round(rng.exponential(size=size), 1) + 0.1
    share = min(weighted_median(cost / width, width), 1.0)
    grid = np.append(np.linspace(0, 1, 4001), np.minimum(cost / width, 1.0))
    values = np.abs(grid[:, None] * width - cost).sum(1)
    excess = np.abs(share * width - cost).sum() - values.min()
    return Case(float(excess), 0.0, float(cost.sum() + width.sum()), grid.size, f"{cost} {width}")


def attack_portfolio(rng: np.random.Generator) -> Case:
    """Attack `hedge_matrix` and `least_variance`: other linear hedges, valued by a discounted Lyapunov equation."""
    from scipy.linalg import solve_discrete_lyapunov

    from twosided.hedging.least_variance import hedge_matrix, least_variance

    n = int(rng.integers(1, 5))
    factor = rng.normal(size=(n, int(rng.integers(1, n + 1))))
    covariance = factor @ factor.T * log_uniform(rng, 1e-3, 1e3)
    risk, cost, discount = (
        log_uniform(rng, 1e-3, 1e3),
        log_uniform(rng, 1e-3, 1e3),
        float(rng.uniform(0, 0.999)),
    )

    def loss(k: np.ndarray) -> float:
        left = np.eye(n) - k
        once = cost * k.T @ k + risk * left.T @ covariance @ left
        root = np.sqrt(discount) * left
        if np.abs(np.linalg.eigvals(root)).max() >= 1:
            return np.inf
        # Mean over exposures of variance 1 in every direction.
        return float(np.trace(solve_discrete_lyapunov(root.T, once)) / 2)

    best = hedge_matrix(covariance, risk, cost, discount)
    rivals = [best + c * rng.normal(size=(n, n)) for c in 10.0 ** rng.uniform(-5, 0.5, 20)]
    rivals += [f * np.eye(n) for f in np.linspace(0, 1, 11)]
    excess = max(loss(best) - loss(rival) for rival in rivals) / max(loss(best), 1e-300)
    exposure, hedging = rng.normal(size=n), list(range(int(rng.integers(1, n + 1))))
    least = least_variance(exposure, covariance, hedging)

    def variance(units: np.ndarray) -> float:
        held = exposure.copy()
        held[hedging] += units
        return float(held @ covariance @ held)

    others = [least + c * rng.normal(size=least.size) for c in 10.0 ** rng.uniform(-5, 0.5, 20)]
    size = variance(np.zeros(least.size)) + 1e-300
    excess = max(excess, max(variance(least) - variance(other) for other in others) / size)
    return Case(float(excess), 0.0, 1.0, len(rivals) + len(others), f"{covariance} {risk} {cost} {discount}")


# Finite processes, and the electronic market.


def attack_process(rng: np.random.Generator) -> Case:
    """Attack `optimal_day` and `optimal_long_run`: all policies of small processes, periodic ones included."""
    import scipy.sparse as sparse

    from twosided.core.mdp import DecisionProcess

    states, actions, horizon = int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    transitions = rng.dirichlet(np.full(states, rng.choice([0.1, 1.0])), (actions, states))
    transitions[transitions < 1e-6] = 0.0
    transitions /= transitions.sum(-1, keepdims=True)
    if rng.random() < 0.3:  # deterministic moves: periodic, and with several classes
        transitions = np.eye(states)[rng.integers(states, size=(actions, states))]
    rewards = rng.normal(size=(states, actions)) * log_uniform(rng, 1e-3, 1e6)
    process = DecisionProcess(tuple(sparse.csr_array(p) for p in transitions), rewards, 0)
    day, rows = process.optimal_day(horizon), np.arange(states)
    policies = [np.array(p) for p in itertools.product(range(actions), repeat=states)]
    brute = -np.inf
    for sequence in itertools.product(policies, repeat=min(horizon, 2)):
        # The first policies of a sequence are for the last steps; the last one is repeated.
        value = np.zeros(states)
        for t in range(horizon):
            policy = sequence[min(t, len(sequence) - 1)]
            value = rewards[rows, policy] + transitions[policy, rows] @ value
        brute = max(brute, value[0] / horizon)
    scale = float(np.abs(rewards).max())
    gains = [brute - day.value - day.error]
    earned = []
    for policy in policies:
        power = 0.5 * (transitions[policy, rows] + np.eye(states))
        for _ in range(40):
            power = power @ power
            power /= power.sum(1, keepdims=True)
        by_hand = float(power[0] @ rewards[rows, policy])
        earned.append(by_hand)
        gains.append(abs(process.follow(np.eye(actions)[policy]).long_run()[0] - by_hand) - 1e-9 * scale)
    with contextlib.suppress(ArithmeticError):  # periodic processes are refused
        long_run = process.optimal_long_run(1e-9 * scale, 2_000)
        gains.append(max(earned) - long_run.value - long_run.error)
    return Case(float(np.max(gains)), 0.0, scale, len(policies), f"{transitions} {rewards} {horizon}")


def electronic_day(table: np.ndarray, market: Any, horizon: int) -> float:
    """Return the mean spread PnL per step over a day of a table of probabilities of (-1, 0, 1) at imbalances -2..2."""
    top = horizon + 2
    noise, informed = float(market.noise), float(market.informed)
    wrong = informed * noise / 2
    distribution, earned = {(0, 0): 1.0}, 0.0
    for _ in range(horizon):
        after: dict[tuple[int, int], float] = {}
        for (gap, imbalance), mass in distribution.items():
            for change, weight in zip((-1, 0, 1), table[min(max(imbalance, -2), 2) + 2], strict=True):
                if not weight:
                    continue
                moved, base = gap - change, 0 if change else imbalance
                events = [(market.price_change, 1, 0), (market.price_change, -1, 0)]
                events += [(market.uninformed, 0, 1), (market.uninformed, 0, -1)]
                # Informed traders compare p* with the quote before the change, and trade at the new one.
                events += [(wrong, 0, int(np.sign(gap - 1))), (wrong, 0, int(np.sign(gap + 1)))]
                events += [(informed - 2 * wrong, 0, int(np.sign(gap)))]
                for probability, move, order in events:
                    if not probability:
                        continue
                    here = mass * weight * float(probability)
                    earned += here * order * -moved
                    # A changed quote starts the count anew, with the order of the step.
                    state = (min(max(moved + move, -top), top), base + order)
                    after[state] = after.get(state, 0.0) + here
        distribution = after
    return earned / horizon


def attack_electronic(rng: np.random.Generator) -> Case:
    """Attack `best_table`: all 243 tables of a day by an independent chain; and its values by the optimum of a maker
    that observes p*, which must not be below any table, random ones included."""
    from twosided.electronic.chain import electronic_chain
    from twosided.electronic.exact import best_table, full_information
    from twosided.electronic.market import ElectronicMarket

    change, uninformed, informed = rng.dirichlet(np.ones(3))
    market = ElectronicMarket(
        price_change=change / 2,
        uninformed=uninformed / 2,
        informed=informed,
        noise=float(rng.choice([0.0, 0.3, 1.0])),
    )
    horizon = int(rng.integers(1, 6))
    chain = electronic_chain(
        market, horizon=horizon, mispricing_limit=2 * horizon + 4, imbalance_limit=horizon + 3
    )
    best, informed_best = best_table(chain), full_information(chain)
    tables = best.tables[rng.choice(len(best.tables), 40, replace=False)]
    by_hand = [electronic_day(np.eye(3)[np.rint(t).astype(int) + 1], market, horizon) for t in tables]
    mixed = [electronic_day(rng.dirichlet(np.ones(3), 5), market, horizon) for _ in range(10)]
    excess = max(
        max(by_hand) - best.value.value - best.value.error,
        max([*by_hand, *mixed, best.value.value]) - informed_best.value - informed_best.error,
        abs(
            electronic_day(np.eye(3)[np.rint(best.changes).astype(int) + 1], market, horizon)
            - best.value.value
        )
        - best.value.error,
    )
    return Case(float(excess), 0.0, 1.0, len(tables) + len(mixed), f"{market} {horizon}")


# Bars.


def attack_bars(rng: np.random.Generator) -> Case:
    """Attack `bars_optimum`: a recursion in NumPy on the same draws, without its moments of a bar."""
    import jax

    from twosided.bars.exact import BATCH, bars_optimum
    from twosided.bars.market import BarsMarket
    from twosided.bars.source import SimulatedBars
    from twosided.core.scenario import Scenario
    from twosided.limit_orders.fills import TouchFill, TradeThroughFill
    from twosided.prices import GeometricBrownian
    from twosided.rewards import InventoryPenalty

    volatility = float(rng.choice([1e-4, 1e-3]))
    market = BarsMarket(
        source=SimulatedBars(GeometricBrownian(initial=100.0, volatility=volatility, time_step=0.25), 4),
        fills=[TouchFill(), TradeThroughFill()][rng.integers(2)],
        sizes=False,
        min_offset=-volatility if rng.random() < 0.3 else 0.0,
        max_offset=volatility * float(rng.choice([1.0, 3.0])),
        maker_fee=float(rng.normal()) * volatility * 100 * float(rng.choice([0.0, 0.5, 5.0])),
        min_inventory=-float(rng.integers(1, 4)),
        max_inventory=float(rng.integers(1, 4)),
    )
    reward = InventoryPenalty(running=zero_or(rng, 1e-3, 10.0) * volatility * 100)
    horizon, seed, num = int(rng.integers(1, 5)), int(rng.integers(1000)), 5
    best = bars_optimum(Scenario(market, (), reward, horizon), offsets=num, draws=BATCH, seed=seed)
    key = jax.random.split(jax.random.split(jax.random.key(seed), 2)[0], 1)[0]
    shocks = market.shocks(key, (BATCH,))

    @jax.jit
    @jax.vmap
    def bar(shock: Any) -> Any:
        state, _ = market.reset(shock)
        before, after = (
            market.source.bar(state.price),
            market.source.bar(market.source.step(state.price, shock.source)),
        )
        return before.mid.close, after.mid.low, after.mid.high, after.mid.close

    start, low, high, close = (np.asarray(x, float) for x in bar(shocks))
    grid = np.linspace(float(market.min_offset), float(market.max_offset), num)
    # Prices of orders and bars are compared in single precision.
    bid_price, ask_price = (np.float32(start[:, None] * (1 + sign * grid)).astype(float) for sign in (-1, 1))
    touch = isinstance(market.fills, TouchFill)
    buys = bid_price >= low[:, None] if touch else bid_price > low[:, None]
    sells = ask_price <= high[:, None] if touch else ask_price < high[:, None]
    buys[:, -1], sells[:, -1] = False, False
    spread, change, fee = start[:, None] * grid, (close - start)[:, None], float(market.maker_fee)
    earned_bid, earned_ask = buys * (spread - fee + change), sells * (spread - fee - change)
    q = np.arange(float(market.min_inventory), float(market.max_inventory) + 0.5)
    value = np.zeros(q.size)
    for _ in range(horizon):
        held = value - float(reward.running) * q**2
        after = np.empty_like(value)
        for i in range(q.size):
            pairs = np.empty((num, num))
            for b, s in itertools.product(range(num), range(num)):
                at = i + buys[:, b].astype(int) * (i < q.size - 1) - sells[:, s].astype(int) * (i > 0)
                income = earned_bid[:, b] * (i < q.size - 1) + earned_ask[:, s] * (i > 0)
                pairs[b, s] = (income + held[np.clip(at, 0, q.size - 1)]).mean()
            after[i] = pairs.max()
        value = after
    brute = value[round(-q[0])] / horizon
    # The means of the market's steps are in single precision, of money of the size of the price.
    return Case(
        float(abs(brute - best.maximum)),
        0.0,
        float(volatility * 100),
        num**2 * q.size,
        f"{market} {reward} {horizon}",
    )


ATTACKS: dict[str, tuple[str, int, Callable[[np.random.Generator], Case]]] = {
    "quotes": ("limit_order_optimum", 1, attack_quotes),
    "short-steps": ("short_step_optimum", 1, attack_short_steps),
    "risk-averse": ("risk_averse_optimum", 1, attack_risk_averse),
    "best-response": ("best_response", 1, attack_best_response),
    "tiers": ("best_fixed_quotes, supremum", 50, attack_tiers),
    "penalty": ("penalized_optimum", 10, attack_penalized),
    "hedging": ("hedging_optimum", 10, attack_hedging),
    "price-of-risk": ("price_of_risk", 1, attack_price_of_risk),
    "portfolio": ("hedge_matrix, least_variance", 1, attack_portfolio),
    "process": ("optimal_day, optimal_long_run", 1, attack_process),
    "electronic": ("best_table, full_information", 10, attack_electronic),
    "bars": ("bars_optimum", 20, attack_bars),
}
"""Name: functions, how many times fewer cases than asked for, and the attack."""


if __name__ == "__main__":
    main()
