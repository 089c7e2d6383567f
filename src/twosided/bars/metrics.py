"""Metric catalogue of the bars market: money in currency, offsets in basis points of the close."""

from twosided.core.metrics import MetricGroup, mean_and_std, standard_groups


def bars_metrics() -> tuple[MetricGroup, ...]:
    """Return the metrics of a bars market, in the order of display."""
    orders = (
        *mean_and_std("bid_offset", "offset of the bid", "bp of the close", 1e4),
        *mean_and_std("ask_offset", "offset of the ask", "bp of the close", 1e4),
        *mean_and_std("bid_size", "size of the bid", "units"),
        *mean_and_std("ask_size", "size of the ask", "units"),
        *mean_and_std("market_order", "market order", "units"),
    )
    note = (
        "The offset is the distance of a limit order from the close; orders that are not placed count at the "
        "largest one. A market order is positive for a purchase."
    )
    return (*standard_groups(), MetricGroup("Orders", note, orders))
