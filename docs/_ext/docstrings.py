"""Docstrings as Markdown, dataclass fields with the docstrings under them, and signatures as in the source.

autodoc reads docstrings as reStructuredText and prints defaults by their `repr`. Docstrings of this project are
Markdown (MyST), and defaults are other parts, whose source (`GeometricBrownian()`) reads better than their `repr`.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from typing import Any

from docutils import nodes
from docutils.utils import new_document
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class MarkdownDirective(SphinxDirective):
    """Parse the content as Markdown inside reStructuredText."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        document = new_document(self.state.document.current_source or "", self.state.document.settings)
        document.reporter = self.state.document.reporter
        MystParser().parse("\n".join(self.content), document)
        return document.children


def markdown(text: str) -> list[str]:
    """Return lines of reStructuredText that show a Markdown text."""
    return [".. markdown::", "", *textwrap.indent(text, "   ").splitlines(), ""]


@dataclass(frozen=True)
class Field:
    """Field of a dataclass as its source states it."""

    name: str
    annotation: str
    default: str | None
    docstring: str


def fields_of(cls: type) -> dict[str, Field]:
    """Return the fields of a dataclass, those of its base classes first, by name."""
    found: dict[str, Field] = {}
    if not is_dataclass(cls):
        return found
    names = set(cls.__dataclass_fields__)
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("twosided"):
            found |= {field.name: field for field in _written_fields(base) if field.name in names}
    return found


def _written_fields(cls: type) -> Iterator[Field]:
    body = _definition(cls).body
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            text = inspect.cleandoc(str(following.value.value)) if documented else ""
            default = _default(statement.value)
            yield Field(statement.target.id, _annotation(statement.annotation), default, text)


def _default(value: ast.expr | None) -> str | None:
    """Return the default that a field's value states, looked for inside `eqx.field(default=...)`."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) in ("eqx.field", "field"):
        given = {word.arg: word.value for word in value.keywords}
        if "default" in given:
            return ast.unparse(given["default"])
        if "default_factory" in given:
            return f"{ast.unparse(given['default_factory'])}()"
        return None
    return None if value is None else ast.unparse(value)


def _annotation(node: ast.expr | None) -> str:
    """Return an annotation as written; one in quotes without them."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return "" if node is None else ast.unparse(node)


def _definition(thing: Any) -> Any:
    return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))).body[0]


def _function_signature(thing: Any, is_method: bool) -> tuple[str, str | None]:
    definition = _definition(thing)
    arguments = definition.args
    if is_method and arguments.args and arguments.args[0].arg in ("self", "cls"):
        arguments.args = arguments.args[1:]
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        if argument.annotation is not None:
            argument.annotation = ast.parse(_annotation(argument.annotation), mode="eval").body
    return f"({ast.unparse(arguments)})", _annotation(definition.returns) or None


def _class_signature(cls: type) -> str | None:
    fields = fields_of(cls).values()
    given = [field.name if field.default is None else f"{field.name}={field.default}" for field in fields]
    return f"({', '.join(given)})" if is_dataclass(cls) else None


def _on_signature(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    if what == "class":
        return (_class_signature(thing) or "", None) if is_dataclass(thing) else None
    if what in ("function", "method"):
        try:
            return _function_signature(thing, what == "method")
        except (OSError, TypeError, AttributeError):
            return None
    return None


def _on_docstring(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    text = "\n".join(lines).strip()
    lines[:] = markdown(text) if text else []
    if what == "class":
        for field in fields_of(thing).values():
            lines += [f".. py:attribute:: {field.name}", f"   :type: {field.annotation}"]
            lines += [f"   :value: {field.default}"] if field.default is not None else []
            lines += ["", *(f"   {line}" for line in markdown(field.docstring or " ")), ""]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("markdown", MarkdownDirective)
    app.connect("autodoc-process-signature", _on_signature)
    app.connect("autodoc-process-docstring", _on_docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
