"""The page: records and figures to one self-contained HTML file.

Everything is inside the file, plotly.js included, and its content security policy forbids it the network. It
follows the reader's light or dark theme and the width of the screen. Whatever is missing (no curves, no trace,
no optimum, nothing published) is left out. All text from outside is escaped.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from string import Template

import plotly.graph_objects as go
import polars as pl
from plotly.offline import get_plotlyjs

from twosided.plots import figure_earnings, figure_episode, figure_epsilon, figure_learning, figure_skew
from twosided.plots.style import dark_twins
from twosided.records import Record
from twosided.verdict import SCALE, Group, Results, Row, groups, interval, number


@dataclass(frozen=True)
class KnownOptimum:
    """The best that any maker could do, where it is known exactly."""

    supremum: float
    """Own total PnL, currency a step."""
    epsilon_buy: float | None = None
    """ε on the bid that reaches or approaches it."""
    epsilon_sell: float | None = None
    """ε on the ask that reaches or approaches it."""
    attained: bool = True
    """Whether some maker earns exactly that; if not, one comes as near to it as it likes."""
    sentence: str = ""
    """What it is and where it comes from."""


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


@dataclass(frozen=True)
class Section:
    """A figure with its title and what to look for in it."""

    title: str
    sentence: str
    figure: go.Figure
    min_width: int = 0
    """Pixels below which the figure scrolls sideways in its box instead of shrinking."""


def page(
    title: str,
    records: Sequence[Record],
    *,
    summary: str = "",
    compared: Collection[str] = (),
    curves: pl.DataFrame | None = None,
    trace: pl.DataFrame | None = None,
    traced: str = "",
    optimum: KnownOptimum | None = None,
    published: Published | None = None,
    provenance: Provenance | None = None,
) -> str:
    """The verdict on policies as HTML: in short, as a table, and in figures.

    The mean of seeds speaks for all, or else the first case. `compared` names the cases that are there to compare
    with. `curves` and `trace` are as in `twosided.plots`; `traced` names the case that the trace is of.
    """
    results = Results(records)
    body = [
        _header(title, summary),
        _cards(results, optimum, published),
        _verdict(results, optimum),
        _table(results, compared, optimum, published),
    ]
    sections = _sections(results, compared, curves, trace, traced, optimum)
    body += [_figure(section, number) for number, section in enumerate(sections)]
    body.append(_provenance(provenance) if provenance else "")
    return _document(title, "\n".join(body))


def figure_page(figure: go.Figure, title: str, sentence: str = "") -> str:
    """One figure as a page of its own."""
    return _document(title, _header(title, "") + _figure(Section("", sentence, figure, min_width=640), 0))


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
    best = (optimum.epsilon_buy, optimum.epsilon_sell) if optimum else (None, None)
    of = f" ({traced})" if traced else ""
    sections = []
    if any(metric == "pnl_total" for _, metric in results.of):
        text = "Each bar adds up the parts of PnL; the diamond is their total. "
        text += "A good maker is green almost up to the dashed line, and pays little for hedging."
        cases = _ordered(results, compared)
        sections.append(Section("What it earns, and from what", text, _earnings(results, cases, supremum)))
    if curves is not None and not curves.is_empty():
        text = "Each line is one training from scratch. Lines that climb together and flatten out have learned "
        text += "what there is to learn; one that lags was unlucky in its seed."
        sections.append(Section("How it learned", text, figure_learning(curves, supremum)))
    if trace is not None and not trace.is_empty():
        text = "How often each ε was quoted. Look for bars at the dashed line, the best ε there is: "
        text += "to its left the maker gives money away, to its right it loses clients."
        sections.append(Section(f"How it quotes{of}", text, figure_epsilon(trace, *best)))
        text = "A maker that wants to shed a long position lowers ε on its ask and raises it on its bid. "
        text += "Flat lines do not skew, which is best where holding inventory costs nothing on average."
        sections.append(Section(f"Skew against inventory{of}", text, figure_skew(trace, *best)))
        text = "From top to bottom: where the price went, how far from it the maker quoted, what clients traded "
        text += "with it, the position that this left, and the money made so far, by part."
        sections.append(Section(f"One episode{of}", text, figure_episode(trace)))
    return sections


def _earnings(results: Results, cases: list[str], supremum: float | None) -> go.Figure:
    return figure_earnings(results.records, cases, supremum)


def _ordered(results: Results, compared: Collection[str]) -> list[str]:
    """The case that speaks for all, then the others, then those to compare with."""
    cases = [case for case in results.cases if case != results.headline]
    first = [results.headline] if results.headline else []
    return first + sorted(cases, key=lambda case: case in compared)


def _header(title: str, summary: str) -> str:
    lead = f'<p class="lead">{escape(summary)}</p>' if summary else ""
    return f'<header><p class="brand">{MARK}twosided</p><h1>{escape(title)}</h1>{lead}</header>'


def _cards(results: Results, optimum: KnownOptimum | None, published: Published | None) -> str:
    """The few numbers that matter most."""
    cards = []

    def card(metric: str, label: str, scale: float, digits: int, unit: str, note: str, extra: str = "") -> None:
        record = results.of.get((results.headline or "", metric))
        if record is not None:
            value = f'{number(scale * record.value, digits)}<span class="unit">{unit}</span>'
            cards.append(
                f'<div class="card"><dt>{label}</dt><dd><b>{value}</b>{extra}<small>{note}</small></dd></div>'
            )

    gap = results.of.get((results.headline or "", "optimality_gap"))
    if gap is not None:
        low, high = (number(bound, 1) for bound in interval(gap))
        reached = min(max(100 - gap.value, 0.0), 100.0)
        meter = f'<span class="meter" aria-hidden="true"><i style="width:{reached:.1f}%"></i></span>'
        note = f"95% interval {low} to {high}; 0 is perfect"
        card("optimality_gap", "below the best possible", 1.0, 1, "%", note, meter)
    most = f"{number(SCALE * optimum.supremum, 1)} is the best possible" if optimum else "its own, all parts"
    card("pnl_total", "PnL a step × 100", SCALE, 1, "", most)
    card("market_share", "market share", 100.0, 1, "%", "of what clients trade")
    excess = "excess_total_over_1"
    theirs = published.values.get(excess) if published else None
    note = f"the paper’s agent: {number(SCALE * theirs, 1)}" if theirs is not None else "PnL a step × 100"
    card(excess, "more than the competitor", SCALE, 1, "", note)
    return f'<dl class="cards">{"".join(cards)}</dl>' if cards else ""


def _verdict(results: Results, optimum: KnownOptimum | None) -> str:
    """The same in a sentence or two."""
    case = results.headline
    if case is None or (case, "pnl_total") not in results.of:
        return ""

    def said(metric: str) -> str:
        record = results.of.get((case, metric))
        return number(SCALE * record.value, 1) if record else "–"

    text = f"{_called(case)} earns {said('pnl_total')} a step"
    if optimum is not None:
        text += f" of the {number(SCALE * optimum.supremum, 1)} that the best possible maker would"
    text += f": {said('pnl_spread')} from the spread, {said('pnl_hedge')} from hedging and "
    text += f"{said('pnl_inventory')} from inventory (PnL times 100)."
    if optimum is not None and optimum.sentence:
        text += f" {optimum.sentence}"
    if optimum is not None and not optimum.attained:
        text += " No maker earns exactly that much, but one can come as near to it as it likes."
    return f'<p class="verdict">{escape(text)}</p>'


def _called(case: str) -> str:
    return "The trained maker, on average over its seeds," if case == "mean of seeds" else f"“{case}”"


def _table(
    results: Results,
    compared: Collection[str],
    optimum: KnownOptimum | None,
    published: Published | None,
) -> str:
    """Metrics down, policies across; the optimum and the paper stand beside the case that speaks for all."""
    if not results.cases:
        return ""
    ordered = _ordered(results, compared)
    beside = [("optimum", "exact", _optimal_values(optimum))] if optimum else []
    if published:
        beside.append(("paper", "theirs", dict(published.values)))
    head = [f'<th scope="col" class="ours">{escape(ordered[0])}</th>']
    head += [f'<th scope="col" class="beside">{name}<small>{note}</small></th>' for name, note, _ in beside]
    head += [f'<th scope="col"{_kind(case, compared)}>{escape(case)}</th>' for case in ordered[1:]]
    parts = []
    for group in groups(results):
        rows = [_row(results, row, ordered, compared, [values for _, _, values in beside]) for row in group.rows]
        parts.append(_group(group, 1 + len(head)) + "".join(rows))
    note = "± is a standard error; every policy met the same chance."
    if published:
        note += f" “Paper” is what was printed, not measured here: {published.citation}."
    return (
        '<section><h2>The verdict</h2><div class="scroll" tabindex="0" role="region" aria-label="The verdict">'
        f'<table><thead><tr><th scope="col"><span class="hidden">metric</span></th>{"".join(head)}</tr></thead>'
        f'<tbody>{"".join(parts)}</tbody></table></div><p class="note">{escape(note)}</p></section>'
    )


def _group(group: Group, columns: int) -> str:
    text = f"<b>{escape(group.title)}</b><span>{escape(group.note)}</span>"
    return f'<tr class="group"><th scope="rowgroup" colspan="{columns}"><div>{text}</div></th></tr>'


def _row(
    results: Results,
    row: Row,
    cases: list[str],
    compared: Collection[str],
    beside: list[dict[str, float]],
) -> str:
    def cell(case: str, kind: str) -> str:
        value, spread = results.shown(case, row)
        spread = f"<small> ± {spread}</small>" if spread else ""
        return f"<td{kind}>{value}{spread}</td>"

    cells = [cell(cases[0], ' class="ours"')]
    for values in beside:
        value = values.get(row.metric)
        shown = "" if value is None else number(row.scale * value, row.digits)
        cells.append(f'<td class="beside">{shown}</td>')
    cells += [cell(case, _kind(case, compared)) for case in cases[1:]]
    return f'<tr><th scope="row">{escape(row.label)}</th>{"".join(cells)}</tr>'


def _kind(case: str, compared: Collection[str]) -> str:
    return ' class="compared"' if case in compared else ""


def _optimal_values(optimum: KnownOptimum) -> dict[str, float]:
    """The optimum by our metrics, as far as it fixes them."""
    values = {"optimality_gap": 0.0, "pnl_total": optimum.supremum}
    sides = {"epsilon_buy_mean": optimum.epsilon_buy, "epsilon_sell_mean": optimum.epsilon_sell}
    return values | {metric: value for metric, value in sides.items() if value is not None}


def _figure(section: Section, place: int) -> str:
    """A figure as JSON for the script to draw; `<` is escaped so that no text in it can end the element."""
    heading = f"<h2>{escape(section.title)}</h2>" if section.title else ""
    text = f"<p>{escape(section.sentence)}</p>" if section.sentence else ""
    data = str(section.figure.to_json()).replace("<", "\\u003c")
    label = escape(section.title or "figure")
    height, width = section.figure.layout.height or 400, section.min_width
    return (
        f'<section>{heading}{text}<div class="scroll"><div class="figure" role="img" aria-label="{label}" '
        f'id="figure-{place}" style="height:{height}px;min-width:{width}px">'
        f'<script type="application/json">{data}</script></div></div></section>'
    )


def _provenance(provenance: Provenance) -> str:
    parts = []
    if provenance.command:
        parts.append(f"<p>Make it again with</p><pre>{escape(provenance.command)}</pre>")
    if provenance.facts:
        facts = (f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in provenance.facts.items())
        parts.append(f'<dl class="facts">{"".join(facts)}</dl>')
    if provenance.settings:
        settings = escape(provenance.settings)
        parts.append(f"<details><summary>All settings</summary><pre>{settings}</pre></details>")
    return f"<section><h2>How this was made</h2>{''.join(parts)}</section>" if parts else ""


def _document(title: str, body: str) -> str:
    assets = files("twosided") / "assets"
    text = {name: (assets / name).read_text("utf-8") for name in ("page.html", "page.css", "page.js")}
    return Template(text["page.html"]).substitute(
        title=escape(title),
        style=text["page.css"],
        body=body,
        twins=json.dumps(dark_twins()),
        plotly=get_plotlyjs(),
        script=text["page.js"],
    )


MARK = (
    '<svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true"><rect x="3" y="4" width="18" height="6" '
    'rx="2" fill="var(--sell)"/><rect x="3" y="14" width="18" height="6" rx="2" fill="var(--buy)"/></svg>'
)
"""Two sides: an ask above a bid."""
