"""Midprice processes: how the price that everybody refers to moves, whoever trades.

A process is deterministic given its shock, `step(state, shock)`, so that paths are compared on common
chance and history can stand in its place. Its state is a pytree whose `mid` the market reads.

process.py     what a process is, and the moments that it must know
brownian.py    geometric and arithmetic Brownian motion
departures.py  jumps and volatility clustering
heston.py      stochastic volatility
assets.py      several assets whose moves are correlated
bars.py        open, high, low and close from substeps
bar_source.py  bars one after the other, simulated or of history; bar_history.py: of files
"""

from twosided.prices.brownian import Bachelier, GeometricBrownian
from twosided.prices.garch import Garch
from twosided.prices.merton import MertonJumps
from twosided.prices.process import ChangeMoments, PriceProcess, PriceState

__all__ = [
    "Bachelier",
    "ChangeMoments",
    "Garch",
    "GeometricBrownian",
    "MertonJumps",
    "PriceProcess",
    "PriceState",
]
