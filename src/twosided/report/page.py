"""The page: the records and figures of a run as one HTML file, for a reader who is new to it.

Whatever is missing (no curves, no trace, no optimum, nothing published) is left out. All text from outside is
escaped.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
import plotly.graph_objects as go
import polars as pl

from twosided.core.formatting import SCALE, interval, number
from twosided.core.records import MEAN, Record
from twosided.hedging.plots import figure_hedging, figure_side_by_side
from twosided.plots import (
    figure_arrows,
    figure_earnings,
    figure_episode,
    figure_epsilon,
    figure_learning,
    figure_skew,
    figure_table,
)
from twosided.report.document import Section, document, header
from twosided.report.verdict import Group, Results, Row, groups


@dataclass(frozen=True)
class KnownOptimum:
    """The best that any maker could do, where it is known exactly."""

    value: float
    """The most that can be had a step, on average."""
    metric: str = "pnl_total"
    """Of what: pnl_total, own PnL in currency, or reward, what the learner is paid."""
    epsilon_buy: float | None = None
    """ε on the bid that reaches or approaches it."""
    epsilon_sell: float | None = None
    """ε on the ask that reaches or approaches it."""
    sentence: str = ""
    """What it is and where it comes from."""

    @property
    def values(self) -> dict[str, float]:
        """By our metrics, as far as it fixes them."""
        epsilons = {"epsilon_buy_mean": self.epsilon_buy, "epsilon_sell_mean": self.epsilon_sell}
        known = {metric: value for metric, value in epsilons.items() if value is not None}
        return {"optimality_gap": 0.0, self.metric: self.value} | known

    @property
    def supremum(self) -> float | None:
        """Of own total PnL, where the optimum is of that."""
        return self.value if self.metric == "pnl_total" else None


@dataclass(frozen=True)
class LearnedTable:
    """A policy that is a table."""

    cells: Sequence[str]
    actions: Sequence[str]
    probabilities: Sequence[Sequence[float]]
    """A row a cell, a column an action."""
    changes: Sequence[float] | None = None
    """What each action changes the one quote by, in ticks, where there is one quote."""


@dataclass(frozen=True)
class Published:
    """What a paper printed of the same, to stand beside ours as theirs."""

    citation: str
    values: Mapping[str, float]
    """By our metric, in its unit (PnL in currency a step, not times 100)."""


@dataclass(frozen=True)
class Provenance:
    """How the numbers were made, so that they can be made again."""

    command: str = ""
    settings: str = ""
    """As TOML."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Anything else by name: seeds, versions, timings, the machine."""


def page(
    title: str,
    records: Sequence[Record],
    *,
    summary: str = "",
    compared: Collection[str] = (),
    curves: pl.DataFrame | None = None,
    trace: pl.DataFrame | None = None,
    traced: str = "",
    side_by_side: Mapping[str, pl.DataFrame] = {},
    optimum: KnownOptimum | None = None,
    why_no_optimum: str = "",
    published: Published | None = None,
    table: LearnedTable | None = None,
    provenance: Provenance | None = None,
    reloads: bool = False,
) -> str:
    """The verdict on policies as HTML: in short, as a table, and in figures.

    The mean of seeds speaks for all, or else the first case. `compared` names the cases that are there to compare
    with. `curves` and `trace` are as in `twosided.plots.run`; `traced` names the case that the trace is of.
    Traces in `side_by_side` are of the same episodes lived by different makers. A page of what still goes on `reloads`.
    """
    results = Results(records)
    sections = _sections(results, compared, curves, trace, traced, optimum)
    if table is not None:
        sections.insert(-1, _learned(table, traced))
    if side_by_side:
        sections.append(Section("One episode, side by side", SIDE_BY_SIDE, figure_side_by_side(side_by_side)))
        sections += [_episode(steps, f" ({name})") for name, steps in side_by_side.items()]
    return document(
        title,
        header(title, summary),
        _cards(results, optimum, published),
        _verdict(results, optimum, why_no_optimum),
        _table(results, compared, optimum, published),
        *(section.html() for section in sections),
        provenance_html(provenance) if provenance else "",
        reloads=reloads,
    )


def figure_page(figure: go.Figure, title: str, sentence: str = "") -> str:
    """One figure as a page of its own."""
    return document(title, header(title), Section("", sentence, figure, min_width=640).html())


