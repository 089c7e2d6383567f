"""Penalties on the risk of inventory PnL (Ganesh et al. 2019, section 5.2)."""

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
    """Base of penalties that are a function of the step's inventory PnL alone."""

    extras = InventoryMoments

    weight: Scalar
    """α, weight of the penalty."""
    expected_inventory: bool = eqx.field(static=True, default=True)
    """Use conditional expectations given the position, an unbiased reduction of variance."""

    def __check_init__(self):
        _check_weight(self.weight)

    def init(self):
        return None

    def __call__(self, state, transition, seat):
        total = total_pnl(transition, self.expected_inventory)
        return total[seat] - self.weight * self._penalty(transition)[seat], state

    @abc.abstractmethod
    def _penalty(self, transition: Transition) -> Float[Array, "makers"]:
        """Return the penalty per unit of weight, at least 0."""


class SquarePenalty(_StepPenalty):
    """Own total PnL less α · InventoryPnL²; "InvPnL²" in section 5.2 of Ganesh et al. (2019)."""

    weight: Scalar = 0.07
    """α, per unit of currency."""

    def _penalty(self, transition):
        expected = transition.extras.expected_inventory_square
        return expected if self.expected_inventory else jnp.square(transition.pnl.inventory)


class AsymmetricPenalty(_StepPenalty):
    """Own total PnL plus α · min(0, InventoryPnL); "Asymmetric" in section 5.2 of Ganesh et al. (2019)."""

    weight: Scalar = 0.3
    """α, dimensionless."""

    def _penalty(self, transition):
        expected = transition.extras.expected_inventory_loss
        return -(expected if self.expected_inventory else jnp.minimum(transition.pnl.inventory, 0.0))


class StdPenalty(Reward):
    """Own total PnL less α · Std(InventoryPnL) over the last steps, including this one.

    "InvPnL Stdev" in section 5.2 of Ganesh et al. (2019). The standard deviation is that of the population, over at
    most as many steps as the episode has had, so it is 0 on the first.
    """

    weight: Scalar = 0.4
    """α, dimensionless."""
    window: int = eqx.field(static=True, default=10)
    """Steps in the rolling standard deviation."""
    expected_inventory: bool = eqx.field(static=True, default=True)
    """Use the conditional expectation of inventory PnL in total PnL; the standard deviation is that of the draws."""

    def __check_init__(self):
        _check_weight(self.weight)
        check("window", self.window, "from 2 to 10000", 2 <= self.window <= 10_000)

    def init(self):
        return RollingWindow(jnp.zeros(self.window), jnp.zeros((), jnp.int32))

    def __call__(self, state, transition, seat):
        latest = transition.pnl.inventory[seat]
        values = jnp.roll(state.values.astype(latest.dtype), 1).at[0].set(latest)
        count = jnp.minimum(state.count + 1, self.window)
        held = jnp.arange(self.window) < count
        mean = jnp.where(held, values, 0.0).sum() / count
        variance = jnp.where(held, jnp.square(values - mean), 0.0).sum() / count
        total = total_pnl(transition, self.expected_inventory)[seat]
        return total - self.weight * jnp.sqrt(variance), RollingWindow(values, count)


class RollingWindow(eqx.Module):
    """Last values of a series, the latest first."""

    values: Float[Array, "window"]
    """Values, in currency."""
    count: Int[Array, ""]
    """Number of values seen, at most the window."""


def _check_weight(weight: Scalar) -> None:
    check("weight", weight, "at least 0 and finite", lambda: is_at_least(weight, 0))
