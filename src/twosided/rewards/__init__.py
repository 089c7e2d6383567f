"""Rewards: the PnL of a step, and a memory of the reward's own, to the number that a learner maximises.

The innovation of the midprice is independent of the action, so for a reward that is linear in inventory PnL
a learner may see its conditional expectation in place of its sample: the objective is the same, and nearly
all of the noise is gone; likewise for a penalty that is a function of the step's inventory PnL alone. What is
reported is always the sample.

reward.py     what a reward is
dealing.py    PnL, alone or against others, and penalties on the risk of inventory PnL
positions.py  penalties on the position itself, and the price of risk
moments.py    the Sharpe ratio and the variance of PnL
thresholds.py cash flow, and a penalty on much inventory
"""

from twosided.rewards.inventory import InventoryPenalty
from twosided.rewards.moments import DifferentialSharpe, RunningVariance
from twosided.rewards.pnl import ExcessPnL, SpreadPnL, WeightedReward
from twosided.rewards.risk import AsymmetricPenalty, DeviationPenalty, RollingWindow, SquarePenalty

__all__ = [
    "AsymmetricPenalty",
    "DeviationPenalty",
    "DifferentialSharpe",
    "ExcessPnL",
    "InventoryPenalty",
    "RollingWindow",
    "RunningVariance",
    "SpreadPnL",
    "SquarePenalty",
    "WeightedReward",
]
