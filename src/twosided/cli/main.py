"""Command line: choice of the command, its settings, and exit codes.

Help and errors in the arguments import none of the heavy libraries: the parameters of a command are read from its
source, and its module is imported only when it runs.
"""

import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper

from twosided.core.names import nearest

COMMANDS = {
    "demo": "Train a market maker in a few minutes, and report its gap to the exact optimum.",
    "train": "Train a market maker, evaluate it, and write a report.",
    "evaluate": "Evaluate policies on common random numbers.",
    "compare": "Evaluate the makers of several runs side by side, and write a report.",
    "runs": "List the runs of a folder, with their progress and results.",
    "show": "Print the results of a run, and write its report again.",
    "calibrate": "Fit a model to market data: an order book, fill probabilities, or Heston.",
    "reproduce": "Reproduce the tables and figures of a paper, and test its claims.",
    "list": "List the markets, policies, learners, presets and other parts to choose from.",
}
ROOTS: dict[tuple[str, ...], str] = {
    ("demo",): "twosided.cli.commands.run:Demo",
    ("train",): "twosided.cli.commands.run:Train",
    ("evaluate",): "twosided.cli.commands.evaluate:Evaluate",
    ("compare",): "twosided.cli.commands.compare:Compare",
    ("runs",): "twosided.cli.commands.compare:Runs",
    ("calibrate", "book"): "twosided.cli.commands.calibrate:CalibrateBook",
    ("calibrate", "fills"): "twosided.cli.commands.calibrate_fills:CalibrateFills",
    ("calibrate", "heston"): "twosided.cli.commands.calibrate_heston:CalibrateHeston",
    ("reproduce",): "twosided.cli.commands.reproduce:Reproduce",
    ("show",): "twosided.cli.commands.run:Show",
    ("list",): "twosided.cli.commands.listing:List",
}
POSITIONAL: dict[tuple[str, ...], list[str]] = {
    ("calibrate", "book"): ["files"],
    ("calibrate", "fills"): ["files"],
    ("compare",): ["runs"],
    ("runs",): ["folder"],
    ("calibrate", "heston"): ["files"],
    ("reproduce",): ["study", "items"],
    ("show",): ["run"],
    ("list",): ["what"],
}
ALIASES = {"book": "market.book"}
WITH_BOOK = {("demo",), ("train",), ("evaluate",)}
OPEN_RUNS = {("compare",), ("show",)}
"""Commands without parts of their own that build the parts of a run."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit: with 0 on success, 2 after an error in the arguments or files, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show σ shows a question mark.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        sys.exit(_run(words))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        _overview()
        return 0
    if words[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"twosided {version('twosided')}")
        return 0
    command = (words[0],)
    if command[0] not in COMMANDS:
        return _refuse(f"unknown command {command[0]}{_hint(command[0], list(COMMANDS))}")
    if command[0] == "calibrate":
        parts = list(CALIBRATIONS)
        if len(words) < 2 or words[1] in ("-h", "--help"):
            _calibrate_overview()
            return 0
        if words[1] not in parts:
            return _refuse(f"unknown model {words[1]}{_hint(words[1], parts)}")
        command = (words[0], words[1])
    return _call(command, words[len(command) :])


def _call(command: tuple[str, ...], words: list[str]) -> int:
    from twosided.core.errors import Refusal
    from twosided.settings import build, parse, preset_files

    try:
        settings = parse(
            ROOTS[command],
            words,
            prog=" ".join(["twosided", *command]),
            positional=POSITIONAL.get(command, []),
            aliases=ALIASES if command in WITH_BOOK else {},
            presets=preset_files() if command == ("train",) else {},
            named_parts={"competitor": preset_files("demo-")} if command == ("demo",) else {},
            opens_runs=command in OPEN_RUNS,
        )
        _keep_compiled_programs()
        with _layouts_shown("--json" in words):
            call = build(settings)
            return call(settings)
    except Refusal as error:
        return _refuse(str(error))


@contextmanager
def _layouts_shown(is_json: bool) -> Generator[None]:
    """Print the layout of each data file that is read, once: before results, or to standard error below JSON."""
    import logging

    shown: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = f"data: {record.getMessage()}"
            if line not in shown:
                shown.append(line)
                if not is_json:
                    print(line, flush=True)

    handler, logger = Lines(), logging.getLogger("twosided.data")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
        if is_json:
            print("".join(f"{line}\n" for line in shown), end="", file=sys.stderr)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _keep_compiled_programs() -> None:
    """Have JAX keep compiled programs in the user's cache folder, which makes the next start ten times as fast.

    JAX reads these variables when it is imported; those that the user has set are kept.
    """
    from platformdirs import user_cache_path

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(user_cache_path("twosided") / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def _overview() -> None:
    width = max(len(name) for name in COMMANDS)
    print("usage: twosided COMMAND [OPTIONS]\n")
    print(
        "Simulate two-sided markets, train market makers in them, and measure each one's gap to the exact optimum.\n"
    )
    print("commands:")
    for name, meaning in COMMANDS.items():
        print(f"  {name.ljust(width)}  {meaning}")
    print(
        "\noptions:\n  -h, --help     Show this help and exit.\n  -V, --version  Show the version and exit."
    )
    print("\nSee 'twosided COMMAND --help' for the options of a command. To start: twosided demo")


CALIBRATIONS = {
    "book": "Fit the reference book of the dealer market to order books.",
    "fills": "Fit fill probabilities and volatility to bars.",
    "heston": "Sample the parameters of the Heston model from bars.",
}


def _calibrate_overview() -> None:
    print(f"usage: twosided calibrate MODEL [OPTIONS] FILES...\n\n{COMMANDS['calibrate']}\n\nmodels:")
    for name, meaning in CALIBRATIONS.items():
        print(f"  {name.ljust(6)}  {meaning}")
    print("\nSee 'twosided calibrate MODEL --help' for the options of a model.")


def _hint(word: str, names: list[str]) -> str:
    return nearest(word, names) or f"; choose from {', '.join(names)}"


def _refuse(sentence: str) -> int:
    print(f"twosided: {sentence}", file=sys.stderr)
    return 2
