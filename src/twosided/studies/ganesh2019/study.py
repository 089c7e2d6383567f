"""Ganesh et al. (2019) made again: every table and figure, and what lies beyond them."""

from twosided.studies.base import Study
from twosided.studies.ganesh2019 import beyond, figures, tables
from twosided.studies.ganesh2019.cases import CASES

STUDY = Study(
    name="ganesh2019",
    title="Market making in a dealer market, made again",
    citation=(
        "S. Ganesh, N. Vadori, M. Xu, H. Zheng, P. Reddy and M. Veloso: Reinforcement Learning for Market Making in a "
        "Multi-agent Dealer Market (2019)"
    ),
    cases=CASES,
    items=(*tables.ITEMS, *figures.ITEMS, *beyond.ITEMS),
)
