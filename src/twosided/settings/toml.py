"""TOML: settings from and to files."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any

from twosided.settings.parts import Part
from twosided.settings.values import Settings, SettingsError

PRESETS = Path(__file__).parents[1] / "presets"
"""Where ready-made settings of `twosided train` are."""
LARGEST_FILE = 2**20  # bytes; real ones have thousands


def load(path: str | Path) -> dict[str, Any]:
    """The tables of a file."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > LARGEST_FILE:
        raise SettingsError(f"{path} is larger than settings can be, {LARGEST_FILE} bytes")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{path} is not UTF-8 text (at line {line})") from None
    except RecursionError:
        raise SettingsError(f"{path} is nested too deeply") from None
    except ValueError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None


def ready_made(folder: Path) -> dict[str, Path]:
    """The settings files of a folder by their names."""
    return {path.stem: path for path in sorted(folder.glob("*.toml"), key=lambda path: path.stem)}


def about(path: Path) -> str:
    """What a settings file says of itself: its first line, a comment."""
    return path.read_text("utf-8").partition("\n")[0].lstrip("# ")


def dump(settings: Settings, meanings: bool = True) -> str:
    """Settings as TOML, complete, with the meaning of each or without; reading it gives the same settings."""
    lines = _lines(settings.root, settings.values, "")
    return "\n".join(line for line in lines if meanings or not line.startswith("#")).lstrip("\n") + "\n"


def _lines(part: Part, values: dict[str, Any], prefix: str) -> Iterator[str]:
    """Plain parameters first, as TOML wants it, then a table for each part."""
    tables = []
    for field in part.fields:
        value = values[field.name]
        if isinstance(value, dict):
            tables.append((field, f"[{prefix}{field.name}]", value))
        elif field.many and value:
            tables += [(field, f"[[{prefix}{field.name}]]", item) for item in value]
        else:
            # numbers, booleans, lists and printable text are written in TOML as in JSON; there is no null
            plain = json.dumps("none" if value is None else value, ensure_ascii=False)
            yield from [*_comment(field.meaning), f"{field.name} = {plain}"]
    for field, header, value in tables:
        yield from ["", *_comment(field.meaning), header, f'kind = "{value["kind"]}"']
        yield from _lines(field.kind(value), value, f"{prefix}{field.name}.")


def _comment(text: str) -> list[str]:
    return wrap(text, 100, initial_indent="# ", subsequent_indent="# ")
