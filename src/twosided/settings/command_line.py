"""Command line: from words to settings.

--market.flow sized-investors        the kind of a part; with its parameters in one word, or from a file:
--market.flow sized-investors:mean-size=2            --market.book msft.toml
--market.flow.mean-size 2            a parameter, also as --market.flow.mean_size=2
--json, --no-json                    a switch
--competitor random-quoter --competitor.low -1 --competitor persistent-quoter
                                     a tuple of parts; --competitor.low changes the one named before it
--market my_market.py:MyMarket --market.alpha 3
                                     a class in a Python file of the user's own
--settings run.toml                  a file, read before all options
--preset single-asset                the same, for a file that is part of the package
--trust my_market.py                 a Python file that settings files may name
--help                               all options, with the parameters of the chosen kinds
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from twosided.core.names import nearest
from twosided.settings.layers import ARGUMENTS, COMMAND_LINE, Reader
from twosided.settings.parts import Field, Part, Tuple, describe
from twosided.settings.toml import load
from twosided.settings.tree import Settings
from twosided.settings.user_files import named_files, user_files
from twosided.settings.values import SWITCH, SettingsError, Text, expected


def parse(
    root: str,
    argv: Sequence[str],
    *,
    prog: str,
    description: str = "",
    positional: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
    presets: Mapping[str, Path] | None = None,
    named_parts: Mapping[str, Mapping[str, Path]] | None = None,
    opens_runs: bool = False,
) -> Settings:
    """Return the settings that the words of a command line give; on --help, print help on them and exit.

    `root` is the class of the command's settings, "module:Class". `positional` names those of its parameters that are
    given without an option, in this order. An alias stands for the beginning of an option: with
    {"book": "market.book"}, --book.tick is --market.book.tick. `presets` are files by the names under which --preset
    takes them, and `named_parts` files of parts by option and name. A command with parts, or one that `opens_runs`,
    takes --trust. Raises SettingsError.
    """
    line = Line(describe(root), argv, positional, aliases or {}, presets or {}, named_parts or {}, opens_runs)
    reader = Reader(line.root, line.user_files)
    for path in line.files:
        reader.layer(load(path), path)
    reader.layer(line.layer, COMMAND_LINE)
    reader.layer(line.arguments, ARGUMENTS)
    if line.wants_help:
        from twosided.settings.help import show  # loads rich, which only help needs

        show(reader, prog, description or line.root.doc, positional, line)
        raise SystemExit(0)
    return reader.settings(COMMAND_LINE, positional)


class Line:
    """Words of a command line, sorted into files and a layer of settings."""

    def __init__(
        self,
        root: Part,
        argv: Sequence[str],
        positional: Sequence[str],
        aliases: Mapping[str, str],
        presets: Mapping[str, Path],
        named_parts: Mapping[str, Mapping[str, Path]],
        opens_runs: bool,
    ):
        self.root, self.aliases, self.presets, self.named_parts = root, aliases, presets, named_parts
        self.takes_trust = opens_runs or any(field.bases for field in root.fields)
        self.layer: dict[str, Any] = {}
        self.arguments: dict[str, Any] = {}
        self.files: list[str] = []
        self.wants_help = False
        trusted = _values_of("--trust", argv) if self.takes_trust else []
        self.user_files = user_files([*map(Path, trusted), *named_files(argv)], root.module.package.name)
        self._read(deque(argv), positional)

    def _read(self, words: deque[str], positional: Sequence[str]) -> None:
        loose: list[str] = []
        while words:
            word = words.popleft()
            if word in ("-h", "--help"):
                self.wants_help = True
            elif word == "--":
                loose += words
                words.clear()
            elif re.match(r"-[^\d.]", word):
                self._option(word, words)
            else:
                loose.append(word)
        fields = {field.name: field for field in self.root.fields}
        for name in positional:
            takes_all = any(isinstance(option, Tuple) for option in fields[name].type)
            if loose:
                self.arguments[name] = [Text(word) for word in loose] if takes_all else Text(loose[0])
                loose = [] if takes_all else loose[1:]
        if loose:
            raise SettingsError(f"unexpected argument {loose[0]!r}; parameters are given as --name value")

    def _option(self, word: str, words: deque[str]) -> None:
        option, equals, text = word.partition("=")
        if option == "--settings":
            self.files.append(text if equals else _next(option, words, "a TOML file"))
            return
        if option == "--preset" and self.presets:
            self.files.append(self._preset(text if equals else _next(option, words, "a name")))
            return
        if option == "--trust" and self.takes_trust:
            _ = text if equals else _next(option, words, "a Python file")
            return
        steps, ends = self._find(option)
        switch = bool(ends) and all(bool in end.type for end in ends)
        if not ends:
            steps, ends = self._find(re.sub(r"(?<=--|\w\.)no[-_]", "", option, count=1))
            if equals or not ends or any(bool not in end.type for end in ends):
                raise SettingsError(f"unknown option {option}{self._nearest(option)}")
            text = "false"
        elif switch and not equals:
            text = words.popleft() if words and words[0].lower() in SWITCH else "true"
        elif not equals:
            text = _next(option, words, expected(ends[0], self.user_files.parts))
        if named := self.named_parts.get(option.removeprefix("--")):
            text = self._named(option, named, ends[0], text)
        self._put(steps, ends[0], Text(text))

    def _named(self, option: str, named: Mapping[str, Path], end: Field, text: str) -> str:
        """Return the file of a named part, or the text itself if it gives a kind, a file or no part."""
        kinds = ["none", *(part.kind for part in end.choices(self.user_files.parts))]
        if text in named:
            return str(named[text])
        if (
            text.partition(":")[0].replace("_", "-") in kinds
            or ".py:" in text
            or Path(text).suffix == ".toml"
        ):
            return text
        raise SettingsError(
            f"{option} takes one of {', '.join(named)}, or a kind of policy (see twosided list policies), "
            f"but got {text!r}{nearest(text, [*named, *kinds])}"
        )

    def _preset(self, name: str) -> str:
        if name not in self.presets:
            names = sorted(self.presets)
            raise SettingsError(
                f"--preset takes one of {', '.join(names)}, but got {name!r}{nearest(name, names)}"
            )
        return str(self.presets[name])

    def _find(self, option: str) -> tuple[list[Field], list[Field]]:
        """Return the fields that an option passes, and those, of one kind of part or several, that it can end in."""
        first, *rest = option.removeprefix("--").replace("_", "-").split(".")
        names = [*self.aliases.get(first, first).replace("_", "-").split("."), *rest]
        parts, steps, ends = [self.root], [], []
        for name in names:
            steps += ends[:1]
            ends = [
                end
                for part in parts
                for end in part.fields
                if name in (end.option, end.name.replace("_", "-"))
            ]
            parts = [part for end in ends for part in end.choices(self.user_files.parts)]
        return steps, ends

    def _put(self, steps: list[Field], end: Field, text: Text) -> None:
        layer = self.layer
        for step in steps:
            below = layer.setdefault(step.name, {})
            layer = below[-1] if isinstance(below, list) else below
        if end.holds_several:
            several = layer.setdefault(end.name, [])
            if isinstance(several, dict):
                name = f"--{end.option}"
                raise SettingsError(f"{name}.{next(iter(several))} comes before the {name} that it changes")
            several.append({"kind": text})
        elif end.bases:
            layer.setdefault(end.name, {})["kind"] = text
        else:
            layer[end.name] = text

    def _nearest(self, option: str) -> str:
        """Return the option closest to this one, as a whole and in its last step: people leave out the first steps."""
        names = ["--help", "--settings", *["--preset"] * bool(self.presets), *["--trust"] * self.takes_trust]
        names += _names([self.root], "--", 4, self.user_files.parts)
        likeness = {name: (_ratio(option, name), _ratio(_last(option), _last(name))) for name in names}
        best = max(names, key=lambda name: sum(likeness[name]))
        return f"; did you mean {best}?" if max(likeness[best]) > 0.6 else ""


def _values_of(option: str, words: Sequence[str]) -> Iterator[str]:
    """Values of an option, as --option VALUE or --option=VALUE."""
    for word, after in zip(words, [*words[1:], "--"], strict=False):
        if word == "--":
            return
        if word == option and not after.startswith("--"):
            yield after
        elif word.startswith(f"{option}="):
            yield word.partition("=")[2]


def _names(parts: list[Part], prefix: str, depth: int, users: Sequence[Part]) -> Iterator[str]:
    """Options of these parts and of all kinds of parts below."""
    fields = {field.name: field for part in parts for field in part.fields}
    for field in fields.values():
        yield f"{prefix}{field.option}"
        if depth:
            yield from _names(field.choices(users), f"{prefix}{field.option}.", depth - 1, users)


def _next(option: str, words: deque[str], takes: str) -> str:
    if not words or words[0].startswith("--"):
        raise SettingsError(f"{option} takes {takes}, but nothing follows it")
    return words.popleft()


def _last(option: str) -> str:
    return option.split(".")[-1].lstrip("-")


def _ratio(a: str, b: str) -> float:
    return SequenceMatcher(None, a[:100], b).ratio()
