"""Time until help is printed, for every command, against starting Python alone.

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys

from measure import Row, aim, arguments, in_turn, median_ratio, report

LIMIT = 0.5
"""Seconds."""


def main() -> None:
    options = arguments(__doc__.splitlines()[0], repeats=11).parse_args()
    runs = {"python -c pass": lambda: _run("-c", "pass")}
    for command in _commands():
        words = ("-m", "twosided", *command, "--help")
        runs[" ".join(("twosided", *command, "--help"))] = lambda words=words: _run(*words)
    seconds = in_turn(runs, options.repeats)
    rows: list[Row] = [
        {
            "command": name,
            "seconds": statistics.median(times),
            "over python alone": median_ratio(times, seconds["python -c pass"]),
        }
        for name, times in seconds.items()
    ]
    slowest = max(statistics.median(times) for times in seconds.values())
    aims = [aim("the slowest, s", slowest, f"below {LIMIT:g}", slowest < LIMIT)]
    report("Time to print help", rows, aims, options)


def _commands() -> list[tuple[str, ...]]:
    from twosided.cli.main import ROOTS

    return [(), *ROOTS]


def _run(*words: str) -> None:
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
