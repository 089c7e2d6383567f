"""Users' own classes: parts defined in Python files that the user names on the command line.

A file is read like the package's own source, and its classes become choices, as FILE.py:Class. It is imported only to
build objects, and only if the command line names it, as a part or with --trust. A settings file, such as that of
somebody else's run, can therefore not execute code by naming a file. Settings record the SHA-256 digest of each file
that they use, and a file with another digest is refused.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from twosided.core.names import nearest
from twosided.settings.parts import Part, parts_of
from twosided.settings.source import Module, file_module
from twosided.settings.values import SettingsError

FILE = r"(?:[A-Za-z]:(?=[\\/]))?[^:=,]+\.py"
CLASS = re.compile(rf"(?:^|(?<==))({FILE}):[A-Za-z_]\w*")
"""Class in a file, FILE.py:Class, as a word or as a value in KIND:name=value."""
PREFIX = "twosided_user_"
"""Beginning of the names under which users' modules are imported."""


@dataclass(frozen=True)
class UserFiles:
    """Python files that the user has named, whose classes can be chosen as parts."""

    modules: Mapping[str, Module] = field(default_factory=dict)
    """Modules by the names of their files, without folders."""

    @cached_property
    def parts(self) -> list[Part]:
        """Their classes that derive from a class of the package, abstract ones included. Raises SettingsError."""
        return [part for name in self.modules for part in self._parts(name)]

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 digests of the files."""
        return {name: sha256(module.content).hexdigest() for name, module in self.modules.items()}

    def used_in(self, values: Any) -> list[str]:
        """Return the names of the files whose classes occur in the values of settings."""
        match values:
            case {"kind": str(kind), **others}:
                name, colon, _ = kind.partition(".py:")
                return list(dict.fromkeys([f"{name}.py"] * bool(colon) + self.used_in(list(others.values()))))
            case dict():
                return self.used_in(list(values.values()))
            case list():
                return list(dict.fromkeys(name for value in values for name in self.used_in(value)))
        return []

    def trust(self, names: Iterable[str]) -> list[str]:
        """Return the options with which a command imports these files, as the user named them."""
        return [word for name in names for word in ("--trust", str(self.modules[name].path))]

    def check(self, digests: Any, source: str) -> None:
        """Compare recorded digests with those of the files. Raises SettingsError if a file has changed."""
        if not isinstance(digests, dict):
            raise SettingsError(f"{source}: [{DIGESTS}] takes file names and their SHA-256 digests")
        for name, digest in digests.items():
            found = self.digests.get(name)
            if found not in (None, digest):
                raise SettingsError(
                    f"{name} has changed since {source} was written: its SHA-256 digest was {str(digest)[:12]} and is "
                    f"{found[:12]}; restore the file, or remove its line under [{DIGESTS}] to use it as it is"
                )

    def refusal(self, word: str, bases: list[Part], typed: bool) -> str:
        """Return the reason why FILE.py:Class is not a choice where a class derived from one of `bases` is expected.

        `typed` is whether the word stands on the command line.
        """
        path, _, class_name = word.rpartition(":")
        name = Path(path).name
        if name not in self.modules and typed:
            return f"cannot read {path}: No such file or directory"
        if name not in self.modules:
            return f"{name} is Python code, which is imported only if you name it on the command line: --trust {name}"
        found = {part.name: part for part in self._parts(name)}
        if class_name not in found:
            near = nearest(class_name, list(found))
            return f"{name} has no class {class_name} that derives from a class of twosided{near}"
        part, wanted = found[class_name], " or ".join(base.name for base in bases)
        if not any(base in part.ancestors for base in bases):
            return f"{class_name} in {name} does not derive from {wanted}"
        if part.missing:
            return f"{class_name} in {name} does not define {', '.join(sorted(part.missing))}"
        return f"{class_name} in {name} cannot be built from settings; every field needs a type that they can hold"

    def _parts(self, name: str) -> list[Part]:
        module = self.modules[name]
        try:
            parts = [
                part for part in parts_of(module) if not all(base.in_user_file for base in part.ancestors)
            ]
            for part in parts:
                _ = part.fields  # raises TypeError
        except SyntaxError as error:
            raise SettingsError(
                f"{module.path} is not valid Python: {error.msg} (line {error.lineno})"
            ) from None
        except (TypeError, ValueError) as error:
            raise SettingsError(f"{module.path}: {error}") from None
        return parts


NO_FILES = UserFiles()
DIGESTS = "python_files"
"""Table of settings files with the digests of the Python files that they use."""


def named_files(words: Iterable[str]) -> list[Path]:
    """Return the existing Python files of which the words of a command line name a class, FILE.py:Class."""
    found = dict.fromkeys(Path(path) for word in words for path in CLASS.findall(word))
    return [path for path in found if path.is_file()]


def user_files(paths: Iterable[Path], host: str = "twosided") -> UserFiles:
    """Return the Python files at these paths; their classes derive from those of the package `host`.

    Raises SettingsError if a file cannot be read, or if two have the same name.
    """
    modules: dict[str, Module] = {}
    for path in dict.fromkeys(paths):
        if path.suffix != ".py":
            raise SettingsError(f"--trust takes a Python file, but got {str(path)!r}")
        module = file_module(path, host)
        other = modules.setdefault(path.name, module)
        if other.path.resolve() != path.resolve():
            raise SettingsError(f"{other.path} and {path} have the same file name; rename one of them")
        try:
            _ = module.text
        except OSError as error:
            raise SettingsError(f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{path} is not UTF-8 text") from None
    return UserFiles(modules)


def module_name(of: type) -> str:
    """Return the name of the module of a class; for a user's file, the name that `import` would give it."""
    name = of.__module__
    return name.removeprefix(PREFIX).rpartition("_")[0] if name.startswith(PREFIX) else name


def import_file(module: Module) -> ModuleType:
    """Execute a user's file and return its module; the same content is executed once.

    What is executed is what was read, so it is what the digest was taken of. Raises SettingsError.
    """
    name = f"{PREFIX}{module.name}_{sha256(module.content).hexdigest()[:12]}"
    if name not in sys.modules:
        found = ModuleType(name)
        found.__file__ = str(module.path)
        sys.modules[name] = found
        try:
            exec(compile(module.content, str(module.path), "exec"), found.__dict__)
        except Exception as error:
            del sys.modules[name]
            sentence = " ".join(f"{type(error).__name__}: {error}".split())
            raise SettingsError(f"{module.path} cannot be imported: {sentence}") from error
    return sys.modules[name]
