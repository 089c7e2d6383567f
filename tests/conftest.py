"""Settings of the whole test run: compiled programs are kept between runs, since compiling takes most of one."""

import os
from pathlib import Path

import hypothesis
import jax
import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "twosided" / "tests"
jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR", str(CACHE)))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

# A test that compiles takes seconds on its first example.
hypothesis.settings.register_profile("twosided", deadline=None)
hypothesis.settings.load_profile("twosided")


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """A file's compiled programs are of no use to the next file, and all files' together take gigabytes."""
    yield
    jax.clear_caches()
