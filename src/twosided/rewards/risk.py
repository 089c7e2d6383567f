"""Rewards of a maker that quotes: PnL, alone or against others, and the penalties on the risk of its inventory."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from twosided.core.numeric import Scalar
from twosided.core.reward import Reward, total_pnl
from twosided.core.transition import Transition
from twosided.core.validation import check, is_at_least
from twosided.rewards.extras import InventoryMoments


class _StepPenalty(Reward):
    """What the penalties share that are a function of the step's inventory PnL alone."""

    extras = InventoryMoments

    weight: Scalar
    """α, each penalty's own."""
    expected_inventory: bool = eqx.field(static=True, default=True)
    """Train on conditional expectations given the position, an unbiased reduction of variance."""

    def __check_init__(self):
        _check_weight(self.weight)

    def init(self):
        return None

    def __call__(self, memory, transition, seat):
        total = total_pnl(transition, self.expected_inventory)
        return total[seat] - self.weight * self._harm(transition)[seat], memory

    @abc.abstractmethod
    def _harm(self, transition: Transition) -> Float[Array, "makers"]:
        """What the weight multiplies, at least 0."""


class SquarePenalty(_StepPenalty):
    """The maker's own total PnL less α · InventoryPnL², "InvPnL²" in section 5.2 of Ganesh et al. (2019)."""

    weight: Scalar = 0.07
    """α, per unit of currency."""

    def _harm(self, transition):
        expected = transition.extras.expected_inventory_square
        return expected if self.expected_inventory else jnp.square(transition.pnl.inventory)


class AsymmetricPenalty(_StepPenalty):
    """The maker's own total PnL plus α · min(0, InventoryPnL), "Asymmetric" in section 5.2 of Ganesh et al. (2019)."""

    weight: Scalar = 0.3
    """α, a number."""

    def _harm(self, transition):
        expected = transition.extras.expected_inventory_loss
        return -(expected if self.expected_inventory else jnp.minimum(transition.pnl.inventory, 0.0))


class DeviationPenalty(Reward):
    """The maker's own total PnL less α · Std(InventoryPnL) over the last steps, this one included.

    "InvPnL Stdev" in section 5.2 of Ganesh et al. (2019). The deviation is the population's, over as many steps as
    the episode has had, so 0 on its first.
    """

    weight: Scalar = 0.4
    """α, a number."""
    window: int = eqx.field(static=True, default=10)
    """Steps that the deviation is taken over."""
    expected_inventory: bool = eqx.field(static=True, default=True)
    """Train on the conditional expectation of inventory PnL itself; its deviation is that of the draws."""

    def __check_init__(self):
        _check_weight(self.weight)
        check("window", self.window, "from 2 to 10000", 2 <= self.window <= 10_000)

    def init(self):
        return RollingWindow(jnp.zeros(self.window), jnp.zeros((), jnp.int32))

    def __call__(self, memory, transition, seat):
        latest = transition.pnl.inventory[seat]
        values = jnp.roll(memory.values.astype(latest.dtype), 1).at[0].set(latest)
        count = jnp.minimum(memory.count + 1, self.window)
        held = jnp.arange(self.window) < count
        mean = jnp.where(held, values, 0.0).sum() / count
        variance = jnp.where(held, jnp.square(values - mean), 0.0).sum() / count
        total = total_pnl(transition, self.expected_inventory)[seat]
        return total - self.weight * jnp.sqrt(variance), RollingWindow(values, count)


class RollingWindow(eqx.Module):
    """The last values of a series, the latest first."""

    values: Float[Array, "window"]
    count: Int[Array, ""]
    """How many of them have been seen."""


def _check_weight(weight: Scalar) -> None:
    check("weight", weight, "at least 0 and finite", lambda: is_at_least(weight, 0))
