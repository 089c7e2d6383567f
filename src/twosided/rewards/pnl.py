"""Rewards of a maker that quotes: PnL, alone or against others, and the penalties on the risk of its inventory."""

import equinox as eqx
import jax.numpy as jnp

from twosided.core.numeric import Scalar
from twosided.core.reward import Reward, total_pnl
from twosided.core.validation import check, is_at_least


class SpreadPnL(Reward):
    """The maker's own spread PnL alone: what trades earn over the mid at once, whatever their position does later."""

    def init(self):
        return None

    def __call__(self, memory, transition, seat):
        return transition.pnl.spread[seat], memory


class WeightedReward(Reward):
    """Profit, inventory and the quality of the market weighed: w_p · SpreadPnL - w_i · |inventory| - w_q · (ask - bid).

    The aims are Chan and Shelton's (2001); a narrow spread is what makes a market good for its traders.
    """

    profit: Scalar = 1.0
    """w_p, a number."""
    inventory: Scalar = 0.0
    """w_i, currency per unit held after the step."""
    quality: Scalar = 0.0
    """w_q, currency per currency of spread."""

    def __check_init__(self):
        for name in ("profit", "inventory", "quality"):
            value = getattr(self, name)
            check(name, value, "at least 0 and finite", lambda value=value: is_at_least(value, 0))

    def init(self):
        return None

    def __call__(self, memory, transition, seat):
        width = transition.quotes.ask - transition.quotes.bid
        profit = self.profit * transition.pnl.spread
        cost = self.inventory * jnp.abs(transition.inventory) + self.quality * width
        return (profit - cost)[seat], memory


class ExcessPnL(Reward):
    """The maker's total PnL less the mean total PnL of its competitors."""

    expected_inventory: bool = eqx.field(static=True, default=True)
    """Train on inventory PnL's conditional expectation, an unbiased reduction of variance."""

    def init(self):
        return None

    def __call__(self, memory, transition, seat):
        total = total_pnl(transition, self.expected_inventory)
        competitors = (total.sum() - total[seat]) / max(total.shape[0] - 1, 1)
        return total[seat] - competitors, memory
