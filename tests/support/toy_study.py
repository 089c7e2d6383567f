"""Study with instant cases, for tests of running and showing studies. Each case that starts appends a line to the file
named by the environment variable `LOG`, if it is set."""

import os
import time
from pathlib import Path

import plotly.graph_objects as go
import polars as pl

from twosided.core.records import Record
from twosided.papers.base import (
    Case,
    Cell,
    Claim,
    Figure,
    Item,
    Outcome,
    Row,
    Study,
    Table,
    greater,
    select,
    select_one,
    within,
)
from twosided.plots.style import dressed


def log_start(name):
    if "LOG" in os.environ:
        with Path(os.environ["LOG"]).open("a") as log:
            log.write(f"{name} {os.getpid()}\n")


def instant(name, value):
    def run(budget, report):
        log_start(name)
        report(f"{name} with {budget.seeds} seeds")
        curve = pl.DataFrame({"x": [0.0, 1.0], "y": [0.0, value]})
        records = [
            Record("", 0, "pnl_total", value + budget.seed, 0.01, parameters={"policy": "maker"}),
            Record("", 0, "pnl_total", value, 0.01, parameters={"replications": budget.seeds}),
        ]
        return Outcome(records, {"curve": curve})

    return Case(name, run, {"kind": "instant", "level": value})


def fail(budget, report):
    log_start("broken")
    raise ArithmeticError("the books <b>do not</b> balance")


def die(budget, report):
    log_start("dying")
    os._exit(7)


def wait(budget, report):
    """Run until stopped, or until the file named by the environment variable `UNTIL` exists."""
    log_start("slow")
    while not Path(os.environ.get("UNTIL", "/")).exists():
        report("still asleep")
        time.sleep(0.01)
    return Outcome([Record("", 0, "pnl_total", 1.0, 0.1)])


def hang(budget, report):
    """Run for minutes without reporting progress."""
    log_start("deaf")
    time.sleep(300)


CASES = (
    instant("good", 0.5),
    Case("broken", fail),
    Case("dying", die),
    Case("slow", wait),
    Case("deaf", hang),
    instant("better", 0.75),
)
GOOD, BETTER = (select_one(CASES, level=level) for level in (0.5, 0.75))


def content(found):
    cells = []
    for case in select(CASES, kind="instant"):
        ours = found.estimate(case, "pnl_total", policy="maker").times(100)
        cells.append(Cell(ours, paper=76.2, exact=94.0 if case == GOOD else None, digits=1))
    rows = (Row("persistent <0>", tuple(cells)), Row("nobody", (Cell(None), Cell(None, 1.0))))
    curve = found.frame(GOOD, "curve")
    figure = dressed(go.Figure(go.Scatter(x=curve["x"], y=curve["y"])), height=240)
    return [
        Table(("total", "excess"), rows, note="PnL a step × 100."),
        Figure("The curve", "It rises.", figure),
    ]


def better_is_better(found):
    a, b = (found.estimate(case, "pnl_total", policy="maker") for case in (BETTER, GOOD))
    return greater(a, b, names=("better", "good"))


CLAIMS = (
    Claim("section 7, table 1", "Better is better than good.", better_is_better),
    Claim(
        "section 7.2",
        "Good earns <nothing>.",
        lambda found: within(found.estimate(GOOD, "pnl_total", policy="maker"), 0.0, 0.1),
    ),
)
LATE = Claim(
    "section 8",
    "Slow earns one.",
    lambda found: within(found.estimate("slow", "pnl_total"), 1.0, 0.5),
)

STUDY = Study(
    "toy",
    "Reproducing a toy",
    "Nobody (1999), A toy, & more",
    CASES,
    (
        Item("table-1", "Table 1", "Earnings.", ("good", "better"), content, CLAIMS),
        Item("figure-1", "Figure 1", "A case that fails.", ("good", "broken"), content),
        Item("figure-2", "Figure 2", "A case whose process dies.", ("good", "dying"), content),
        Item("figure-4", "Figure 4", "A case that never ends.", ("good", "deaf"), content),
        Item("figure-3", "Figure 3", "A case that lasts.", ("good", "slow", "better"), content, (LATE,)),
    ),
)
