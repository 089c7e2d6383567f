"""TOML: settings from and to files."""

import json
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any

from twosided.settings.parts import Part
from twosided.settings.tree import Settings
from twosided.settings.user_files import DIGESTS
from twosided.settings.values import SettingsError

PRESETS = Path(__file__).parents[1] / "presets"
"""Folder of the presets of `twosided train`."""
LARGEST_FILE = 2**20  # bytes; real ones have thousands
DIGESTS_COMMENT = (
    "SHA-256 digests of the Python files that define classes named above. They are imported only if they are named on "
    "the command line, with --trust."
)


def load(path: str | Path) -> dict[str, Any]:
    """Return the tables of a file. Raises SettingsError."""
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


def preset_files(prefix: str = "") -> dict[str, Path]:
    """Return the presets whose names begin with a prefix, by the rest of their names."""
    names = sorted(path.stem for path in PRESETS.glob(f"{prefix}*.toml"))
    return {name.removeprefix(prefix): PRESETS / f"{name}.toml" for name in names}


def describe_preset(path: Path) -> str:
    """Return the description of a preset: the first line of its file, a comment."""
    return path.read_text("utf-8").partition("\n")[0].lstrip("# ")


def dump(settings: Settings, meanings: bool = True) -> str:
    """Return complete settings as TOML, with or without the meaning of each; reading it gives the same settings."""
    lines = [*_lines(settings.root, settings.values, "", settings.user_files.parts), *_digests(settings)]
    return "\n".join(line for line in lines if meanings or not line.startswith("#")).lstrip("\n") + "\n"


def _lines(part: Part, values: dict[str, Any], prefix: str, users: Iterable[Part]) -> Iterator[str]:
    """Plain parameters first, as TOML requires, then a table for each part."""
    tables = []
    for field in part.fields:
        value = values[field.name]
        if isinstance(value, dict):
            tables.append((field, f"[{prefix}{field.name}]", value))
        elif field.holds_several and value:
            tables += [(field, f"[[{prefix}{field.name}]]", item) for item in value]
        else:
            # numbers, booleans, lists and printable text are written in TOML as in JSON; there is no null
            plain = json.dumps("none" if value is None else value, ensure_ascii=False)
            yield from [*_comment(field.meaning), f"{field.name} = {plain}"]
    for field, header, value in tables:
        yield from ["", *_comment(field.meaning), header, f"kind = {json.dumps(value['kind'])}"]
        yield from _lines(field.choice(value, users), value, f"{prefix}{field.name}.", users)


def _digests(settings: Settings) -> Iterator[str]:
    names = settings.used_files
    if names:
        yield from ["", *_comment(DIGESTS_COMMENT), f"[{DIGESTS}]"]
        for name in names:
            yield f"{json.dumps(name)} = {json.dumps(settings.user_files.digests[name])}"


def _comment(text: str) -> list[str]:
    return wrap(text, 100, initial_indent="# ", subsequent_indent="# ")
