"""Metric catalogue of the limit-order market: money and offsets in currency."""

from twosided.core.metrics import MetricGroup, mean_and_std, standard_groups


def limit_order_metrics() -> tuple[MetricGroup, ...]:
    """Return the metrics of a limit-order market, in the order of display."""
    orders = (
        *mean_and_std("bid_offset", "offset of the bid", "currency"),
        *mean_and_std("ask_offset", "offset of the ask", "currency"),
        *mean_and_std("bid_size", "size of the bid", "units"),
        *mean_and_std("ask_size", "size of the ask", "units"),
    )
    note = "Offsets are distances from the midprice; orders that are not placed count at the largest offset."
    return (*standard_groups(), MetricGroup("Orders", note, orders))
