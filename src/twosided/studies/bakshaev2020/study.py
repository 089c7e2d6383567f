"""Bakshaev (2020) made again: one asset, skew and a signal."""

from twosided.studies.bakshaev2020 import single_asset
from twosided.studies.base import Study

PARTS = (single_asset,)

STUDY = Study(
    name="bakshaev2020",
    title="Hedging the trades of clients, made again",
    citation="A. Bakshaev: Market-making with reinforcement-learning (SAC) (2020)",
    cases=tuple(case for part in PARTS for case in part.CASES),
    items=tuple(item for part in PARTS for item in part.ITEMS),
)
