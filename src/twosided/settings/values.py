"""Values: conversion of given text and data to a parameter's type, and descriptions of both in words."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from twosided.core.errors import Refusal
from twosided.settings.parts import Field, Part, Tuple, Type

LARGEST_NUMBER = 3.4028234e38  # beyond it a number is infinite in single precision
LARGEST_INTEGER = 2**63 - 1
SWITCH = {"true": True, "yes": True, "false": False, "no": False}
EXPECTED = {
    float: "finite number",
    int: "whole number",
    str: "text",
    Path: "path",
}


class SettingsError(Refusal):
    """One sentence that states an error in the settings, on one line."""

    def __init__(self, sentence: str):
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence))


class Text(str):
    """Value as typed, to be converted to its parameter's type; values in files have types of their own."""


def plain(type_: Type, raw: Any) -> Any:
    """Return the value of the first alternative that raw matches; texts come last because they accept anything.

    Raises ValueError if there is none.
    """
    for option in sorted(type_, key=lambda option: option in (str, Path)):
        try:
            return _alternative(option, raw)
        except ValueError:
            continue
    raise ValueError(raw)


def expected(field: Field, users: Iterable[Part] = ()) -> str:
    """Return a description of what a parameter takes."""
    words = _alternatives(field.type)
    if field.bases:
        words.insert(0, _one_of([part.kind for part in field.choices(users)] or ["FILE.py:Class"]))
    return listed(words)


def show(value: Any) -> str:
    """Return a value as errors show it: short, and on one line."""
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    if type(value) is int and abs(value) > LARGEST_INTEGER:
        return "a number beyond 64 bits"
    text = repr(str(value)) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def listed(words: Sequence[str]) -> str:
    """Return "a, b or c"."""
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _alternative(option: Any, raw: Any) -> Any:
    """Return raw as a value of this alternative. Raises ValueError."""
    typed = isinstance(raw, Text)
    if isinstance(option, Tuple):
        items = [Text(item) for item in raw.split(",") if raw] if typed else raw
        items = _when(isinstance(items, list), items)
        types = option.items * len(items) if option.variadic else option.items
        return [plain(type_, item) for type_, item in zip(types, items, strict=True)]
    if option is bool:
        value = SWITCH.get(raw.lower()) if typed else raw
        return _when(isinstance(value, bool), value)
    if option is int:
        number = _integer(raw) if typed else raw
        return _when(type(number) is int and abs(number) <= LARGEST_INTEGER, number)
    if option is float:
        number = float(raw) if typed else raw
        return float(_when(type(number) in (int, float) and abs(number) <= LARGEST_NUMBER, number))
    if option in (str, Path):
        return str(_when(isinstance(raw, str) and raw.isprintable() and (raw or option is str), raw))
    if option is None:
        return _when(raw is None or raw == "none", None)
    if isinstance(option, Part):
        raise ValueError(raw)
    return _when(raw == str(option) if typed else type(raw) is type(option) and raw == option, option)


def _integer(text: str) -> int:
    """Return a whole number as people type it: 10, 1_000_000, 1e6."""
    number = float(text)
    return int(number) if re.search("[.eE]", text) and number.is_integer() else int(text)


def _when(holds: Any, value: Any) -> Any:
    if not holds:
        raise ValueError(value)
    return value


def _alternatives(type_: Type) -> list[str]:
    """Return descriptions of what a type accepts apart from parts."""
    literals = [str(option) for option in type_ if isinstance(option, str | int | float)]
    words = [_one_of(literals)] if literals else []
    for option in type_:
        if option in EXPECTED:
            words.append(f"a {EXPECTED[option]}")
        elif option in (bool, None):
            words.append("true or false" if option else "none")
        elif isinstance(option, Tuple):
            items = dict.fromkeys(EXPECTED.get(item, item) for type_ in option.items for item in type_)
            plural = [f"{item}s" for item in items if isinstance(item, str)]
            count = "" if option.variadic else f"{len(option.items)} "
            words.append(f"a list of {count}{listed(plural)}" if plural else "none")
    return words


def _one_of(words: list[str]) -> str:
    return f"one of {', '.join(words)}" if len(words) > 1 else words[0]
