"""Source of bars read from files, for settings and the command line."""

from functools import cache
from pathlib import Path

import equinox as eqx

from twosided.bars.source import BarSource, RecordedBars
from twosided.core.validation import check
from twosided.data.bar_files import FIELDS, read_bars
from twosided.data.bars import Bars
from twosided.data.formats import parse_columns


class FileBars(BarSource):
    """Recorded bars, read from files; episodes start at a random bar."""

    files: tuple[Path, ...] = eqx.field(static=True)
    """Files with bars of one price, or of bid and ask in one file or two (CSV or Parquet; plain, .gz or .zip)."""
    window: int = eqx.field(static=True, default=200)
    """Steps for which every start leaves enough bars; 0 for one start, at the first bar. With a window below the
    horizon, episodes may be terminated at the last bar of the files."""
    timezone: str = eqx.field(static=True, default="UTC")
    """Time zone of dates without a UTC offset."""
    columns: tuple[str, ...] = eqx.field(static=True, default=())
    """Columns whose names are not recognised, such as time=opened,close=last; by number, such as close=5, in a file
    without a header."""
    format: str = eqx.field(static=True, default="")
    """Form of times and numbers that cannot be detected: dmy, mdy or ymd; s, ms, us or ns (since 1970); decimal-comma
    or decimal-point; or a pattern such as %d/%m/%Y %H:%M."""

    def __check_init__(self):
        check("window", self.window, "at least 0", self.window >= 0)
        _ = self.history

    @property
    def history(self) -> RecordedBars:
        """Record of all bars in the files."""
        return _recorded(self.files, self.window, self.timezone, self.columns, self.format)

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
def cached_bars(
    files: tuple[Path, ...], timezone: str, columns: tuple[str, ...] = (), format: str = ""
) -> Bars:
    """Return the bars of files, which are read once per process."""
    return read_bars(*files, timezone=timezone, columns=parse_columns(columns, FIELDS), format=format)


@cache
def _recorded(
    files: tuple[Path, ...], window: int, timezone: str, columns: tuple[str, ...], format: str
) -> RecordedBars:
    """Return the source of the bars of files; compiled programs hold the bars as constants."""
    return RecordedBars.of(cached_bars(files, timezone, columns, format), window or None)