def _sections(
    results: Results,
    compared: Collection[str],
    curves: pl.DataFrame | None,
    trace: pl.DataFrame | None,
    traced: str,
    optimum: KnownOptimum | None,
) -> list[Section]:
    """The figures that there is something to draw for."""
    supremum = optimum.supremum if optimum else None
    best = (optimum.epsilon_buy, optimum.epsilon_sell) if optimum else ()
    of = f" ({traced})" if traced else ""
    sections = []
    if any(metric == "pnl_total" for _, metric in results.of):
        figure = figure_earnings(results.records, _ordered(results, compared), supremum)
        text = EARNINGS + (BEST_EARNINGS if supremum is not None else "")
        sections.append(Section("What it earns, and from what", text, figure))
    if curves is not None and not curves.is_empty():
        text = LEARNING + (LEAST_GAP if optimum else "")
        sections.append(Section("How it learned", text, figure_learning(curves, supremum)))
    if trace is not None and not trace.is_empty():
        if "epsilon_buy" in trace.columns:
            text = EPSILON + (OPTIMAL_EPSILON if any(value is not None for value in best) else "")
            sections.append(Section(f"How it quotes{of}", text, figure_epsilon(trace, *best)))
            sections.append(Section(f"Skew against inventory{of}", SKEW, figure_skew(trace, *best)))
        sections.append(_episode(trace, of))
    return sections


def _learned(table: LearnedTable, traced: str) -> Section:
    """What the policy does in every cell: arrows where there is one quote to move."""
    shares, of = np.asarray(table.probabilities), f" ({traced})" if traced else ""
    if table.changes is not None:
        return Section(f"What it does{of}", ARROWS, figure_arrows(shares, table.changes, table.cells))
    return Section(f"What it does{of}", SHARES, figure_table(shares, table.cells, table.actions, digits=2))


def _episode(trace: pl.DataFrame, of: str) -> Section:
    """One episode as the market shows it."""
    hedges = "hedge_position" in trace.columns
    figure, text = (figure_hedging(trace), HEDGING) if hedges else (figure_episode(trace), EPISODE)
    return Section(f"One episode{of}", text, figure)


EARNINGS = (
    "Each bar adds up the parts of PnL; the diamond is their total, with its 95% interval. A good maker earns from "
    "the spread and pays little for hedging."
)
BEST_EARNINGS = " The dashed line is the best possible total."
LEARNING = (
    "Each line is one training from scratch. Lines that climb together and flatten out have learned what there is "
    "to learn; one that lags was unlucky in its seed."
)
LEAST_GAP = " A gap below 0.1% is drawn at 0.1%: the few episodes of this test cannot tell it from 0."
EPSILON = "How often each ε was quoted; −0.05 is a spread 5% tighter than the exchange’s."
OPTIMAL_EPSILON = (
    " Look for bars near the dashed line, the best ε there is: left of it the maker gives money away, right of it "
    "it loses clients."
)
ARROWS = (
    "What it does with its quote at each imbalance of the orders since it last moved it: an arrow up raises the quote "
    "by a tick, one down lowers it, a dash leaves it."
)
SHARES = "How often it takes each action, in each cell of what it sees; the most frequent is framed."
SKEW = (
    "A maker that wants to shed a long position lowers ε on its ask and raises it on its bid. Flat lines do not "
    "skew, which is best where holding inventory costs nothing on average."
)
SIDE_BY_SIDE = (
    "The same chance for every maker: prices and clients come as they came to the others. The Sharpe ratio of this one "
    "episode is noisy; the table has that of all of them."
)
HEDGING = (
    "From top to bottom: where the price went, and what the maker and the exchange quoted around it; what the maker "
    "charged its clients for a unit, and paid the exchange; its skew, if it has one; what was traded; the position "
    "that clients brought, its hedge, and what was left; and the money made so far, by part. A good hedger keeps what "
    "is left small, and pays little for it."
)
EPISODE = (
    "From top to bottom: where the price went; how far from it the maker quoted, in basis points (hundredths of a "
    "percent); what clients traded with it; the position that this left; and the money made so far, by part."
)


def _ordered(results: Results, compared: Collection[str]) -> list[str]:
    """The case that speaks for all, then the others, then those to compare with."""
    return sorted(results.cases, key=lambda case: (case != results.headline, case in compared))


def _cards(results: Results, optimum: KnownOptimum | None, published: Published | None) -> str:
    """The few numbers that matter most."""
    best = "all parts together"
    if optimum and optimum.supremum is not None:
        best = f"{number(SCALE * optimum.supremum, 1)} is the best possible"
    theirs = published.values.get("excess_total_over_1") if published else None
    paper = f"the paper’s agent: {number(SCALE * theirs, 1)}" if theirs is not None else "PnL a step × 100"
    cards = (
        ("optimality_gap", "below the best", 1.0, "%", "0 is perfect"),
        ("pnl_total", "PnL a step × 100", SCALE, "", best),
        ("market_share", "market share", 100.0, "%", "of what clients trade"),
        ("sharpe", "Sharpe ratio of a step × 100", 100.0, "", "mean of PnL over its deviation"),
        ("excess_total_over_1", "above competitor", SCALE, "", paper),
    )
    shown = []
    for metric, label, scale, unit, note in cards:
        record = results.of.get((results.headline or "", metric))
        if record is None or metric == ("sharpe" if results.has_rivals else "market_share"):
            continue
        meter = ""
        if metric == "optimality_gap":
            low, high = (number(bound, 1) for bound in interval(record))
            note = f"95% interval {low} to {high}; {note}"
            reached = min(max(100 - record.value, 0.0), 100.0)
            meter = f'<span class="meter" aria-hidden="true"><i style="width:{reached:.1f}%"></i></span>'
        value = f'<b>{number(scale * record.value, 1)}<span class="unit">{unit}</span></b>'
        shown.append(f'<div class="card"><dt>{label}</dt><dd>{value}{meter}<small>{note}</small></dd></div>')
    return f'<dl class="cards">{"".join(shown)}</dl>' if shown else ""


