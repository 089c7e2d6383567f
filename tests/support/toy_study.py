"""A study whose cases take no time, for the tests of what runs and shows studies. `LOG` in the environment names a
file that a line is added to whenever a case begins."""

import os
import time
from pathlib import Path

import plotly.graph_objects as go
import polars as pl

from twosided.core.records import Record
from twosided.papers.base import Case, Cell, Claim, Figure, Item, Outcome, Row, Study, Table, greater, within
from twosided.plots.style import dressed


def begun(name):
    if "LOG" in os.environ:
        with Path(os.environ["LOG"]).open("a") as log:
            log.write(f"{name} {os.getpid()}\n")


def instant(name, value):
    def run(budget, tell):
        begun(name)
        tell(f"{name} with {budget.seeds} seeds")
        curve = pl.DataFrame({"x": [0.0, 1.0], "y": [0.0, value]})
        record = Record("maker", 0, "pnl_total", value + budget.seed, 0.01)
        return Outcome([record, Record("mean of seeds", 0, "pnl_total", value, 0.01)], {"curve": curve})

    return Case(name, run)


def breaks(budget, tell):
    begun("broken")
    raise ArithmeticError("the books <b>do not</b> balance")


def dies(budget, tell):
    begun("dying")
    os._exit(7)


def sleeps(budget, tell):
    """Lasts until told to stop, if the file that `UNTIL` names is not there."""
    begun("slow")
    while not Path(os.environ.get("UNTIL", "/")).exists():
        tell("still asleep")
        time.sleep(0.01)
    return Outcome([Record("maker", 0, "pnl_total", 1.0, 0.1)])


def hears_nothing(budget, tell):
    """Lasts, and never looks whether it should stop."""
    begun("deaf")
    time.sleep(300)


def content(outcomes):
    cells = []
    for case in ("good", "better"):
        ours = outcomes.estimate(case, "maker", "pnl_total", scale=100)
        cells.append(Cell(ours, theirs=76.2, exact=94.0 if case == "good" else None, digits=1))
    rows = (Row("persistent <0>", tuple(cells)), Row("nobody", (Cell(None), Cell(None, 1.0))))
    curve = outcomes.frame("good", "curve")
    figure = dressed(go.Figure(go.Scatter(x=curve["x"], y=curve["y"])), height=240)
    return [
        Table(("total", "excess"), rows, note="PnL a step × 100."),
        Figure("The curve", "It rises.", figure),
    ]


def better_is_better(outcomes):
    a, b = (outcomes.estimate(case, "maker", "pnl_total") for case in ("better", "good"))
    return greater(a, b, names=("better", "good"))


CLAIMS = (
    Claim("section 7, table 1", "Better is better than good.", better_is_better),
    Claim(
        "section 7.2",
        "Good earns <nothing>.",
        lambda outcomes: within(outcomes.estimate("good", "maker", "pnl_total"), 0.0, 0.1),
    ),
)
LATE = Claim(
    "section 8",
    "Slow earns one.",
    lambda outcomes: within(outcomes.estimate("slow", "maker", "pnl_total"), 1.0, 0.5),
)

STUDY = Study(
    "toy",
    "A toy, made again",
    "Nobody (1999), A toy, & more",
    (
        instant("good", 0.5),
        Case("broken", breaks),
        Case("dying", dies),
        Case("slow", sleeps),
        Case("deaf", hears_nothing),
        instant("better", 0.75),
    ),
    (
        Item("table-1", "Table 1", "What they earn.", ("good", "better"), content, CLAIMS),
        Item("figure-1", "Figure 1", "What breaks.", ("good", "broken"), content),
        Item("figure-2", "Figure 2", "What dies.", ("good", "dying"), content),
        Item("figure-4", "Figure 4", "What never ends.", ("good", "deaf"), content),
        Item("figure-3", "Figure 3", "What lasts.", ("good", "slow", "better"), content, (LATE,)),
    ),
)
