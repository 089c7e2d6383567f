"""Measure tables of the documentation again: run the command of each and write its rows and source.

    python docs/measure.py benchmark_memory benchmark_startup

The tables are docs/tables/NAME.json. Only those whose command is a benchmark can be measured again in this way. The
tables of studies are digests of the pages that `twosided reproduce` writes.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

TABLES = Path(__file__).parent / "tables"


def measure(name: str) -> None:
    """Run the benchmark of a table and write its result."""
    path = TABLES / f"{name}.json"
    command = json.loads(path.read_text("utf-8"))["command"]
    program, *arguments = shlex.split(command)
    if program != "python" or not arguments[0].startswith("benchmarks/"):
        raise SystemExit(f"{name}: its command is no benchmark: {command}")
    root = TABLES.parents[1]
    run = subprocess.run(
        [sys.executable, *arguments, "--json"], cwd=root, check=True, stdout=subprocess.PIPE, text=True
    )
    result = json.loads(run.stdout)
    table = {"command": command, "rows": result["rows"], "aims": result["aims"], "source": result["source"]}
    path.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        measure(name)
