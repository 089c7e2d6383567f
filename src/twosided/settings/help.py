"""Help of a command: every parameter of the chosen parts, with its option, type, meaning and value."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from twosided.settings.layers import COMMAND_LINE, Place, Reader, parts_in
from twosided.settings.parts import Field, Part, Tuple, Type
from twosided.settings.toml import describe_preset

if TYPE_CHECKING:
    from twosided.settings.command_line import Line

WIDEST = 130  # characters; longer lines are hard to read
NAMES = {float: "NUMBER", int: "INTEGER", str: "TEXT", Path: "PATH", bool: "BOOL", None: "none"}
EPILOG = (
    "* marks the chosen kind of a part; choose another kind to see its parameters. In place of KIND, "
    "KIND:name=value,... sets parameters in the same word, FILE.toml reads the part from a file, and FILE.py:Class "
    "takes a class of your own. Values in brackets are the current ones."
)

Row = tuple[Text, Text]
"""Option, and its description."""


def show(reader: Reader, prog: str, description: str, positional: Sequence[str], line: "Line") -> None:
    """Print the help on the settings read so far."""
    console = Console(highlight=False)
    width = min(console.width, WIDEST)
    helper = _Helper(reader, positional, line)
    groups = list(helper.groups())
    longest = max(len(option) for _, rows in groups for option, _ in rows)
    column = min(longest + 2, width * 3 // 8)
    arguments = [word if name in helper.required else f"[{word}]" for name, word in helper.arguments.items()]
    usage = " ".join(["[OPTIONS]", *arguments])
    console.print(
        Text.assemble(("usage: ", "bold"), (prog, "bold"), f" {usage}\n\n{description}"), width=width
    )
    for title, rows in groups:
        console.print(Text(f"\n── {title} ".ljust(width + 1, "─"), "bold"), soft_wrap=True)
        for option, meaning in rows:
            left, *lines = [option, *meaning.wrap(console, width - column)]
            if lines and len(option) + 2 <= column:
                left = option + " " * (column - len(option)) + lines.pop(0)
            for line_ in [left, *(Text(" " * column) + line_ for line_ in lines)]:
                line_.rstrip()
                console.print(line_, soft_wrap=True)
    if any(field.bases for field in reader.root.fields):
        console.print(Text(f"\n{EPILOG}"), width=width)


class _Helper:
    """Collects the rows of each chosen part under a title."""

    def __init__(self, reader: Reader, positional: Sequence[str], line: "Line"):
        fields = {field.name: field for field in reader.root.fields}
        self.reader, self.line = reader, line
        self.aliases = {path: alias for alias, path in line.aliases.items()}
        self.arguments = {name: _argument(fields[name]) for name in positional}
        self.required = {name for name, field in fields.items() if field.default is MISSING}
        self.listed: dict[tuple[str, ...], str] = {}
        """Lists of kinds that have been shown, and the option that showed each."""

    def groups(self) -> Iterator[tuple[str, list[Row]]]:
        """Titles and rows, those of the command itself first."""
        last = [
            (_option("--settings", "FILE.toml"), Text("Read settings from a file. Options override it.")),
            *self._preset(),
            *self._trust(),
            (_option("--help"), Text("Show this help, with the parameters of the chosen kinds, and exit.")),
        ]
        yield from self._part(self.reader.root, self.reader.values, Place(COMMAND_LINE), "options", [], last)

    def _preset(self) -> Iterator[Row]:
        if self.line.presets:
            names = ", ".join(self.line.presets)
            yield (
                _option("--preset", "NAME"),
                Text(f"Read settings of a preset. Options override it. {names}."),
            )

    def _trust(self) -> Iterator[Row]:
        if self.line.takes_trust:
            meaning = "Import this Python file where a settings file or a run names it. Repeat for several."
            yield _option("--trust", "FILE.py"), Text(meaning)

    def _part(
        self, part: Part, values: dict[str, Any], place: Place, title: str, first: list[Row], last: list[Row]
    ) -> Iterator[tuple[str, list[Row]]]:
        plain = [self._plain(field, values, place / field) for field in part.fields if not field.bases]
        yield title, [*first, *plain, *last]
        for field in part.fields:
            if field.bases:
                yield from self._choice(field, values.get(field.name), place / field)

    def _choice(self, field: Field, value: Any, place: Place) -> Iterator[tuple[str, list[Row]]]:
        """Groups of a parameter that holds parts: its kinds, and the parameters of the chosen ones."""
        chosen = {below["kind"]: (below, step) for below, step in parts_in(value, place)}
        rows = list(self._kinds(field, list(chosen), place))
        if not chosen:
            yield place.shown, rows
        for kind, (below, step) in chosen.items():
            part = field.choice(below, self.reader.users)
            yield from self._part(part, below, step, f"{place.shown}: {kind}", rows, [])
            rows = []

    def _kinds(self, field: Field, chosen: list[str], place: Place) -> Iterator[Row]:
        parts = field.choices(self.reader.users)
        shown_at = self.listed.setdefault(tuple(part.kind for part in parts), str(place))
        repeated = shown_at != str(place) and len(parts) > 1
        notes = [field.meaning]
        if place.shown in self.aliases:
            notes.append(f"--{self.aliases[place.shown]} is short for {place}.")
        if repeated:
            notes.append(f"Kinds: as for {shown_at}.")
            parts = [part for part in parts if part.kind in chosen]
        yield _option(str(place), "KIND"), Text(" ".join(filter(None, notes)))
        for part in parts:
            yield _choice_mark(part.kind, part.kind in chosen), Text(part.summary)
        for name, path in self.line.named_parts.get(place.shown, {}).items():
            yield _choice_mark(name, False), Text(describe_preset(path))
        if field.holds_several or None in field.type:
            yield _choice_mark("none", not chosen), Text()

    def _plain(self, field: Field, values: dict[str, Any], place: Place) -> Row:
        if field.name in self.arguments and len(place.path) == 1:
            choices = any(isinstance(option, str) for option in field.type)
            option = _option(self.arguments[field.name], _type_name(field.type) if choices else "")
        elif field.type == (bool,):
            option = _option(str(place) + re.sub(r"^--(.*\.)?(.*)$", r", --\1no-\2", str(place)))
        else:
            option = _option(str(place), _type_name(field.type))
        value = f"[{_value(values[field.name]) if field.name in values else 'required'}]"
        style = "bold" if place.path in self.reader.origins else "dim"
        return option, Text.assemble(field.meaning, " " if field.meaning else "", (value, style))


def _option(name: str, takes: str = "") -> Text:
    return Text.assemble("  ", (name, "cyan"), f" {takes}" if takes else "")


def _choice_mark(kind: str, chosen: bool) -> Text:
    return Text.assemble("    ", (f"{'*' if chosen else '-'} {kind}", "bold green" if chosen else "green"))


def _argument(field: Field) -> str:
    """Positional parameter in the usage: RUN, or FILES..."""
    return field.name.upper() + ("..." if any(isinstance(option, Tuple) for option in field.type) else "")


def _type_name(type_: Type) -> str:
    """NUMBER, INTEGER|none, a|b|c, NUMBER,NUMBER or INTEGER,..."""
    names = []
    for option in type_:
        if isinstance(option, Tuple):
            names.append(",".join([*map(_type_name, option.items), *(["..."] if option.variadic else [])]))
        elif not isinstance(option, Part):
            names.append(str(option) if isinstance(option, str | int) else NAMES[option])
    return "|".join(names)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_value, value)) or "empty"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
