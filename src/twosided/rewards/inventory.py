"""Rewards of a maker that must not hold much: penalties on its position.

Exponential ones are those of Bakshaev (2020), eq. 27-28, 32, 38, 39:

    penalty = γ S_0 L (exp((|q| + φ o) / L) - 1)

q is the position after the step's trades and o what several assets hedge too much, in units; L is the limit. Where the
market ends (a breach) nothing follows, and the maker is charged once for what staying there for ever would cost: the
penalty / (1 - discount). The paper charges 5 times the PnL so far instead, so little that ending on purpose is best.
"""

import equinox as eqx
import jax.numpy as jnp

from twosided.core.numeric import Scalar
from twosided.core.reward import Reward, total_pnl
from twosided.core.validation import check, is_at_least, is_positive


class InventoryPenalty(Reward):
    """Total PnL less φ q² Δ on every step, and less α q² when the market closes.

    Cartea, Jaimungal and Penalva (2015), section 10.2.

    q is the position after the step's trades, in units. Alone it is what holding costs a maker that is not averse to
    risk and yet must not hold much; φ of γ σ² / 2 is nearly what aversion γ to risk would make of it.
    """

    running: Scalar = 0.2
    """φ, in currency per unit² and unit of time."""
    final: Scalar = 0.0
    """α, in currency per unit²: what it costs to shed the position at the close, where the market has one."""
    time_step: Scalar = 0.005
    """Δ, units of time in a step, the market's."""
    expected_inventory: bool = eqx.field(static=True, default=True)
    """Train on inventory PnL's conditional expectation, an unbiased reduction of variance."""

    def __check_init__(self):
        for name in ("running", "final"):
            value = getattr(self, name)
            check(name, value, "at least 0 and finite", lambda value=value: is_at_least(value, 0))
        check("time_step", self.time_step, "positive and finite", lambda: is_positive(self.time_step))

    def init(self):
        return None

    def __call__(self, memory, transition, seat):
        weight = self.running * self.time_step + jnp.where(transition.terminated, self.final, 0.0)
        charge = weight * jnp.square(transition.inventory)
        return (total_pnl(transition, self.expected_inventory) - charge)[seat], memory
