"""Dashboard of the dealer market: epsilon quoted by the makers, and skew against inventory."""

from collections.abc import Mapping

import polars as pl

from twosided.core.dashboard import Dashboard, Section
from twosided.dealer.plots import figure_epsilon, figure_skew

EPSILON = (
    "Share of steps at each epsilon (ε), the maker’s half-spread over the exchange’s, less one: −0.05 is 5% "
    "tighter than the exchange."
)
OPTIMAL_EPSILON = (
    " The dashed line is the optimal ε. A lower ε earns less on every trade; a higher ε loses clients."
)
SKEW = (
    "Mean ε of each side by the inventory before the step. A maker that wants to reduce a long position lowers ε "
    "on its ask and raises it on its bid. Flat lines mean no skew, which is optimal where holding inventory costs "
    "nothing on average."
)


class DealerDashboard(Dashboard):
    """Figures of the dealer market."""

    introduction = (
        "Investors trade with the maker that quotes the best price. A maker earns the spread between its price and "
        "the midprice. It can hedge its inventory on an exchange, at a cost; the rest gains or loses with the "
        "midprice."
    )

    def policy(self, trace: pl.DataFrame, metrics: Mapping[str, float] | None = None) -> list[Section]:
        if "epsilon_buy" not in trace.columns:
            return []
        best = [(metrics or {}).get(f"epsilon_{side}_mean") for side in ("buy", "sell")]
        known = any(value is not None for value in best)
        return [
            Section("Quotes", EPSILON + OPTIMAL_EPSILON * known, figure_epsilon(trace, *best)),
            Section("Skew against inventory", SKEW, figure_skew(trace, *best)),
        ]
