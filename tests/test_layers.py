"""Dependencies between packages point one way: see docs/architecture.md."""

import ast
import re
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
# Packages that must not reach a market, not even through another package.
LIGHT = ("plots", "report", "settings", "data")


def imports(source, modules, deferred=True):
    """Return the modules of the package that a source imports, out of all its `modules`.

    Imports inside functions are included if `deferred`. They must obey the order of packages, but cannot cause circular
    imports.
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
    """Return {module: the modules that it imports}."""
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
    """Return a sentence for every import that breaks a rule."""
    out, graph = [], graph_of(sources)
    for module, imported in graph.items():
        for other in imported if module != "twosided" else ():  # the package itself may import all others
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
    """Return all modules that a module imports, directly or through others."""
    found, ahead = set(), [module]
    while ahead:
        new = graph[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def read():
    """Return {module: source} of the package."""
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


def test_every_package_is_named_in_the_architecture_page():
    page = (PROJECT / "docs" / "architecture.md").read_text()
    for path in SOURCE.iterdir():
        if path.is_dir() and path.name != "__pycache__":
            assert f"{path.name}/" in page, f"docs/architecture.md does not name {path.name}/"


def test_dependencies_point_one_way():
    assert refusals(read()) == []


@pytest.mark.parametrize("light", LIGHT)
def test_light_packages_do_not_reach_a_market(graph, light):
    for module in graph:
        if module != "twosided" and package(module) == light:
            assert {package(other) for other in reached(graph, module)} & {
                *SYSTEMS,
                "runs",
                "papers",
                "cli",
            } == set()


# Packages that must not mention a market system or a paper: neither names nor strings of their code contain one.
GENERIC = ("core", "settings", "data", "rewards", "learn", "plots", "prices", "report", "runs")
PARTICULAR = re.compile(
    r"epsilon_(buy|sell)|excess_total|ganesh|bakshaev|phelps|(?<![a-z])gore(?![a-z])"
    r"|dealer|electronic|heston"
    # Hedging, limit orders and bars are ordinary words too: only the packages and their markets are meant.
    r"|twosided\.(hedging|limit_orders|bars)\b|(hedging|limit[-_ ]?orders?|bars)[-_ ]?market",
    re.IGNORECASE,
)
# The default scenario of `twosided train` is of the dealer market.
DEFAULTS = {"twosided.runs.settings": {"dealer"}}


def particular_words(source):
    """Return the words of market systems and papers in the names and strings of a source, without its docstrings."""
    tree = ast.parse(source)
    docstrings = {
        statement.value
        for node in ast.walk(tree)
        for statement in (node.body if isinstance(getattr(node, "body", None), list) else [])
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    }
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            texts.append(node.value)
        fields = (getattr(node, field, None) for field in ("id", "attr", "name", "arg", "module"))
        texts += [text for text in fields if isinstance(text, str)]
    return {match.group().lower() for text in texts for match in PARTICULAR.finditer(text)}


def is_generic(module):
    return module != "twosided" and package(module) in GENERIC


def test_generic_packages_name_no_market_and_no_paper():
    found = {module: particular_words(source) for module, source in read().items() if is_generic(module)}
    found = {module: words - DEFAULTS.get(module, set()) for module, words in found.items()}
    assert {module: words for module, words in found.items() if words} == {}


def test_templates_and_assets_name_no_market_and_no_paper():
    paths = [path for kind in ("templates", "assets") for path in (SOURCE / "report" / kind).iterdir()]
    assert len(paths) > 3
    for path in paths:
        assert not PARTICULAR.search(path.read_text()), path.name


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("epsilon_buy = 1", {"epsilon_buy"}),
        ("x = 'excess_total_over_1'", {"excess_total"}),
        ("def f(dealer): pass", {"dealer"}),
        ("class ElectronicPage: pass", {"electronic"}),
        ("market.heston_page", {"heston"}),
        ("x = f'{y} of Ganesh et al. (2019)'", {"ganesh"}),
        ("import twosided.hedging.market", {"twosided.hedging"}),
        ("from twosided.bars.market import BarsMarket", {"twosided.bars", "barsmarket"}),
        ("kind = 'limit-order-market'", {"limit-order-market"}),
        ("x = 'Gore (2025)'", {"gore"}),
        ('"""Equation 3 of Ganesh et al. (2019)."""', set()),
        ('def f():\n    """Bakshaev (2020), eq. 9."""', set()),
        ('class A:\n    x: int\n    """As in Phelps (2022)."""', set()),
        ("x = 'the cost of hedging, and bars'; categories = 1", set()),
    ],
)
def test_words_of_markets_and_papers_are_found_outside_docstrings(source, words):
    assert particular_words(source) == words


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
def test_forbidden_imports_are_reported(module, source, refusal):
    sources = read()
    assert module in sources
    sources[module] += "\n" + source
    assert any(line.startswith(refusal) for line in refusals(sources))
