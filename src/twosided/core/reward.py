"""What a reward is."""

import abc
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, Float, Int

from twosided.core.transition import PnL, Transition


class Reward(eqx.Module):
    """Reward of the maker in a seat for one step of a market.

    A reward that reads more than every market reports names the type of `Transition.extras` that it needs; a scenario
    refuses it in a market whose extras are not of that type.
    """

    extras: ClassVar[type | None] = None
    """Type of the transition's extras that the reward needs; None where it needs none."""

    @abc.abstractmethod
    def init(self) -> Any:
        """The memory at the start of an episode; None for a reward that needs none."""

    @abc.abstractmethod
    def __call__(
        self, memory: Any, transition: Transition, seat: int | Int[Array, ""]
    ) -> tuple[Float[Array, ""], Any]:
        """The reward of the maker in the seat, and the memory."""


def total_pnl(transition: Transition, expected_inventory: bool) -> Float[Array, "makers"]:
    """Total PnL, of its draws or with the conditional expectation of inventory PnL."""
    pnl = transition.pnl
    inventory = transition.expected_inventory_pnl if expected_inventory else pnl.inventory
    return PnL(pnl.spread, pnl.hedge, inventory, pnl.fees).total


class TotalPnL(Reward):
    """The maker's own total PnL: spread + hedge + inventory + fees."""

    expected_inventory: bool = eqx.field(static=True, default=True)
    """Train on inventory PnL's conditional expectation, an unbiased reduction of variance."""

    def init(self):
        return None

    def __call__(self, memory, transition, seat):
        return total_pnl(transition, self.expected_inventory)[seat], memory
