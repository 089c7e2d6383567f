"""Protocol of a reward: a function from transitions to numbers, which a learner maximises in expectation."""

import abc
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, Float, Int

from twosided.core.transition import PnL, Transition


class Reward(eqx.Module):
    """Reward of the maker in a seat for one step of a market.

    A reward that uses quantities of particular markets declares their type in `extras`. A scenario raises an error if
    the extras of its market are not of that type.
    """

    extras: ClassVar[type | None] = None
    """Type of `Transition.extras` that the reward needs; None if it needs none."""

    @abc.abstractmethod
    def init(self) -> Any:
        """Return the reward state at the start of an episode; None for a stateless reward."""

    @abc.abstractmethod
    def __call__(
        self, state: Any, transition: Transition, seat: int | Int[Array, ""]
    ) -> tuple[Float[Array, ""], Any]:
        """Return the reward of the maker in a seat, and the reward state."""


def total_pnl(transition: Transition, expected_inventory: bool) -> Float[Array, "makers"]:
    """Return total PnL, with the draw of inventory PnL or with its conditional expectation."""
    pnl = transition.pnl
    inventory = transition.expected_inventory_pnl if expected_inventory else pnl.inventory
    return PnL(pnl.spread, pnl.hedge, inventory, pnl.fees).total


class TotalPnL(Reward):
    """Own total PnL: spread + hedge + inventory + fees."""

    expected_inventory: bool = eqx.field(static=True, default=True)
    """Use the conditional expectation of inventory PnL, an unbiased reduction of variance."""

    def init(self):
        return None

    def __call__(self, state, transition, seat):
        return total_pnl(transition, self.expected_inventory)[seat], state
