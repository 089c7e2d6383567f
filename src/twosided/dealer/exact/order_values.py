"""Expected value and toxicity of the orders of each investor tier, in closed form.

For the orders of a tier on one side in a step, in expectation, with ΔP = P_{t+1} - P_t and S = S_ref:

    value     A = P_0 E[v S(v)] (n_u / 2 + n_i P[side])      spread PnL of a maker that wins all of them at ε = 0
    toxicity  C = E[v] n_i E[ΔP⁻] where the maker buys,  E[v] n_i E[ΔP⁺] where it sells

where n_u and n_i are the expected numbers of uninformed and informed investors that arrive. Informed investors sell, so
that the maker buys, if ΔP < 0. A maker that quotes ε and wins earns A (1 + ε) - C, its spread PnL and the revaluation
of the orders in the same step. Later steps add nothing in expectation if the midprice has no drift and informed
investors know one step only. Sizes, books and price moves are independent of each other, and E[P_t] = P_0. A is
computed for each of many books, drawn by quasi-Monte Carlo, because a maker observes the book before it quotes; C does
not depend on the book.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from twosided.core.numeric import FloatArray
from twosided.core.optimum import NotExact
from twosided.dealer.exact.cost_curve import sampled_books
from twosided.dealer.investors import Investors, OrderFlow, Tiers, UnitInvestors
from twosided.dealer.market import DealerMarket
from twosided.dealer.reference_book import ReferenceBook
from twosided.prices import Bachelier, GeometricBrownian, PriceState

HERMITE_POINTS = 64
"""Number of nodes of the quadrature over log-normal sizes; the mean cost over books is a smooth function of size."""


@dataclass(frozen=True, eq=False)
class SideOrders:
    """Value and toxicity of the orders of a tier on one side, in currency per step."""

    values: FloatArray
    """A in each of many equally likely books; one row per independent replicate."""
    toxicity: float
    """C, expected loss of the winner of the orders from the move of the midprice."""

    @property
    def value(self) -> float:
        """Mean of A over all books."""
        return float(self.values.mean())

    @property
    def cost(self) -> float:
        """c = C / A; orders won at ε < c - 1 make a loss in expectation."""
        return self.toxicity / self.value if self.value > 0 else 0.0

    def __add__(self, other: "SideOrders") -> "SideOrders":
        return SideOrders(self.values + other.values, self.toxicity + other.toxicity)


@dataclass(frozen=True, eq=False)
class TierOrders:
    """Value and toxicity of the orders of a tier on both sides."""

    buy: SideOrders
    """Orders where makers buy."""
    sell: SideOrders
    """Orders where makers sell."""

    def __add__(self, other: "TierOrders") -> "TierOrders":
        return TierOrders(self.buy + other.buy, self.sell + other.sell)


def orders_by_tier(market: DealerMarket) -> tuple[TierOrders, ...]:
    """Return the expected orders of each tier.

    Raises NotExact with drift, with a lookahead of more than one step, or if orders are priced in aggregate.
    """
    price, flow = market.price, market.flow
    if not isinstance(price, (GeometricBrownian, Bachelier)) or float(price.drift) != 0:
        raise NotExact("the exact optimum needs a midprice without drift")
    if flow.lookahead > 1:
        raise NotExact("the exact optimum needs investors that know the midprice at most one step ahead")
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
        raise NotExact(
            "the exact optimum needs orders that are each priced individually (aggregate_orders=False)"
        )
    weights = arrival * weights / weights.sum()
    with jax.enable_x64(True):
        each = sampled_books(book, points=1024, replicates=16, seed=0).cost(jnp.asarray(sizes)[:, None, None])
        cost, size = np.tensordot(weights, np.asarray(each, float), 1), float(weights @ sizes)
    uninformed, informed = flow.count - flow.informed, flow.informed
    fall_probability = _fall_probability(price)
    with jax.enable_x64(True):
        change = price.change_moments(PriceState(jnp.asarray(mid, float)))
        fall, rise = -float(change.downside), float(change.mean - change.downside)

    def side(probability: float, move: float) -> SideOrders:
        return SideOrders(mid * cost * (uninformed / 2 + informed * probability), size * informed * move)

    return TierOrders(buy=side(fall_probability, fall), sell=side(1 - fall_probability, rise))


def _fall_probability(price: GeometricBrownian | Bachelier) -> float:
    """P[ΔP < 0] without drift; above 1/2 for a geometric Brownian motion, whose falls are smaller than its rises."""
    if isinstance(price, Bachelier):
        return 0.5
    return float(ndtr(float(price.volatility) * np.sqrt(float(price.time_step)) / 2))
