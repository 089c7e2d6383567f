"""
Save, load and act
==================

Save a maker as one file, load it without its scenario, and let it quote on a batch of observations.
"""

import tempfile
from pathlib import Path

import numpy as np
import polars as pl

import twosided as ts
from twosided.plots import figure_lines

# %%
# Any policy can be saved. This one is the exact optimum of the limit-order market. A trained policy is saved in
# the same way.

scenario = ts.Scenario(ts.LimitOrderMarket(), (), ts.InventoryPenalty(running=0.2))
path = Path(tempfile.mkdtemp()) / "maker.safetensors"
ts.save(ts.optimum(scenario).policy, path, scenario)
print(f"{path.stat().st_size / 1024:.0f} KiB")

# %%
# The file contains the names of the fields of the observation. Nothing is unpickled on loading.

maker = ts.load(path)
print(maker.inputs)

# %%
# ``act`` takes one observation with named fields, in the units of the market.

quotes = maker.act({"inventory": 2.0, "time_left": 0.5})
print(f"bid {quotes.bid_offset:.3f} below the midprice, ask {quotes.ask_offset:.3f} above it")

# %%
# It also takes a batch: here, all inventories, half-way through the session.

maker.reset()
inventory = np.arange(-10.0, 11.0)
quotes = maker.act({"inventory": inventory, "time_left": np.full_like(inventory, 0.5)})
frame = pl.DataFrame({"inventory": inventory, "bid": quotes.bid_offset, "ask": quotes.ask_offset})
frame = frame.unpivot(["bid", "ask"], index="inventory", variable_name="side", value_name="offset")
# An offset of max_offset is no order.
frame = frame.filter(pl.col("offset") < scenario.market.max_offset)
panels = {"offset": "offset from the midprice, currency"}
figure_lines(frame, "inventory", panels, "side", x_title="inventory, units").show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/save_and_act.png'
