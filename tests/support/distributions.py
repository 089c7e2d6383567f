"""Distributions of quotes, shared by tests of the dealer market."""

from hypothesis import strategies as st

from twosided.dealer.distributions import Mixture, PointMass, Uniform
from twosided.dealer.exact.spread_pnl import FixedMaker


def symmetric_maker(quote):
    """Maker that quotes from one distribution on both sides."""
    return FixedMaker(buy=quote, sell=quote)


def distributions():
    """Distributions on [-1, 1] that share some atoms, so that ties have positive probability."""
    point = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]).map(PointMass)
    uniform = st.tuples(st.floats(-1, 0.9), st.floats(0.01, 1)).map(
        lambda t: Uniform(t[0], min(t[0] + t[1], 1.0))
    )
    parts = st.lists(point | uniform, min_size=1, max_size=3)
    weighted = parts.flatmap(
        lambda components: st.lists(
            st.floats(0.1, 1), min_size=len(components), max_size=len(components)
        ).map(lambda weights: Mixture(components, weights))
    )
    return point | uniform | weighted
