"""Pages of the API reference, generated from `src/twosided/__init__.pyi` and the docstrings.

There is a page for each package with public names. It shows the docstrings of the modules that define the names
(equations, units, sources), then the names. Pages are written into docs/reference before Sphinx reads its sources, and
only if their text changed, so that a warm build reads few of them again.

Text in backticks that is exactly a public name, on any page, becomes a link to the reference.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docstrings import fields_of, markdown
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

import twosided

STUB = Path(twosided.__file__).with_suffix(".pyi")

PACKAGES = {
    "core": (
        "Scenarios, policies and evaluation",
        "Protocol of markets, policies and rewards, the loop over time, and the evaluation of policies.",
    ),
    "learn": ("Learners", "Reinforcement learning: PPO, SAC and tabular methods."),
    "rewards": ("Rewards", "Rewards of a step, computed from the parts of PnL."),
    "prices": ("Price processes", "Midprice processes."),
    "dealer": (
        "Dealer market",
        "Market of Ganesh et al. (2019), in which makers compete for investors' orders.",
    ),
    "hedging": (
        "Hedging market",
        "Market of Bakshaev (2020), in which a dealer hedges the trades of its clients.",
    ),
    "electronic": ("Electronic market", "Tick market of Chan and Shelton (2001)."),
    "limit_orders": (
        "Limit-order market",
        "Market of Avellaneda and Stoikov (2008): limit orders around a midprice.",
    ),
    "bars": ("Bars market", "Limit and market orders on bars of open, high, low and close."),
    "heston": ("Heston model", "Simulation, closed forms and calibration of the Heston model."),
    "data": ("Data", "Readers of order books and bars."),
    "runs": ("Saving and loading makers", "A maker as one file."),
    "adapters": ("Environment adapters", "Scenarios as Gymnasium and PettingZoo environments."),
    "plots": ("Figures", "Figures of traces, records and tables, as plotly figures."),
    "settings": ("Settings", "Parameters from the command line and from files."),
}
"""Title and summary of each package's page, in the order of the table of contents."""

ALSO = {
    "core": ["twosided.core.records"],
    "learn": ["twosided.learn.monte_carlo", "twosided.learn.policy_iteration"],
    "dealer": [
        "twosided.dealer.calibration",
        "twosided.dealer.book_files",
        "twosided.dealer.book_plots",
        "twosided.dealer.distributions",
        "twosided.dealer.exact.best_response",
        "twosided.dealer.exact.spread_pnl",
        "twosided.dealer.exact.hedge_cost",
        "twosided.dealer.exact.cost_curve",
        "twosided.dealer.exact.dynamic_programming",
        "twosided.dealer.exact.tiers",
    ],
    "hedging": ["twosided.hedging.exact", "twosided.hedging.price_of_risk", "twosided.hedging.plots"],
    "electronic": ["twosided.electronic.chain", "twosided.electronic.exact"],
    "limit_orders": ["twosided.limit_orders.exact"],
    "bars": ["twosided.bars.exact"],
    "heston": ["twosided.heston.moments", "twosided.heston.blocks", "twosided.heston.fit"],
    "data": ["twosided.data.bar_files", "twosided.data.content"],
    "adapters": ["twosided.adapters.gymnasium", "twosided.adapters.pettingzoo"],
    "plots": ["twosided.plots"],
    "settings": ["twosided.settings"],
}
"""Modules that guides and examples use beside the public names. Their names are documented under the module's."""


def public_names() -> dict[str, list[str]]:
    """Return the names of the stub by package."""
    found: dict[str, list[str]] = {}
    for statement in ast.parse(STUB.read_text("utf-8")).body:
        if isinstance(statement, ast.ImportFrom) and statement.level == 1:
            package = (statement.module or "core").split(".")[0]
            found.setdefault(package, []).extend(alias.asname or alias.name for alias in statement.names)
    return found


def members(module: str) -> dict[str, Any]:
    """Return the names of `__all__`, or the classes and functions that a module defines, by full name."""
    found = importlib.import_module(module)
    names = getattr(found, "__all__", None) or [
        name
        for name, thing in vars(found).items()
        if not name.startswith("_")
        and getattr(thing, "__module__", "") == module
        and (inspect.isclass(thing) or inspect.isfunction(inspect.unwrap(thing)))
    ]
    return {f"{module}.{name}": getattr(found, name) for name in names}


def write_pages(app: Sphinx) -> None:
    """Write the pages and their index."""
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    names = public_names()
    if unknown := set(names) - set(PACKAGES):
        raise ValueError(f"docs/_ext/reference.py: no title for the packages {', '.join(sorted(unknown))}")
    pages = [package for package in PACKAGES if package in names or package in ALSO]
    for package in pages:
        objects = {f"twosided.{name}": getattr(twosided, name) for name in names.get(package, [])}
        public = {id(thing) for thing in objects.values()}
        for module in ALSO.get(package, []):
            found = members(module)
            objects |= {name: thing for name, thing in found.items() if id(thing) not in public}
        _write(folder / f"{package}.rst", _page(package, objects))
    _write(folder / "index.rst", _index(pages, names))


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


def _page(package: str, objects: dict[str, Any]) -> str:
    title, summary = PACKAGES[package]
    modules: dict[str, list[str]] = {}
    for name, thing in objects.items():
        modules.setdefault(_module_of(thing, package), []).append(name)
    lines = [title, "=" * len(title), "", summary, "", *_summary(objects)]
    for module in sorted(modules, key=lambda name: not name.endswith(".market")):
        heading = _heading(module, package)
        text = inspect.getdoc(importlib.import_module(module)) or ""
        lines += [heading, "-" * len(heading), "", *markdown(text)]
        for name in modules[module]:
            lines += _directive(name, objects[name])
    return "\n".join(lines) + "\n"


