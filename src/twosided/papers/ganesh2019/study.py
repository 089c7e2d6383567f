"""Study of Ganesh et al. (2019): every table and figure, and extensions."""

from twosided.papers.base import Study
from twosided.papers.ganesh2019 import (
    adaptive_tables,
    condition_figures,
    extensions,
    learner_figures,
    learner_tables,
)
from twosided.papers.ganesh2019.cases import CASES

_FIGURES = sorted(
    (*learner_figures.ITEMS, *condition_figures.ITEMS),
    key=lambda item: int(item.name.removeprefix("figure-")),
)
STUDY = Study(
    name="ganesh2019",
    title="Reproducing Ganesh et al. (2019): market making in a dealer market",
    citation=(
        "S. Ganesh, N. Vadori, M. Xu, H. Zheng, P. Reddy and M. Veloso: Reinforcement Learning for Market Making in a "
        "Multi-agent Dealer Market (2019)"
    ),
    cases=CASES,
    items=(*learner_tables.ITEMS, *adaptive_tables.ITEMS, *_FIGURES, *extensions.ITEMS),
)
