"""Order flows: who wants to trade, how much, on which side, and with whom.

In a dealer market an investor trades a step's order with the maker that offers the best price on its side;
ties are split fairly, trade by trade. A flow is told which makers offer the best price and what sizes cost
on the exchange, and answers with what each maker wins. Sides are the maker's: on side BUY the maker buys (the
investor sells).

Informed investors (Ganesh et al. 2019, section 7.4) know where the midprice will be h steps ahead and trade with it:

    P_{t+h} > P_t    they buy, so makers sell to them;    P_{t+h} < P_t    they sell

With h = 1 they know the revaluation of the very step that they trade in. Where the midprice will not have moved
they know nothing of use and take a side as all others do.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt32

from twosided.core.numeric import Scalar
from twosided.core.validation import check, is_at_least
from twosided.dealer.reference_book import Snapshot

BUY, SELL = 0, 1
"""Positions of the maker's two sides on an axis of sides."""


class Fills(eqx.Module):
    """What each maker wins in a step, a side at a time; with an axis of tiers where a flow has several."""

    volume: Float[Array, "makers *tiers 2"]
    """Σ |v|, in units of trade."""
    value: Float[Array, "makers *tiers 2"]
    """Σ |v| S_ref(v): the volume times the exchange's spread, a fraction of the mid times units."""


