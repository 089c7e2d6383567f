"""Order flows: who wants to trade, how much, on which side, and with whom.

In a dealer market an investor trades a step's order with the maker that offers the best price on its side;
ties are split fairly, trade by trade. A flow is told which makers offer the best price and what sizes cost
on the exchange, and answers with what each maker wins. Sides are the maker's: on side BUY the maker buys (the
investor sells).
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt32

from twosided.book import Snapshot
from twosided.types import Scalar, check, is_at_least

BUY, SELL = 0, 1
"""Positions of the maker's two sides on an axis of sides."""


class Fills(eqx.Module):
    """What each maker wins in a step, a side at a time."""

    volume: Float[Array, "makers 2"]
    """Σ |v|, in units of trade."""
    value: Float[Array, "makers 2"]
    """Σ |v| S_ref(v): the volume times the exchange's spread, a fraction of the mid times units."""


class OrderFlow(eqx.Module):
    """Who wants to trade, how much, and on which side."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...], num_makers: int) -> Any:
        """The orders of a step and the lots that decide ties, with the given leading axes."""

    @abc.abstractmethod
    def fills(self, shock: Any, best: Bool[Array, "makers 2"], book: Snapshot) -> Fills:
        """What each maker wins, given who offers the best price on each side (one or more a side)."""


class UnitShock(eqx.Module):
    """Packed bits, one an investor: 32 orders cost one random word."""

    selling: UInt32[Array, "*batch words"]
    """Bit set: the investor sells, so the maker buys."""
    lots: UInt32[Array, "*batch lots"]
    """What decides ties: with two makers a bit an investor (set: the second maker), else a word each."""


class UnitInvestors(OrderFlow):
    """Investors that each bring one unit order a step, a buy or a sale with equal probability.

    Each order is priced at S_ref(1) on its own. Ganesh et al. (2019), section 6.
    """

    count: int = eqx.field(static=True, default=20)
    """N, number of investors."""

    def __check_init__(self):
        check("count", self.count, "from 1 to 10000", 1 <= self.count <= 10_000)

    def shocks(self, key, shape, num_makers):
        words = -(-self.count // 32)
        key_selling, key_lots = jax.random.split(key)
        lots = words if num_makers <= 2 else self.count
        return UnitShock(
            selling=jax.random.bits(key_selling, (*shape, words)),
            lots=jax.random.bits(key_lots, (*shape, lots)),
        )

    def fills(self, shock, best, book):
        everyone = jnp.array(_packed_ones(self.count), dtype=jnp.uint32)
        orders = jnp.stack([everyone & shock.selling, everyone & ~shock.selling], -1)  # words, sides
        if best.shape[0] <= 2:
            volume = _share_bits(orders, shock.lots, best)
        else:
            volume = _share_trades(self._each(orders), shock.lots, best).sum(1)
        unit_price = book.spread_curve(jnp.ones_like(book.spread))
        volume = volume.astype(book.spread.dtype)
        return Fills(volume=volume, value=volume * unit_price)

    def _each(self, orders: UInt32[Array, "words 2"]) -> Float[Array, "investors 2"]:
        """The packed orders as sizes of 0 or 1, an investor a row."""
        investor = jnp.arange(self.count)
        return ((orders[investor // 32] >> (investor % 32)[:, None].astype(jnp.uint32)) & 1).astype(float)


class InvestorShock(eqx.Module):
    """One entry an investor."""

    arrival: Float[Array, "*batch investors"]
    """Uniform: the investor comes if it is below the arrival probability."""
    selling: Bool[Array, "*batch investors"]
    """The investor sells, so the maker buys."""
    size: Float[Array, "*batch investors"]
    """Standard normal."""
    lots: UInt32[Array, "*batch investors"]
    """What decides ties."""


class Investors(OrderFlow):
    """Investors that come with a probability and bring orders of log-normal size.

    |v| = mean_size exp(s Z - s²/2), s² = log(1 + size_variation²), so E|v| = mean_size. Ganesh et al.
    (2019), section 3.2, leaves the laws of size and arrival open.
    """

    count: int = eqx.field(static=True, default=20)
    """N, number of investors."""
    arrival_probability: Scalar = 1.0
    """Probability that an investor comes in a step, in [0, 1]."""
    mean_size: Scalar = 1.0
    """Mean size of an order, in units of trade."""
    size_variation: Scalar = 0.0
    """Standard deviation of the size over its mean."""
    price_together: bool = eqx.field(static=True, default=False)
    """Price what a maker wins on a side as one trade of the step's sum, not each order on its own."""

    def __check_init__(self):
        check("count", self.count, "from 1 to 10000", 1 <= self.count <= 10_000)
        probability = self.arrival_probability
        check("arrival_probability", probability, "in [0, 1]", lambda: 0 <= probability <= 1)
        check("mean_size", self.mean_size, "at least 0 and finite", lambda: is_at_least(self.mean_size, 0))
        variation = self.size_variation
        check("size_variation", variation, "at least 0 and finite", lambda: is_at_least(variation, 0))

    def shocks(self, key, shape, num_makers):
        key_arrival, key_selling, key_size, key_lots = jax.random.split(key, 4)
        shape = (*shape, self.count)
        return InvestorShock(
            arrival=jax.random.uniform(key_arrival, shape),
            selling=jax.random.bernoulli(key_selling, 0.5, shape),
            size=jax.random.normal(key_size, shape),
            lots=jax.random.bits(key_lots, shape),
        )

    def fills(self, shock, best, book):
        log_variance = jnp.log1p(jnp.square(self.size_variation))
        size = self.mean_size * jnp.exp(jnp.sqrt(log_variance) * shock.size - log_variance / 2)
        size = jnp.where(shock.arrival < self.arrival_probability, size, 0.0)
        orders = jnp.stack([jnp.where(shock.selling, size, 0.0), jnp.where(shock.selling, 0.0, size)], -1)
        won = _share_trades(orders, shock.lots, best)
        volume = won.sum(1)
        value = book.cost(volume) if self.price_together else book.cost(won).sum(1)
        return Fills(volume=volume, value=value)


def _share_bits(
    orders: UInt32[Array, "words 2"], lots: UInt32[Array, "words"], best: Bool[Array, "makers 2"]
) -> UInt32[Array, "makers 2"]:
    """Orders won by each of at most two makers: all of a side alone, the bits of its lots when tied."""
    total = jax.lax.population_count(orders).sum(0)
    if best.shape[0] == 1:
        return total[None] * best
    second = jax.lax.population_count(orders & lots[:, None]).sum(0)
    second = jnp.where(best[0], jnp.where(best[1], second, 0), total)
    return jnp.stack([total - second, second])


def _share_trades(
    orders: Float[Array, "investors 2"], lots: UInt32[Array, "investors"], best: Bool[Array, "makers 2"]
) -> Float[Array, "makers investors 2"]:
    """Each order to one of the makers with the best price, drawn with equal probability by its lot."""
    tied = best.sum(0)
    # The lot's upper 24 bits as a uniform in [0, 1): the rank of the winner among the tied.
    uniform = (lots >> 8).astype(orders.dtype) * 2.0**-24
    rank = jnp.floor(uniform[:, None] * tied)
    position = jnp.cumsum(best, axis=0) - 1
    wins = best[:, None] & (position[:, None] == rank[None])
    return jnp.where(wins, orders[None], 0.0)


def _packed_ones(count: int) -> list[int]:
    """Words whose first `count` bits are set."""
    return [(1 << min(32, count - 32 * word)) - 1 for word in range(-(-count // 32))]
