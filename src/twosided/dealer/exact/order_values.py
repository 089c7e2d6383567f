"""What investors' orders are worth to a maker and what they cost it, tier by tier, in closed form.

All that the investors of a tier bring on one side in a step, on average, with ΔP = P_{t+1} - P_t and S = S_ref:

    value     A = P_0 E[v S(v)] (n_u / 2 + n_i P[side])      earned by who wins it all at ε = 0
    toxicity  C = E[v] n_i E[ΔP⁻] where the maker buys,  E[v] n_i E[ΔP⁺] where it sells

n_u uninformed and n_i informed investors (those that come); the informed sell, so the maker buys, when ΔP < 0. A
maker that quotes ε and wins earns A (1 + ε) - C in spread and in the revaluation of that very step. Later steps
add nothing in expectation where the midprice has no drift and the informed know one step alone. Sizes, books and
moves are independent of each other, and E[P_t] = P_0. A is known for each of many books, drawn by quasi-Monte Carlo:
a maker sees the book before it quotes, and C does not depend on it.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from twosided.core.numeric import Array
from twosided.core.optimum import NotExact
from twosided.dealer.exact.cost_curve import sampled_books
from twosided.dealer.investors import Investors, OrderFlow, Tiers, UnitInvestors
from twosided.dealer.market import DealerMarket
from twosided.dealer.reference_book import ReferenceBook
from twosided.prices import Bachelier, GeometricBrownian, PriceState

HERMITE_POINTS = 64
"""Nodes of the quadrature over log-normal sizes; the cost is smooth once averaged over books."""


@dataclass(frozen=True, eq=False)
class SideOrders:
    """The orders of a tier on one side, in currency a step."""

    values: Array
    """A in each of the books, all alike in probability; one row an independent set of them."""
    toxicity: float
    """C, what whoever wins them loses when the midprice has moved."""

    @property
    def value(self) -> float:
        """A over all books."""
        return float(self.values.mean())

    @property
    def cost(self) -> float:
        """Toxicity per unit of value: an order loses if ε is below this less 1."""
        return self.toxicity / self.value if self.value > 0 else 0.0

    def __add__(self, other: "SideOrders") -> "SideOrders":
        return SideOrders(self.values + other.values, self.toxicity + other.toxicity)


@dataclass(frozen=True, eq=False)
class TierOrders:
    """The orders of a tier on both sides of the makers."""

    buy: SideOrders
    """Where makers buy."""
    sell: SideOrders

    def __add__(self, other: "TierOrders") -> "TierOrders":
        return TierOrders(self.buy + other.buy, self.sell + other.sell)


def orders_by_tier(market: DealerMarket) -> tuple[TierOrders, ...]:
    """What the investors of each tier bring. Raises NotExact."""
    price, flow = market.price, market.flow
    if not isinstance(price, (GeometricBrownian, Bachelier)) or float(price.drift) != 0:
        raise NotExact("the optimum is exact only for a midprice without drift")
    if flow.lookahead > 1:
        raise NotExact("the optimum is exact only for investors who know the midprice at most one step ahead")
    return tuple(
        _orders(tier, market.book, price) for tier in (flow.flows if isinstance(flow, Tiers) else (flow,))
    )


def _orders(flow: OrderFlow, book: ReferenceBook, price: GeometricBrownian | Bachelier) -> TierOrders:
    mid = float(price.initial)
    if isinstance(flow, UnitInvestors):
        arrival, sizes, weights = 1.0, np.ones(1), np.ones(1)
    elif isinstance(flow, Investors) and not flow.aggregate_orders:
        log_variance = np.log1p(float(flow.size_variation) ** 2)
        nodes, weights = np.polynomial.hermite_e.hermegauss(HERMITE_POINTS)
        sizes = float(flow.mean_size) * np.exp(np.sqrt(log_variance) * nodes - log_variance / 2)
        arrival = float(flow.arrival_probability)
    else:
        raise NotExact("the optimum is exact only for investors whose orders are each priced on their own")
    weights = arrival * weights / weights.sum()
    with jax.enable_x64(True):
        each = sampled_books(book, points=1024, replicates=16, seed=0).cost(jnp.asarray(sizes)[:, None, None])
        cost, size = np.tensordot(weights, np.asarray(each, float), 1), float(weights @ sizes)
    uninformed, informed = flow.count - flow.informed, flow.informed
    chance_of_fall = _chance_of_fall(price)
    with jax.enable_x64(True):
        change = price.change_moments(PriceState(jnp.asarray(mid, float)))
        fall, rise = -float(change.downside), float(change.mean - change.downside)

    def side(chance: float, move: float) -> SideOrders:
        return SideOrders(mid * cost * (uninformed / 2 + informed * chance), size * informed * move)

    return TierOrders(buy=side(chance_of_fall, fall), sell=side(1 - chance_of_fall, rise))


def _chance_of_fall(price: GeometricBrownian | Bachelier) -> float:
    """P[ΔP < 0] without drift: a geometric motion falls more often than it rises, by less."""
    if isinstance(price, Bachelier):
        return 0.5
    return float(ndtr(float(price.volatility) * np.sqrt(float(price.time_step)) / 2))
