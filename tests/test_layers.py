"""Dependencies between packages point one way: see docs/architecture.md."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
SOURCE = PROJECT / "src" / "twosided"

SYSTEMS = ("dealer", "hedging", "electronic", "limit_orders", "bars", "heston")
# A package may import its own stage's names and those of earlier stages.
STAGES = [
    ("core",),
    ("settings", "data", "rewards", "learn", "plots"),
    ("prices",),
    SYSTEMS,
    ("report",),
    ("runs",),
    ("adapters", "papers"),
    ("cli",),
    ("__main__",),
]
RANK = {package: rank for rank, stage in enumerate(STAGES) for package in stage}
# Packages that may import these packages only.
ONLY = {
    "core": set(),
    "settings": {"core"},
    "data": {"core"},
    "rewards": {"core"},
    "learn": {"core"},
    "plots": {"core"},
    "prices": {"core", "data"},
    "report": {"core", "plots"},
}
# No market system imports another, except for these.
BETWEEN_SYSTEMS = {("bars", "limit_orders"), ("bars", "heston")}
# What draws pages or reads files and settings never reaches a market, not even through another package.
LIGHT = ("plots", "report", "settings", "data")


def imports(source, modules, deferred=True):
    """The modules of the package that a source imports; `modules` are all that exist.

    Imports inside functions count if `deferred`: they obey the order of packages, but close no circle.
    """
    found = set()
    tree = ast.parse(source)
    for node in ast.walk(tree) if deferred else tree.body:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "twosided"}


def graph_of(sources, deferred=True):
    """{module: the modules that it imports}."""
    return {module: imports(source, sources.keys(), deferred) for module, source in sources.items()}


def package(module):
    return module.split(".")[1]


def is_allowed(importer, imported):
    if importer in SYSTEMS and imported in SYSTEMS:
        return (importer, imported) in BETWEEN_SYSTEMS
    if importer in ONLY:
        return imported in ONLY[importer]
    return RANK[imported] < RANK[importer]


def refusals(sources):
    """Every import that breaks a rule, in words."""
    out, graph = [], graph_of(sources)
    for module, imported in graph.items():
        for other in imported if module != "twosided" else ():  # the package itself is above all others
            if other == "twosided":
                out.append(f"{module} imports the package itself")
            elif package(other) != package(module) and not is_allowed(package(module), package(other)):
                out.append(f"{package(module)} must not import {package(other)}: {module} imports {other}")
    try:
        TopologicalSorter(graph_of(sources, deferred=False)).prepare()
    except CycleError as error:
        out.append(f"circular import: {error.args[1]}")
    return out


def reached(graph, module):
    """All modules that a module imports, directly or through others."""
    found, ahead = set(), [module]
    while ahead:
        new = graph[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def read():
    sources = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(["twosided", *(parts[:-1] if parts[-1] == "__init__" else parts)])
        sources[name] = path.read_text()
    return sources


@pytest.fixture(scope="module")
def graph():
    return graph_of(read())


def test_every_package_has_a_stage(graph):
    packages = {package(module) for module in graph if module != "twosided"}
    assert packages - RANK.keys() == set(), (
        "a new package needs a stage here and a line in docs/architecture.md"
    )


def test_every_package_is_on_the_map():
    words = (PROJECT / "docs" / "architecture.md").read_text()
    for path in SOURCE.iterdir():
        if path.is_dir() and path.name != "__pycache__":
            assert f"{path.name}/" in words, f"docs/architecture.md does not name {path.name}/"


def test_dependencies_point_one_way():
    assert refusals(read()) == []


@pytest.mark.parametrize("light", LIGHT)
def test_pages_settings_and_files_never_reach_a_market(graph, light):
    for module in graph:
        if module != "twosided" and package(module) == light:
            assert {package(other) for other in reached(graph, module)} & {
                *SYSTEMS,
                "runs",
                "papers",
                "cli",
            } == set()


@pytest.mark.parametrize(
    ("module", "source", "refusal"),
    [
        (
            "twosided.prices",
            "from twosided.dealer.market import DealerMarket",
            "prices must not import dealer",
        ),
        ("twosided.dealer.market", "import twosided.runs.run", "dealer must not import runs"),
        ("twosided.hedging.market", "import twosided.dealer.market", "hedging must not import dealer"),
        ("twosided.learn.ppo", "import twosided.rewards.pnl", "learn must not import rewards"),
        ("twosided.settings.parts", "from twosided.data.bars import Bars", "settings must not import data"),
        ("twosided.report", "def f():\n    from twosided.runs import run", "report must not import runs"),
        (
            "twosided.dealer.investors",
            "from twosided import Scenario",
            "twosided.dealer.investors imports the package",
        ),
        ("twosided.core.reward", "from twosided.core.scenario import Scenario", "circular import"),
    ],
)
def test_a_forbidden_import_is_reported(module, source, refusal):
    sources = read()
    assert module in sources
    sources[module] += "\n" + source
    assert any(line.startswith(refusal) for line in refusals(sources))
