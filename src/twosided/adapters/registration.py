"""Our names in Gymnasium's registry, which `import twosided` must neither wait for nor need.

Gymnasium takes an eighth of a second to import, longer than it takes the command line to print its help, and has no
place where an installed package could announce its environments. So they are registered when Gymnasium is
there: now, or when somebody imports it.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def register_with_gymnasium() -> None:
    if "gymnasium" in sys.modules:
        _register(sys.modules["gymnasium"])
    elif not any(isinstance(finder, _Waiting) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Waiting())


def _register(gymnasium: ModuleType) -> None:
    gymnasium.register(
        id="twosided/Dealer-v0",
        entry_point="twosided.adapters.gymnasium:dealer",
        vector_entry_point="twosided.adapters.gymnasium:dealers",
    )
    gymnasium.register(
        id="twosided/Electronic-v0",
        entry_point="twosided.adapters.gymnasium:electronic",
        vector_entry_point="twosided.adapters.gymnasium:electronics",
    )


class _Waiting:
    """The first to be asked where a module is; for Gymnasium it asks the others, and registers after the import."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "gymnasium":
            return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, found), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _register(module)
                sys.meta_path.remove(self)

            spec.loader.exec_module = execute_and_register
        return spec
