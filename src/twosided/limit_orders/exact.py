"""The optimum of the limit-order market: of the simulated market step by step, and of its limit of short steps.

Short steps (Cartea, Jaimungal and Penalva 2015, section 10.2). Orders fill at the rate A e^{-kδ}, the mid has drift μ,
a fill costs f, holding costs φ q² a unit of time and α q² at the close T, and -Q <= q <= Q. With h(t, q) the value over
the marked wealth,

    0 = ∂h/∂t + μq - φq² + Σ over sides max_δ A e^{-kδ} (δ - f + h(t, q ± 1) - h(t, q)),     h(T, q) = -αq²

so δ = 1/k + f - (h(t, q ± 1) - h(t, q)), and w = e^{kh} solves a linear equation:

    w(t) = e^{M (T - t)} e^{-kα q²},      M_qq = kμq - kφq²,  M_{q, q±1} = A e^{-1-kf}

Steps of Δ, as simulated. Both sides may fill in a step, with chances p = 1 - exp(-A e^{-kδ} Δ) that are independent:

    V_n(q) = max over δ_b, δ_a of  E[ fills' (δ - f) + g(q') ],    g(q) = μqΔ - φq²Δ + V_{n+1}(q),   V_N(q) = -αq²

On one side, with c what a fill changes g by on average over the other side, p (δ - f + c) is largest where
(e^x - 1)/x = k (δ - f + c), x = A e^{-kδ} Δ: a concave equation in δ, solved by Newton's method; the sides in turn
until they agree. The bounds on offsets hold. The difference of the two values is the error of the time step: O(Δ).

A maker of constant absolute aversion γ to risk (Guéant, Lehalle and Fernandez-Tapia 2013, theorem 1; no drift, no fee):

    v(t) = e^{-M (T - t)} 1,   M_qq = kγσ²q²/2,  M_{q, q±1} = -A (1 + γ/k)^{-(1 + k/γ)}
    δ_b = (1/k) log(v_q / v_{q+1}) + (1/γ) log(1 + γ/k),   δ_a the same with q - 1

Values and offsets in currency. What holds for every martingale price and constant drift of an arithmetic one is exact
to rounding in float64.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from twosided.core.optimum import NotExact
from twosided.core.policy import Policy
from twosided.core.reward import TotalPnL
from twosided.core.scenario import Scenario
from twosided.core.validation import check, is_positive
from twosided.limit_orders.market import LimitOrderMarket, LimitOrderObservation, is_order
from twosided.limit_orders.policies import QuoteTable
from twosided.prices import Bachelier
from twosided.rewards import InventoryPenalty

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Quoting:
    """What a maker that quotes by a table is worth, step by step; sides without an order have an offset of
    `max_offset`."""

    inventory: Array
    """q, in units."""
    value: Array
    """[step, q]: sum of rewards from the step on; the last row is the close."""
    bid: Array
    """[step, q]: offsets below the mid."""
    ask: Array
    """[step, q]: offsets above it."""
    time_step: float
    """Δ."""

    @property
    def total(self) -> float:
        """Of a session from no inventory."""
        return float(self.value[0, self.inventory.size // 2])

    @property
    def policy(self) -> QuoteTable:
        """What plays it."""
        single = (
            jnp.asarray(x, jnp.float32) for x in (self.inventory[0], self.time_step, self.bid, self.ask)
        )
        return QuoteTable(*single)


def limit_order_optimum(scenario: Scenario) -> Quoting:
    """The optimum of the simulated market, for TotalPnL or InventoryPenalty. Raises NotExact."""
    return _Program.of(scenario).solve()


def short_step_optimum(scenario: Scenario) -> Quoting:
    """The optimum in the limit of short steps, offsets without bounds, at the times of the steps. Raises NotExact."""
    return _Program.of(scenario).limit()


def limit_order_value(scenario: Scenario, policy: Policy) -> Quoting:
    """What a policy that has no memory and draws nothing earns in the simulated market, exactly. Raises NotExact."""
    program = _Program.of(scenario)
    if jax.tree.leaves((policy.init(), policy.shocks(jax.random.key(0), ()))):
        raise NotExact(f"the value of {type(policy).__name__}, which remembers or draws, is not a table's")

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
    return program.judge(bid, ask)


def risk_averse_optimum(market: LimitOrderMarket, risk_aversion: float, volatility: float) -> QuoteTable:
    """The quotes of a maker of constant absolute aversion to risk, in the limit of short steps. Raises NotExact."""
    check("risk_aversion", risk_aversion, "positive and finite", lambda: is_positive(risk_aversion))
    program = _Program.of(Scenario(market, (), horizon=max(market.session, 1)))
    if program.drift or program.fee:
        raise NotExact("the risk-averse maker's optimum is known here without drift and fees")
    decay, inventory = program.decay, program.inventory
    ratio = np.log1p(risk_aversion / decay)
    rate = program.intensity * np.exp(-(1 + decay / risk_aversion) * ratio)
    generator = _tridiagonal(-decay * risk_aversion * volatility**2 * inventory**2 / 2, rate)
    log_v = _log_exponentials(generator * program.time_step, np.zeros(inventory.size), program.steps)
    # What is worth v = e^{-k θ} of Guéant et al. here is e^{kθ}: δ_b = θ(q) - θ(q + 1) + the risk-neutral part.
    bid, ask = program.sides(log_v[:-1] / decay, ratio / risk_aversion)
    return Quoting(inventory, log_v, bid, ask, program.time_step).policy


@dataclass(frozen=True)
class _Program:
    """All that the recursions need."""

    inventory: Array
    steps: int
    time_step: float
    intensity: float
    decay: float
    fee: float
    drift: float
    """E of the mid's change, a unit of time."""
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
            # The reward's own Δ weighs its running penalty, whatever the market's.
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
    def _holding(self) -> Array:
        """What a position earns in a unit of time."""
        return self.drift * self.inventory - self.running * self.inventory**2

    @property
    def _closing(self) -> Array:
        return -self.final * self.inventory**2

    def limit(self) -> Quoting:
        rate = self.intensity * np.exp(-1 - self.decay * self.fee)
        generator = _tridiagonal(self.decay * self._holding, rate)
        log_w = _log_exponentials(generator * self.time_step, self.decay * self._closing, self.steps)
        value = log_w / self.decay
        bid, ask = self.sides(value[:-1], 1 / self.decay + self.fee)
        return Quoting(self.inventory, value, bid, ask, self.time_step)

    def sides(self, value: Array, alone: float) -> tuple[Array, Array]:
        """Offsets on both sides from a value function, `alone` where a fill changes nothing; none beyond Q."""
        bid, ask = (np.full_like(value, self.max_offset) for _ in range(2))
        bid[:, :-1] = alone + value[:, :-1] - value[:, 1:]
        ask[:, 1:] = alone + value[:, 1:] - value[:, :-1]
        return bid, ask

    def solve(self) -> Quoting:
        value, bids, asks = [self._closing], [], []
        for _ in range(self.steps):
            after = value[-1] + self._holding * self.time_step
            bid, ask = self._best(after)
            bids.append(bid)
            asks.append(ask)
            value.append(self._worth(after, bid, ask))
        return Quoting(
            self.inventory, np.array(value[::-1]), np.array(bids[::-1]), np.array(asks[::-1]), self.time_step
        )

    def judge(self, bid: Array, ask: Array) -> Quoting:
        """Quotes as the market takes them."""
        bid, ask = (np.clip(side, self.min_offset, self.max_offset) for side in (bid, ask))
        value = [self._closing]
        for n in range(self.steps - 1, -1, -1):
            value.append(self._worth(value[-1] + self._holding * self.time_step, bid[n], ask[n]))
        return Quoting(self.inventory, np.array(value[::-1]), bid, ask, self.time_step)

    def _chance(self, offset: Array, allowed: NDArray[np.bool_]) -> Array:
        """That an order fills."""
        chance = -np.expm1(-self.intensity * self.time_step * np.exp(-self.decay * offset))
        return np.where(allowed & (offset < self.max_offset), chance, 0.0)

    def _chances(self, bid: Array, ask: Array) -> tuple[Array, Array]:
        limit = self.inventory[-1]
        return self._chance(bid, self.inventory < limit), self._chance(ask, self.inventory > -limit)

    def _worth(self, after: Array, bid: Array, ask: Array) -> Array:
        """E of a step's fills and of what follows them."""
        buys, sells = self._chances(bid, ask)
        up, down = np.append(after[1:], 0.0), np.append(0.0, after[:-1])
        earned = buys * (bid - self.fee) + sells * (ask - self.fee)
        moved = buys * (1 - sells) * (up - after) + sells * (1 - buys) * (down - after)
        return earned + after + moved

    def _best(self, after: Array) -> tuple[Array, Array]:
        """The best offsets on both sides, in turn until they agree."""
        up, down = np.append(np.diff(after), 0.0), np.append(0.0, -np.diff(after))
        bid = ask = np.full_like(after, self.max_offset)
        for _ in range(MOST_TURNS):
            before, (buys, _) = bid, self._chances(bid, ask)
            ask = self._side((1 - buys) * down - buys * up)
            _, sells = self._chances(bid, ask)
            bid = self._side((1 - sells) * up - sells * down)
            if np.abs(bid - before).max() < AGREED:
                break
        bid[-1] = ask[0] = self.max_offset
        return bid, ask

    def _side(self, gain: Array) -> Array:
        """argmax of p(δ) (δ - f + gain): Newton's method from the left, where a concave equation never overshoots."""
        net = self.decay * (gain - self.fee)
        y = np.maximum(1 - net, self.decay * self.min_offset)
        for _ in range(MOST_TURNS):
            x = self.intensity * self.time_step * np.exp(-y)
            ratio = np.expm1(x) / x
            step = (ratio - y - net) / (1 + np.exp(x) - ratio)
            y = np.maximum(y + step, self.decay * self.min_offset)
            if np.abs(step).max() < AGREED:
                break
        most = float(np.nextafter(np.float32(self.max_offset), np.float32(-np.inf)))
        offset = np.minimum(y / self.decay, most)
        return np.where(offset - self.fee + gain > 0, offset, self.max_offset)


MOST_TURNS = 100
"""Far more than Newton's method takes."""
AGREED = 1e-13
"""Where offsets are taken to have settled."""


def _drift(market: LimitOrderMarket) -> float:
    """E of the mid's change in a unit of time, if it is the same in every state."""
    price = market.price
    if isinstance(price, Bachelier):
        return float(price.drift)
    if float(price.change_moments(price.reset(price.shocks(jax.random.key(0), ()))).mean):
        raise NotExact(f"the optimum is known for a {type(price).__name__} price without drift")
    return 0.0


def _tridiagonal(diagonal: Array, off: float) -> Array:
    size = diagonal.size
    return np.diag(diagonal) + off * (np.eye(size, k=1) + np.eye(size, k=-1))


def _log_exponentials(generator: Array, log_end: Array, steps: int) -> Array:
    """log of e^{n M} e^{log_end} for n = steps, ..., 0, a row each."""
    one = expm(generator)
    rows = [log_end]
    for _ in range(steps):
        # The largest is taken out, so that nothing grows beyond a number.
        most = rows[-1].max()
        rows.append(most + np.log(one @ np.exp(rows[-1] - most)))
    return np.array(rows[::-1])
