"""Reinforcement-learning market making: simulate two-sided markets, train makers, measure them against the optimum.

The public names are loaded when they are first used, so that `import twosided` and the command line's help stay
fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twosided.book import ReferenceBook
    from twosided.evaluate import evaluate, trace
    from twosided.exact.dealer import optimum
    from twosided.flow import Investors, UnitInvestors
    from twosided.learn.ppo import PPO
    from twosided.learn.train import train
    from twosided.markets.base import Market, Scenario, rollout, start
    from twosided.markets.dealer import DealerAction, DealerMarket
    from twosided.policies.neural import NeuralPolicy
    from twosided.policies.rules import Persistent, Random
    from twosided.prices import Bachelier, GeometricBrownian
    from twosided.records import Record, to_frame
    from twosided.rewards import ExcessPnL, TotalPnL
    from twosided.types import Policy

_HOMES = {
    "Bachelier": "prices",
    "DealerAction": "markets.dealer",
    "DealerMarket": "markets.dealer",
    "ExcessPnL": "rewards",
    "GeometricBrownian": "prices",
    "Investors": "flow",
    "Market": "markets.base",
    "NeuralPolicy": "policies.neural",
    "PPO": "learn.ppo",
    "Persistent": "policies.rules",
    "Policy": "types",
    "Random": "policies.rules",
    "Record": "records",
    "ReferenceBook": "book",
    "Scenario": "markets.base",
    "TotalPnL": "rewards",
    "UnitInvestors": "flow",
    "evaluate": "evaluate",
    "optimum": "exact.dealer",
    "rollout": "markets.base",
    "start": "markets.base",
    "to_frame": "records",
    "trace": "evaluate",
    "train": "learn.train",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'twosided' has no attribute {name!r}")
    return getattr(import_module(f"twosided.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
