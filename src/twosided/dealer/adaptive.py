"""The adaptive maker of Ganesh et al. (2019), section 4: it learns what each quote wins, and prices and hedges by it.

It keeps an empirical response table: for every ε of a grid, on each side, the mean and the mean square of the
volume won, as a share of the market's. A cell that was quoted is updated, new = (1 - β) old + β observed. With
v = v_b - v_s the net flow, s the spread PnL over S_ref(0), z the inventory and σ̂ = σ √Δ P the deviation of the
mid's next change:

    step 1    ε* = max{ε : |cost_1(ε) - min cost_1| <= δ},    cost_1(ε) = |η - E[v_b(ε) + v_s(ε)] / V_market|
    step 2    on the side that sheds inventory, the ε <= ε* that minimises
              cost_2(ε) = -S_ref(0) E[s_ε] + γ √(S_ref(0)² var[s_ε] + σ̂² E[(z + v_ε)²])
    hedge     the x that minimises  |xz| S_ref(xz) + γ √(σ̂² E[(z (1 - x) + v_ε)²])

What the paper leaves open:

- the table factors by side: given the quotes the sides are independent; E[v] in cost_1 is the gross volume;
- orders are priced as of one unit, s = r ((1 + ε_b) v_b + (1 + ε_s) v_s) with r = S_ref(1) / S_ref(0), whose moments
  are those of all books seen;
- a cell that was never quoted lies on the line between the nearest that were; the two ends start from a share that
  falls from all of a side at ε = -1 to nothing at ε = 1;
- the grid begins at -0.8: ε = -1 earns nothing, and -0.8 is the tightest quote of the paper's figure 14.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from twosided.core.numeric import Scalar
from twosided.core.policy import Policy
from twosided.core.validation import check, is_at_least, is_positive
from twosided.dealer.investors import BUY, SELL
from twosided.dealer.market import DealerAction, DealerObservation
from twosided.dealer.reference_book import Snapshot

SIDE_SHARE = 0.5
"""What one side's orders are of the market's volume, on average."""
PRIOR_DEVIATION = 0.1
"""Deviation of the share won by a quote that was never tried."""
HEDGE_GRID = 21
"""Fractions of the inventory that are compared, evenly from 0 to 1."""


class Responses(eqx.Module):
    """The empirical response table; rows are sides, columns the grid of ε."""

    mean: Float[Array, "2 grid"]
    """E[v] as a share of the market's volume."""
    square: Float[Array, "2 grid"]
    """E[v²] as a share of the square of the market's volume."""
    known: Bool[Array, "2 grid"]
    """The cell was quoted."""


class AdaptiveState(eqx.Module):
    """What the maker remembers."""

    table: Responses
    quoted: Int[Array, "2"]
    """Cells of its last quotes."""
    market_volume: Float[Array, ""]
    """V_market when the market last traded, in units."""
    ratio: Float[Array, ""]
    """Mean of r = S_ref(1) / S_ref(0) over the books seen."""
    ratio_square: Float[Array, ""]
    """Mean of r²."""
    books: Float[Array, ""]
    """How many books it has seen."""


