"""Pages of results: the records and figures of an evaluation as one HTML file, for a reader who is new to it.

A page names no market: labels, units and scales come from a metric catalogue (`Market.metrics`), figures of the policy
and of an episode from a dashboard (`Market.dashboard`). Parts that are missing (no curves, no trace, no optimum) are
left out.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from twosided.core.dashboard import Dashboard, PolicyTable, Section
from twosided.core.formatting import interval
from twosided.core.metrics import GAP, PARTS, Metric, MetricGroup, by_name, find_metric
from twosided.core.records import INDEPENDENT, MEAN, Record
from twosided.plots import (
    figure_earnings,
    figure_episode,
    figure_learning,
    figure_side_by_side,
    figure_table,
)
from twosided.report.html import render
from twosided.report.results import Results, groups

if TYPE_CHECKING:  # reading results needs no JAX
    from twosided.core.optimum import StoredOptimum


@dataclass(frozen=True)
class Published:
    """Published values of the same metrics, to be shown beside the measured ones."""

    citation: str
    values: Mapping[str, float]
    """Values by metric, in the units of records."""


@dataclass(frozen=True)
class Provenance:
    """Command, settings and environment that reproduce the numbers."""

    command: str = ""
    settings: str = ""
    """Settings as TOML."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Other facts by name: seeds, versions, timings, the machine."""


@dataclass(frozen=True)
class Card:
    """One of the few numbers at the top of a page."""

    label: str
    value: str
    unit: str
    note: str
    reached: float | None = None
    """Percent of the optimum that is reached, drawn as a bar; None for no bar."""


@dataclass(frozen=True)
class Cell:
    """A number of a table."""

    value: str
    error: str = ""
    style: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table: a policy, or a reference beside it."""

    name: str
    note: str = ""
    style: str = ""


def results_page(
    title: str,
    records: Sequence[Record],
    catalogue: Sequence[MetricGroup],
    dashboard: Dashboard,
    *,
    summary: str = "",
    compared: Collection[str] = (),
    curves: pl.DataFrame | None = None,
    trace: pl.DataFrame | None = None,
    traced: str = "",
    side_by_side: Mapping[str, pl.DataFrame] = {},
    optimum: "StoredOptimum | None" = None,
    no_optimum: str = "",
    published: Published | None = None,
    table: PolicyTable | None = None,
    provenance: Provenance | None = None,
    refresh: bool = False,
) -> str:
    """Return the results of policies as HTML: the most important numbers, a table, and figures.

    The first case, or the mean of seeds if there is one, stands for all at the top. `compared` names the cases that are
    references. `curves` and `trace` are as in `twosided.plots.run`; `traced` is the case of the trace. The traces in
    `side_by_side` are of the same episodes with different makers. `no_optimum` is the reason why there is no optimum.
    A page with `refresh` loads itself again, for a run that is not finished.
    """
    results = Results(records)
    of = f" ({traced})" if traced else ""
    sections = _result_sections(results, compared, curves, optimum, catalogue)
    sections += _policy_sections(dashboard, trace, table, optimum, of)
    sections += _side_by_side_sections(dashboard, side_by_side)
    note = (optimum["source"] if optimum else no_optimum).strip()
    return render(
        "results.html.j2",
        title,
        summary,
        refresh,
        cards=_cards(results, catalogue, optimum, published),
        evaluation=" ".join([_sentences(results, catalogue, optimum), *results.data]).strip(),
        note=note[:1].upper() + note[1:],
        errors=results.errors,
        table=_table(results, compared, catalogue, optimum, published),
        published=published,
        sections=sections,
        made=provenance,
    )


def figure_page(figure: go.Figure, title: str, sentence: str = "") -> str:
    """Return a page with a single figure."""
    return render("figure.html.j2", title, section=Section("", sentence, figure, min_width=640))


EARNINGS = (
    "PnL per step by source. The diamond is the total with its 95% interval. A good maker earns from the spread and "
    "pays little for hedging."
)
OPTIMAL_EARNINGS = " The dashed line is the exact optimum of the total."
LEARNING = (
    "Each line is a training run from scratch with its own seed, evaluated on a few episodes as it goes. Lines "
    "that rise together and level off have converged."
)
LEARNING_GAP = " Gaps below 0.1% are drawn at 0.1%: these few episodes cannot distinguish them from 0."
LEARNING_DATA = " These evaluations are in sample: they are on the data that the makers are trained on."
EPISODE = (
    "From top to bottom: the midprice; the quotes relative to it, in basis points (hundredths of a percent); "
    "trades with clients; the inventory; and cumulative PnL by source."
)
TABLE = "Probability of each action in each cell of observations. The most likely action is framed."
SIDE_BY_SIDE = (
    "All makers meet the same random numbers, so prices are the same wherever the markets are. The Sharpe ratio of "
    "one episode is noisy; the table has that of all episodes."
)


def _result_sections(
    results: Results,
    compared: Collection[str],
    curves: pl.DataFrame | None,
    optimum: "StoredOptimum | None",
    catalogue: Sequence[MetricGroup],
) -> list[Section]:
    """Return the figures of PnL and of training."""
    pnl = find_metric(catalogue, "pnl_total")
    best = _optimal_pnl(optimum)
    shown: dict[str, Any] = {"scale": pnl.scale, "unit": pnl.unit}
    sections = []
    if any(metric == pnl.name for _, metric in results.of):
        figure = figure_earnings(results.records, _ordered(results, compared), best, **shown)
        text = EARNINGS + OPTIMAL_EARNINGS * (best is not None)
        sections.append(Section("PnL by source", text, figure))
    if curves is not None and not curves.is_empty():
        text = LEARNING + LEARNING_GAP * (optimum is not None) + LEARNING_DATA * bool(results.data)
        sections.append(Section("Training", text, figure_learning(curves, best, **shown)))
    return sections


def _policy_sections(
    dashboard: Dashboard,
    trace: pl.DataFrame | None,
    table: PolicyTable | None,
    optimum: "StoredOptimum | None",
    of: str,
) -> list[Section]:
    """Return the figures of the policy and of one episode, those of the market's dashboard before generic ones."""
    sections = []
    traced = trace is not None and not trace.is_empty()
    if trace is not None and traced:
        sections += dashboard.policy(trace, optimum["metrics"] if optimum else None)
    if table is not None:
        sections.append(dashboard.table(table) or _table_section(table))
    if trace is not None and traced:
        sections.append(dashboard.episode(trace) or Section("One episode", EPISODE, figure_episode(trace)))
    return [replace(section, title=f"{section.title}{of}") for section in sections]


