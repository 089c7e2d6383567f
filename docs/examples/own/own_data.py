"""
Use your own bars
=================

Read bars from a file, place limit orders on them, and compare the PnL of several makers.
"""

import datetime
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

import twosided as ts
from twosided.plots import figure_bars, figure_episode

# %%
# This cell writes the file of the example: open, high, low and close of a random walk, by minute. Your own files
# need the same columns; see :doc:`/guides/data`.

path = Path(tempfile.mkdtemp()) / "minutes.csv"
rng = np.random.default_rng(0)
num_bars, substeps = 5_000, 10
steps = 1e-4 * rng.standard_normal((num_bars, substeps))
prices = np.exp(np.log(1.10) + np.cumsum(steps).reshape(num_bars, substeps))
start = np.concatenate([[1.10], prices[:-1, -1]])
pl.DataFrame(
    {
        "time": pl.datetime_range(
            datetime.datetime(2024, 1, 1),
            datetime.datetime(2024, 1, 1) + datetime.timedelta(minutes=num_bars - 1),
            "1m",
            eager=True,
        ).dt.strftime("%Y-%m-%d %H:%M"),
        "open": start,
        "high": np.maximum(prices.max(1), start),
        "low": np.minimum(prices.min(1), start),
        "close": prices[:, -1],
    }
).write_csv(path)

# %%
# ``read_bars`` checks the file and refuses it if a line is invalid. The summary lists length, gaps and sessions.

bars = ts.read_bars(path)
for name, value in bars.summary():
    print(f"{name}: {value}")

# %%
# ``RecordedBars`` is the source of a market on these bars. An order placed after a bar rests during the next bar,
# and fills if the price trades through it. The maker receives a rebate of half a basis point.

market = ts.BarsMarket(source=ts.RecordedBars.of(bars), maker_rate=-5e-5)
scenario = ts.Scenario(market, (), horizon=500)
makers = {f"{offset} basis points": ts.FixedOffset(1e-4 * offset, 1e-4 * offset) for offset in (1, 2, 4, 8)}
makers["buy and hold"] = ts.BuyAndHold()
records = ts.evaluate(scenario, makers, steps=100_000, as_frame=True)

# %%
# PnL per step, in basis points of the opening price. A fill means that the price has moved through the order, so
# the maker loses on inventory about as much as it earns on the spread.

metrics = {
    "pnl_spread": "spread",
    "pnl_inventory": "inventory",
    "pnl_fees": "fees and rebates",
    "pnl_total": "total",
}
frame = records.filter(pl.col("metric").is_in(list(metrics)))
frame = frame.with_columns(pl.col("value") * 1e4 / 1.10)
table = frame.pivot("metric", index="case", values="value")
figure_bars(table, "case", metrics, error=False).show()

# %%
# One episode of a maker.

figure_episode(ts.trace(scenario, makers["2 basis points"], paths=1)).show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/own_data.png'
