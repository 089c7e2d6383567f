"""Settings: every parameter of every part, from the command line and from files, read without importing a part.

Settings are a tree of parts: plain parameters, parts that have a choice of kinds, and tuples of parts. Names, types,
defaults and meanings are read from the source of the classes (source.py, parts.py, user_files.py), values in layers,
each over the previous one (layers.py, values.py):

    defaults         from the source of the classes
    a TOML file      [market.flow]                  [[competitors]]             (toml.py)
                     kind = "sized-investors"       kind = "random-quoter"
                     mean_size = 2.0
    command line     --market.flow sized-investors --market.flow.mean-size 2    (command_line.py, help.py)
                     --competitor random-quoter:low=-1,high=1

A parameter changes the current part; naming another kind starts afresh, from the defaults of that kind. Errors are
SettingsErrors: one sentence that names the place, the expected value and the given one. `build` imports the classes and
returns the object (tree.py, objects.py).
"""

from twosided.core.names import kebab
from twosided.settings.command_line import parse
from twosided.settings.layers import read
from twosided.settings.objects import build
from twosided.settings.parts import Field, Part, choices, describe, first_sentence
from twosided.settings.toml import PRESETS, describe_preset, dump, load, preset_files
from twosided.settings.tree import Settings
from twosided.settings.user_files import DIGESTS, NO_FILES, UserFiles, user_files
from twosided.settings.values import SettingsError

__all__ = [
    "DIGESTS",
    "NO_FILES",
    "PRESETS",
    "Field",
    "Part",
    "Settings",
    "SettingsError",
    "UserFiles",
    "build",
    "choices",
    "describe",
    "describe_preset",
    "dump",
    "first_sentence",
    "kebab",
    "load",
    "parse",
    "preset_files",
    "read",
    "user_files",
]
