"""Rewards linear in PnL: spread PnL, PnL in excess of the competitors', and a weighted sum with inventory and
spread."""

import equinox as eqx
import jax.numpy as jnp

from twosided.core.numeric import Scalar
from twosided.core.reward import Reward, total_pnl
from twosided.core.validation import check, is_at_least


class SpreadPnL(Reward):
    """Own spread PnL alone: immediate earnings of trades over the midprice, without the later revaluation of the
    position."""

    def init(self):
        return None

    def __call__(self, state, transition, seat):
        return transition.pnl.spread[seat], state


class WeightedReward(Reward):
    """Weighted sum of profit, inventory and market quality: w_p · SpreadPnL - w_i · |inventory| - w_q · (ask - bid).

    The objectives are those of Chan and Shelton (2001), for whom a tight spread is market quality.
    """

    profit: Scalar = 1.0
    """w_p, dimensionless."""
    inventory: Scalar = 0.0
    """w_i, currency per unit held after the step."""
    quality: Scalar = 0.0
    """w_q, currency per unit of spread."""

    def __check_init__(self):
        for name in ("profit", "inventory", "quality"):
            value = getattr(self, name)
            check(name, value, "at least 0 and finite", lambda value=value: is_at_least(value, 0))

    def init(self):
        return None

    def __call__(self, state, transition, seat):
        width = transition.quotes.ask - transition.quotes.bid
        profit = self.profit * transition.pnl.spread
        cost = self.inventory * jnp.abs(transition.inventory) + self.quality * width
        return (profit - cost)[seat], state


class ExcessPnL(Reward):
    """Own total PnL less the mean total PnL of the competitors."""

    expected_inventory: bool = eqx.field(static=True, default=True)
    """Use the conditional expectation of inventory PnL, an unbiased reduction of variance."""

    def init(self):
        return None

    def __call__(self, state, transition, seat):
        total = total_pnl(transition, self.expected_inventory)
        competitors = (total.sum() - total[seat]) / max(total.shape[0] - 1, 1)
        return total[seat] - competitors, state