def _table_section(table: PolicyTable) -> Section:
    """Return the generic figure of a tabular policy."""
    figure = figure_table(np.asarray(table.probabilities), table.cells, table.actions, digits=2)
    return Section("Policy", TABLE, figure)


def _side_by_side_sections(dashboard: Dashboard, traces: Mapping[str, pl.DataFrame]) -> list[Section]:
    """Return the figure of all makers in one episode, then that of each of them."""
    if not traces:
        return []
    together = dashboard.side_by_side(traces) or Section(
        "One episode, side by side", SIDE_BY_SIDE, figure_side_by_side(traces)
    )
    each = [
        section
        for name, trace in traces.items()
        for section in _policy_sections(dashboard, trace, None, None, f" ({name})")
    ]
    return [together, *each]


def _optimal_pnl(optimum: "StoredOptimum | None") -> float | None:
    """Return the optimum of total PnL in currency per step; None if the optimum is of something else."""
    return optimum["value"] if optimum and optimum["metric"] == "pnl_total" else None


def _known_values(optimum: "StoredOptimum") -> dict[str, float]:
    """Return the values of metrics that the optimum fixes."""
    return {GAP.name: 0.0, optimum["metric"]: optimum["value"], **optimum["metrics"]}


def _ordered(results: Results, compared: Collection[str]) -> list[str]:
    """Return the cases: the one that stands for all, then the others, then those to compare with."""
    return sorted(results.cases, key=lambda case: (case != results.headline, case in compared))


