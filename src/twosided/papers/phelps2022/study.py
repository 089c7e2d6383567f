"""Study of Phelps (2022): each table and figure of the slides, with exact values beside the sampled ones."""

from twosided.papers.base import Study
from twosided.papers.phelps2022 import extensions, slides
from twosided.papers.phelps2022.cases import CASES

STUDY = Study(
    name="phelps2022",
    title="Reproducing Phelps (2022): an electronic market maker",
    citation=(
        "S. Phelps: Reinforcement-learning case-study (2022), after N. T. Chan and C. Shelton: An Electronic "
        "Market-Maker (2001)"
    ),
    cases=CASES,
    items=(*slides.ITEMS, *extensions.ITEMS),
)
