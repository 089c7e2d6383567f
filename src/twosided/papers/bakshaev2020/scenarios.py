"""Scenarios of Bakshaev (2020), with all values of the paper and its code, also where our defaults differ.

Flow and spreads depend on the mean volatility of the whole path, spreads have no effective clamp, and an episode has
511 steps: the paper's simulation has 512 prices, and its environment stops one before the last.
"""

from twosided.core.scenario import Scenario
from twosided.hedging.market import HedgingMarket
from twosided.hedging.portfolio import PortfolioMarket
from twosided.hedging.rewards import PositionPenalty, PriceOfRisk
from twosided.hedging.spreads import StochasticSpread
from twosided.prices.assets import EqualCorrelation

STEPS = 511
PRICES = 512


def single_asset(skew: bool = False) -> Scenario:
    """Sections 4 and 5: hedge one asset, without or with a skew (whose β of 0.5 has no effect)."""
    market = HedgingMarket(
        client_spread=_unclamped(0.18),
        exchange_spread=_unclamped(0.07),
        allow_skew=skew,
        elasticity=0.5,
        lookahead=PRICES,
    )
    return Scenario(market, (), PositionPenalty(), STEPS)


def price_of_risk(exchange: float = 0.1) -> Scenario:
    """Section 6: the spread that would pay for hedges. `exchange` is the multiplier of the hedge spread."""
    market = HedgingMarket(
        client_spread=_unclamped(0.2),
        exchange_spread=_unclamped(exchange),
        allow_skew=True,
        elasticity=0.0,
        lookahead=PRICES,
    )
    return Scenario(market, (), PriceOfRisk(), STEPS)


def portfolio(weight: float = 0.5, correlation: float = 0.0) -> Scenario:
    """Section 7: two assets; an episode ends at 5 times the limit, as in the paper's code."""
    market = PortfolioMarket(
        prices=EqualCorrelation(num_assets=2, correlation=correlation),
        weights=(weight, 1 - weight),
        client_spread=_unclamped(0.18),
        exchange_spread=_unclamped(0.07),
        max_hedge=64.0,
        breach_multiple=5.0,
        lookahead=PRICES,
    )
    return Scenario(market, (), PositionPenalty(overhedge_weight=5.0), STEPS)


def _unclamped(multiplier: float) -> StochasticSpread:
    return StochasticSpread(multiplier=multiplier, clamp=False)
