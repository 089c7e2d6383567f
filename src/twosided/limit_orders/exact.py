"""Exact quotes of the limit-order market: optimum of the simulated market, and of its limit of short steps.

Short steps (Cartea, Jaimungal and Penalva 2015, section 10.2). Orders fill at the rate A e^{-kδ}, the midprice has
drift μ, a fill costs f, holding costs φ q² per unit of time and α q² at the close T, and -Q <= q <= Q. With h(t, q)
the value in excess of marked wealth,

    0 = ∂h/∂t + μq - φq² + Σ over sides max_δ A e^{-kδ} (δ - f + h(t, q ± 1) - h(t, q)),     h(T, q) = -αq²

so δ = 1/k + f - (h(t, q ± 1) - h(t, q)), and w = e^{kh} solves a linear equation:

    w(t) = e^{M (T - t)} e^{-kα q²},      M_qq = kμq - kφq²,  M_{q, q±1} = A e^{-1-kf}

Steps of Δ, as simulated. Both sides may fill in a step, independently, with probabilities p = 1 - exp(-A e^{-kδ} Δ):

    V_n(q) = max over δ_b, δ_a of  E[ fills' (δ - f) + g(q') ],    g(q) = μqΔ - φq²Δ + V_{n+1}(q),   V_N(q) = -αq²

On one side, let c be the change of g by a fill, averaged over the other side. Then p (δ - f + c) is largest where
(e^x - 1)/x = k (δ - f + c) with x = A e^{-kδ} Δ, a concave equation in δ that Newton's method solves; the sides are
optimised in turn until they agree. The bounds on offsets hold. The difference of the two values is the error of the
time step, O(Δ).

A maker with constant absolute risk aversion γ (Guéant, Lehalle and Fernandez-Tapia 2013, theorem 1; no drift, no fee):

    v(t) = e^{-M (T - t)} 1,   M_qq = kγσ²q²/2,  M_{q, q±1} = -A (1 + γ/k)^{-(1 + k/γ)}
    δ_b = (1/k) log(v_q / v_{q+1}) + (1/γ) log(1 + γ/k),   δ_a the same with q - 1

Values and offsets are in currency. The answers hold for every martingale price, and for an arithmetic price with
constant drift.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from twosided.core.numeric import FloatArray
from twosided.core.optimum import NotExact
from twosided.core.policy import Policy
from twosided.core.reward import TotalPnL
from twosided.core.scenario import Scenario
from twosided.core.validation import check, is_positive
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

    @property
    def total(self) -> float:
        """Expected sum of rewards of a session that starts without inventory."""
        return float(self.value[0, self.inventory.size // 2])

    @property
    def policy(self) -> QuoteTable:
        """Policy that quotes by the tables."""
        single = (
            jnp.asarray(x, jnp.float32) for x in (self.inventory[0], self.time_step, self.bid, self.ask)
        )
        return QuoteTable(*single)


def limit_order_optimum(scenario: Scenario) -> QuotesAndValue:
    """Return the optimum of the simulated market, for TotalPnL or InventoryPenalty. Raises NotExact."""
    return _Program.of(scenario).solve()


def short_step_optimum(scenario: Scenario) -> QuotesAndValue:
    """Return the optimum in the limit of short steps, with unbounded offsets, at the times of the steps. Raises
    NotExact."""
    return _Program.of(scenario).limit()


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
    return program.evaluate(bid, ask)


def risk_averse_optimum(market: LimitOrderMarket, risk_aversion: float, volatility: float) -> QuoteTable:
    """Return the quotes of a maker with constant absolute risk aversion, in the limit of short steps. Raises
    NotExact."""
    check("risk_aversion", risk_aversion, "positive and finite", lambda: is_positive(risk_aversion))
    program = _Program.of(Scenario(market, (), horizon=max(market.session, 1)))
    if program.drift or program.fee:
        raise NotExact("the risk-averse maker's optimum is known here without drift and fees")
    decay, inventory = program.decay, program.inventory
    ratio = np.log1p(risk_aversion / decay)
    rate = program.intensity * np.exp(-(1 + decay / risk_aversion) * ratio)
    generator = _tridiagonal(-decay * risk_aversion * volatility**2 * inventory**2 / 2, rate)
    log_v = _log_exponentials(generator * program.time_step, np.zeros(inventory.size), program.steps)
    # v of Guéant et al. is e^{-kθ}, here e^{kθ}: δ_b = θ(q) - θ(q + 1) + the risk-neutral part.
    bid, ask = program.sides(log_v[:-1] / decay, ratio / risk_aversion)
    return QuotesAndValue(inventory, log_v, bid, ask, program.time_step).policy


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
            # The running penalty is weighted by the reward's own time step.
            running, final = float(reward.running * reward.time_step) / step, float(reward.final)
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
    def _holding(self) -> FloatArray:
        """Expected earnings of a position per unit of time."""
        return self.drift * self.inventory - self.running * self.inventory**2

    @property
    def _closing(self) -> FloatArray:
        return -self.final * self.inventory**2

    def limit(self) -> QuotesAndValue:
        rate = self.intensity * np.exp(-1 - self.decay * self.fee)
        generator = _tridiagonal(self.decay * self._holding, rate)
        log_w = _log_exponentials(generator * self.time_step, self.decay * self._closing, self.steps)
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
        value, bids, asks = [self._closing], [], []
        for _ in range(self.steps):
            after = value[-1] + self._holding * self.time_step
            bid, ask = self._best(after)
            bids.append(bid)
            asks.append(ask)
            value.append(self._worth(after, bid, ask))
        return QuotesAndValue(
            self.inventory, np.array(value[::-1]), np.array(bids[::-1]), np.array(asks[::-1]), self.time_step
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
        chance = -np.expm1(-self.intensity * self.time_step * np.exp(-self.decay * offset))
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

    def _best(self, after: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Optimise the offsets of both sides in turn until they agree."""
        up, down = np.append(np.diff(after), 0.0), np.append(0.0, -np.diff(after))
        bid = ask = np.full_like(after, self.max_offset)
        for _ in range(MAX_ITERATIONS):
            before, (buys, _) = bid, self._chances(bid, ask)
            ask = self._side((1 - buys) * down - buys * up)
            _, sells = self._chances(bid, ask)
            bid = self._side((1 - sells) * up - sells * down)
            if np.abs(bid - before).max() < TOLERANCE:
                break
        bid[-1] = ask[0] = self.max_offset
        return bid, ask

    def _side(self, gain: FloatArray) -> FloatArray:
        """Return argmax of p(δ) (δ - f + gain) by Newton's method from the left, which never overshoots a
        concave equation."""
        net = self.decay * (gain - self.fee)
        y = np.maximum(1 - net, self.decay * self.min_offset)
        for _ in range(MAX_ITERATIONS):
            x = self.intensity * self.time_step * np.exp(-y)
            ratio = np.expm1(x) / x
            step = (ratio - y - net) / (1 + np.exp(x) - ratio)
            y = np.maximum(y + step, self.decay * self.min_offset)
            if np.abs(step).max() < TOLERANCE:
                break
        most = float(np.nextafter(np.float32(self.max_offset), np.float32(-np.inf)))
        offset = np.minimum(y / self.decay, most)
        return np.where(offset - self.fee + gain > 0, offset, self.max_offset)


