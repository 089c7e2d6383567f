"""Rewards of a hedging maker: penalties on its position, and the price of risk (Bakshaev 2020, eq. 27-28, 32, 38, 39).

    penalty = γ S_0 L (exp((|q| + φ o) / L) - 1)

q is the position after the step's trades, o the overhedge of several assets, both in units, and L the position limit.
If the market terminates (a breach), the maker is charged once the discounted cost of holding the position forever, the
penalty / (1 - discount). The paper charges 5 times the PnL so far instead, which is so little that terminating on
purpose is optimal.
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
    """Base class of the rewards with an exponential position penalty."""

    extras = HedgingExtras

    weight: Scalar = 3.0
    """γ, dimensionless. With the paper's value, PnL is negligible beside the penalty."""
    max_position: Scalar | None = None
    """L, in units. Default: the market's limit of the position, MaxPosLimit."""
    overhedge_weight: Scalar = 5.0
    """φ, weight of the overhedge; dimensionless. No effect in a market of one asset."""
    discount: Scalar = 0.99
    """Discount factor of the charge at a breach, in [0, 1); use the learner's."""
    variance_weight: Scalar = 0.0
    """α, weight of a further penalty on inventory PnL², per unit of currency."""
    expected_inventory: bool = eqx.field(static=True, default=True)
    """Train on inventory PnL's conditional expectation, an unbiased reduction of variance."""
    subtract_baseline: bool = eqx.field(static=True, default=False)
    """Subtract from the penalty that on the step's net client trade alone, which no hedge can prevent. If client trades
    do not depend on the action (no skew, or inelastic demand), the optimum is unchanged and the noise is far
    smaller."""

    def __check_init__(self):
        for name in ("weight", "overhedge_weight", "variance_weight"):
            value = getattr(self, name)
            check(name, value, "at least 0 and finite", lambda value=value: is_at_least(value, 0))
        limit = self.max_position
        if limit is not None:
            check("max_position", limit, "positive and finite", lambda: is_positive(limit))
        check("discount", self.discount, "in [0, 1)", lambda: 0 <= self.discount < 1)

    def init(self):
        return None

    def _penalty(self, transition: Transition) -> Float[Array, "makers"]:
        """Return all penalties of the step, in currency."""
        size = jnp.abs(transition.inventory)
        if transition.extras.overhedge is not None:
            size = size + self.overhedge_weight * transition.extras.overhedge
        charge = self._charge(size, transition.extras)
        charge = jnp.where(transition.terminated, charge / (1 - self.discount), charge)
        if self.subtract_baseline:
            charge = charge - self._charge(jnp.abs(transition.bought - transition.sold), transition.extras)
        expected = transition.extras.expected_inventory_square
        square = expected if self.expected_inventory else jnp.square(transition.pnl.inventory)
        return charge + self.variance_weight * square

    def _charge(self, size: Float[Array, "makers"], extras: HedgingExtras) -> Float[Array, "makers"]:
        """Return γ S_0 L (exp(size / L) - 1)."""
        limit = extras.max_position if self.max_position is None else self.max_position
        # The bound of the exponent avoids overflow in single precision, far beyond any position before a breach.
        exponent = jnp.minimum(size / limit, 40.0)
        return self.weight * extras.initial_price * limit * jnp.expm1(exponent)


class PositionPenalty(_ExponentialPenalty):
    """Total PnL less an exponential penalty on the position: eq. 28, and eq. 39 for a portfolio."""

    def __call__(self, state, transition, seat):
        total = total_pnl(transition, self.expected_inventory)
        return (total - self._penalty(transition))[seat], state


class PriceOfRisk(_ExponentialPenalty):
    """Price-of-risk reward: -|spread PnL + hedge PnL| + inventory PnL - penalty, so client spreads pay exactly for
    hedges.

    Eq. 32 prints max(-|x|, 0) for the first term, which is 0 for every spread.
    """

    def __call__(self, state, transition, seat):
        pnl = transition.pnl
        inventory = transition.expected_inventory_pnl if self.expected_inventory else pnl.inventory
        reward = inventory - jnp.abs(pnl.spread + pnl.hedge) + pnl.fees
        return (reward - self._penalty(transition))[seat], state
