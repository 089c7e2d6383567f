"""Settings of the whole test run. Most of one is compiling, so programs are compiled in a hurry, and kept between runs.

Users' programs are compiled with all care, since they run for long. A test that compares bits, or whose programs
run for longer than they compile, asks for more of it: `pytestmark = pytest.mark.optimised`.
"""

import os
from pathlib import Path

import hypothesis
import jax
import pytest

# Most programs are small, and compiled again in every file; processes that tests begin need what these have compiled.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "twosided" / "tests"
KEPT = {
    "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(CACHE)),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}
os.environ.update(KEPT)
jax.config.update("jax_compilation_cache_dir", KEPT["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

HURRY = "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true"
if jax.__version_info__ < (0, 11):  # an unknown flag ends the process, and this one is to go
    HURRY += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{HURRY} {os.environ.get('XLA_FLAGS', '')}"

# A test that compiles takes seconds on its first example.
hypothesis.settings.register_profile("twosided", deadline=None)
hypothesis.settings.load_profile("twosided")


def pytest_collection_modifyitems(items):
    """Files that run for long go first, or one process would end with some while the other has nothing to do."""
    items.sort(key=lambda item: item.get_closest_marker("optimised") is None)


@pytest.fixture(scope="module", autouse=True)
def programs(request):
    """A file's compiled programs are of no use to the next file, and all files' together take gigabytes."""
    optimised = request.node.get_closest_marker("optimised") is not None
    jax.config.update("jax_disable_most_optimizations", not optimised)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(not optimised))  # for processes that tests begin
    yield
    jax.clear_caches()
