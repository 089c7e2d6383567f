"""Metric catalogue of the electronic markets: money in ticks, and changes of the quotes."""

from twosided.core.metrics import MetricGroup, mean_and_std, standard_groups


def electronic_metrics() -> tuple[MetricGroup, ...]:
    """Return the metrics of an electronic market, in the order of display."""
    changes = (
        *mean_and_std("change", "change of the quote", "ticks"),
        *mean_and_std("change_bid", "change of the bid", "ticks"),
        *mean_and_std("change_ask", "change of the ask", "ticks"),
    )
    note = "Change of a quote in a step: −1, 0 or 1 tick. The standard deviation shows how often quotes move."
    return (*standard_groups(unit="ticks"), MetricGroup("Quotes", note, changes))