class AdaptiveQuoter(Policy):
    """Learns what each quote wins, aims at a share of the market, and skews and hedges against its inventory."""

    share_target: Scalar = 0.5
    """η_ms, the share of the market's volume that it aims at, in [0, 1]."""
    risk_aversion: Scalar = 1.0
    """γ, what a deviation of a step's PnL costs, a number; at least 0."""
    share_tolerance: Scalar = 0.05
    """δ_tol, how far from the nearest share to its target it accepts another, in [0, 1]."""
    forgetting: Scalar = 0.35
    """β, the weight of the newest observation, in (0, 1]."""
    volatility: Scalar = 0.1
    """σ that it believes in, per square root of a year."""
    time_step: Scalar = 1 / 6552
    """Δ, years in a step."""
    tick: Scalar = 1e-4
    """Distance between two levels of the exchange's book, a fraction of the mid."""
    hedge_cost: Scalar = 1.0
    """Multiplier of the cost of hedging that it reckons with."""
    low: Scalar = -0.8
    """Smallest ε that it quotes, in [-1, 1]."""
    high: Scalar = 1.0
    """Largest ε that it quotes, in (low, 1]."""
    grid: int = eqx.field(static=True, default=10)
    """Number of ε that it chooses from, evenly from low to high."""
    internalises: bool = eqx.field(static=True, default=True)
    """Reckon with the flow to come when it hedges; if not, v_ε = 0 there (table 6)."""

    def __check_init__(self):
        for name in ("share_target", "share_tolerance"):
            value = getattr(self, name)
            check(name, value, "in [0, 1]", lambda value=value: 0 <= value <= 1)
        check("forgetting", self.forgetting, "in (0, 1]", lambda: 0 < self.forgetting <= 1)
        for name in ("risk_aversion", "volatility", "hedge_cost"):
            value = getattr(self, name)
            check(name, value, "at least 0 and finite", lambda value=value: is_at_least(value, 0))
        for name in ("time_step", "tick"):
            value = getattr(self, name)
            check(name, value, "positive and finite", lambda value=value: is_positive(value))
        check("low", self.low, "in [-1, 1]", lambda: -1 <= self.low <= 1)
        check("high", self.high, f"above low ({self.low}) and at most 1", lambda: self.low < self.high <= 1)
        check("grid", self.grid, "from 2 to 201", 2 <= self.grid <= 201)

    @property
    def epsilons(self) -> Float[Array, "grid"]:
        """The ε that it chooses from."""
        # Rounded, so that they are the numbers that others quote: only equal quotes tie.
        return jnp.round(self.low + (self.high - self.low) * jnp.arange(self.grid) / (self.grid - 1), 5) + 0.0

    def shocks(self, key, shape):
        return None

    def init(self):
        prior = jnp.tile(SIDE_SHARE * (1 - self.epsilons) / 2, (2, 1))
        known = jnp.zeros(prior.shape, bool).at[:, jnp.array([0, -1])].set(True)
        table = Responses(prior, jnp.square(prior) + PRIOR_DEVIATION**2, known)
        nothing = jnp.zeros(())
        return AdaptiveState(table, jnp.zeros(2, jnp.int32), nothing, nothing, nothing, nothing)

    def act(self, shock, memory, observation):
        memory = self._learn(memory, observation)
        book = Snapshot(observation.spread, observation.volumes, jnp.asarray(self.tick))
        mean, square = filled(memory.table)
        target = self._aim(mean.sum(0))
        mean, square = mean * memory.market_volume, square * jnp.square(memory.market_volume)
        cells = self._skew(target, mean, square, memory, observation)
        side = jnp.arange(2)
        won, deviation = mean[side, cells], square[side, cells] - jnp.square(mean[side, cells])
        hedge = self._hedge(won[BUY] - won[SELL], deviation.sum(), book, observation)

        epsilon = self.epsilons.astype(observation.mid.dtype)[cells]
        action = DealerAction(epsilon[BUY], epsilon[SELL], hedge)
        return action, eqx.tree_at(lambda m: m.quoted, memory, cells)

    def _learn(self, memory: AdaptiveState, observation: DealerObservation) -> AdaptiveState:
        """The table after what the last quotes won; a step without trades, as after a new start, tells nothing."""
        volume = jnp.asarray(observation.market_volume)
        traded = volume > 0
        won = jnp.stack([jnp.sum(observation.bought), jnp.sum(observation.sold)])
        share = won / jnp.where(traded, volume, 1.0)
        cell = jnp.arange(self.grid) == memory.quoted[:, None]
        table, weight = memory.table, jnp.where(cell & traded, self.forgetting, 0.0)
        # What a cell that was not known yet starts from is what the known ones leave of its prior.
        mean, square = filled(table)
        table = Responses(
            mean=jnp.where(cell & traded, mean, table.mean) * (1 - weight) + weight * share[:, None],
            square=jnp.where(cell & traded, square, table.square) * (1 - weight)
            + weight * jnp.square(share)[:, None],
            known=table.known | (cell & traded),
        )
        half = observation.spread / 2
        one = jnp.ones_like(half)
        ratio = Snapshot(observation.spread, observation.volumes, jnp.asarray(self.tick)).cost(one) / half
        books = memory.books + 1
        return AdaptiveState(
            table=table,
            quoted=memory.quoted,
            market_volume=jnp.where(traded, volume, memory.market_volume),
            ratio=memory.ratio + (ratio - memory.ratio) / books,
            ratio_square=memory.ratio_square + (jnp.square(ratio) - memory.ratio_square) / books,
            books=books,
        )

    def _aim(self, share: Float[Array, "grid"]) -> Int[Array, ""]:
        """Step 1: the cell of the largest ε whose share is as near to the target as any, within the tolerance."""
        cost = jnp.abs(self.share_target - share)
        near = cost - cost.min() <= self.share_tolerance
        return jnp.max(jnp.where(near, jnp.arange(self.grid), 0))

    def _skew(
        self,
        target: Int[Array, ""],
        mean: Float[Array, "2 grid"],
        square: Float[Array, "2 grid"],
        memory: AdaptiveState,
        observation: DealerObservation,
    ) -> Int[Array, "2"]:
        """Step 2: the cells of both sides, one of them lowered to shed inventory."""
        z, mid = observation.inventory, observation.mid
        shedding = jnp.where(z < 0, BUY, SELL)
        price = 1 + self.epsilons.astype(mid.dtype)
        own_mean, own_square = mean[shedding], square[shedding]
        other_mean, other_square = mean[1 - shedding, target], square[1 - shedding, target]
        sign = jnp.where(shedding == BUY, 1.0, -1.0)

        earned = price * own_mean + price[target] * other_mean
        earned_square = (
            jnp.square(price) * own_square
            + jnp.square(price[target]) * other_square
            + 2 * price * price[target] * own_mean * other_mean
        )
        spread = memory.ratio * earned
        variance = memory.ratio_square * earned_square - jnp.square(spread)
        left = z + sign * (own_mean - other_mean)
        risk = jnp.square(left) + own_square - jnp.square(own_mean) + other_square - jnp.square(other_mean)
        half = observation.spread / 2 * mid
        total = jnp.square(half) * variance + jnp.square(self._deviation(mid)) * risk
        cost = -half * spread + self.risk_aversion * jnp.sqrt(jnp.maximum(total, 0.0))
        cost = jnp.where(jnp.arange(self.grid) <= target, cost, jnp.inf)
        lowered = jnp.where(z == 0, target, jnp.argmin(cost))
        return jnp.where(jnp.arange(2) == shedding, lowered, target)

    def _hedge(
        self,
        flow: Float[Array, ""],
        variance: Float[Array, ""],
        book: Snapshot,
        observation: DealerObservation,
    ) -> Float[Array, ""]:
        """The fraction of the inventory to trade away, given the net flow that the quotes bring."""
        if not self.internalises:
            flow, variance = jnp.zeros_like(flow), jnp.zeros_like(variance)
        z, mid = observation.inventory, observation.mid
        fraction = jnp.linspace(0.0, 1.0, HEDGE_GRID, dtype=mid.dtype)
        size = fraction * jnp.abs(z)
        paid = self.hedge_cost * mid * jax.vmap(book.cost)(size)
        risk = jnp.square(z * (1 - fraction) + flow) + variance
        cost = paid + self.risk_aversion * self._deviation(mid) * jnp.sqrt(jnp.maximum(risk, 0.0))
        return fraction[jnp.argmin(cost)]

    def _deviation(self, mid: Float[Array, ""]) -> Float[Array, ""]:
        """σ̂ = σ √Δ P."""
        return self.volatility * jnp.sqrt(self.time_step) * mid


def filled(table: Responses) -> tuple[Float[Array, "2 grid"], Float[Array, "2 grid"]]:
    """Mean and mean square of every cell: a line between the nearest known ones where a cell was never quoted."""
    cells = jnp.arange(table.mean.shape[1])
    # The nearest known cell at or before each, and at or after; both ends are known from the start.
    before = jax.lax.cummax(jnp.where(table.known, cells, 0), axis=1)
    after = jax.lax.cummin(jnp.where(table.known, cells, cells[-1]), axis=1, reverse=True)
    low, high = (jnp.take_along_axis(table.mean, at, axis=1) for at in (before, after))
    line = low + (high - low) * (cells - before) / jnp.maximum(after - before, 1)
    mean = jnp.where(table.known, table.mean, line)
    return mean, jnp.where(table.known, table.square, jnp.square(line) + PRIOR_DEVIATION**2)
