"""Complete settings: a tree of plain data, with the origin of each value."""

from dataclasses import dataclass
from typing import Any

from twosided.settings.parts import Part
from twosided.settings.user_files import NO_FILES, UserFiles


@dataclass(frozen=True)
class Settings:
    """Complete settings as plain data: numbers, words, lists, None, and for parts tables with their kind."""

    root: Part
    values: dict[str, Any]
    origins: dict[tuple[str | int, ...], str]
    """Source of each value that is not a default, by its path: ("market", "flow", "mean_size")."""
    user_files: UserFiles = NO_FILES
    """Python files with the user's own classes, as named on the command line."""

    @property
    def used_files(self) -> list[str]:
        """Names of the Python files whose classes occur in the values."""
        return self.user_files.used_in(self.values)
