"""Provenance of results: the machine and the versions of the packages."""

import os
import platform
from importlib.metadata import version

import jax


def host() -> str:
    """Return a short description of the machine."""
    devices = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, JAX on {devices}"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    packages = {name: version(name) for name in ("twosided", "jax", "equinox", "optax", "numpy")}
    return {"python": platform.python_version(), **packages}
