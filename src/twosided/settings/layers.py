"""Layers: plain data over the defaults of a part, key by key, up to complete values.

A table changes the parameters of the current part; if it names another kind, that kind's defaults come first. A word
stands for a part too: KIND, KIND:parameter=value,... or, on the command line, FILE.toml. A list replaces a tuple of
parts; a table without a kind changes the only part that is there. FILE.py:Class is the kind of a class in a user's
file.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from twosided.core.names import kebab, nearest
from twosided.settings.parts import Field, Part, describe
from twosided.settings.toml import load
from twosided.settings.tree import Settings
from twosided.settings.user_files import DIGESTS, FILE, NO_FILES, UserFiles
from twosided.settings.values import SettingsError, Text, expected, listed, plain, show

DEFAULTS, COMMAND_LINE, ARGUMENTS = "the defaults", "the command line", "the arguments"


def read(
    root: str, data: Mapping[str, Any], source: str = "settings", user_files: UserFiles = NO_FILES
) -> Settings:
    """Return the settings of the class "module:Class" from plain data, such as a file or a saved run.

    Classes of users' own files can be named in the data if `user_files` has the file. Raises SettingsError.
    """
    reader = Reader(describe(root), user_files)
    reader.layer(data, source)
    return reader.settings(source)


@dataclass(frozen=True)
class Place:
    """Position of a value in the settings, and the source and name under which it was given."""

    source: str
    path: tuple[str | int, ...] = ()
    shown: str = ""

    def __truediv__(self, step: Field | int) -> "Place":
        typed = self.source == COMMAND_LINE
        if isinstance(step, int):
            return Place(self.source, (*self.path, step), self.shown + ("" if typed else f"[{step}]"))
        name = step.option if typed else step.name
        return Place(self.source, (*self.path, step.name), f"{self.shown}.{name}" if self.shown else name)

    def __str__(self) -> str:
        if not self.shown:
            return self.source
        if self.source == ARGUMENTS:  # given without an option: RUN, FILES
            return self.shown.upper()
        return f"--{self.shown}" if self.source == COMMAND_LINE else f"{self.source}: {self.shown}"


class Reader:
    """Values of a part, initially its defaults, and the origin of each."""

    def __init__(self, root: Part, user_files: UserFiles = NO_FILES):
        self.root, self.user_files = root, user_files
        self.users = user_files.parts
        self.origins: dict[tuple[str | int, ...], str] = {}
        self.values = self._fresh(root, ())

    def layer(self, data: Mapping[str, Any], source: str) -> None:
        """Read data over the current values. Raises SettingsError."""
        if DIGESTS in data:
            self.user_files.check(data[DIGESTS], source)
            data = {name: value for name, value in data.items() if name != DIGESTS}
        self.values = self._fields([self.root], self.root, self.values, data, Place(source))

    def settings(self, source: str, positional: Sequence[str] = ()) -> Settings:
        """Return the settings. Raises SettingsError if a value is missing."""
        for place, field in self._missing(self.root, self.values, Place(source)):
            alone = place.path == (field.name,) and field.name in positional
            where = Place(ARGUMENTS) / field if alone else place
            raise SettingsError(f"{where} is missing; it takes {expected(field, self.users)}")
        return Settings(self.root, self.values, self.origins, self.user_files)

    def _fresh(self, part: Part, path: tuple[str | int, ...]) -> dict[str, Any]:
        """Defaults of the part."""
        self.origins = {place: origin for place, origin in self.origins.items() if place[: len(path)] != path}
        defaults = {field.name: field.default for field in part.fields if field.default is not MISSING}
        return self._fields([part], part, {}, defaults, Place(DEFAULTS, path, part.kind))

    def _fields(
        self, kinds: list[Part], part: Part, base: dict[str, Any], raw: Mapping[str, Any], place: Place
    ) -> dict[str, Any]:
        """Parameters of the part: those in raw, the others as in base."""
        values, fields = dict(base), {field.name: field for field in part.fields}
        for key, given in raw.items():
            name = key.replace("-", "_")
            if name not in fields:
                others = [kind.kind for kind in kinds if name in (field.name for field in kind.fields)]
                hint = f", but {listed(others)} has" if others else nearest(name, list(fields))
                raise SettingsError(f"{place}: {part.kind} has no parameter {show(name)}{hint}")
            values[name] = self._value(fields[name], values.get(name, MISSING), given, place / fields[name])
        return values

    def _value(self, field: Field, base: Any, raw: Any, place: Place) -> Any:
        word = raw["kind"] if isinstance(raw, dict) and raw.keys() == {"kind"} else raw
        try:
            value = plain(field.type, word)
        except ValueError:
            value = (self._parts if field.holds_several else self._part)(field, base, raw, place)
        self._note(place)
        return value

    def _parts(self, field: Field, base: Any, raw: Any, place: Place) -> list[Any]:
        if isinstance(raw, dict) and "kind" not in raw:
            number = len(base) if isinstance(base, list) else 0
            if number != 1:
                raise SettingsError(
                    f"{place}: there are {number} parts, not one to change; name the kind of each"
                )
            return [self._part(field, base[0], raw, place / 0)]
        raw = raw if isinstance(raw, list) else [raw]
        if raw in (["none"], [{"kind": "none"}]):
            return []
        return [self._part(field, MISSING, item, place / index) for index, item in enumerate(raw)]

    def _part(self, field: Field, base: Any, raw: Any, place: Place) -> dict[str, Any]:
        kinds = self._kinds(field)
        if not isinstance(raw, dict | str) or not kinds:
            raise self._refusal(place, field, raw)
        raw = {"kind": raw} if isinstance(raw, str) else raw
        if "kind" in raw:
            base = self._word(field, base, raw["kind"], place)
        elif not isinstance(base, dict):
            if len(kinds) > 1:
                raise SettingsError(f"{place} needs a kind, {expected(field, self.users)}")
            base = self._word(field, base, next(iter(kinds)), place)
        self._note(place)
        given = {key: value for key, value in raw.items() if key != "kind"}
        return self._fields(list(kinds.values()), kinds[base["kind"]], base, given, place)

    def _word(self, field: Field, base: Any, word: Any, place: Place) -> dict[str, Any]:
        """Return the part that a word stands for."""
        if not isinstance(word, str):
            raise self._refusal(place, field, word)
        if place.source == COMMAND_LINE and word.endswith(".toml"):
            table: Any = load(word)
            if table.keys() == {field.name}:  # [book] or [[competitors]], as in a run's file
                table = table[field.name]
                table = table[0] if isinstance(table, list) and len(table) == 1 else table
            return self._part(field, base, table, Place(word, place.path))
        kinds = self._kinds(field)
        kind, rest = _split(word)
        part = kinds.get(Path(kind).name if ".py:" in kind else kebab(kind))
        if part is None:
            raise self._refusal(place, field, kind)
        given = {}
        for item in re.split(r",(?=[\w-]+=)", rest) if rest is not None else []:
            name, equals, text = item.partition("=")
            if not equals:
                raise SettingsError(f"{place} takes KIND:parameter=value,..., but got {show(word)}")
            given[name] = Text(text)
        if not isinstance(base, dict) or base["kind"] != part.kind:
            base = {"kind": part.kind} | self._fresh(part, place.path)
        return self._fields(list(kinds.values()), part, base, given, place)

    def _kinds(self, field: Field) -> dict[str, Part]:
        return {part.kind: part for part in field.choices(self.users)}

    def _note(self, place: Place) -> None:
        """Record the origin of a value."""
        if place.source != DEFAULTS:
            self.origins[place.path] = str(place)

    def _refusal(self, place: Place, field: Field, given: Any) -> SettingsError:
        if isinstance(given, str) and ".py:" in given and field.bases:
            typed = place.source == COMMAND_LINE
            return SettingsError(f"{place}: {self.user_files.refusal(given, field.bases, typed)}")
        kinds = list(self._kinds(field))
        names = kinds + [word for word in field.type if isinstance(word, str)]
        hint = nearest(given, names) if isinstance(given, str) else ""
        return SettingsError(f"{place} takes {expected(field, self.users)}, but got {show(given)}{hint}")

    def _missing(self, part: Part, values: dict[str, Any], place: Place) -> Iterator[tuple[Place, Field]]:
        """Parameters that have no value yet."""
        for field in part.fields:
            if field.name not in values:
                yield place / field, field
            for below, step in parts_in(values.get(field.name), place / field):
                yield from self._missing(field.choice(below, self.users), below, step)


def parts_in(value: Any, place: Place) -> list[tuple[dict[str, Any], Place]]:
    """Return the parts that a parameter holds: none, one, or several."""
    if isinstance(value, list):
        return [(item, place / index) for index, item in enumerate(value) if isinstance(item, dict)]
    return [(value, place)] if isinstance(value, dict) else []


def _split(word: str) -> tuple[str, str | None]:
    """Split KIND:parameter=value,... into its kind, which FILE.py:Class is too, and its parameters."""
    found = re.fullmatch(rf"({FILE}:[^:]*|[^:]*)(?::(.*))?", word, re.DOTALL)
    assert found is not None
    return found[1], found[2]
