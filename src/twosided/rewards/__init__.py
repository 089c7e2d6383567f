"""Rewards: functions from the PnL of a step, and the reward's own state, to the number that a learner maximises.

The innovation of the midprice is independent of the action. For a reward that is linear in inventory PnL, a learner may
therefore use the conditional expectation of that PnL in place of its sample: the objective is the same, and almost all
of the noise is removed. The same holds for a penalty that is a function of the step's inventory PnL alone. Reported PnL
is always the sample.

pnl.py        spread PnL, PnL in excess of the competitors', and a weighted sum of PnL, inventory and spread
risk.py       penalties on the risk of inventory PnL
moments.py    the differential Sharpe ratio and the variance of PnL
inventory.py  a penalty on the inventory

The interface is `twosided.core.reward`. Rewards that need quantities of one market are in that market's package.
"""

from twosided.rewards.inventory import InventoryPenalty
from twosided.rewards.moments import DifferentialSharpe, RunningVariance
from twosided.rewards.pnl import ExcessPnL, SpreadPnL, WeightedReward
from twosided.rewards.risk import AsymmetricPenalty, RollingWindow, SquarePenalty, StdPenalty

__all__ = [
    "AsymmetricPenalty",
    "DifferentialSharpe",
    "ExcessPnL",
    "InventoryPenalty",
    "RollingWindow",
    "RunningVariance",
    "SpreadPnL",
    "SquarePenalty",
    "StdPenalty",
    "WeightedReward",
]
