"""Metric catalogue of the hedging markets: money in currency, hedges in units, skew."""

from dataclasses import replace

from twosided.core.metrics import MetricGroup, mean_and_std, standard_groups


def hedging_metrics(assets: int = 0) -> tuple[MetricGroup, ...]:
    """Return the metrics of a hedging market, in the order of display; `assets` is a portfolio's number of assets."""
    hedges = [*mean_and_std("hedge", "hedge", "units")]
    for i in range(assets):
        hedges += mean_and_std(f"hedge_{i}", f"hedge in asset {i + 1}", "units")
    hedges += mean_and_std("amount", "hedge over all assets", "units")
    hedges += mean_and_std("fractions", "fraction of what earlier assets leave", digits=3)
    for i in range(assets - 1):
        hedges += mean_and_std(f"fractions_{i}", f"fraction hedged with asset {i + 1}", digits=3)
    hedges += (replace(metric, optional=True) for metric in mean_and_std("skew", "skew", digits=3))
    note = (
        "A hedge is the number of units that the maker orders on the exchange in a step, positive for a purchase. A "
        "positive skew lowers the ask to sell more; a negative one raises the bid to buy more."
    )
    return (*standard_groups(), MetricGroup("Hedges and skew", note, tuple(hedges)))
