"""Reward of Gore (2025) for a market maker on bars: cash flow, inventory PnL, and a penalty on large inventory.

    r_t = cash flow + q' (C_{t+1} - C_t) - (high - low) |m| - w min(1, mean q / mean threshold)

    threshold = d |cash / mean mid|,   d = cash / (q C), or 0.5 where q = 0

with m the units of the market order and mid (high + low) / 2. Means are over the episode so far; they include the
initial inventory and midprice, and an initial threshold of 0.5. Cash flow is cash received less cash paid, so the
reward is reduced by the full price of a purchase. With `marked`, total PnL replaces the first two terms.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from twosided.core.numeric import Scalar
from twosided.core.reward import Reward
from twosided.core.validation import check, is_at_least


class ThresholdState(eqx.Module):
    """Sums over the episode so far."""

    steps: Float[Array, ""]
    """Number of terms of the sums; 0 before the first step."""
    inventory: Float[Array, ""]
    """Sum of inventories, in units."""
    threshold: Float[Array, ""]
    """Sum of thresholds."""
    mid: Float[Array, ""]
    """Sum of the initial midprice and of (high + low) / 2, in currency."""


class ThresholdPenalty(Reward):
    """Cash flow and inventory PnL, less a cost of market orders and a penalty on large inventory; for bars with an
    unscaled observation."""

    weight: Scalar = 0.2
    """w, largest penalty on inventory per step, in currency (AIIF in the paper)."""
    marked: bool = eqx.field(static=True, default=False)
    """Use total PnL instead of cash flow plus inventory PnL."""

    def __check_init__(self):
        check("weight", self.weight, "at least 0 and finite", lambda: is_at_least(self.weight, 0))

    def init(self):
        nothing = jnp.zeros(())
        return ThresholdState(nothing, nothing, nothing, nothing)

    def __call__(self, state, transition, seat):
        observed = transition.observation
        if observed.close is None:
            raise AttributeError(
                "threshold-penalty needs unscaled prices and cash: market.scaled must be false"
            )
        high, low, close, cash = (
            leaf[seat] for leaf in (observed.high, observed.low, observed.close, observed.cash)
        )
        held, inventory = transition.held[seat], transition.inventory[seat]
        ordered = inventory - held - transition.bought[seat] + transition.sold[seat]

        # The sums start with the values at the start of the episode.
        initial = ThresholdState(
            jnp.ones_like(held), held, jnp.full_like(held, 0.5), transition.quotes.mid[seat]
        )
        before = jax.tree.map(lambda a, b: jnp.where(state.steps == 0, a, b), initial, state)
        steps, inventories = before.steps + 1, before.inventory + inventory
        mids = before.mid + (high + low) / 2
        value = jnp.where(inventory == 0, 1.0, inventory * close)
        ratio = jnp.where(inventory == 0, 0.5, cash / value)
        thresholds = before.threshold + ratio * jnp.abs(cash / (mids / steps))
        # The ratio of sums over the same steps is that of the means. At a threshold of 0 the penalty is w.
        excess = jnp.where(thresholds == 0, 1.0, inventories / jnp.where(thresholds == 0, 1.0, thresholds))
        pnl = transition.pnl
        earned = (pnl.total if self.marked else observed.profit + pnl.inventory)[seat]
        reward = earned - (high - low) * jnp.abs(ordered) - self.weight * jnp.minimum(excess, 1.0)
        after = ThresholdState(steps, inventories, thresholds, mids)
        return reward, jax.tree.map(lambda leaf: leaf.astype(state.steps.dtype), after)
