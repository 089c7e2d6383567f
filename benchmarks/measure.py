"""What the benchmarks share: timing in turn, what the machine is, and a table or JSON of the results."""

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

Row = dict[str, str | float]


def arguments(description: str, repeats: int) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed", type=int, default=0, help="decides all chance (%(default)s)")
    parser.add_argument("--repeats", type=int, default=repeats, help="measurements of each (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def in_turn(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each run, measured in turn (A B A B ...), so that a busy machine treats all of them alike.

    Every run goes once before, unmeasured: to compile, and to fill caches.
    """
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def median_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """The median of the ratios of measurements taken one after the other."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def aim(what: str, value: float, bound: str, met: bool) -> Row:
    return {"aim": what, "bound": bound, "measured": value, "met": "yes" if met else "NO"}


def report(title: str, rows: list[Row], aims: list[Row], options: argparse.Namespace, *packages: str) -> None:
    """Print the results, what they were to be, and where they come from; versions of the packages among it."""
    source = {
        "date": datetime.date.today().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        **_accelerator(),
        "python": platform.python_version(),
        **{package: _version(package) for package in ("twosided", *packages)},
        "seed": options.seed,
        "repeats": options.repeats,
    }
    if options.json:
        print(json.dumps({"benchmark": title, "rows": rows, "aims": aims, "source": source}, indent=2))
        return
    print(f"{title}\n\n{_table(rows)}\n\n{_table(aims)}\n")
    print(", ".join(f"{name} {value}" for name, value in source.items()))


def _accelerator() -> dict[str, str]:
    """What JAX computed on in this process, where that was no CPU."""
    jax = sys.modules.get("jax")  # never imported for this: it would take its share of a GPU's memory
    if jax is None or jax.default_backend() == "cpu":
        return {}
    return {"accelerator": jax.devices()[0].device_kind}


def _table(rows: list[Row]) -> str:
    """Rows as a Markdown table, columns aligned."""
    cells = [list(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    return "\n".join([lines[0], "| " + " | ".join("-" * w for w in widths) + " |", *lines[1:]])


def _shown(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
