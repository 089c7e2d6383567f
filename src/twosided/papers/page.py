"""Page of a study: the result of every claim, then each item with the paper's numbers beside ours.

Missing cases are listed as missing. All text is escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, get_args

from twosided.core.formatting import number
from twosided.papers.base import (
    Cell,
    Claim,
    Decision,
    Figure,
    Finding,
    Item,
    Outcomes,
    Study,
    Table,
    evaluate_claim,
)
from twosided.report.document import Section, document, header

MARKS: dict[Decision, tuple[str, str]] = {
    "holds": ("✓", "good"),
    "does not hold": ("✗", "bad"),
    "cannot be decided": ("?", "open"),
}
"""Mark and style of each decision."""


@dataclass(frozen=True)
class ItemResult:
    """Content and findings of an item, as far as its cases have been run."""

    item: Item
    content: list[Table | Figure]
    findings: list[tuple[Claim, Finding]]
    missing: list[str]
    """Cases of it that have not been run; if there are any, it has no content."""


def item_results(items: Sequence[Item], outcomes: Outcomes) -> list[ItemResult]:
    """Results of these items from the outcomes of cases."""
    out = []
    for item in items:
        missing = [case for case in item.cases if case not in outcomes]
        content = [] if missing else item.content(outcomes)
        findings = [(claim, evaluate_claim(claim, outcomes)) for claim in item.claims]
        out.append(ItemResult(item, content, findings, missing))
    return out


def study_page(
    study: Study,
    items: Sequence[ItemResult],
    command: str,
    about: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, str],
) -> str:
    """The page as HTML. `about` is the provenance of each finished case (folder.py); `failures` are reasons by case."""
    return document(
        study.title,
        header(study.title, study.citation),
        _summary(items),
        _claims(items),
        *(_item(item, failures) for item in items),
        _provenance(command, about),
    )


def count_decisions(items: Sequence[ItemResult]) -> dict[Decision, int]:
    """Numbers of claims that hold, do not hold, and cannot be decided."""
    found = [finding.decision for item in items for _, finding in item.findings]
    return {decision: found.count(decision) for decision in get_args(Decision)}


def verb(decision: Decision, count: int) -> str:
    """A decision as the verb for a number of claims."""
    words = {"holds": "hold", "does not hold": "do not hold"}
    return words.get(decision, decision) if count != 1 else decision


def column_parts(cells: Sequence[Cell]) -> list[str]:
    """The parts that a column of a table has, of "paper", "ours" and "exact"."""
    present = {
        "paper": any(cell.paper is not None for cell in cells),
        "ours": any(cell.ours is not None for cell in cells),
        "exact": any(cell.exact is not None for cell in cells),
    }
    return [part for part, is_present in present.items() if is_present]


def cell_text(cell: Cell, part: str) -> tuple[str, str]:
    """A part of a cell and its standard error as text; empty if there is none."""
    if part == "ours":
        if cell.ours is None:
            return "", ""
        error = "" if cell.ours.error is None else number(cell.ours.error, cell.digits)
        return number(cell.ours.value, cell.digits), error
    value = cell.paper if part == "paper" else cell.exact
    return ("" if value is None else number(value, cell.digits)), ""


PARTS = {"paper": ("theirs", "beside"), "ours": ("± s.e.", "ours"), "exact": ("or bound", "exact")}
"""For each part of a column, the word below its name, and its style."""


def _summary(items: Sequence[ItemResult]) -> str:
    total = sum(count_decisions(items).values())
    if not total:
        return ""
    cards = ""
    for decision, count in count_decisions(items).items():
        claims = "claim" if count == 1 else "claims"
        cards += f'<div class="card {MARKS[decision][1]}"><dt>{claims} that {verb(decision, count)}</dt>'
        cards += f"<dd><b>{count}</b><small>of {total}</small></dd></div>"
    return f'<dl class="cards">{cards}</dl>'


def _claims(items: Sequence[ItemResult]) -> str:
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
    """A claim as a row; outside its item, with a link to the item."""
    mark, style = MARKS[finding.decision]
    source = escape(claim.source)
    if item is not None:
        label = f"{escape(item.label)}, " if item.label and item.label.lower() not in claim.source else ""
        source = f'<a href="#{escape(item.name)}">{label}{source}</a>'
    return (
        f'<tr><th scope="row"><span class="badge {style}"><span aria-hidden="true">{mark}</span> {finding.decision}'
        f"</span><small>{source}</small></th>"
        f"<td>{_escaped(claim.text)}<small>{_escaped(finding.evidence)}</small></td></tr>"
    )


def _item(result: ItemResult, failures: Mapping[str, str]) -> str:
    item = result.item
    label = f"<small>{escape(item.label)}</small>" if item.label else ""
    parts = [f"<h2>{label}{_escaped(item.title)}</h2>"]
    parts += [f"<p>{_escaped(item.description)}</p>"] if item.description else []
    if result.missing:
        reasons = "".join(f"<li>{escape(_reason(case, failures))}</li>" for case in result.missing)
        parts.append(
            f'<div class="missing">Not shown, because these cases are missing:<ul>{reasons}</ul></div>'
        )
    parts += [_table(part) if isinstance(part, Table) else _figure(part) for part in result.content]
    if result.findings:
        parts.append(_findings("".join(_finding(claim, finding) for claim, finding in result.findings)))
    return f'<section id="{item.name}">{"".join(parts)}</section>'


def _reason(case: str, failures: Mapping[str, str]) -> str:
    return f"{case} failed: {failures[case]}" if case in failures else f"{case} has not been run"


def _figure(figure: Figure) -> str:
    return Section(figure.title, figure.caption, figure.figure, figure.min_width).html()


def _table(table: Table) -> str:
    """Columns across, each with those of the three parts that it has."""
    columns = [[row.cells[i] for row in table.rows] for i in range(len(table.columns))]
    parts = [column_parts(cells) for cells in columns]
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
        body += f'<tr><th scope="row">{_escaped(row.label)}</th>{cells}</tr>'
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
    """Style of a part; the first part of a column has a margin on its left."""
    return f"{PARTS[part][1]} first" if not place else PARTS[part][1]


def _provenance(command: str, about: Mapping[str, Mapping[str, Any]]) -> str:
    facts = {"seeds": _distinct(str(made["budget"]["seeds"]) for made in about.values())}
    facts["machine"] = _distinct(made["host"] for made in about.values())
    packages = dict.fromkeys(name for made in about.values() for name in made["versions"])
    facts |= {
        name: _distinct(made["versions"].get(name, "–") for made in about.values()) for name in packages
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


def _escaped(text: str) -> str:
    """Escaped text whose equations are not broken over lines."""
    return escape(text).replace(" = ", "\u00a0=\u00a0")


def _distinct(values: Any) -> str:
    """The distinct values of all cases, joined."""
    return "; ".join(dict.fromkeys(values))
