"""Page of a study: the result of every claim, then each item with the paper's numbers beside ours.

Missing cases are listed as missing. The template (report/templates/study.html.j2) escapes all text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from twosided.core.dashboard import Section
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
from twosided.report.html import render

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
    """Return the page as HTML.

    `about` is the provenance of each finished case (folder.py), `failures` the reasons why other cases failed.
    """
    return render(
        "study.html.j2",
        study.title,
        study.citation,
        cards=_cards(items),
        claims=[_claim(claim, finding, item.item) for item in items for claim, finding in item.findings],
        items=[_item(item, failures) for item in items],
        command=command,
        facts=_facts(about),
        cases=_cases(about),
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


PARTS = {"paper": ("published", "beside"), "ours": ("± s.e.", "ours"), "exact": ("or bound", "exact")}
"""For each part of a column, the word below its name, and its style."""


def _cards(items: Sequence[ItemResult]) -> list[dict[str, Any]]:
    """Return the number of claims by result; empty if there are no claims."""
    counts = count_decisions(items)
    total = sum(counts.values())
    return [
        {
            "style": MARKS[decision][1],
            "label": f"{'claim' if count == 1 else 'claims'} that {verb(decision, count)}",
            "count": count,
            "total": total,
        }
        for decision, count in counts.items()
        if total
    ]


def _claim(claim: Claim, finding: Finding, item: Item | None = None) -> dict[str, str]:
    """Return a claim as a row of a table; outside its item, with a link to the item."""
    mark, style = MARKS[finding.decision]
    source = claim.source
    if item is not None and item.label and item.label.lower() not in source:
        source = f"{item.label}, {source}"
    return {
        "mark": mark,
        "style": style,
        "decision": finding.decision,
        "source": source,
        "link": "" if item is None else item.name,
        "text": claim.text,
        "evidence": finding.evidence,
    }


def _item(result: ItemResult, failures: Mapping[str, str]) -> dict[str, Any]:
    item = result.item
    return {
        "name": item.name,
        "label": item.label,
        "title": item.title,
        "description": item.description,
        "missing": [_reason(case, failures) for case in result.missing],
        "content": [
            {"table": _table(part)} if isinstance(part, Table) else {"figure": _figure(part)}
            for part in result.content
        ],
        "claims": [_claim(claim, finding) for claim, finding in result.findings],
    }


def _reason(case: str, failures: Mapping[str, str]) -> str:
    return f"{case} failed: {failures[case]}" if case in failures else f"{case} has not been run"


def _figure(figure: Figure) -> Section:
    return Section(figure.title, figure.caption, figure.figure, figure.min_width)


def _table(table: Table) -> dict[str, Any]:
    """Return columns across, each with those of the three parts that it has."""
    columns = [[row.cells[i] for row in table.rows] for i in range(len(table.columns))]
    parts = [column_parts(cells) for cells in columns]
    rows = [
        {
            "label": row.label,
            "cells": [
                (*cell_text(cell, part), _style(part, i))
                for cell, held in zip(row.cells, parts, strict=True)
                for i, part in enumerate(held)
            ],
        }
        for row in table.rows
    ]
    return {
        "title": table.title,
        "note": table.note,
        "columns": [(name, len(held)) for name, held in zip(table.columns, parts, strict=True) if held],
        "parts": [(part, PARTS[part][0], _style(part, i)) for held in parts for i, part in enumerate(held)],
        "rows": rows,
    }


def _style(part: str, place: int) -> str:
    """Return the style of a part; the first part of a column has a line on its left."""
    return f"{PARTS[part][1]} first" if not place else PARTS[part][1]


def _facts(about: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return seeds, machines and versions over all cases."""
    facts = {"seeds": _distinct(str(made["budget"]["seeds"]) for made in about.values())}
    facts["machine"] = _distinct(made["host"] for made in about.values())
    packages = dict.fromkeys(name for made in about.values() for name in made["versions"])
    facts |= {
        name: _distinct(made["versions"].get(name, "–") for made in about.values()) for name in packages
    }
    return {name: fact for name, fact in facts.items() if fact}


def _cases(about: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Return the time in seconds and the peak memory in MiB of each case, and the total time in the last row."""
    rows = [(case, number(made["seconds"], 1), _memory(made["memory_mib"])) for case, made in about.items()]
    return [*rows, ("total", number(sum(made["seconds"] for made in about.values()), 1), "")]


def _memory(mib: float | None) -> str:
    return "–" if mib is None else number(mib, 0)


def _distinct(values: Iterable[str]) -> str:
    """Return the distinct values of all cases, joined."""
    return "; ".join(dict.fromkeys(values))
