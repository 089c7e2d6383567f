"""Parts of a package and their parameters, read from its source.

A part is a dataclass (usually an `eqx.Module`) whose fields are its parameters. Its source contains everything that the
command line and its help need:

    class SizedInvestors(OrderFlow):                kind "sized-investors", a choice wherever an
        \"""Investors with orders of any size.\"""   OrderFlow is expected; its first sentence
        mean_size: Scalar = 1.0                     name, type and default
        \"""Mean size of an order, units.\"""         meaning, with the unit

Types are float, int, bool, str, Path, Literal, tuples of these, parts, tuples of parts, unions of all these and None,
and aliases. Defaults are literals, arithmetic on them, constants of the package, calls of parts, and
`field(default=...)` or `field(default_factory=...)` of these. Any other default is refused with a TypeError that names
the class and the field.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from twosided.core.names import kebab
from twosided.settings.source import Definition, FilePackage, Module, package

Type = tuple[Any, ...]
"""Alternatives that a parameter accepts: float, int, bool, str, Path, None, a literal value, a Tuple, a Part."""

PLAIN = {kind.__name__: kind for kind in (float, int, bool, str, Path)}
ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


@dataclass(frozen=True)
class Tuple:
    """Type of a tuple: one type per item, or one type for any number of items."""

    items: tuple[Type, ...]
    variadic: bool


@dataclass(frozen=True)
class Field:
    """Parameter of a part."""

    name: str
    type: Type
    default: Any
    """Plain data: a number, a word, None, a list; for a part, its kind and arguments; or MISSING."""
    meaning: str

    @cached_property
    def bases(self) -> list["Part"]:
        """Base classes of its values, where it holds a part or a tuple of parts; empty for a plain parameter."""
        return _open_parts(self.type) or self._item_bases

    @property
    def holds_several(self) -> bool:
        """Whether it holds a tuple of parts."""
        return bool(self._item_bases)

    @cached_property
    def _item_bases(self) -> list["Part"]:
        tuples = [option for option in self.type if isinstance(option, Tuple)]
        return [part for option in tuples for item in option.items for part in _open_parts(item)]

    def choices(self, users: Iterable["Part"] = ()) -> list["Part"]:
        """Parts to choose from: those of the package, and those of users' own files that derive from its types."""
        found = [choice for base in self.bases for choice in base.choices]
        own = [part for part in users if part.is_choice and not part.ancestors.isdisjoint(self.bases)]
        return found + [part for part in own if part not in found]

    def choice(self, value: dict[str, Any], users: Iterable["Part"] = ()) -> "Part":
        """Return the part that a value of it, a table, belongs to."""
        return next(part for part in self.choices(users) if part.kind == value["kind"])

    @property
    def option(self) -> str:
        """Name on the command line; in the singular where each use adds one part."""
        name = self.name.replace("_", "-")
        return re.sub("ie$", "y", name.removesuffix("s")) if self.holds_several else name


