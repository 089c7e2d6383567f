"""Study of Bakshaev (2020), part by part."""

from twosided.papers.bakshaev2020 import portfolio, price_of_risk, signal, single_asset, skew, stability
from twosided.papers.base import Study

PARTS = (single_asset, stability, skew, signal, price_of_risk, portfolio)

STUDY = Study(
    name="bakshaev2020",
    title="Reproducing Bakshaev (2020): hedging client trades",
    citation="A. Bakshaev: Market-making with reinforcement-learning (SAC) (2020)",
    cases=tuple(case for part in PARTS for case in part.CASES),
    items=tuple(item for part in PARTS for item in part.ITEMS),
)