def _verdict(results: Results, optimum: KnownOptimum | None, why_no_optimum: str) -> str:
    """The same in a sentence or two."""
    case = results.headline
    if case is None or (case, "pnl_total") not in results.of:
        return ""

    def said(part: str) -> str:
        record = results.of.get((case, f"pnl_{part}"))
        return number(SCALE * record.value, 1) if record else "–"

    who = "The trained maker, on average over its seeds," if case == MEAN else f"“{case}”"
    text, note = f"{who} earns {said('total')} a step", why_no_optimum
    if optimum is not None:
        note = optimum.sentence
        if optimum.supremum is not None:
            text += f" of the {number(SCALE * optimum.supremum, 1)} that the best possible maker would"
    text += f": {said('spread')} from the spread, {said('hedge')} from hedging and {said('inventory')} from "
    text += "inventory (PnL times 100)."
    paid = results.of.get((case, "reward"))
    if optimum is not None and optimum.metric == "reward" and paid is not None:
        text += f" It is paid {number(paid.value, 4)} a step, where the best possible is {number(optimum.value, 4)}."
    note = note.strip()
    small = f"<br><small>{escape(note[:1].upper() + note[1:])}</small>" if note else ""
    return f'<p class="verdict">{escape(text)}{small}</p>'


def _table(
    results: Results,
    compared: Collection[str],
    optimum: KnownOptimum | None,
    published: Published | None,
) -> str:
    """Metrics down, policies across; the optimum and the paper stand beside the case that speaks for all."""
    if not results.cases:
        return ""
    first, *others = _ordered(results, compared)
    beside = [("optimum", "exact", optimum.values)] if optimum else []
    beside += [("paper", "theirs", published.values)] if published else []
    kinds = {case: ' class="compared"' if case in compared else "" for case in others} | {
        first: ' class="ours"'
    }

    def measured(case: str, row: Row) -> str:
        value, spread = results.shown(case, row)
        return f"<td{kinds[case]}>{value}{f'<small>± {spread}</small>' if spread else ''}</td>"

    def stated(values: Mapping[str, float], row: Row) -> str:
        value = values.get(row.metric)
        return f'<td class="beside">{"" if value is None else number(row.scale * value, row.digits)}</td>'

    def line(row: Row) -> str:
        cells = [measured(first, row), *(stated(values, row) for _, _, values in beside)]
        cells += [measured(case, row) for case in others]
        return f'<tr><th scope="row">{escape(row.label)}</th>{"".join(cells)}</tr>'

    head = [f'<th scope="col"{kinds[first]}>{escape(first)}</th>']
    head += [f'<th scope="col" class="beside">{name}<small>{note}</small></th>' for name, note, _ in beside]
    head += [f'<th scope="col"{kinds[case]}>{escape(case)}</th>' for case in others]
    body = [_group(group, 1 + len(head)) + "".join(map(line, group.rows)) for group in groups(results)]
    note = "± is a standard error, left out where it is smaller than the last digit. All met the same chance."
    if published:
        note += f" “Paper” is what was printed, not measured here: {published.citation.rstrip('.')}."
    return (
        "<section><h2>The verdict</h2>"
        '<div class="scroll" tabindex="0" role="region" aria-label="The verdict"><table>'
        f'<thead><tr><th scope="col"><span class="hidden">metric</span></th>{"".join(head)}</tr></thead>'
        f'<tbody>{"".join(body)}</tbody></table></div><p class="note">{escape(note)}</p></section>'
    )


def _group(group: Group, columns: int) -> str:
    text = f"<b>{escape(group.title)}</b><span>{escape(group.note)}</span>"
    return f'<tr class="group"><th scope="colgroup" colspan="{columns}"><div>{text}</div></th></tr>'


def provenance_html(provenance: Provenance) -> str:
    """How a page's numbers were made, as a section of it."""
    parts = []
    if provenance.command:
        parts.append(f"<p>Make it again with</p><pre>{escape(provenance.command)}</pre>")
    if provenance.facts:
        facts = (f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in provenance.facts.items())
        parts.append(f'<dl class="facts">{"".join(facts)}</dl>')
    if provenance.settings:
        settings = escape(provenance.settings)
        parts.append(f"<details><summary>All settings</summary><pre>{settings}</pre></details>")
    return f"<section><h2>How this was made</h2>{''.join(parts)}</section>" if parts else ""
