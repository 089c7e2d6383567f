"""Bars of files as a source, so that a market on them can be named in settings and on the command line."""

from functools import cache
from pathlib import Path

import equinox as eqx

from twosided.bars.source import BarSource, RecordedBars
from twosided.core.validation import check
from twosided.data.bar_files import read_bars
from twosided.data.bars import Bars


class FileBars(BarSource):
    """Bars of history, read from files; episodes start anywhere in them."""

    files: tuple[Path, ...] = eqx.field(static=True)
    """Bars of one price, or of bid and ask in one file or two (CSV or Parquet; plain or .gz)."""
    window: int = eqx.field(static=True, default=200)
    """Bars that an episode takes: at least the horizon, or the market ends episodes at the last bar; 0: all, from the
    first."""
    timezone: str = eqx.field(static=True, default="UTC")
    """The clock of dates without an offset."""

    def __check_init__(self):
        check("window", self.window, "at least 0", self.window >= 0)
        _ = self.history

    @property
    def history(self) -> RecordedBars:
        """What is in the files."""
        return _read(self.files, self.window, self.timezone)

    def shocks(self, key, shape):
        return self.history.shocks(key, shape)

    def reset(self, shock):
        return self.history.reset(shock)

    def step(self, state, shock):
        return self.history.step(state, shock)

    def bar(self, state):
        return self.history.bar(state)

    def ended(self, state):
        return self.history.ended(state)


@cache
def bars_of(files: tuple[Path, ...], timezone: str) -> Bars:
    """The bars of files, which are read once in a process."""
    return read_bars(*files, timezone=timezone)


@cache
def _read(files: tuple[Path, ...], window: int, timezone: str) -> RecordedBars:
    """Compiled programs hold what is in the files."""
    return RecordedBars.of(bars_of(files, timezone), window or None)
