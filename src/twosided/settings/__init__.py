"""Settings: every parameter of every part, from the command line and from files, without importing a part.

Settings are a tree of parts: plain parameters, parts that have a choice of kinds, and tuples of parts. Names,
types, defaults and meanings are read from the source of the classes (source.py, parts.py), values in layers,
each over the one before (layers.py, values.py):

    defaults         from the source of the classes
    a TOML file      [market.flow]                  [[competitors]]             (toml.py)
                     kind = "sized-investors"       kind = "random-quoter"
                     mean_size = 2.0
    command line     --market.flow sized-investors --market.flow.mean-size 2    (command_line.py, help.py)
                     --competitor random-quoter:low=-1,high=1

A parameter changes the part that is there; to name another kind is to start afresh, from its defaults. What
is wrong is refused with a SettingsError, one sentence that says where, what is expected and what was given.
`build` imports the classes and makes the object (objects.py).
"""

from twosided.core.names import kebab
from twosided.settings.command_line import parse
from twosided.settings.layers import read
from twosided.settings.objects import build
from twosided.settings.parts import Field, Part, choices, describe
from twosided.settings.toml import PRESETS, about, dump, load, ready_made
from twosided.settings.values import Settings, SettingsError

__all__ = [
    "PRESETS",
    "Field",
    "Part",
    "Settings",
    "SettingsError",
    "about",
    "build",
    "choices",
    "describe",
    "dump",
    "kebab",
    "load",
    "parse",
    "read",
    "ready_made",
]
