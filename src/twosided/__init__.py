"""Reinforcement-learning market making: simulate two-sided markets, train makers, measure their optimality gaps.

`__init__.pyi` lists the public names. Each is imported when it is first used, so that the command line prints its help
without importing JAX.
"""

from typing import Any

import lazy_loader

_lazy, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    return _lazy(name)
