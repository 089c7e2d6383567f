"""Cells of the electronic market: observations grouped into the rows of a table."""

import abc
import itertools
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from twosided.core.spaces import Cells
from twosided.core.validation import check


class _ClippedCells(Cells):
    """One whole number of either sign, clipped."""

    limit: int = eqx.field(static=True, default=2)
    """What larger values are not told from, on either side, in units or ticks."""

    def __check_init__(self):
        check("limit", self.limit, "from 1 to 1000", 1 <= self.limit <= 1000)

    @property
    def size(self):
        return 2 * self.limit + 1

    @abc.abstractmethod
    def value(self, observation: Any) -> Float[Array, "..."]:
        """What is clipped."""

    def __call__(self, observation):
        return clipped(self.value(observation), self.limit)

    @property
    def labels(self):
        """From the lowest to the highest, the ends saying what they hold."""
        inner = [str(value).replace("-", "−") for value in range(1 - self.limit, self.limit)]
        return (f"≤ −{self.limit}", *inner, f"≥ {self.limit}")


class ImbalanceCells(_ClippedCells):
    """The imbalance, in units."""

    def value(self, observation):
        return observation.imbalance


class InventoryCells(_ClippedCells):
    """The inventory, in units."""

    def value(self, observation):
        return observation.inventory


class MispricingCells(_ClippedCells):
    """What the quote is off by, in ticks: for a maker that sees the fundamental price."""

    def value(self, observation):
        return observation.mispricing


class SpreadCells(Cells):
    """The maker's own spread, clipped."""

    max_spread: int = eqx.field(static=True, default=4)
    """Largest spread that is told from larger ones, in ticks."""

    def __check_init__(self):
        check("max_spread", self.max_spread, "from 1 to 1000", 1 <= self.max_spread <= 1000)

    @property
    def size(self):
        return self.max_spread + 1

    def __call__(self, observation):
        return jnp.clip(jnp.floor(observation.spread), 0, self.max_spread).astype(jnp.int32)

    @property
    def labels(self):
        return (*map(str, range(self.max_spread)), f"≥ {self.max_spread}")


class CombinedCells(Cells):
    """Every combination of the cells of several divisions, the last of them running fastest."""

    parts: tuple[Cells, ...] = (ImbalanceCells(), SpreadCells())
    """One at least."""

    def __check_init__(self):
        check("parts", self.parts, "one or more of them", len(self.parts) > 0)

    @property
    def size(self):
        return math.prod(part.size for part in self.parts)

    def __call__(self, observation):
        place = jnp.zeros((), jnp.int32)
        for part in self.parts:
            place = place * part.size + part(observation)
        return place

    @property
    def labels(self):
        names = [type(part).__name__.removesuffix("Cells").lower() for part in self.parts]
        several = itertools.product(*(part.labels for part in self.parts))
        return tuple(
            ", ".join(f"{name} {label}" for name, label in zip(names, labels, strict=True))
            for labels in several
        )


def clipped(value: Float[Array, "..."], limit: int) -> Int[Array, "..."]:
    return jnp.clip(jnp.round(value), -limit, limit).astype(jnp.int32) + limit
