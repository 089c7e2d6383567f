"""Phelps (2022) made again: each cell of the slides that shows something, and what is exactly true of it."""

from twosided.papers.base import Study
from twosided.papers.phelps2022 import extensions, slides
from twosided.papers.phelps2022.cases import CASES

STUDY = Study(
    name="phelps2022",
    title="An electronic market maker, made again",
    citation=(
        "S. Phelps: Reinforcement-learning case-study (2022), after N. T. Chan and C. Shelton: An Electronic "
        "Market-Maker (2001)"
    ),
    cases=CASES,
    items=(*slides.ITEMS, *extensions.ITEMS),
)
