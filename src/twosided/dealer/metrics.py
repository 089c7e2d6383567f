"""Metric catalogue of the dealer market: money in basis points of the initial midprice, and quotes as epsilon."""

from typing import TYPE_CHECKING

import jax

from twosided.core.metrics import MetricGroup, mean_and_std, standard_groups

if TYPE_CHECKING:
    from twosided.dealer.market import DealerMarket

BASIS_POINTS = 1e4
"""Basis points in a fraction of 1."""


def dealer_metrics(market: "DealerMarket") -> tuple[MetricGroup, ...]:
    """Return the metrics of a dealer market, in the order of display."""
    mid = initial_mid(market)
    groups = standard_groups(
        BASIS_POINTS / mid,
        "bp",
        digits=2,
        unit_note=f"A basis point (bp) is 0.01% of the initial midprice of {mid:g}.",
        competitors=market.num_makers - 1,
    )
    tiers = range(market.flow.tiers) if market.by_tier and market.flow.tiers > 1 else ()
    names = {"": ""} | {f"_{tier}": f", tier {tier + 1}" for tier in tiers}
    quotes = [
        metric
        for side, quote in (("buy", "bid"), ("sell", "ask"))
        for suffix, tier in names.items()
        for metric in mean_and_std(f"epsilon_{side}{suffix}", f"ε of the {quote}{tier}", digits=3)
    ]
    quotes += mean_and_std("hedge_fraction", "fraction hedged", digits=3)
    note = (
        "Epsilon (ε) compares the maker’s half-spread with the exchange’s: 0 is the same, −0.05 is 5% tighter, −1 is "
        "no spread at all."
    )
    return (*groups, MetricGroup("Quotes and hedges", note, tuple(quotes)))


def initial_mid(market: "DealerMarket") -> float:
    """Return the midprice at the start of an episode, in currency."""
    return float(market.price.reset(market.price.shocks(jax.random.key(0), ())).mid)
