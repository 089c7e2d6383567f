"""The arrows between the rooms of the house point one way: see docs/architecture.md."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
SOURCE = PROJECT / "src" / "twosided"

# A room knows its own stage and those before it.
STAGES = [
    ("errors", "types", "records", "dates"),
    ("distributions", "poisson", "tables", "settings", "store"),
    ("data", "bars", "bar_files", "prices", "flow", "clients", "fills", "book", "spreads", "rewards"),
    ("markets",),
    ("policies", "exact", "calibrate"),
    ("learn",),
    ("evaluation",),
    ("markout",),
    ("runs",),
    ("plots", "verdict", "document", "report"),
    ("studies",),
    ("commands", "terminal", "adapters"),
    ("cli",),
    ("__main__",),
]
# And these know no more than this: a page is drawn from records, settings read source text, files hold bytes.
ONLY = {
    "settings": {"errors"},
    "store": {"errors"},
    "records": set(),
    "verdict": {"records"},
    "plots": {"records", "verdict", "calibrate"},  # `calibrate` for the fit that it draws
    "document": {"plots"},
    "report": {"records", "verdict", "plots", "document"},
}
RANK = {room: rank for rank, stage in enumerate(STAGES) for room in stage}
NOT_FOR_PAGES = {"markets", "policies", "exact", "adapters", "learn", "evaluation", "runs", "commands", "cli"}


def imports(source, modules):
    """The modules of the package that a source imports, wherever in it; `modules` are all there are."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "twosided"}


def graph_of(sources):
    """{module: the modules that it imports}."""
    return {module: imports(source, sources.keys()) for module, source in sources.items()}


def room(module):
    return module.split(".")[1]


def refusals(graph):
    """Every arrow that turns back, in words."""
    out = []
    for module, imported in graph.items():
        # The package itself stands over all rooms.
        for other in imported if module != "twosided" else ():
            if other == "twosided":
                out.append(f"{module} imports the package itself")
            elif room(other) != room(module):
                allowed = ONLY.get(room(module))
                if RANK[room(other)] > RANK[room(module)] or not (allowed is None or room(other) in allowed):
                    out.append(f"{room(module)} must not know {room(other)}: {module} imports {other}")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        out.append(f"a circle of imports: {error.args[1]}")
    return out


def reached(graph, module):
    """All modules that a module imports, and those import, and so on."""
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


def test_every_room_has_its_place(graph):
    rooms = {room(module) for module in graph if module != "twosided"}
    assert rooms - RANK.keys() == set(), "a new room needs a stage here and a line in docs/architecture.md"


def test_every_room_is_on_the_map():
    words = (PROJECT / "docs" / "architecture.md").read_text()
    for path in SOURCE.iterdir():
        if path.suffix == ".py" and path.stem != "__main__":
            assert path.name in words, f"docs/architecture.md does not name {path.name}"
        elif path.is_dir() and path.name != "__pycache__":
            assert f"{path.name}/" in words, f"docs/architecture.md does not name {path.name}/"


def test_no_arrow_turns_back(graph):
    assert refusals(graph) == []


@pytest.mark.parametrize("page", ["plots", "verdict", "document", "report", "records", "settings", "store"])
def test_pages_settings_and_files_never_reach_a_market(graph, page):
    for module in graph:
        if module != "twosided" and room(module) == page:
            assert {room(other) for other in reached(graph, module)} & NOT_FOR_PAGES == set()


@pytest.mark.parametrize(
    ("module", "source", "refusal"),
    [
        ("twosided.prices", "from twosided.markets.base import Market", "prices must not know markets"),
        ("twosided.markets.base", "import twosided.learn.ppo", "markets must not know learn"),
        ("twosided.store", "from twosided import records", "store must not know records"),
        ("twosided.settings.parts", "from twosided.types import check", "settings must not know types"),
        ("twosided.report", "def f():\n    from twosided.runs import Run", "report must not know runs"),
        ("twosided.flow", "from twosided import Scenario", "twosided.flow imports the package itself"),
        ("twosided.book", "from twosided.flow import Fills", "a circle of imports"),
    ],
)
def test_an_arrow_that_turns_back_is_seen(module, source, refusal):
    sources = read()
    assert module in sources
    sources[module] += "\n" + source
    assert any(line.startswith(refusal) for line in refusals(graph_of(sources)))
