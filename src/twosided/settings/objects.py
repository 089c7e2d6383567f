"""Objects that complete settings describe, built by importing their classes."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from twosided.settings.parts import Field, Part, Tuple, Type
from twosided.settings.tree import Settings
from twosided.settings.user_files import import_file
from twosided.settings.values import SettingsError


def build(settings: Settings) -> Any:
    """Return the object that settings describe.

    A ValueError of a constructor becomes a SettingsError that names the option, or the file and key, of the value.
    """
    return _Builder(settings.user_files.parts, settings.origins).part(settings.root, settings.values, ())


class _Builder:
    def __init__(self, users: Iterable[Part], origins: Mapping[tuple[str | int, ...], str]):
        self.users, self.origins = users, origins

    def part(self, part: Part, values: dict[str, Any], path: tuple[str | int, ...]) -> Any:
        module = import_file(part.module) if part.in_user_file else import_module(part.module.name)
        make = getattr(module, part.name)
        arguments = {}
        for field in part.fields:
            arguments[field.name] = self.value(field, values[field.name], (*path, field.name))
        try:
            return make(**arguments)
        except ValueError as error:
            # The refused value may be a default that does not go with a given value: the sentence names that one too.
            named = [(*path, name) for word in str(error).split() for name in arguments if word == name]
            places = [*named[:1], path, *named[1:]]
            where = next((self.origins[place] for place in places if place in self.origins), "")
            where = where or ".".join(map(str, path))
            raise SettingsError(": ".join(filter(None, [where, " ".join(str(error).split())]))) from error

    def value(self, field: Field, value: Any, path: tuple[str | int, ...]) -> Any:
        """Return a value as the class takes it: parts are built, lists become tuples, paths become Paths."""
        if isinstance(value, dict):
            return self.part(field.choice(value, self.users), value, path)
        if isinstance(value, list):
            return tuple(self.value(field, item, (*path, index)) for index, item in enumerate(value))
        return Path(value) if isinstance(value, str) and _is_path(field.type, value) else value


def _is_path(type_: Type, text: str) -> bool:
    items = [item for option in type_ if isinstance(option, Tuple) for item in option.items]
    return text not in type_ and (Path in type_ or any(_is_path(item, text) for item in items))
