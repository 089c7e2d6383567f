"""Tables of measurements: rows from a file in docs/tables, under a caption that says how they were measured.

A file is the JSON that a benchmark prints with `--json`, or has the same form: `rows`, a list of objects with the
columns as keys; `source`, an object with what was measured on; `command`, which measures it again. Cells are Markdown.
"""

import json
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class MeasuredDirective(SphinxDirective):
    """Table of docs/tables/NAME.json; the content is the first sentence of its caption."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"columns": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / "tables" / f"{self.arguments[0]}.json"
        self.env.note_dependency(str(path))
        measured = json.loads(path.read_text("utf-8"))
        rows = measured["rows"]
        columns = (
            [name.strip() for name in self.options["columns"].split("|")]
            if "columns" in self.options
            else list(rows[0])
        )
        text = " ".join(self.content)
        lines = [f":::{{table}} {text} {provenance(measured)}".replace("  ", " "), ":class: measured", ""]
        lines += ["| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]
        lines += ["| " + " | ".join(shown(row.get(name, "")) for name in columns) + " |" for row in rows]
        return self.parse_text_to_nodes("\n".join([*lines, ":::"]))


def provenance(measured: dict[str, Any]) -> str:
    """Return where the rows come from, in a sentence."""
    command = f"Measured by `{measured['command']}`" if "command" in measured else "Measured"
    source = ", ".join(
        f"{name} {value}" if name not in ("date", "machine") else str(value)
        for name, value in measured.get("source", {}).items()
    )
    return f"{command}: {source}." if source else f"{command}."


def shown(value: str | float) -> str:
    """Return a cell: numbers to three digits, thousands in full."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace(" ± ", "\u00a0±\u00a0")  # a value and its error stay in one line


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("measured", MeasuredDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
