"""The help of a command: every parameter of the chosen parts, with its option, type, meaning and value."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from twosided.settings.layers import COMMAND_LINE, Place, Reader, parts_in
from twosided.settings.parts import Field, Part, Tuple, Type

WIDEST = 130  # characters; longer lines are hard to read
NAMES = {float: "NUMBER", int: "INTEGER", str: "TEXT", Path: "PATH", bool: "BOOL", None: "none"}
EPILOG = (
    "Kinds marked * are chosen; choose another to see its parameters. Instead of a KIND alone, "
    "KIND:name=value,... gives it with parameters, and FILE.toml reads it from a file."
)

Row = tuple[Text, Text]
"""An option, and what is said about it."""


def show(
    reader: Reader,
    prog: str,
    description: str,
    positional: Sequence[str],
    aliases: Mapping[str, str],
    presets: Sequence[str],
) -> None:
    """Prints the help on the settings, as far as they have been read."""
    console = Console(highlight=False)
    width = min(console.width, WIDEST)
    helper = _Helper(reader, positional, {path: alias for alias, path in aliases.items()}, presets)
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
            for line in [left, *(Text(" " * column) + line for line in lines)]:
                line.rstrip()
                console.print(line, soft_wrap=True)
    if any(field.parts for field in reader.root.fields):
        console.print(Text(f"\n{EPILOG}"), width=width)


class _Helper:
    """Goes through the chosen parts and collects the rows of each under a title."""

    def __init__(
        self, reader: Reader, positional: Sequence[str], aliases: Mapping[str, str], presets: Sequence[str]
    ):
        fields = {field.name: field for field in reader.root.fields}
        self.reader, self.aliases, self.presets = reader, aliases, presets
        self.arguments = {name: _argument(fields[name]) for name in positional}
        self.required = {name for name, field in fields.items() if field.default is MISSING}

    def groups(self) -> Iterator[tuple[str, list[Row]]]:
        """Titles and rows, the command's own parameters first."""
        last = [
            (_option("--settings", "FILE.toml"), Text("Settings from a file; options are read over it.")),
            *self._preset(),
            (_option("--help"), Text("Shows this help, with the parameters of the chosen kinds.")),
        ]
        yield from self._part(self.reader.root, self.reader.values, Place(COMMAND_LINE), "options", [], last)

    def _preset(self) -> Iterator[Row]:
        if self.presets:
            yield _option("--preset", "NAME"), Text(f"The same, ready made: {', '.join(self.presets)}.")

    def _part(
        self, part: Part, values: dict[str, Any], place: Place, title: str, first: list[Row], last: list[Row]
    ) -> Iterator[tuple[str, list[Row]]]:
        plain = [self._plain(field, values, place / field) for field in part.fields if not field.parts]
        yield title, [*first, *plain, *last]
        for field in part.fields:
            if field.parts:
                yield from self._choice(field, values.get(field.name), place / field)

    def _choice(self, field: Field, value: Any, place: Place) -> Iterator[tuple[str, list[Row]]]:
        """The groups of a parameter that holds parts: its kinds, and the parameters of the chosen."""
        chosen = {below["kind"]: (below, step) for below, step in parts_in(value, place)}
        rows = list(self._kinds(field, list(chosen), place))
        if not chosen:
            yield place.shown, rows
        for kind, (below, step) in chosen.items():
            yield from self._part(field.kind(below), below, step, f"{place.shown}: {kind}", rows, [])
            rows = []

    def _kinds(self, field: Field, chosen: list[str], place: Place) -> Iterator[Row]:
        notes = [field.meaning, "Give one for each, in order." if field.many else ""]
        if place.shown in self.aliases:
            notes.append(f"--{self.aliases[place.shown]} is short for {place}.")
        yield _option(str(place), "KIND"), Text(" ".join(filter(None, notes)))
        for part in field.parts:
            yield _choice_mark(part.kind, part.kind in chosen), Text(part.summary)
        if field.many or None in field.type:
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
    """A positional parameter in the usage: RUN, or FILES..."""
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