@dataclass(frozen=True, eq=False)
class Part:
    """Class of the package, or of a user's file, with its parameters."""

    module: Module
    node: ast.ClassDef

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def kind(self) -> str:
        """Name in settings: sized-investors for SizedInvestors, and my_flow.py:MyFlow for MyFlow in a user's file."""
        return f"{self.module.path.name}:{self.name}" if self.in_user_file else kebab(self.name)

    @property
    def in_user_file(self) -> bool:
        return isinstance(self.module.package, FilePackage)

    @cached_property
    def summary(self) -> str:
        """First sentence of its docstring."""
        return first_sentence(ast.get_docstring(self.node) or "")

    @cached_property
    def doc(self) -> str:
        """Whole docstring, one line per paragraph; indented paragraphs, such as examples, as they are."""
        paragraphs = (ast.get_docstring(self.node) or "").split("\n\n")
        return "\n\n".join(text if text.startswith("    ") else _one_line(text) for text in paragraphs)

    @cached_property
    def bases(self) -> list["Part"]:
        """Base classes that belong to the package."""
        found = (_resolve(self.module, base) for base in self.node.bases)
        return [part for part in found if isinstance(part, Part)]

    @cached_property
    def ancestors(self) -> frozenset["Part"]:
        """Base classes, their base classes, and so on."""
        return frozenset(self.bases).union(*(base.ancestors for base in self.bases))

    @cached_property
    def choices(self) -> list["Part"]:
        """Classes of its package that can be chosen where this one is expected: itself and all that derive from it,
        without private and abstract classes, and those that settings cannot build (a trained network)."""
        family = [self]
        for parent in family:  # grows while it is read
            for module in self.module.package.deriving(parent.name):
                family += [part for part in parts_of(module) if parent in part.bases and part not in family]
        return [part for part in family if part.is_choice]

    @property
    def is_choice(self) -> bool:
        return not (self.name.startswith("_") or self.missing or self._needs_more_than_settings)

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """Parameters, inherited ones first. A parameter without a default and of a type that settings cannot hold,
        such as an array or a network, is listed with an empty type; its part is not a choice."""
        found = {field.name: field for base in reversed(self.bases) for field in base.fields}
        refused = {}
        for name, annotation, default, meaning in self._annotated():
            meaning = meaning or (found[name].meaning if name in found else "")
            found[name] = Field(name, (), MISSING, meaning)
            try:
                value = MISSING if default is None else _value(self.module, default)
                found[name] = Field(name, _type(self.module, annotation), value, meaning)
            except _Unreadable as error:
                refused |= {} if default is None else {name: str(error)}
        if all(field.type or name in refused for name, field in found.items()):
            refused |= (
                {"kind": "this name, which is reserved for the class of a part"} if "kind" in found else {}
            )
            for name, what in refused.items():
                raise TypeError(f"{self.module.name}.{self.name}.{name}: settings cannot hold {what}")
        return tuple(found.values())

    def _annotated(self) -> Iterator[tuple[str, ast.expr, ast.expr | None, str]]:
        """Name, annotation, default and docstring of each parameter that the class body declares."""
        body = self.node.body
        for node, after in zip(body, [*body[1:], None], strict=True):
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue
            default, is_parameter = node.value, True
            if isinstance(default, ast.Call) and _last(default.func) == "field":
                given = {word.arg: word.value for word in default.keywords}
                default = given.get("default", given.get("default_factory"))
                is_parameter = "init" not in given or ast.unparse(given["init"]) != "False"
            hidden = node.target.id.startswith("_") or re.match("ClassVar|Abstract", _last(node.annotation))
            if is_parameter and not hidden:
                yield node.target.id, node.annotation, default, _docstring(after)

    @cached_property
    def missing(self) -> set[str]:
        """Abstract methods and variables that it does not define; an abstract class has some."""
        names = {name for base in self.bases for name in base.missing}
        for node in self.node.body:
            if isinstance(node, ast.FunctionDef):
                abstract = any(_last(mark).startswith("abstract") for mark in node.decorator_list)
                names = names | {node.name} if abstract else names - {node.name}
            elif isinstance(node, ast.AnnAssign):
                name, abstract = ast.unparse(node.target), _last(node.annotation).startswith("Abstract")
                names = names | {name} if abstract else names - {name}
        return names

    @cached_property
    def _needs_more_than_settings(self) -> bool:
        """Whether it has a constructor of its own, or needs arrays or parts that need these."""
        if any(isinstance(node, ast.FunctionDef) and node.name == "__init__" for node in self.node.body):
            return True
        required = [field.type for field in self.fields if field.default is MISSING]
        return any(base._needs_more_than_settings for base in self.bases) or any(
            all(isinstance(option, Part) and option._needs_more_than_settings for option in type_)
            for type_ in required
        )


def describe(name: str) -> Part:
    """Return the part of the class "module:Class"."""
    module, _, member = name.partition(":")
    found = package(module.split(".")[0]).modules[module].find(member)
    if found is None or not isinstance(found.node, ast.ClassDef):
        raise TypeError(f"{name} is not a class")
    return _part(found)


def choices(name: str) -> list[Part]:
    """Return the parts that can be chosen where the class "module:Class" is expected."""
    return describe(name).choices


def parts_of(module: Module) -> list[Part]:
    """Return the classes of a module."""
    return [_part(definition) for definition in module.classes]


