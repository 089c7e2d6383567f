"""The reward of Gore (2025), a market maker on bars: cash flow, inventory PnL, and a penalty on much inventory.

    r_t = cash flow + q' (C_{t+1} - C_t) - (high - low) |m| - w min(1, mean q / mean threshold)

    threshold = d |cash / mean mid|,   d = cash / (q C), or 0.5 where q = 0

with m the market order, means over the episode so far (a first threshold is 0.5, a first inventory the one that it
starts with), and mid (high + low) / 2. Cash flow is what trades bring in less what they cost, so a purchase is punished
at its whole price: marked to market, the two first terms are total PnL (`marked`).
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
    inventory: Float[Array, ""]
    threshold: Float[Array, ""]
    mid: Float[Array, ""]


class ThresholdPenalty(Reward):
    """Cash flow and inventory PnL less what market orders and much inventory cost; on bars that are shown unscaled."""

    weight: Scalar = 0.2
    """w (AIIF), in currency."""
    marked: bool = eqx.field(static=True, default=False)
    """Pay total PnL in place of cash flow and inventory PnL."""

    def __check_init__(self):
        check("weight", self.weight, "at least 0 and finite", lambda: is_at_least(self.weight, 0))

    def init(self):
        nothing = jnp.zeros(())
        return ThresholdState(nothing, nothing, nothing, nothing)

    def __call__(self, state, transition, seat):
        seen = transition.observation
        if seen.close is None:
            raise AttributeError("threshold-penalty reads prices and cash as they are: scaled must be false")
        high, low, close, cash = (leaf[seat] for leaf in (seen.high, seen.low, seen.close, seen.cash))
        held, inventory = transition.held[seat], transition.inventory[seat]
        ordered = inventory - held - transition.bought[seat] + transition.sold[seat]

        # The first step brings what the episode started with, too.
        begin = ThresholdState(
            jnp.ones_like(held), held, jnp.full_like(held, 0.5), transition.quotes.mid[seat]
        )
        before = jax.tree.map(lambda b, m: jnp.where(state.steps == 0, b, m), begin, state)
        steps, inventories = before.steps + 1, before.inventory + inventory
        mids = before.mid + (high + low) / 2
        worth = jnp.where(inventory == 0, 1.0, inventory * close)
        ratio = jnp.where(inventory == 0, 0.5, cash / worth)
        thresholds = before.threshold + ratio * jnp.abs(cash / (mids / steps))
        # Of two sums over the same steps; no threshold at all is the full penalty.
        much = jnp.where(thresholds == 0, 1.0, inventories / jnp.where(thresholds == 0, 1.0, thresholds))
        pnl = transition.pnl
        earned = (pnl.total if self.marked else seen.profit + pnl.inventory)[seat]
        reward = earned - (high - low) * jnp.abs(ordered) - self.weight * jnp.minimum(much, 1.0)
        after = ThresholdState(steps, inventories, thresholds, mids)
        return reward, jax.tree.map(lambda leaf: leaf.astype(state.steps.dtype), after)
