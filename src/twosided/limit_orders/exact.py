"""Exact quotes of the limit-order market: optimum of the simulated market, and of its limit of short steps.

Short steps (Cartea, Jaimungal and Penalva 2015, section 10.2). Orders fill at the rate A e^{-kδ}, the midprice has
drift μ, a fill costs f, holding costs φ q² per unit of time and α q² at the close T, and -Q <= q <= Q. With h(t, q)
the value in excess of marked wealth,

    0 = ∂h/∂t + μq - φq² + Σ over sides max_δ A e^{-kδ} (δ - f + h(t, q ± 1) - h(t, q)),     h(T, q) = -αq²

so δ = 1/k + f - (h(t, q ± 1) - h(t, q)), and w = e^{kh} solves a linear equation:

    w(t) = e^{M (T - t)} e^{-kα q²},      M_qq = kμq - kφq²,  M_{q, q±1} = A e^{-1-kf}

Steps of Δ, as simulated. Both sides may fill in a step, independently, with probabilities p = 1 - exp(-A e^{-kδ} Δ):

    V_n(q) = max over δ_b, δ_a of  E[ fills' (δ - f) + g(q') ],    g(q) = μqΔ - φq²Δ + V_{n+1}(q),   V_N(q) = -αq²

The maximum over both offsets of each step is global: best_offsets.py solves one side in closed form, both by
monotone best responses and, where these leave a choice, by branch and bound, and `bound` is the sum over steps of what
the search leaves open. A step that cannot be certified is refused. The bounds on offsets hold, in the single precision
of the market. The difference of the two values is the error of the time step, O(Δ).

A maker with constant absolute risk aversion γ (Guéant, Lehalle and Fernandez-Tapia 2013, theorem 1; no drift, no fee):

    v(t) = e^{-M (T - t)} 1,   M_qq = kγσ²q²/2,  M_{q, q±1} = -A (1 + γ/k)^{-(1 + k/γ)}
    δ_b = (1/k) log(v_q / v_{q+1}) + (1/γ) log(1 + γ/k),   δ_a the same with q - 1

Both linear equations are solved with the relative accuracy of every entry of w and v, in logarithms where these exceed
the range of floating-point numbers (log_exponential.py).

Values and offsets are in currency. The answers hold for every martingale price, and for an arithmetic price with
constant drift.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from twosided.core.numeric import FloatArray
from twosided.core.optimum import NotExact
from twosided.core.policy import Policy
from twosided.core.reward import TotalPnL
from twosided.core.scenario import Scenario
from twosided.core.validation import check, is_at_least, is_positive
from twosided.limit_orders.best_offsets import StepProblem
from twosided.limit_orders.log_exponential import log_exponentials
from twosided.limit_orders.market import LimitOrderMarket, LimitOrderObservation, is_order
from twosided.limit_orders.policies import QuoteTable
from twosided.prices import Bachelier
from twosided.rewards import InventoryPenalty


@dataclass(frozen=True, eq=False)
class QuotesAndValue:
    """Quotes over time and inventory, and their value; a side without an order has an offset of `max_offset`."""

    inventory: FloatArray
    """q, in units."""
    value: FloatArray
    """Expected sum of rewards from each step on, (steps + 1, inventories); the last row is the close."""
    bid: FloatArray
    """Midprice less bid, (steps, inventories)."""
    ask: FloatArray
    """Ask less midprice, (steps, inventories)."""
    time_step: float
    """Δ, in units of time."""
    bound: float = 0.0
    """Bound on how much more a session could earn, in currency; 0 where the value is not found by a search."""

    @property
    def total(self) -> float:
        """Expected sum of rewards of a session that starts without inventory."""
        return float(self.value[0, self.inventory.size // 2])

    def require_finite(self) -> "QuotesAndValue":
        """Return self. Raises NotExact if a number is not finite in the single precision of policies."""
        most = float(np.finfo(np.float32).max)
        if not all((np.abs(x) <= most).all() for x in (self.value, self.bid, self.ask)):
            raise NotExact("the values or quotes overflow: the parameters of the market are too large")
        return self

    @property
    def policy(self) -> QuoteTable:
        """Policy that quotes by the tables."""
        single = (
            jnp.asarray(x, jnp.float32) for x in (self.inventory[0], self.time_step, self.bid, self.ask)
        )
        return QuoteTable(*single)


def limit_order_optimum(scenario: Scenario) -> QuotesAndValue:
    """Return the optimum of the simulated market, for TotalPnL or InventoryPenalty.

    No policy earns more than `value` plus `bound`, from any time and inventory. Raises NotExact, also where a step
    cannot be certified or the numbers overflow.
    """
    return _Program.of(scenario).solve().require_finite()


def short_step_optimum(scenario: Scenario) -> QuotesAndValue:
    """Return the optimum in the limit of short steps, with unbounded offsets, at the times of the steps.

    It is the solution of the linear equation, proven optimal for continuous time; nothing is searched. Raises NotExact,
    also where the numbers are too large.
    """
    return _Program.of(scenario).limit().require_finite()


def limit_order_value(scenario: Scenario, policy: Policy) -> QuotesAndValue:
    """Return the exact value of a deterministic stateless policy in the simulated market. Raises NotExact."""
    program = _Program.of(scenario)
    if jax.tree.leaves((policy.init(), policy.shocks(jax.random.key(0), ()))):
        raise NotExact(
            f"the value of {type(policy).__name__} is not known: it has a state or draws random numbers"
        )

    def act(left, inventory):
        return policy.act(None, None, LimitOrderObservation(inventory, left))[0]

    left = jnp.asarray(program.time_step * np.arange(program.steps, 0, -1), jnp.float32)
    inventory = jnp.asarray(program.inventory, jnp.float32)
    quotes = jax.vmap(jax.vmap(act, (None, 0)), (0, None))(left, inventory)
    if quotes.market_order is not None:
        raise NotExact(
            f"the value of {type(policy).__name__} is not known: it places market orders, which the limit-order market "
            "does not take"
        )
    shape = (program.steps, program.inventory.size)
    sides = (quotes.bid_offset, quotes.bid_size), (quotes.ask_offset, quotes.ask_size)
    bid, ask = (
        np.broadcast_to(
            np.where(is_order(*side, program.max_offset), np.asarray(side[0], float), program.max_offset),
            shape,
        )
        for side in sides
    )
    return program.evaluate(bid, ask).require_finite()


def risk_averse_optimum(market: LimitOrderMarket, risk_aversion: float, volatility: float) -> QuoteTable:
    """Return the quotes of a maker with constant absolute risk aversion, in the limit of short steps. Raises
    NotExact."""
    return risk_averse_solution(market, risk_aversion, volatility).policy


def risk_averse_solution(market: LimitOrderMarket, risk_aversion: float, volatility: float) -> QuotesAndValue:
    """Return the quotes of a maker with constant absolute risk aversion, in the limit of short steps.

    `value` is the certainty equivalent of what the rest of the session adds to marked wealth, (1/k) log v. Raises
    NotExact with drift or fees, and where the numbers are too large.
    """
    check("risk_aversion", risk_aversion, "positive and finite", lambda: is_positive(risk_aversion))
    check("volatility", volatility, "at least 0 and finite", lambda: is_at_least(volatility, 0))
    program = _Program.of(Scenario(market, (), horizon=max(market.session, 1)))
    if program.drift or program.fee:
        raise NotExact("the risk-averse maker's optimum is known here without drift and fees")
    decay, inventory = program.decay, program.inventory
    with np.errstate(all="ignore"):
        ratio = np.log1p(risk_aversion / decay)
        log_rate = program.log_rate - (1 + decay / risk_aversion) * ratio
        diagonal = -decay * risk_aversion * volatility**2 * inventory**2 / 2 * program.time_step
        log_v = log_exponentials(diagonal, float(log_rate), np.zeros(inventory.size), program.steps)
        # v of Guéant et al. is e^{-kθ}, here e^{kθ}: δ_b = θ(q) - θ(q + 1) + the risk-neutral part.
        value = log_v / decay
        bid, ask = program.sides(value[:-1], float(ratio / risk_aversion))
    return QuotesAndValue(inventory, value, bid, ask, program.time_step).require_finite()


@dataclass(frozen=True)
class _Program:
    """Parameters of the recursions, in float64."""

    inventory: FloatArray
    steps: int
    time_step: float
    intensity: float
    decay: float
    fee: float
    drift: float
    """μ, expected change of the midprice per unit of time."""
    running: float
    final: float
    min_offset: float
    max_offset: float

    @classmethod
    def of(cls, scenario: Scenario) -> "_Program":
        market, reward = scenario.market, scenario.reward
        if not isinstance(market, LimitOrderMarket):
            raise NotExact(
                f"the optimum of quotes is for the limit-order market, not for {type(market).__name__}"
            )
        if not 0 < market.session <= scenario.horizon:
            raise NotExact(
                f"the optimum is that of a session, which must be from 1 to the horizon of {scenario.horizon} "
                f"steps, but is {market.session}"
            )
        step = float(market.price.time_step)
        running = final = 0.0
        if isinstance(reward, InventoryPenalty):
            running, final = float(reward.running), float(reward.final)
        elif not isinstance(reward, TotalPnL):
            raise NotExact(f"no optimum of quotes is known for the reward {type(reward).__name__}")
        limit = int(market.max_inventory)
        return cls(
            inventory=np.arange(-limit, limit + 1.0),
            steps=market.session,
            time_step=step,
            intensity=float(market.fills.intensity),
            decay=float(market.fills.decay),
            fee=float(market.fee),
            drift=_drift(market),
            running=running,
            final=final,
            min_offset=float(market.min_offset),
            max_offset=float(market.max_offset),
        )

    @property
    def log_rate(self) -> float:
        """log(A Δ)."""
        return float(np.log(self.intensity) + np.log(self.time_step))

    @property
    def _holding(self) -> FloatArray:
        """Expected earnings of a position per unit of time."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.drift * self.inventory - self.running * self.inventory**2

    @property
    def _closing(self) -> FloatArray:
        with np.errstate(over="ignore"):
            return -self.final * self.inventory**2

    def limit(self) -> QuotesAndValue:
        log_rate = self.log_rate - 1 - self.decay * self.fee
        with np.errstate(all="ignore"):
            diagonal = self.decay * self._holding * self.time_step
            log_w = log_exponentials(diagonal, log_rate, self.decay * self._closing, self.steps)
        value = log_w / self.decay
        bid, ask = self.sides(value[:-1], 1 / self.decay + self.fee)
        return QuotesAndValue(self.inventory, value, bid, ask, self.time_step)

    def sides(self, value: FloatArray, alone: float) -> tuple[FloatArray, FloatArray]:
        """Return offsets on both sides from a value function, `alone` where a fill does not change the value; no
        order beyond Q."""
        bid, ask = (np.full_like(value, self.max_offset) for _ in range(2))
        bid[:, :-1] = alone + value[:, :-1] - value[:, 1:]
        ask[:, 1:] = alone + value[:, 1:] - value[:, :-1]
        return bid, ask

    def solve(self) -> QuotesAndValue:
        value, bids, asks, bound = [self._closing], [], [], 0.0
        with np.errstate(all="ignore"):
            for _ in range(self.steps):
                after = value[-1] + self._holding * self.time_step
                bid, ask, error = self._best(after)
                bids.append(bid)
                asks.append(ask)
                bound += error
                value.append(self._worth(after, bid, ask))
        return QuotesAndValue(
            self.inventory,
            np.array(value[::-1]),
            np.array(bids[::-1]),
            np.array(asks[::-1]),
            self.time_step,
            bound,
        )

    def evaluate(self, bid: FloatArray, ask: FloatArray) -> QuotesAndValue:
        """Return the quotes as the market clips them."""
        bid, ask = (np.clip(side, self.min_offset, self.max_offset) for side in (bid, ask))
        value = [self._closing]
        for n in range(self.steps - 1, -1, -1):
            value.append(self._worth(value[-1] + self._holding * self.time_step, bid[n], ask[n]))
        return QuotesAndValue(self.inventory, np.array(value[::-1]), bid, ask, self.time_step)

    def _fill_probability(self, offset: FloatArray, allowed: NDArray[np.bool_]) -> FloatArray:
        """Probability that an order fills."""
        with np.errstate(over="ignore"):
            chance = -np.expm1(-np.exp(self.log_rate - self.decay * offset))
        return np.where(allowed & (offset < self.max_offset), chance, 0.0)

    def _chances(self, bid: FloatArray, ask: FloatArray) -> tuple[FloatArray, FloatArray]:
        limit = self.inventory[-1]
        return self._fill_probability(bid, self.inventory < limit), self._fill_probability(
            ask, self.inventory > -limit
        )

    def _worth(self, after: FloatArray, bid: FloatArray, ask: FloatArray) -> FloatArray:
        """Expected earnings of a step's fills and value of the states that follow."""
        buys, sells = self._chances(bid, ask)
        up, down = np.append(after[1:], 0.0), np.append(0.0, after[:-1])
        earned = buys * (bid - self.fee) + sells * (ask - self.fee)
        moved = buys * (1 - sells) * (up - after) + sells * (1 - buys) * (down - after)
        return earned + after + moved

    def _best(self, after: FloatArray) -> tuple[FloatArray, FloatArray, float]:
        """Return the optimal offsets of both sides, and a bound on the gain from others."""
        up, down = np.append(np.diff(after), 0.0), np.append(0.0, -np.diff(after))
        # The largest offset that is below max_offset in the single precision of the market.
        most = float(np.nextafter(np.float32(self.max_offset), np.float32(-np.inf)))
        decay, limit = self.decay, self.inventory[-1]
        best = StepProblem(self.log_rate, decay * self.min_offset, decay * most).solve(
            decay * (up - self.fee),
            decay * (down - self.fee),
            -decay * (up + down),
            self.inventory < limit,
            self.inventory > -limit,
        )
        bid, ask = (
            np.where(np.isfinite(y), np.clip(y / decay, self.min_offset, most), self.max_offset)
            for y in (best.bid, best.ask)
        )
        return bid, ask, float(best.error.max()) / decay


def _drift(market: LimitOrderMarket) -> float:
    """Return the expected change of the midprice per unit of time. Raises NotExact if it depends on the state."""
    price = market.price
    if isinstance(price, Bachelier):
        return float(price.drift)
    if float(price.change_moments(price.reset(price.shocks(jax.random.key(0), ()))).mean):
        raise NotExact(f"the optimum is known for a {type(price).__name__} price without drift")
    return 0.0
