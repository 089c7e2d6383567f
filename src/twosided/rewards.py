"""Rewards: the PnL of a step, and a memory of the reward's own, to the number that a learner maximises.

The innovation of the midprice is independent of the action, so for a reward that is linear in inventory PnL
a learner may see its conditional expectation in place of its sample: the objective is the same, and nearly
all of the noise is gone. What is reported is always the sample.
"""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from twosided.types import PnL, Transition


class Reward(eqx.Module):
    """What the maker in a seat is paid for a step."""

    @abc.abstractmethod
    def init(self) -> Any:
        """The memory at the start of an episode; None for a reward that needs none."""

    @abc.abstractmethod
    def __call__(self, memory: Any, transition: Transition, seat: int) -> tuple[Float[Array, ""], Any]:
        """The reward of the maker in the seat, and the memory."""


class TotalPnL(Reward):
    """The maker's own total PnL: spread + hedge + inventory + fees."""

    expected_inventory: bool = eqx.field(static=True, default=True)
    """Train on inventory PnL's conditional expectation, an unbiased reduction of variance."""

    def init(self):
        return None

    def __call__(self, memory, transition, seat):
        return _total(transition, self.expected_inventory)[seat], memory


class ExcessPnL(Reward):
    """The maker's total PnL less the mean total PnL of its competitors."""

    expected_inventory: bool = eqx.field(static=True, default=True)
    """Train on inventory PnL's conditional expectation, an unbiased reduction of variance."""

    def init(self):
        return None

    def __call__(self, memory, transition, seat):
        total = _total(transition, self.expected_inventory)
        competitors = (total.sum() - total[seat]) / max(total.shape[0] - 1, 1)
        return total[seat] - competitors, memory


def _total(transition: Transition, expected_inventory: bool) -> Float[Array, "makers"]:
    pnl = transition.pnl
    inventory = transition.expected_inventory_pnl if expected_inventory else pnl.inventory
    return PnL(pnl.spread, pnl.hedge, inventory, pnl.fees).total