class OrderFlow(eqx.Module):
    """Who wants to trade, how much, and on which side."""

    @property
    @abc.abstractmethod
    def lookahead(self) -> int:
        """How many steps ahead the investor with the longest sight knows the midprice; 0 if nobody knows any."""

    @property
    @abc.abstractmethod
    def tiers(self) -> int:
        """How many kinds of investors a maker can tell apart; with one, arrays have no axis of tiers."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...], num_makers: int) -> Any:
        """The orders of a step and the lots that decide ties, with the given leading axes."""

    @abc.abstractmethod
    def fills(
        self,
        shock: Any,
        best: Bool[Array, "makers *tiers 2"],
        book: Snapshot,
        moves: Float[Array, "lookahead"] | None = None,
    ) -> Fills:
        """What each maker wins, given who offers the best price on each side (one or more a side).

        `moves` are P_{t+k} - P_t, k = 1..lookahead, in currency; a flow that knows nothing asks for none.
        """


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
    informed: int = eqx.field(static=True, default=0)
    """How many of them know where the midprice goes and trade with it."""
    foresight: int = eqx.field(static=True, default=1)
    """h, how many steps ahead the informed know the midprice."""

    def __check_init__(self):
        _check_investors(self)

    @property
    def lookahead(self):
        return self.foresight if self.informed else 0

    @property
    def tiers(self):
        return 1

    def shocks(self, key, shape, num_makers):
        words = -(-self.count // 32)
        key_selling, key_lots = jax.random.split(key)
        lots = words if num_makers <= 2 else self.count
        return UnitShock(
            selling=jax.random.bits(key_selling, (*shape, words)),
            lots=jax.random.bits(key_lots, (*shape, lots)),
        )

    def fills(self, shock, best, book, moves=None):
        everyone = jnp.array(_packed_ones(self.count), dtype=jnp.uint32)
        selling = shock.selling
        if self.informed:
            the_informed = jnp.array(_packed_ones(self.informed, len(everyone)), dtype=jnp.uint32)
            falls, rises = _direction(self, moves)
            selling = jnp.where(
                falls, selling | the_informed, jnp.where(rises, selling & ~the_informed, selling)
            )
        orders = jnp.stack([everyone & selling, everyone & ~selling], -1)  # words, sides
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
    informed: int = eqx.field(static=True, default=0)
    """How many of the investors know where the midprice goes and trade with it."""
    foresight: int = eqx.field(static=True, default=1)
    """h, how many steps ahead the informed know the midprice."""

    def __check_init__(self):
        _check_investors(self)
        probability = self.arrival_probability
        check("arrival_probability", probability, "in [0, 1]", lambda: 0 <= probability <= 1)
        check("mean_size", self.mean_size, "at least 0 and finite", lambda: is_at_least(self.mean_size, 0))
        variation = self.size_variation
        check("size_variation", variation, "at least 0 and finite", lambda: is_at_least(variation, 0))

    @property
    def lookahead(self):
        return self.foresight if self.informed else 0

    @property
    def tiers(self):
        return 1

    def shocks(self, key, shape, num_makers):
        key_arrival, key_selling, key_size, key_lots = jax.random.split(key, 4)
        shape = (*shape, self.count)
        return InvestorShock(
            arrival=jax.random.uniform(key_arrival, shape),
            selling=jax.random.bernoulli(key_selling, 0.5, shape),
            size=jax.random.normal(key_size, shape),
            lots=jax.random.bits(key_lots, shape),
        )

    def fills(self, shock, best, book, moves=None):
        log_variance = jnp.log1p(jnp.square(self.size_variation))
        size = self.mean_size * jnp.exp(jnp.sqrt(log_variance) * shock.size - log_variance / 2)
        size = jnp.where(shock.arrival < self.arrival_probability, size, 0.0)
        selling = shock.selling
        if self.informed:
            the_informed = jnp.arange(self.count) < self.informed
            falls, rises = _direction(self, moves)
            selling = jnp.where(the_informed & (falls | rises), falls, selling)
        orders = jnp.stack([jnp.where(selling, size, 0.0), jnp.where(selling, 0.0, size)], -1)
        won = _share_trades(orders, shock.lots, best)
        volume = won.sum(1)
        value = book.cost(volume) if self.price_together else book.cost(won).sum(1)
        return Fills(volume=volume, value=value)


class Tiers(OrderFlow):
    """Several kinds of investors side by side, which makers may tell apart and quote each its own price."""

    flows: tuple[OrderFlow, ...] = eqx.field(
        default_factory=lambda: (UnitInvestors(count=10), UnitInvestors(count=10, informed=10))
    )
    """The investors of each tier, two tiers or more."""

    def __check_init__(self):
        check("flows", len(self.flows), "two or more", len(self.flows) >= 2)
        tiers = [flow.tiers for flow in self.flows]
        check("flows", tiers, "of one tier each", max(tiers) == 1)

    @property
    def lookahead(self):
        return max(flow.lookahead for flow in self.flows)

    @property
    def tiers(self):
        return len(self.flows)

    def shocks(self, key, shape, num_makers):
        keys = jax.random.split(key, self.tiers)
        return tuple(flow.shocks(k, shape, num_makers) for flow, k in zip(self.flows, keys, strict=True))

    def fills(self, shock, best, book, moves=None):
        each = [flow.fills(shock[i], best[:, i], book, moves) for i, flow in enumerate(self.flows)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *each)


def _check_investors(flow: UnitInvestors | Investors) -> None:
    check("count", flow.count, "from 1 to 10000", 1 <= flow.count <= 10_000)
    among = f"from 0 to count ({flow.count})"
    check("informed", flow.informed, among, 0 <= flow.informed <= flow.count)
    check("foresight", flow.foresight, "from 1 to 1000", 1 <= flow.foresight <= 1000)


def _direction(
    flow: UnitInvestors | Investors, moves: Float[Array, "lookahead"] | None
) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
    """Whether the midprice falls, and whether it rises, by the time that the informed know of."""
    assert moves is not None, "informed investors need to be told how the midprice moves"
    move = moves[flow.foresight - 1]
    return move < 0, move > 0


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


def _packed_ones(count: int, words: int | None = None) -> list[int]:
    """Words whose first `count` bits are set; as many words as that takes, if it is not said."""
    words = -(-count // 32) if words is None else words
    return [(1 << min(32, max(0, count - 32 * word))) - 1 for word in range(words)]
