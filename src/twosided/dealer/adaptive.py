"""The adaptive market maker of Ganesh et al. (2019), section 4.

The maker keeps an empirical response table: for each side and each ε of a grid, the mean and the mean square of the
volume won, as shares of the market volume. The cell that was quoted is updated with the forgetting factor β,
new = (1 - β) old + β observed. Let v_b and v_s be the volumes bought and sold, v = v_b - v_s the net flow, s the
spread PnL divided by S_ref(0), z the inventory and σ̂ = σ √Δ P the standard deviation of the next change of the
midprice:

    step 1    ε* = max{ε : |cost_1(ε) - min cost_1| <= δ_tol},    cost_1(ε) = |η_ms - E[v_b(ε) + v_s(ε)] / V_market|
    step 2    on the side that reduces |z|, the ε <= ε* that minimises
              cost_2(ε) = -S_ref(0) E[s_ε] + γ √(S_ref(0)² var[s_ε] + σ̂² E[(z + v_ε)²])
    hedging   the x that minimises  cost_hedge(x) = |xz| S_ref(xz) + γ √(σ̂² E[(z (1 - x) + v_ε)²])

Choices that the paper leaves open:

- The table has one row per side, because the two sides are independent given the quotes. E[v] in cost_1 is the gross
  volume.
- Every order is priced as one unit, s = r ((1 + ε_b) v_b + (1 + ε_s) v_s) with r = S_ref(1) / S_ref(0). The moments
  of r are averages over all books observed so far.
- The mean of a cell that was never quoted is interpolated linearly between the nearest quoted cells. The first and
  the last cell start from a prior whose share falls linearly in ε, from all of a side at ε = -1 to 0 at ε = 1.
- The grid starts at -0.8: ε = -1 earns nothing, and -0.8 is the tightest quote in figure 14 of the paper.
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
"""Mean share of the market volume on one side."""
PRIOR_STD = 0.1
"""Standard deviation of the share won in a cell that was never quoted."""
NUM_HEDGE_FRACTIONS = 21
"""Number of hedge fractions x compared, evenly spaced from 0 to 1."""


class ResponseTable(eqx.Module):
    """Empirical response table; one row per side (BUY, SELL), one column per ε of the grid."""

    mean: Float[Array, "2 grid"]
    """E[v], as a share of the market volume."""
    mean_square: Float[Array, "2 grid"]
    """E[v²], as a share of the squared market volume."""
    known: Bool[Array, "2 grid"]
    """Whether the cell has been quoted; the first and the last column count as known from the start."""


class AdaptiveState(eqx.Module):
    """Policy state of the adaptive market maker."""

    table: ResponseTable
    """Empirical response table."""
    quoted: Int[Array, "2"]
    """Columns of the last quotes, one per side."""
    market_volume: Float[Array, ""]
    """V_market of the last step with trades, in units of trade."""
    ratio: Float[Array, ""]
    """Mean of r = S_ref(1) / S_ref(0) over the books observed."""
    ratio_square: Float[Array, ""]
    """Mean of r² over the books observed."""
    num_books: Float[Array, ""]
    """Number of books observed."""


class AdaptiveQuoter(Policy):
    """Adaptive market maker: targets a market share, skews its quotes to internalise, and hedges (section 4)."""

    market_share_target: Scalar = 0.5
    """η_ms, target share of the market volume, in [0, 1]."""
    risk_aversion: Scalar = 1.0
    """γ, weight of the standard deviation in the cost functions, dimensionless, at least 0."""
    market_share_tolerance: Scalar = 0.05
    """δ_tol, tolerance of step 1 on the market share, in [0, 1]."""
    forgetting_factor: Scalar = 0.35
    """β, weight of the newest observation in the response table, in (0, 1]."""
    volatility: Scalar = 0.1
    """σ, the maker's estimate of the midprice volatility, per square root of a year."""
    time_step: Scalar = 1 / 6552
    """Δ, length of a step in years."""
    tick: Scalar = 1e-4
    """Distance between neighbouring levels of the exchange's book, as a fraction of the mid."""
    hedge_cost: Scalar = 1.0
    """Multiplier of the cost of hedging that the maker assumes."""
    low: Scalar = -0.8
    """Smallest ε of the grid, in [-1, 1]."""
    high: Scalar = 1.0
    """Largest ε of the grid, in (low, 1]."""
    grid_size: int = eqx.field(static=True, default=10)
    """Number of ε in the grid, evenly spaced from low to high."""
    internalize: bool = eqx.field(static=True, default=True)
    """Account for the expected client flow v_ε when hedging; false sets v_ε = 0 in cost_hedge, as in table 6."""

    def __check_init__(self):
        for name in ("market_share_target", "market_share_tolerance"):
            value = getattr(self, name)
            check(name, value, "in [0, 1]", lambda value=value: 0 <= value <= 1)
        factor = self.forgetting_factor
        check("forgetting_factor", factor, "in (0, 1]", lambda: 0 < factor <= 1)
        for name in ("risk_aversion", "volatility", "hedge_cost"):
            value = getattr(self, name)
            check(name, value, "at least 0 and finite", lambda value=value: is_at_least(value, 0))
        for name in ("time_step", "tick"):
            value = getattr(self, name)
            check(name, value, "positive and finite", lambda value=value: is_positive(value))
        check("low", self.low, "in [-1, 1]", lambda: -1 <= self.low <= 1)
        check("high", self.high, f"above low ({self.low}) and at most 1", lambda: self.low < self.high <= 1)
        check("grid_size", self.grid_size, "from 2 to 201", 2 <= self.grid_size <= 201)

    @property
    def epsilons(self) -> Float[Array, "grid"]:
        """The grid of ε."""
        # Rounded to the decimals that other makers quote, because quotes tie only if they are equal.
        width, last = self.high - self.low, self.grid_size - 1
        return jnp.round(self.low + width * jnp.arange(self.grid_size) / last, 5) + 0.0

    def shocks(self, key, shape):
        return None

    def init(self):
        prior = jnp.tile(SIDE_SHARE * (1 - self.epsilons) / 2, (2, 1))
        known = jnp.zeros(prior.shape, bool).at[:, jnp.array([0, -1])].set(True)
        table = ResponseTable(prior, jnp.square(prior) + PRIOR_STD**2, known)
        zero = jnp.zeros(())
        return AdaptiveState(table, jnp.zeros(2, jnp.int32), zero, zero, zero, zero)

    def act(self, shock, state, observation):
        state = self.update(state, observation)
        book = Snapshot(observation.spread, observation.volumes, jnp.asarray(self.tick))
        mean, mean_square = interpolated(state.table)
        target = self.unskewed_cell(mean.sum(0))
        mean, mean_square = mean * state.market_volume, mean_square * jnp.square(state.market_volume)
        cells = self._skewed_cells(target, mean, mean_square, state, observation)
        side = jnp.arange(2)
        won, variance = mean[side, cells], mean_square[side, cells] - jnp.square(mean[side, cells])
        hedge = self._hedge_fraction(won[BUY] - won[SELL], variance.sum(), book, observation)

        epsilon = self.epsilons.astype(observation.mid.dtype)[cells]
        action = DealerAction(epsilon[BUY], epsilon[SELL], hedge)
        return action, eqx.tree_at(lambda s: s.quoted, state, cells)

    def update(self, state: AdaptiveState, observation: DealerObservation) -> AdaptiveState:
        """Return the policy state after an observation: the volumes won by the last quotes, and a new book.

        A step without trades, such as the first of an episode, leaves the response table unchanged.
        """
        volume = jnp.asarray(observation.market_volume)
        traded = volume > 0
        won = jnp.stack([jnp.sum(observation.bought), jnp.sum(observation.sold)])
        share = won / jnp.where(traded, volume, 1.0)
        updated = (jnp.arange(self.grid_size) == state.quoted[:, None]) & traded
        table, weight = state.table, jnp.where(updated, self.forgetting_factor, 0.0)
        # A cell quoted for the first time starts from its interpolated value.
        mean, mean_square = interpolated(table)
        table = ResponseTable(
            mean=jnp.where(updated, mean, table.mean) * (1 - weight) + weight * share[:, None],
            mean_square=jnp.where(updated, mean_square, table.mean_square) * (1 - weight)
            + weight * jnp.square(share)[:, None],
            known=table.known | updated,
        )
        half_spread = observation.spread / 2
        one = jnp.ones_like(half_spread)
        unit_cost = Snapshot(observation.spread, observation.volumes, jnp.asarray(self.tick)).cost(one)
        ratio = unit_cost / half_spread
        num_books = state.num_books + 1
        return AdaptiveState(
            table=table,
            quoted=state.quoted,
            market_volume=jnp.where(traded, volume, state.market_volume),
            ratio=state.ratio + (ratio - state.ratio) / num_books,
            ratio_square=state.ratio_square + (jnp.square(ratio) - state.ratio_square) / num_books,
            num_books=num_books,
        )

    def unskewed_cell(self, share: Float[Array, "grid"]) -> Int[Array, ""]:
        """Step 1: return the column of ε*, given the expected market share E[v_b(ε) + v_s(ε)] / V_market of each ε."""
        cost = jnp.abs(self.market_share_target - share)
        within_tolerance = cost - cost.min() <= self.market_share_tolerance
        return jnp.max(jnp.where(within_tolerance, jnp.arange(self.grid_size), 0))

    def _skewed_cells(
        self,
        target: Int[Array, ""],
        mean: Float[Array, "2 grid"],
        mean_square: Float[Array, "2 grid"],
        state: AdaptiveState,
        observation: DealerObservation,
    ) -> Int[Array, "2"]:
        """Step 2: the columns quoted on both sides; cost_2 is minimised on the side that reduces |z|."""
        z, mid = observation.inventory, observation.mid
        skewed = jnp.where(z < 0, BUY, SELL)
        price = 1 + self.epsilons.astype(mid.dtype)
        own_mean, own_square = mean[skewed], mean_square[skewed]
        other_mean, other_square = mean[1 - skewed, target], mean_square[1 - skewed, target]
        sign = jnp.where(skewed == BUY, 1.0, -1.0)

        margin = price * own_mean + price[target] * other_mean
        margin_square = (
            jnp.square(price) * own_square
            + jnp.square(price[target]) * other_square
            + 2 * price * price[target] * own_mean * other_mean
        )
        spread_mean = state.ratio * margin
        spread_variance = state.ratio_square * margin_square - jnp.square(spread_mean)
        inventory_mean = z + sign * (own_mean - other_mean)
        inventory_square = (
            jnp.square(inventory_mean)
            + own_square
            - jnp.square(own_mean)
            + other_square
            - jnp.square(other_mean)
        )
        half_spread = observation.spread / 2 * mid
        variance = (
            jnp.square(half_spread) * spread_variance + jnp.square(self._price_std(mid)) * inventory_square
        )
        cost = -half_spread * spread_mean + self.risk_aversion * jnp.sqrt(jnp.maximum(variance, 0.0))
        cost = jnp.where(jnp.arange(self.grid_size) <= target, cost, jnp.inf)
        cell = jnp.where(z == 0, target, jnp.argmin(cost))
        return jnp.where(jnp.arange(2) == skewed, cell, target)

    def _hedge_fraction(
        self,
        flow_mean: Float[Array, ""],
        flow_variance: Float[Array, ""],
        book: Snapshot,
        observation: DealerObservation,
    ) -> Float[Array, ""]:
        """The x that minimises cost_hedge, given the mean and the variance of the net flow v_ε of the quotes."""
        if not self.internalize:
            flow_mean, flow_variance = jnp.zeros_like(flow_mean), jnp.zeros_like(flow_variance)
        z, mid = observation.inventory, observation.mid
        fraction = jnp.linspace(0.0, 1.0, NUM_HEDGE_FRACTIONS, dtype=mid.dtype)
        size = fraction * jnp.abs(z)
        hedge_cost = self.hedge_cost * mid * jax.vmap(book.cost)(size)
        inventory_square = jnp.square(z * (1 - fraction) + flow_mean) + flow_variance
        risk = self.risk_aversion * self._price_std(mid) * jnp.sqrt(jnp.maximum(inventory_square, 0.0))
        return fraction[jnp.argmin(hedge_cost + risk)]

    def _price_std(self, mid: Float[Array, ""]) -> Float[Array, ""]:
        """σ̂ = σ √Δ P."""
        return self.volatility * jnp.sqrt(self.time_step) * mid


def interpolated(table: ResponseTable) -> tuple[Float[Array, "2 grid"], Float[Array, "2 grid"]]:
    """Return mean and mean square of every cell, interpolated linearly between known cells where it is not known."""
    cells = jnp.arange(table.mean.shape[1])
    # The nearest known cell at or before each, and at or after; both ends are known from the start.
    before = jax.lax.cummax(jnp.where(table.known, cells, 0), axis=1)
    after = jax.lax.cummin(jnp.where(table.known, cells, cells[-1]), axis=1, reverse=True)
    low, high = (jnp.take_along_axis(table.mean, at, axis=1) for at in (before, after))
    line = low + (high - low) * (cells - before) / jnp.maximum(after - before, 1)
    mean = jnp.where(table.known, table.mean, line)
    return mean, jnp.where(table.known, table.mean_square, jnp.square(line) + PRIOR_STD**2)
