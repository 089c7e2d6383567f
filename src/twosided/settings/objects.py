"""Objects: complete settings to what they describe, made by importing its classes."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from twosided.settings.parts import Field, Part, Tuple, Type
from twosided.settings.values import Settings, SettingsError


def build(settings: Settings) -> Any:
    """The object that settings describe. What its constructors refuse with a ValueError is a SettingsError
    that names where the value was given."""
    return _part(settings.root, settings.values, (), settings.origins)


def _part(part: Part, values: dict[str, Any], path: tuple, origins: Mapping[tuple, str]) -> Any:
    made = getattr(import_module(part.module.name), part.name)
    arguments = {}
    for field in part.fields:
        arguments[field.name] = _value(field, values[field.name], (*path, field.name), origins)
    try:
        return made(**arguments)
    except ValueError as error:
        # What is refused may be a default that a given value does not go with: the sentence names that one too.
        named = [(*path, name) for word in str(error).split() for name in arguments if word == name]
        places = [*named[:1], path, *named[1:]]
        where = next((origins[place] for place in places if place in origins), ".".join(map(str, path)))
        raise SettingsError(": ".join(filter(None, [where, " ".join(str(error).split())]))) from error


def _value(field: Field, value: Any, path: tuple, origins: Mapping[tuple, str]) -> Any:
    """A value as the class takes it: parts are made, lists are tuples, paths are Paths."""
    if isinstance(value, dict):
        return _part(field.kind(value), value, path, origins)
    if isinstance(value, list):
        return tuple(_value(field, item, (*path, index), origins) for index, item in enumerate(value))
    return Path(value) if isinstance(value, str) and _is_path(field.type, value) else value


def _is_path(type_: Type, text: str) -> bool:
    items = [item for option in type_ if isinstance(option, Tuple) for item in option.items]
    return text not in type_ and (Path in type_ or any(_is_path(item, text) for item in items))
