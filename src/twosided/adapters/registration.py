"""Our names in Gymnasium's registry, which `import twosided` must neither wait for nor need.

Gymnasium takes an eighth of a second to import, longer than it takes the command line to print its help, and has no
place where an installed package could announce its environments. So they are registered when Gymnasium is
there: now, or when somebody imports it.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType


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


class _Waiting:
    """The first to be asked where a module is; for Gymnasium it asks the others, and registers after the import."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _register(module)

            spec.loader.exec_module = execute_and_register
        return spec
