"""Rewards of a maker that must not hold much: penalties on its position.

Exponential ones are those of Bakshaev (2020), eq. 27-28, 32, 38, 39:

    penalty = γ S_0 L (exp((|q| + φ o) / L) - 1)

q is the position after the step's trades and o what several assets hedge too much, in units; L is the limit. Where the
market ends (a breach) nothing follows, and the maker is charged once for what staying there for ever would cost: the
penalty / (1 - discount). The paper charges 5 times the PnL so far instead, so little that ending on purpose is best.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from twosided.core.numeric import Scalar
from twosided.core.reward import Reward, total_pnl
from twosided.core.transition import Transition
from twosided.core.validation import check, is_at_least, is_positive
from twosided.hedging.extras import HedgingExtras


class _ExponentialPenalty(Reward):
    """What the two share."""

    extras = HedgingExtras

    weight: Scalar = 3.0
    """γ, a number; the paper's makes every other reward small beside it."""
    price: Scalar = 100.0
    """S_0, in currency."""
    limit: Scalar = 256.0
    """L, MaxPosLimit, in units."""
    overhedge: Scalar = 5.0
    """φ, a number; of no effect where one asset alone hedges."""
    discount: Scalar = 0.99
    """The learner's, for the charge at a breach; in [0, 1)."""
    variance: Scalar = 0.0
    """α, a further penalty on inventory PnL², per unit of currency."""
    expected_inventory: bool = eqx.field(static=True, default=True)
    """Train on inventory PnL's conditional expectation, an unbiased reduction of variance."""
    relative: bool = eqx.field(static=True, default=False)
    """Take off only what the penalty is above that on the step's net trade with clients alone, which no hedge meets in
    time. Where trades depend on nothing that the maker does (no skew, or demand that is not elastic) the optimum is
    the same, with far less noise."""

    def __check_init__(self):
        for name in ("weight", "overhedge", "variance"):
            value = getattr(self, name)
            check(name, value, "at least 0 and finite", lambda value=value: is_at_least(value, 0))
        for name in ("price", "limit"):
            value = getattr(self, name)
            check(name, value, "positive and finite", lambda value=value: is_positive(value))
        check("discount", self.discount, "in [0, 1)", lambda: 0 <= self.discount < 1)

    def init(self):
        return None

    def _penalty(self, transition: Transition) -> Float[Array, "makers"]:
        """All that is taken off, in currency."""
        size = jnp.abs(transition.inventory)
        if transition.extras.overhedge is not None:
            size = size + self.overhedge * transition.extras.overhedge
        charge = self._charge(size)
        charge = jnp.where(transition.terminated, charge / (1 - self.discount), charge)
        if self.relative:
            charge = charge - self._charge(jnp.abs(transition.bought - transition.sold))
        expected = transition.extras.expected_inventory_square
        square = expected if self.expected_inventory else jnp.square(transition.pnl.inventory)
        return charge + self.variance * square

    def _charge(self, size: Float[Array, "makers"]) -> Float[Array, "makers"]:
        """γ S_0 L (exp(size / L) - 1)."""
        # Beyond any position that a market lets be single precision would have no number for it.
        return self.weight * self.price * self.limit * jnp.expm1(jnp.minimum(size / self.limit, 40.0))


class PositionPenalty(_ExponentialPenalty):
    """The maker's own total PnL less an exponential penalty on its position: eq. 28, and eq. 39 of a portfolio."""

    def __call__(self, memory, transition, seat):
        total = total_pnl(transition, self.expected_inventory)
        return (total - self._penalty(transition))[seat], memory


class PriceOfRisk(_ExponentialPenalty):
    """-|spread PnL + hedge PnL| and inventory PnL, less the penalty: clients pay for hedges, no more and no less.

    Eq. 32 prints max(-|x|, 0), which is 0 whatever the maker charges.
    """

    def __call__(self, memory, transition, seat):
        pnl = transition.pnl
        inventory = transition.expected_inventory_pnl if self.expected_inventory else pnl.inventory
        paid = inventory - jnp.abs(pnl.spread + pnl.hedge) + pnl.fees
        return (paid - self._penalty(transition))[seat], memory
