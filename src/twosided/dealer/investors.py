"""Order flows of the dealer market: how many investors trade, on which side, how much, and with which maker.

An investor trades its order with the maker that quotes the best price on its side. Ties are split order by order with
equal probabilities. `OrderFlow.fills` takes the makers that quote the best price and the exchange's book, and returns
the volume and value that each maker wins. Sides are the maker's: on side BUY the maker buys and the investor sells.

Informed investors (Ganesh et al. 2019, section 7.4) know the midprice h steps ahead and trade on it:

    P_{t+h} > P_t    they buy, so makers sell to them;    P_{t+h} < P_t    they sell, so makers buy from them

With h = 1 they know the inventory revaluation of the step in which they trade. If P_{t+h} = P_t they draw their side
like uninformed investors.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt

from twosided.core.numeric import Scalar
from twosided.core.validation import check, is_at_least
from twosided.dealer.reference_book import Snapshot

BUY, SELL = 0, 1
"""Indices of the maker's two sides on an axis of sides."""


class Fills(eqx.Module):
    """Orders won by each maker in a step, by side; there is an axis of tiers if the flow has more than one."""

    volume: Float[Array, "makers *tiers 2"]
    """Volume won, Σ |v|, in units of trade."""
    value: Float[Array, "makers *tiers 2"]
    """Value won at ε = 0, Σ |v| S_ref(v), as a fraction of the mid times units of trade."""


