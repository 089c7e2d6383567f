"""
Calibrate the reference book
============================

Fit the reference book of the dealer market to order-book snapshots, compare the fit with the data, and use the
fit in a market.
"""

import jax
import numpy as np
import polars as pl

import twosided as ts
from twosided.dealer.book_plots import figure_book_fit
from twosided.dealer.calibration import reference_book, sample_curves

# %%
# ``read_snapshots`` reads LOBSTER files and tables with named columns. The snapshots of this example are drawn
# from a known book, so that the estimates can be compared with the true parameters. Volumes are in shares, and a
# unit of trade is 500 shares.

truth = ts.ReferenceBook(best_volume_shape=2.0)


def draw(seed):
    return truth.snapshot(truth.shocks(jax.random.key(seed), (2_000,)))


asks, bids = draw(0), draw(1)
# Use the spread of the asks for both sides, so that the mid is 100.
distance = np.asarray(asks.spread)[:, None] / 2 + truth.tick * np.arange(truth.num_levels)
snapshots = ts.BookSnapshots(
    ask_price=100 * (1 + distance),
    ask_size=500 * np.asarray(asks.volumes),
    bid_price=100 * (1 - distance),
    bid_size=500 * np.asarray(bids.volumes),
    time=None,
    rows_read=2_000,
    rows_halted=0,
    sources=("simulated",),
)

# %%
# Estimates with block-bootstrap standard errors.

fit = ts.fit_book(snapshots)
pl.DataFrame(
    {
        "parameter": list(fit.estimates),
        "estimate": list(fit.estimates.values()),
        "standard error": [fit.standard_errors.get(name) for name in fit.estimates],
        "truth": [float(getattr(truth, name)) for name in fit.estimates],
    }
)

# %%
# The fitted model and the data. The volume scale is chosen so that a unit of trade has a given cost.

book = reference_book(fit)
sizes = np.linspace(0.1, 5, 50)
figure_book_fit(fit, sizes, sample_curves(book, sizes)).show()

# %%
# Use the fitted book in a market.

market = ts.DealerMarket(book=book)
scenario = ts.Scenario(market, competitors=(ts.PersistentQuoter(),))
print(f"supremum of PnL per step: {ts.optimum(scenario).value:.3f}")

# sphinx_gallery_thumbnail_path = '_static/thumbnails/calibrate_book.png'
