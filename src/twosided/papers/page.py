"""The page of a study: the verdict on every claim, then each item with the paper's numbers beside ours.

Whatever is missing is said to be missing. All text is escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, get_args

from twosided.core.formatting import number
from twosided.papers.base import Cell, Claim, Figure, Finding, Item, Outcomes, Study, Table, Verdict, judge
from twosided.report.document import Section, document, header

MARKS: dict[Verdict, tuple[str, str]] = {
    "holds": ("✓", "good"),
    "does not hold": ("✗", "bad"),
    "cannot be decided": ("?", "open"),
}
"""The mark and the style of a verdict."""


@dataclass(frozen=True)
class Judged:
    """An item as far as its cases are there."""

    item: Item
    content: list[Table | Figure]
    findings: list[tuple[Claim, Finding]]
    missing: list[str]
    """Cases that it lacks; without them it has no content."""


def judged(items: Sequence[Item], outcomes: Outcomes) -> list[Judged]:
    """What the outcomes make of these items."""
    out = []
    for item in items:
        missing = [case for case in item.cases if case not in outcomes]
        content = [] if missing else item.content(outcomes)
        findings = [(claim, judge(claim, outcomes)) for claim in item.claims]
        out.append(Judged(item, content, findings, missing))
    return out


def study_page(
    study: Study,
    items: Sequence[Judged],
    command: str,
    about: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, str],
) -> str:
    """The page as HTML. `about` says how each finished case was made (folder.py), `failures` why others were not."""
    return document(
        study.title,
        header(study.title, study.citation),
        _summary(items),
        _claims(items),
        *(_item(item, failures) for item in items),
        _making(command, about),
    )


def counted(items: Sequence[Judged]) -> dict[Verdict, int]:
    """How many claims hold, do not, and cannot be decided."""
    found = [finding.verdict for item in items for _, finding in item.findings]
    return {verdict: found.count(verdict) for verdict in get_args(Verdict)}


def said(verdict: Verdict, count: int) -> str:
    """A verdict as the verb of that many claims."""
    words = {"holds": "hold", "does not hold": "do not hold"}
    return words.get(verdict, verdict) if count != 1 else verdict


def parts_of(cells: Sequence[Cell]) -> list[str]:
    """Which of "paper", "ours" and "exact" a column of a table has."""
    held = {
        "paper": any(cell.theirs is not None for cell in cells),
        "ours": any(cell.ours is not None for cell in cells),
        "exact": any(cell.exact is not None for cell in cells),
    }
    return [part for part, is_held in held.items() if is_held]


def cell_text(cell: Cell, part: str) -> tuple[str, str]:
    """A part of a cell and its standard error as text; empty where there is none."""
    if part == "ours":
        if cell.ours is None:
            return "", ""
        error = "" if cell.ours.error is None else number(cell.ours.error, cell.digits)
        return number(cell.ours.value, cell.digits), error
    value = cell.theirs if part == "paper" else cell.exact
    return ("" if value is None else number(value, cell.digits)), ""


PARTS = {"paper": ("theirs", "beside"), "ours": ("± s.e.", "ours"), "exact": ("or bound", "exact")}
"""For each part of a column, the word beside its name, and its style."""


def _summary(items: Sequence[Judged]) -> str:
    total = sum(counted(items).values())
    if not total:
        return ""
    cards = ""
    for verdict, count in counted(items).items():
        claims = "claim" if count == 1 else "claims"
        cards += f'<div class="card {MARKS[verdict][1]}"><dt>{claims} that {said(verdict, count)}</dt>'
        cards += f"<dd><b>{count}</b><small>of {total}</small></dd></div>"
    return f'<dl class="cards">{cards}</dl>'


def _claims(items: Sequence[Judged]) -> str:
    """All claims, each with a link to its item."""
    rows = "".join(_finding(claim, f, item.item) for item in items for claim, f in item.findings)
    if not rows:
        return ""
    note = (
        "Each is a test on numbers, written beside the study. It is decided where the 95% interval lies on one side "
        "of what is claimed, by Student’s quantile where the error comes from few seeds."
    )
    return f"<section><h2>What is claimed</h2><p>{note}</p>{_findings(rows)}</section>"


def _findings(rows: str) -> str:
    return f'<div class="scroll"><table class="claims"><tbody>{rows}</tbody></table></div>'


def _finding(claim: Claim, finding: Finding, item: Item | None = None) -> str:
    """A claim as a row; away from its item it says which that is, and leads to it."""
    mark, style = MARKS[finding.verdict]
    where = escape(claim.where)
    if item is not None:
        label = f"{escape(item.label)}, " if item.label and item.label.lower() not in claim.where else ""
        where = f'<a href="#{escape(item.name)}">{label}{where}</a>'
    return (
        f'<tr><th scope="row"><span class="badge {style}"><span aria-hidden="true">{mark}</span> {finding.verdict}'
        f"</span><small>{where}</small></th>"
        f"<td>{_kept(claim.text)}<small>{_kept(finding.evidence)}</small></td></tr>"
    )


def _item(judged: Judged, failures: Mapping[str, str]) -> str:
    item = judged.item
    label = f"<small>{escape(item.label)}</small>" if item.label else ""
    parts = [f"<h2>{label}{_kept(item.title)}</h2>"]
    parts += [f"<p>{_kept(item.sentence)}</p>"] if item.sentence else []
    if judged.missing:
        reasons = "".join(f"<li>{escape(_reason(case, failures))}</li>" for case in judged.missing)
        parts.append(
            f'<div class="missing">Not drawn, since cases of it are missing:<ul>{reasons}</ul></div>'
        )
    parts += [_table(part) if isinstance(part, Table) else _figure(part) for part in judged.content]
    if judged.findings:
        parts.append(_findings("".join(_finding(claim, finding) for claim, finding in judged.findings)))
    return f'<section id="{item.name}">{"".join(parts)}</section>'


def _reason(case: str, failures: Mapping[str, str]) -> str:
    return f"{case} failed: {failures[case]}" if case in failures else f"{case} has not been run"


def _figure(figure: Figure) -> str:
    return Section(figure.title, figure.sentence, figure.figure, figure.min_width).html()


def _table(table: Table) -> str:
    """Columns across, each with as many of its three parts as it has."""
    columns = [[row.cells[i] for row in table.rows] for i in range(len(table.columns))]
    parts = [parts_of(cells) for cells in columns]
    tops = "".join(
        f'<th scope="colgroup" colspan="{len(held)}" class="top">{escape(name)}</th>'
        for name, held in zip(table.columns, parts, strict=True)
        if held
    )
    heads = "".join(
        f'<th scope="col" class="{_style(part, i)}">{part}<small>{PARTS[part][0]}</small></th>'
        for held in parts
        for i, part in enumerate(held)
    )
    body = ""
    for row in table.rows:
        cells = "".join(
            _cell(cell, part, i)
            for cell, held in zip(row.cells, parts, strict=True)
            for i, part in enumerate(held)
        )
        body += f'<tr><th scope="row">{_kept(row.label)}</th>{cells}</tr>'
    title = f"<h3>{escape(table.title)}</h3>" if table.title else ""
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    corner = '<th scope="col"><span class="hidden">row</span></th>'
    label = escape(table.title or "table", quote=True)
    return (
        f'{title}<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table class="grouped"><thead>'
        f"<tr><td></td>{tops}</tr><tr>{corner}{heads}</tr></thead><tbody>{body}</tbody></table></div>{note}"
    )


def _cell(cell: Cell, part: str, place: int) -> str:
    value, error = cell_text(cell, part)
    return f'<td class="{_style(part, place)}">{value}{f"<small>± {error}</small>" if error else ""}</td>'


def _style(part: str, place: int) -> str:
    """The style of a part; the first of a column stands off from the column before."""
    return f"{PARTS[part][1]} first" if not place else PARTS[part][1]


def _making(command: str, about: Mapping[str, Mapping[str, Any]]) -> str:
    facts = {"seeds": _together(str(made["budget"]["seeds"]) for made in about.values())}
    facts["machine"] = _together(made["host"] for made in about.values())
    packages = dict.fromkeys(name for made in about.values() for name in made["versions"])
    facts |= {
        name: _together(made["versions"].get(name, "–") for made in about.values()) for name in packages
    }
    shown = "".join(f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items() if fact)
    rows = "".join(
        f'<tr><th scope="row">{escape(case)}</th><td>{number(made["seconds"], 1)}</td>'
        f"<td>{'–' if made['memory_mib'] is None else number(made['memory_mib'], 0)}</td></tr>"
        for case, made in about.items()
    )
    total = number(sum(made["seconds"] for made in about.values()), 1)
    rows += f'<tr class="sum"><th scope="row">in all</th><td>{total}</td><td></td></tr>'
    head = '<th scope="col">case</th><th scope="col">seconds</th><th scope="col">peak memory, MiB</th>'
    note = "Memory is the most that the process had held by the end of the case, what it ran before included."
    return (
        f"<section><h2>How this was made</h2><p>Make it again with</p><pre>{escape(command)}</pre>"
        f'<dl class="facts">{shown}</dl><details><summary>Time and memory, case by case</summary>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        f'<p class="note">{note}</p></details></section>'
    )


def _kept(text: str) -> str:
    """Text escaped, where a line does not break within an equation."""
    return escape(text).replace(" = ", "\u00a0=\u00a0")


def _together(values: Any) -> str:
    """What all cases say, once each."""
    return "; ".join(dict.fromkeys(values))
