"""Settings of the test run. Most of its time is compilation, so tests compile at a low XLA optimisation level, and
compiled programs are cached between runs.

A test that compares bits, or whose programs run longer than they compile, is marked to compile with the optimisations
that users get: `pytestmark = pytest.mark.optimised`.
"""

import os
from pathlib import Path

import hypothesis
import jax
import jaxtyping
import pytest

# Many test files, and processes started by tests, compile the same small programs.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "twosided" / "tests"
CACHE_SETTINGS = {
    "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(CACHE)),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}
os.environ.update(CACHE_SETTINGS)
jax.config.update("jax_compilation_cache_dir", CACHE_SETTINGS["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

XLA_FLAGS = "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true"
if jax.__version_info__ < (0, 11):  # newer versions abort on this flag
    XLA_FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{XLA_FLAGS} {os.environ.get('XLA_FLAGS', '')}"

# The first example of a test that compiles takes seconds.
hypothesis.settings.register_profile("twosided", deadline=None)
hypothesis.settings.load_profile("twosided")


def pytest_collection_modifyitems(items):
    """Run the slow files first, so that parallel processes end at about the same time."""
    items.sort(key=lambda item: item.get_closest_marker("optimised") is None)


@pytest.fixture(scope="module", autouse=True)
def compiled_programs(request):
    """Set the optimisation level of a file, and free its compiled programs, which would take gigabytes in all."""
    optimised = request.node.get_closest_marker("optimised") is not None
    jax.config.update("jax_disable_most_optimizations", not optimised)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(not optimised))  # for processes started by tests
    yield
    jax.clear_caches()


@pytest.fixture
def unchecked_types():
    """Turn the checks of shapes and types off, for tests that pass a value of the wrong type on purpose."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
