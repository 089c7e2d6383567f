"""Study of planning with a model of the market, part by part."""

from twosided.papers.base import Study
from twosided.papers.heston_planning import real_bars, simulated_bars

PARTS = (simulated_bars, real_bars)

STUDY = Study(
    name="heston-planning",
    title="Planning with a model of the market",
    citation="T. Gore: Deep Reinforcement Learning Market Making Algorithm with Model-Based Planning (2025)",
    cases=tuple(case for part in PARTS for case in part.CASES),
    items=tuple(item for part in PARTS for item in part.ITEMS),
    read_bars=real_bars.History.read,
)