def _heading(module: str, package: str) -> str:
    words = module.removeprefix(f"twosided.{package}").strip(".").split(".")[-1] or PACKAGES[package][0]
    text = words.replace("_", " ")
    for name, written in {"ppo": "PPO", "sac": "SAC", "pnl": "PnL", "monte carlo": "Monte Carlo"}.items():
        text = re.sub(rf"\b{name}\b", written, text)
    return text[0].upper() + text[1:]


def _module_of(thing: Any, package: str) -> str:
    module = getattr(thing, "__module__", "")
    return module if module.startswith("twosided") else f"twosided.{package}"


def _summary(objects: dict[str, Any]) -> list[str]:
    """Return a table of the public names with the first sentences of their docstrings."""
    public = {name: thing for name, thing in objects.items() if name.count(".") == 1} or objects
    lines = [".. list-table::", "   :class: summary", "   :widths: auto", ""]
    for name, thing in sorted(public.items()):
        sentence = markdown(_first_sentence(thing))
        lines += [
            f"   * - :py:obj:`~{name}`",
            f"     - {sentence[0]}",
            *(f"       {line}" for line in sentence[1:]),
        ]
    return [*lines, ""]


def _first_sentence(thing: Any) -> str:
    paragraph = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.:])\s+(?=[A-Z])(?<!al\.\s)(?<!eq\.\s)", paragraph)[0].removesuffix(":")


def _directive(name: str, thing: Any) -> list[str]:
    if inspect.isclass(thing):
        inherits = ["   :show-inheritance:"] if public_bases(thing) else []
        kind = "autoexception" if issubclass(thing, BaseException) else "autoclass"
        excluded = ", ".join(fields_of(thing))
        options = [f"   :exclude-members: {excluded}"] if excluded else []
        return [f".. {kind}:: {name}", *inherits, *options, ""]
    if callable(thing):
        return [f".. autofunction:: {name}", ""]
    return [f".. autodata:: {name}", ""]


def public_bases(cls: type) -> list[type]:
    """Return the base classes that a reader can look up, where a private one stands for its own bases."""
    found: list[type] = []
    for base in cls.__bases__:
        if getattr(twosided, base.__name__, None) is base or (
            base.__module__ == "builtins" and base is not object
        ):
            found.append(base)
        else:
            found += public_bases(base)
    return found


def show_public_bases(app: Sphinx, name: str, cls: type, options: Any, bases: list[type]) -> None:
    bases[:] = public_bases(cls)


def _index(pages: list[str], names: dict[str, list[str]]) -> str:
    lines = ["API reference", "=============", ""]
    lines += markdown(
        "Every public name of `twosided`, by package. `import twosided as ts` gives access to all of them; each is "
        "loaded on first use. `twosided.__version__` is the version. The pages also document the modules that the "
        "guides and examples import from; other modules may change without notice."
    )
    lines += [".. toctree::", "   :hidden:", "", *(f"   {page}" for page in pages), ""]
    lines += [".. list-table::", "   :class: summary", "   :widths: auto", ""]
    for page in pages:
        listed = ", ".join(f":py:obj:`~twosided.{name}`" for name in names.get(page, []))
        lines += [f"   * - :doc:`{page}`", f"     - {listed or PACKAGES[page][1]}"]
    return "\n".join(lines) + "\n"


class LinkPublicNames(SphinxTransform):
    """Link literals that name something in the reference: a public name, a member of one, or a full name."""

    default_priority = 400

    def apply(self, **options: Any) -> None:
        names = {name for found in public_names().values() for name in found}
        outer = (nodes.reference, addnodes.pending_xref, nodes.title)
        for literal in list(self.document.findall(nodes.literal)):
            text = literal.astext().removesuffix("()")
            target = f"twosided.{text.removeprefix('ts.').removeprefix('twosided.')}"
            is_public = target.split(".")[1] in names
            if not re.fullmatch(r"[\w.]+", text) or not (is_public or text.startswith("twosided.")):
                continue
            if any(isinstance(parent, outer) for parent in parents(literal)):
                continue
            # A member need not be documented; a public name must be.
            optional = not is_public or target.count(".") > 1
            link = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=target, optional=optional
            )
            link["refexplicit"], link["refdoc"] = True, self.env.docname
            literal.replace_self(link)
            link += literal


def parents(node: nodes.Node) -> Iterator[nodes.Node]:
    """Yield the nodes around a node, innermost first."""
    while node.parent is not None:
        node = node.parent
        yield node


def resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Node
) -> nodes.Node | None:
    """Resolve a name in an annotation: a public name to the reference, any other (of JAX, of Python) to plain text."""
    if node.get("refdomain") != "py" or node.get("reftype") not in ("class", "obj", "exc", "data"):
        return None
    name = node["reftarget"].rpartition(".")[2]
    domain = env.domains.python_domain
    if f"twosided.{name}" in domain.objects:
        found = domain.resolve_xref(
            env, node["refdoc"], app.builder, "obj", f"twosided.{name}", node, content
        )
        if found is not None:
            return found
    if node.get("optional"):
        return content
    in_signature = isinstance(
        node.parent,
        (addnodes.desc_sig_name, addnodes.desc_type, addnodes.desc_returns, addnodes.desc_annotation),
    )
    return content if in_signature or not node["reftarget"].startswith("twosided") else None


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-bases", show_public_bases)
    app.connect("missing-reference", resolve)
    app.add_transform(LinkPublicNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