def first_sentence(docstring: str) -> str:
    """Return the first sentence of a docstring."""
    paragraph = _one_line(docstring.partition("\n\n")[0])
    return re.split(r"(?<=\.) (?=[^\W\d_a-z])", paragraph, maxsplit=1)[0]


class _Unreadable(Exception):
    """Type or default that settings cannot hold."""


@cache
def _part(definition: Definition) -> Part:
    assert isinstance(definition.node, ast.ClassDef)
    return Part(definition.module, definition.node)


def _resolve(module: Module, node: ast.expr) -> Part | Definition | None:
    """Return the part or the expression that a name in a module stands for; None if it is not of the package."""
    found = module.find(ast.unparse(node)) if isinstance(node, ast.Name | ast.Attribute) else None
    return _part(found) if found and isinstance(found.node, ast.ClassDef) else found


def _type(module: Module, node: ast.expr) -> Type:
    """Return the alternatives that an annotation accepts."""
    match node:
        case ast.Constant(value=None):
            return (None,)
        case ast.Constant(value=str(text)):
            return _type(module, ast.parse(text, mode="eval").body)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union(module, left, right)
        case ast.Subscript(value=outer, slice=inner):
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            if _last(outer) == "Literal":
                return tuple(_value(module, item) for item in items)
            if _last(outer) == "tuple":
                variadic = ast.unparse(items[-1]) == "..."
                types = tuple(_type(module, item) for item in (items[:-1] if variadic else items))
                if variadic or not any(isinstance(option, Part) for type_ in types for option in type_):
                    return (Tuple(types, variadic),)
        case ast.Name() | ast.Attribute():
            match _resolve(module, node):
                case Part() as part:
                    return (part,)
                case Definition(module=elsewhere, node=ast.expr() as alias):
                    return _type(elsewhere, alias)
            if _last(node) in PLAIN:
                return (PLAIN[_last(node)],)
    raise _Unreadable(f"the type {ast.unparse(node)}")


def _union(module: Module, left: ast.expr, right: ast.expr) -> Type:
    """Alternatives of a union. An array beside a number, `float | Float[Array, ""]`, serves tracing, not settings."""
    try:
        options = _type(module, left)
    except _Unreadable:
        return _type(module, right)
    try:
        return options + _type(module, right)
    except _Unreadable:
        return options


def _value(module: Module, node: ast.expr) -> Any:
    """Return the plain data that the expression of a default stands for."""
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str()):
            return node.value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(module, operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            return ARITHMETIC[type(op)](_value(module, left), _value(module, right))
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return [_value(module, item) for item in items]
        case ast.Lambda(args=ast.arguments(args=[]), body=body):
            return _value(module, body)
        case ast.Name() | ast.Attribute():
            match _resolve(module, node):
                case Part() as part:  # a default_factory
                    return {"kind": part.kind}
                case Definition(module=elsewhere, node=ast.expr() as constant):
                    return _value(elsewhere, constant)
            if _last(node) == "tuple":  # a default_factory
                return []
        case ast.Call(func=function, args=items, keywords=words):
            part = _resolve(module, function)
            if isinstance(part, Part):
                arguments = [(field.name, item) for field, item in zip(part.fields, items, strict=False)]
                arguments += [(str(word.arg), word.value) for word in words]
                return {"kind": part.kind, **{name: _value(module, item) for name, item in arguments}}
            if _last(function) == "Path" and len(items) == 1:
                return _value(module, items[0])
    raise _Unreadable(f"the default {ast.unparse(node)}")


def _open_parts(type_: Type) -> list[Part]:
    """Parts of a type that settings can choose from, or that a user's class may derive from."""
    return [option for option in type_ if isinstance(option, Part) and (option.choices or option.missing)]


def _last(node: ast.expr) -> str:
    """Last word of a dotted name: `eqx.field` is field, `typing.Literal["a"]` is Literal."""
    if isinstance(node, ast.Subscript | ast.Call):
        return _last(node.value if isinstance(node, ast.Subscript) else node.func)
    return ast.unparse(node).rpartition(".")[2]


def _docstring(node: ast.stmt | None) -> str:
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return _one_line(text)
    return ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