MAX_ITERATIONS = 100
"""Largest number of iterations; Newton's method takes far fewer."""
TOLERANCE = 1e-13
"""Largest change of converged offsets, in currency."""


def _drift(market: LimitOrderMarket) -> float:
    """Return the expected change of the midprice per unit of time. Raises NotExact if it depends on the state."""
    price = market.price
    if isinstance(price, Bachelier):
        return float(price.drift)
    if float(price.change_moments(price.reset(price.shocks(jax.random.key(0), ()))).mean):
        raise NotExact(f"the optimum is known for a {type(price).__name__} price without drift")
    return 0.0


def _tridiagonal(diagonal: FloatArray, off: float) -> FloatArray:
    size = diagonal.size
    return np.diag(diagonal) + off * (np.eye(size, k=1) + np.eye(size, k=-1))


def _log_exponentials(generator: FloatArray, log_end: FloatArray, steps: int) -> FloatArray:
    """Return log(e^{n M} e^{log_end}) for n = steps, ..., 0, one row each."""
    one = expm(generator)
    rows = [log_end]
    for _ in range(steps):
        # Rescale by the largest entry, so that nothing overflows.
        most = rows[-1].max()
        rows.append(most + np.log(one @ np.exp(rows[-1] - most)))
    return np.array(rows[::-1])