def _cards(
    results: Results,
    catalogue: Sequence[MetricGroup],
    optimum: "StoredOptimum | None",
    published: Published | None,
) -> list[Card]:
    """Return the most important numbers."""
    known = _known_values(optimum) if optimum else {}
    cards = []
    for metric in by_name(catalogue).values():
        record = results.of.get((results.headline or "", metric.name))
        if record is None or not metric.card or not results.has(metric):
            continue
        low, high = (_rounded(metric, bound, record) for bound in interval(record))
        notes = [f"95% interval {low} to {high}."] if record.error else []
        if record.error and record.error_over and record.error_over != INDEPENDENT:
            notes = [f"95% interval {low} to {high}, over {record.error_over}."]
        if record.unknown:
            notes = [f"{record.error_over[:1].upper()}{record.error_over[1:]}."]
        if metric.name == GAP.name:
            notes.append("0 is optimal.")
        elif metric.name in known:
            notes.append(f"Exact optimum: {metric.text(known[metric.name], brief=True)[0]}.")
        elif published and metric.name in published.values:
            notes.append(f"Published: {metric.text(published.values[metric.name], brief=True)[0]}.")
        else:
            notes.append(metric.meaning)
        value, _ = metric.text(record.value, record.error, brief=True)
        reached = min(max(100 - record.value, 0.0), 100.0) if metric.name == GAP.name else None
        label = metric.label[:1].upper() + metric.label[1:]
        cards.append(Card(label, value, metric.unit, " ".join(notes), reached))
    return cards


def _rounded(metric: Metric, bound: float, record: Record) -> str:
    """Return a bound of an interval with as many decimals as the value has."""
    value, _ = metric.text(record.value, record.error, brief=True)
    decimals = len(value.partition(".")[2])
    return replace(metric, digits=decimals).text(bound)[0]


def _sentences(results: Results, catalogue: Sequence[MetricGroup], optimum: "StoredOptimum | None") -> str:
    """Return the most important results of the headline case in sentences."""
    case = results.headline
    total = find_metric(catalogue, "pnl_total")
    if case is None or (case, total.name) not in results.of:
        return ""

    def said(metric: Metric) -> str:
        return results.text(case, metric, brief=True)[0]

    best = _optimal_pnl(optimum)
    maker = "On average over its seeds, the trained maker" if case == MEAN else f"“{case}”"
    unit = total.unit.replace("currency", "units of currency")
    text = f"{maker} earns {said(total)} {unit}"
    text += f"; the exact optimum is {total.text(best, brief=True)[0]}." if best is not None else "."
    parts = [find_metric(catalogue, f"pnl_{part}") for part in PARTS if part != "total"]
    shown = [f"{part.label} {said(part)}" for part in parts if results.has(part)]
    if shown:
        joined = ", ".join(shown)
        text += f" By source: {joined}."
    reward = find_metric(catalogue, "reward")
    if optimum is not None and optimum["metric"] == reward.name and said(reward):
        value = reward.text(optimum["value"])[0]
        text += f" The reward is {results.text(case, reward)[0]} per step; the exact optimum is {value}."
    return text


def _table(
    results: Results,
    compared: Collection[str],
    catalogue: Sequence[MetricGroup],
    optimum: "StoredOptimum | None",
    published: Published | None,
) -> dict[str, Any] | None:
    """Return metrics down, policies across; the optimum and published values stand beside the headline case."""
    if not results.cases:
        return None
    first, *others = _ordered(results, compared)
    references: list[tuple[Column, Mapping[str, float]]] = []
    if optimum:
        references.append((Column("optimum", "exact", "beside"), _known_values(optimum)))
    if published:
        references.append((Column("published", style="beside"), published.values))
    columns = [
        Column(first, style="ours"),
        *(column for column, _ in references),
        *(Column(case, style="compared" if case in compared else "") for case in others),
    ]

    def row(metric: Metric) -> dict[str, Any]:
        cells = [Cell(*results.text(first, metric), "ours")]
        for column, values in references:
            value = values.get(metric.name)
            cells.append(Cell("" if value is None else metric.text(value)[0], style=column.style))
        cells += [
            Cell(*results.text(case, metric), "compared" if case in compared else "") for case in others
        ]
        return {"label": metric.label, "unit": metric.unit, "meaning": metric.meaning, "cells": cells}

    shown = [
        {"title": group.title, "note": group.note, "rows": [row(metric) for metric in group.metrics]}
        for group in groups(results, catalogue)
    ]
    return {"columns": columns, "groups": shown}
