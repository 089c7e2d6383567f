"""Cells of the electronic market: observations grouped into the rows of a table."""

import abc
import itertools
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from twosided.core.spaces import Cells
from twosided.core.validation import check


class _ClippedCells(Cells):
    """Cells of one signed integer, clipped."""

    limit: int = eqx.field(static=True, default=2)
    """Largest magnitude with a cell of its own, in units or ticks; larger ones share it."""

    def __check_init__(self):
        check("limit", self.limit, "from 1 to 1000", 1 <= self.limit <= 1000)

    @property
    def size(self):
        return 2 * self.limit + 1

    @abc.abstractmethod
    def value(self, observation: Any) -> Float[Array, "..."]:
        """Return the value to clip."""

    def __call__(self, observation):
        return clipped(self.value(observation), self.limit)

    @property
    def labels(self):
        """Labels from the lowest to the highest cell."""
        inner = [str(value).replace("-", "−") for value in range(1 - self.limit, self.limit)]
        return (f"≤ −{self.limit}", *inner, f"≥ {self.limit}")


class ImbalanceCells(_ClippedCells):
    """Cells of the imbalance, in units."""

    def value(self, observation):
        return observation.imbalance


class InventoryCells(_ClippedCells):
    """Cells of the inventory, in units."""

    def value(self, observation):
        return observation.inventory


class MispricingCells(_ClippedCells):
    """Cells of the mispricing, in ticks, for a maker that observes the fundamental price."""

    def value(self, observation):
        return observation.mispricing


class SpreadCells(Cells):
    """Cells of the maker's own spread, clipped."""

    max_spread: int = eqx.field(static=True, default=4)
    """Smallest spread of the last cell, in ticks; larger ones share it."""

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
    """Product of several cells; the last one varies fastest."""

    parts: tuple[Cells, ...] = (ImbalanceCells(), SpreadCells())
    """Cells to combine, at least one."""

    def __check_init__(self):
        check("parts", self.parts, "at least one", len(self.parts) > 0)

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


def clipped(value: Float[ArrayLike, "..."], limit: int) -> Int[Array, "..."]:
    """Return the index of a rounded value, clipped to ± limit, among 2 limit + 1 cells."""
    return jnp.clip(jnp.round(value), -limit, limit).astype(jnp.int32) + limit
