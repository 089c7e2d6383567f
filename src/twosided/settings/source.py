"""Source of a package: the definition behind every name in it, found without importing anything.

Modules are read and parsed one by one, on demand: parsing a thousand lines takes 5 ms, importing jax half a second.
"""

import ast
import re
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, eq=False)
class Definition:
    """Definition of a name: a class, or the expression of a constant or an alias, in its module."""

    module: "Module"
    node: ast.ClassDef | ast.expr


@dataclass(frozen=True, eq=False)
class Module:
    """Module of a package."""

    package: "Package"
    name: str
    path: Path

    @cached_property
    def content(self) -> bytes:
        return self.path.read_bytes()

    @cached_property
    def text(self) -> str:
        return self.content.decode("utf-8-sig")

    @cached_property
    def names(self) -> dict[str, Definition | str]:
        """Top-level names: the definition of each that is defined here, the full name of each that is imported."""
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

    @cached_property
    def base_names(self) -> set[str]:
        """Last names of the base classes of its classes, found without parsing the module."""
        heads = re.findall(r"^class \w+\(([^)]*)\)", self.text, re.MULTILINE)
        return {base.split("[")[0].strip().rpartition(".")[2] for head in heads for base in head.split(",")}

    @property
    def classes(self) -> list[Definition]:
        named = (meaning for meaning in self.names.values() if isinstance(meaning, Definition))
        return [found for found in named if isinstance(found.node, ast.ClassDef)]

    def find(self, dotted: str) -> Definition | None:
        """Return the definition of a name, dotted or not, in this module; None outside the package."""
        head, _, rest = dotted.partition(".")
        meaning = self.names.get(head)
        if isinstance(meaning, str):
            return self.package.find(f"{meaning}.{rest}" if rest else meaning)
        return None if rest else meaning

    def _origin(self, node: ast.ImportFrom) -> str:
        """Full name of the module that `from ... import` names."""
        if not node.level:
            return str(node.module)
        here = [*self.name.split("."), "__init__"] if self.path.stem == "__init__" else self.name.split(".")
        return ".".join(here[: -node.level] + ([node.module] if node.module else []))


@dataclass(frozen=True, eq=False)
class Package:
    """Modules of a package by their full names."""

    name: str
    folder: Path

    @cached_property
    def modules(self) -> dict[str, Module]:
        found = {}
        for path in sorted(self.folder.rglob("*.py")):
            steps = [self.name, *path.relative_to(self.folder).with_suffix("").parts]
            name = ".".join(steps[:-1] if steps[-1] == "__init__" else steps)
            stub = path.with_suffix(".pyi")  # of a package whose public names are loaded lazily
            found[name] = Module(self, name, stub if stub.exists() else path)
        return found

    def find(self, dotted: str) -> Definition | None:
        """Return the definition of a full name: its longest prefix that is a module, and the rest in that module."""
        module, _, rest = dotted.rpartition(".")
        while module and module not in self.modules:
            module, _, step = module.rpartition(".")
            rest = f"{step}.{rest}"
        return self.modules[module].find(rest) if module else None

    def deriving(self, name: str) -> list[Module]:
        """Return the modules with a class that names this class as a base; `import ... as` would hide it."""
        return [module for module in self.modules.values() if name in module.base_names]


@dataclass(frozen=True, eq=False)
class FilePackage(Package):
    """Package of one Python file, which can use the names of a host package."""

    file: Path
    host: str

    @cached_property
    def modules(self) -> dict[str, Module]:
        return {self.name: Module(self, self.name, self.file)}

    def find(self, dotted: str) -> Definition | None:
        return package(self.host).find(dotted) if dotted.split(".")[0] == self.host else super().find(dotted)


@cache
def package(name: str) -> Package:
    """Return the package of that name, which is found but not imported."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package is named {name!r}")
    return Package(name, Path(next(iter(spec.submodule_search_locations))))


def file_module(path: Path, host: str) -> Module:
    """Return the module of a Python file outside the package `host`, whose classes may derive from those in there."""
    return FilePackage(path.stem, path.parent, path, host).modules[path.stem]
