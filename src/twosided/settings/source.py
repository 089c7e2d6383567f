"""A package's source: what every name in it stands for, found without importing anything.

Modules are read and parsed one by one, when they are asked for: a thousand lines take 5 ms, where importing
jax takes half a second.
"""

import ast
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, eq=False)
class Definition:
    """What a name stands for: a class, or the expression of a constant or an alias, in its module."""

    module: "Module"
    node: ast.ClassDef | ast.expr


@dataclass(frozen=True, eq=False)
class Module:
    """A module of the package."""

    package: "Package"
    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def names(self) -> dict[str, Definition | str]:
        """Its top-level names: what is defined here, and for what is imported the full name."""
        found: dict[str, Definition | str] = {}
        for node in ast.parse(self.text).body:
            match node:
                case ast.ClassDef(name=name):
                    found[name] = Definition(self, node)
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as value):
                    found[name] = Definition(self, value)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    found[name] = Definition(self, value)
                case ast.Import(names=imports):
                    for item in imports:
                        first = item.name.split(".")[0]
                        found[item.asname or first] = item.name if item.asname else first
                case ast.ImportFrom(names=imports):
                    origin = self._origin(node)
                    found |= {item.asname or item.name: f"{origin}.{item.name}" for item in imports}
        return found

    @property
    def classes(self) -> list[Definition]:
        named = (meaning for meaning in self.names.values() if isinstance(meaning, Definition))
        return [found for found in named if isinstance(found.node, ast.ClassDef)]

    def find(self, dotted: str) -> Definition | None:
        """What a name, dotted or not, stands for in this module; None outside the package."""
        head, _, rest = dotted.partition(".")
        meaning = self.names.get(head)
        if isinstance(meaning, str):
            return self.package.find(f"{meaning}.{rest}" if rest else meaning)
        return None if rest else meaning

    def _origin(self, node: ast.ImportFrom) -> str:
        """The full name of the module that `from ... import` names."""
        if not node.level:
            return str(node.module)
        here = [*self.name.split("."), "__init__"] if self.path.stem == "__init__" else self.name.split(".")
        return ".".join(here[: -node.level] + ([node.module] if node.module else []))


@dataclass(frozen=True, eq=False)
class Package:
    """A package's modules by their full names."""

    name: str
    folder: Path

    @cached_property
    def modules(self) -> dict[str, Module]:
        found = {}
        for path in sorted(self.folder.rglob("*.py")):
            steps = [self.name, *path.relative_to(self.folder).with_suffix("").parts]
            name = ".".join(steps[:-1] if steps[-1] == "__init__" else steps)
            found[name] = Module(self, name, path)
        return found

    def find(self, dotted: str) -> Definition | None:
        """What a full name stands for: the longest module name that it begins with, and the rest in there."""
        module, _, rest = dotted.rpartition(".")
        while module and module not in self.modules:
            module, _, step = module.rpartition(".")
            rest = f"{step}.{rest}"
        return self.modules[module].find(rest) if module else None

    def mentioning(self, name: str) -> list[Module]:
        """Modules in whose text the name occurs: only these can have subclasses of it."""
        return [module for module in self.modules.values() if name in module.text]


@cache
def package(name: str) -> Package:
    """The package of that name; it is found and not imported."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package is named {name!r}")
    return Package(name, Path(next(iter(spec.submodule_search_locations))))
