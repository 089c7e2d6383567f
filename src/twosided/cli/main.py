"""The command line: words to calls.

Help and errors in what was typed need none of the heavy libraries: a command's parameters are read from its
source, and its module is imported only when it runs.
"""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from io import TextIOWrapper

COMMANDS = {
    "demo": "Watch a market maker learn, and read how far it is from the best.",
    "train": "Train a market maker, judge it and write its page.",
    "evaluate": "Judge policies on common chance.",
    "calibrate": "Fit a part of a market to data: calibrate book, fills or heston FILE...",
    "compare": "Judge the makers of several runs side by side on common chance, and write a page.",
    "runs": "What runs there are, how far each is and what it found.",
    "reproduce": "Make a paper again: its tables and figures beside the paper's, a verdict on its claims.",
    "show": "Show a run again: its verdict, and its page made anew.",
    "list": "What there is to choose from: markets, flows, policies, learners and more.",
}
ROOTS = {
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
POSITIONAL = {
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
    """Run a command and exit: 0 if it did what was asked, 2 if it was asked wrongly, 130 on Ctrl-C."""
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
        return _refuse(f"unknown command {command[0]}{_nearest(command[0], list(COMMANDS))}")
    if command[0] == "calibrate":
        parts = [root[1] for root in ROOTS if root[0] == "calibrate"]
        if len(words) < 2 or words[1] in ("-h", "--help"):
            print(f"usage: twosided calibrate PART FILE...\n\nPART is one of: {', '.join(parts)}")
            return 0
        if words[1] not in parts:
            return _refuse(f"unknown part {words[1]}{_nearest(words[1], parts)}")
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
        call = build(settings)
        return call(settings)
    except Refusal as error:
        return _refuse(str(error))


def _keep_compiled_programs() -> None:
    """Have JAX keep what it compiles in the user's cache folder, so that a second start takes a tenth.

    JAX reads these when it is imported; what a user has set stays.
    """
    from platformdirs import user_cache_path

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(user_cache_path("twosided") / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def _overview() -> None:
    width = max(len(name) for name in COMMANDS)
    print("usage: twosided COMMAND [OPTIONS]\n")
    print("Simulate two-sided markets, train market makers in them, and see how far each is from the best.\n")
    for name, meaning in COMMANDS.items():
        print(f"  {name.ljust(width)}  {meaning}")
    print("\ntwosided COMMAND --help says what a command takes. Begin with: twosided demo")


def _nearest(word: str, names: list[str]) -> str:
    close = get_close_matches(word, names, n=1, cutoff=0.4)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(names)}"


def _refuse(sentence: str) -> int:
    print(f"twosided: {sentence}", file=sys.stderr)
    return 2