class OrderFlow(eqx.Module):
    """Order flow of the investors: arrivals, sides and sizes of their orders."""

    @property
    @abc.abstractmethod
    def lookahead(self) -> int:
        """Largest number of steps ahead that an investor knows the midprice; 0 if no investor is informed."""

    @property
    @abc.abstractmethod
    def tiers(self) -> int:
        """Number of investor tiers that a maker can tell apart; with one, arrays have no axis of tiers."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...], num_makers: int) -> Any:
        """Draw the random inputs of a step (orders and tie-breaks), with the given leading axes."""

    @abc.abstractmethod
    def fills(
        self,
        shock: Any,
        best: Bool[Array, "makers *tiers 2"],
        book: Snapshot,
        moves: Float[Array, "lookahead"] | None = None,
    ) -> Fills:
        """Return the fills of each maker.

        `best` marks the makers that quote the best price on each side (one or more per side, or per tier and side).
        `moves` are P_{t+k} - P_t for k = 1..lookahead, in currency; None if no investor is informed.
        """


class UnitShock(eqx.Module):
    """Random draws of unit orders, one bit per investor: 32 orders take one random word."""

    selling: UInt[Array, "*batch words"]
    """Bit of an investor: set if the investor sells, so that the maker buys."""
    tie_breaks: UInt[Array, "*batch draws"]
    """Tie-breaking draws: with two makers one bit per investor (set: the second maker wins), else one word each."""


class UnitInvestors(OrderFlow):
    """Investors that each place one unit order per step, a buy or a sell with equal probability.

    Every order is priced on its own, at S_ref(1). Ganesh et al. (2019), section 6.
    """

    count: int = eqx.field(static=True, default=20)
    """N, number of investors."""
    informed: int = eqx.field(static=True, default=0)
    """Number of investors that are informed: they know the midprice h steps ahead and trade on it."""
    foresight: int = eqx.field(static=True, default=1)
    """h, number of steps ahead that informed investors know the midprice, from 1 to 1000."""

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
        key_selling, key_ties = jax.random.split(key)
        num_draws = words if num_makers <= 2 else self.count
        return UnitShock(
            selling=jax.random.bits(key_selling, (*shape, words)),
            tie_breaks=jax.random.bits(key_ties, (*shape, num_draws)),
        )

    def fills(self, shock, best, book, moves=None):
        all_mask = jnp.array(_packed_mask(self.count), dtype=jnp.uint32)
        selling = shock.selling
        if self.informed:
            informed_mask = jnp.array(_packed_mask(self.informed, len(all_mask)), dtype=jnp.uint32)
            falls, rises = _direction(self, moves)
            selling = jnp.where(
                falls, selling | informed_mask, jnp.where(rises, selling & ~informed_mask, selling)
            )
        orders = jnp.stack([all_mask & selling, all_mask & ~selling], -1)  # (words, sides)
        if best.shape[0] <= 2:
            volume = _split_unit_orders(orders, shock.tie_breaks, best)
        else:
            volume = _split_orders(self._unpack(orders), shock.tie_breaks, best).sum(1)
        unit_price = book.spread_curve(jnp.ones_like(book.spread))
        volume = volume.astype(book.spread.dtype)
        return Fills(volume=volume, value=volume * unit_price)

    def _unpack(self, orders: UInt[Array, "words 2"]) -> Float[Array, "investors 2"]:
        """Unpack the bits of the orders into sizes of 0 or 1, one row per investor."""
        investor = jnp.arange(self.count)
        return ((orders[investor // 32] >> (investor % 32)[:, None].astype(jnp.uint32)) & 1).astype(float)


class InvestorShock(eqx.Module):
    """Random draws of the orders, one entry per investor."""

    arrival: Float[Array, "*batch investors"]
    """Uniform on [0, 1); the investor places an order if this is below the arrival probability."""
    selling: Bool[Array, "*batch investors"]
    """Whether the investor sells, so that the maker buys."""
    size: Float[Array, "*batch investors"]
    """Standard normal Z of the log-normal size."""
    tie_breaks: UInt[Array, "*batch investors"]
    """Tie-breaking draws."""


class Investors(OrderFlow):
    """Investors that arrive with a given probability and place orders of log-normal size.

    |v| = mean_size exp(s Z - s²/2) with s² = log(1 + size_variation²) and Z standard normal, so that E|v| = mean_size.
    Ganesh et al. (2019), section 3.2, does not specify the distributions of size and arrival.
    """

    count: int = eqx.field(static=True, default=20)
    """N, number of investors."""
    arrival_probability: Scalar = 1.0
    """Probability that an investor places an order in a step, in [0, 1]."""
    mean_size: Scalar = 1.0
    """Mean size of an order, in units of trade."""
    size_variation: Scalar = 0.0
    """Coefficient of variation of the size (standard deviation over mean), at least 0."""
    aggregate_orders: bool = eqx.field(static=True, default=False)
    """Price the orders that a maker wins on a side as one trade of their total size, not each on its own."""
    informed: int = eqx.field(static=True, default=0)
    """Number of investors that are informed: they know the midprice h steps ahead and trade on it."""
    foresight: int = eqx.field(static=True, default=1)
    """h, number of steps ahead that informed investors know the midprice, from 1 to 1000."""

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
        key_arrival, key_selling, key_size, key_ties = jax.random.split(key, 4)
        shape = (*shape, self.count)
        return InvestorShock(
            arrival=jax.random.uniform(key_arrival, shape),
            selling=jax.random.bernoulli(key_selling, 0.5, shape),
            size=jax.random.normal(key_size, shape),
            tie_breaks=jax.random.bits(key_ties, shape),
        )

    def fills(self, shock, best, book, moves=None):
        log_variance = jnp.log1p(jnp.square(self.size_variation))
        size = self.mean_size * jnp.exp(jnp.sqrt(log_variance) * shock.size - log_variance / 2)
        size = jnp.where(shock.arrival < self.arrival_probability, size, 0.0)
        selling = shock.selling
        if self.informed:
            informed_mask = jnp.arange(self.count) < self.informed
            falls, rises = _direction(self, moves)
            selling = jnp.where(informed_mask & (falls | rises), falls, selling)
        orders = jnp.stack([jnp.where(selling, size, 0.0), jnp.where(selling, 0.0, size)], -1)
        won = _split_orders(orders, shock.tie_breaks, best)
        volume = won.sum(1)
        value = book.cost(volume) if self.aggregate_orders else book.cost(won).sum(1)
        return Fills(volume=volume, value=value)


class Tiers(OrderFlow):
    """Several investor tiers; makers can tell them apart and may quote a price for each (`DealerMarket.by_tier`)."""

    flows: tuple[OrderFlow, ...] = eqx.field(
        default_factory=lambda: (UnitInvestors(count=10), UnitInvestors(count=10, informed=10))
    )
    """Order flow of each tier; two or more tiers."""

    def __check_init__(self):
        check("flows", len(self.flows), "two or more order flows", len(self.flows) >= 2)
        tiers = [flow.tiers for flow in self.flows]
        check("flows", tiers, "flows of one tier each", max(tiers) == 1)

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
    """Return whether the midprice falls, and whether it rises, over the horizon h of informed investors."""
    assert moves is not None, "informed investors need the moves of the midprice"
    move = moves[flow.foresight - 1]
    return move < 0, move > 0


def _split_unit_orders(
    orders: UInt[Array, "words 2"], tie_breaks: UInt[Array, "words"], best: Bool[Array, "makers 2"]
) -> UInt[Array, "makers 2"]:
    """Number of orders won by each of at most two makers: all of a side if alone, by tie-breaking bits if tied."""
    total = jax.lax.population_count(orders).sum(0)
    if best.shape[0] == 1:
        return total[None] * best
    second = jax.lax.population_count(orders & tie_breaks[:, None]).sum(0)
    second = jnp.where(best[0], jnp.where(best[1], second, 0), total)
    return jnp.stack([total - second, second])


def _split_orders(
    orders: Float[Array, "investors 2"], tie_breaks: UInt[Array, "investors"], best: Bool[Array, "makers 2"]
) -> Float[Array, "makers investors 2"]:
    """Sizes won by each maker; every order goes to one of the makers at the best price, with equal probability."""
    tied = best.sum(0)
    # The upper 24 bits of the draw as a uniform on [0, 1) give the rank of the winner among the tied makers.
    uniform = (tie_breaks >> 8).astype(orders.dtype) * 2.0**-24
    rank = jnp.floor(uniform[:, None] * tied)
    position = jnp.cumsum(best, axis=0) - 1
    wins = best[:, None] & (position[:, None] == rank[None])
    return jnp.where(wins, orders[None], 0.0)


def _packed_mask(count: int, words: int | None = None) -> list[int]:
    """Return words whose first `count` bits are set; by default as few words as hold them."""
    words = -(-count // 32) if words is None else words
    return [(1 << min(32, max(0, count - 32 * word))) - 1 for word in range(words)]
