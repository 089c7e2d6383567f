"""Midprice processes, which do not depend on trades.

A process is deterministic given its shock, `step(state, shock)`, so that policies can be compared on common random
numbers, and recorded prices can take its place. Its state is a pytree with a field `mid`.

process.py     the interface, and the moments of the next price change
brownian.py    geometric and arithmetic Brownian motion
merton.py      geometric Brownian motion with jumps
garch.py       GARCH(1,1) volatility
assets.py      several correlated assets
bars.py        open, high, low and close, from substeps of a process
poisson.py     Poisson counts from standard normals

Heston's stochastic volatility is in `twosided.heston.process`; sources of bars, simulated or recorded, are in
`twosided.bars.source`.
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
