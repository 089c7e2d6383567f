"""Quadratic penalty on inventory (Cartea, Jaimungal and Penalva 2015)."""

import equinox as eqx
import jax.numpy as jnp

from twosided.core.numeric import Scalar
from twosided.core.reward import Reward, total_pnl
from twosided.core.validation import check, is_at_least


class InventoryPenalty(Reward):
    """Own total PnL less φ q² Δ on every step, and less α q² when the market closes.

    Cartea, Jaimungal and Penalva (2015), section 10.2. q is the position after the step's trades, in units, and Δ the
    length of the step in the market's units of time (1 in a market of bars or of single orders). With
    φ = γ σ² / 2 the penalty approximates the behaviour of a maker with absolute risk aversion γ.
    """

    running: Scalar = 0.2
    """φ, running penalty, in currency per unit² and unit of time."""
    final: Scalar = 0.0
    """α, final penalty, in currency per unit²: the cost of liquidating the position when the market closes."""
    expected_inventory: bool = eqx.field(static=True, default=True)
    """Use the conditional expectation of inventory PnL, an unbiased reduction of variance."""

    def __check_init__(self):
        for name in ("running", "final"):
            value = getattr(self, name)
            check(name, value, "at least 0 and finite", lambda value=value: is_at_least(value, 0))

    def init(self):
        return None

    def __call__(self, state, transition, seat):
        weight = self.running * transition.time_step + jnp.where(transition.terminated, self.final, 0.0)
        charge = weight * jnp.square(transition.inventory)
        return (total_pnl(transition, self.expected_inventory) - charge)[seat], state
