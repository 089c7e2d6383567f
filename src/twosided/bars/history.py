"""Source of bars read from files, for settings and the command line."""

import dataclasses
from functools import cache
from pathlib import Path
from typing import Literal

import equinox as eqx
import numpy as np

from twosided.bars.source import BarSource, RecordedBars
from twosided.core.market import Part
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
    test_fraction: float = eqx.field(static=True, default=0.3)
    """Fraction of the bars, the last ones, that are held out of training. A learner trains on the bars before them and
    is evaluated on them; 0 to evaluate it on the bars that it was trained on."""
    test_from: str = eqx.field(static=True, default="")
    """Date from which bars are held out of training instead, such as 2024-03-01."""
    bars: Literal["all", "train", "test"] = eqx.field(static=True, default="all")
    """Bars to use: all, those before the held-out ones, or the held-out ones. Training chooses by itself."""

    def __check_init__(self):
        check("window", self.window, "at least 0", self.window >= 0)
        fraction = self.test_fraction
        check("test_fraction", fraction, "at least 0 and below 1", 0 <= fraction < 1)
        _ = self.history

    @property
    def split(self) -> int:
        """Number of bars before those that are held out; all of them where none is held out."""
        bars = cached_bars(self.files, self.timezone, self.columns, self.format)
        if not self.test_from:
            return len(bars) - round(self.test_fraction * len(bars))
        try:
            begin = np.datetime64(self.test_from, "s").astype(float)
        except ValueError:
            begin = np.nan
        check("test_from", self.test_from, "a date, such as 2024-03-01", bool(np.isfinite(begin)))
        return int(np.searchsorted(bars.time, begin))

    def part(self, part: Part) -> "FileBars":
        """Return the bars that learners train on, or those held out to test them.

        Raises ValueError if a part has too few bars for an episode.
        """
        split, number = self.split, len(cached_bars(self.files, self.timezone, self.columns, self.format))
        if self.bars != "all" or split == number:
            return self
        short = min(split, number - split)
        enough = max(3, self.window + 2)
        if short < enough:
            raise ValueError(
                f"each part of the bars must have at least {enough}, but {split} are for training and"
                f" {number - split} for testing; change test_fraction, window or the files, or hold no bars out with"
                " test_fraction 0"
            )
        return dataclasses.replace(self, bars=part)

    @property
    def history(self) -> RecordedBars:
        """Record of all bars in the files."""
        split = None if self.bars == "all" else self.split
        part = {"all": slice(None), "train": slice(0, split), "test": slice(split, None)}[self.bars]
        return _recorded(
            self.files, self.window, self.timezone, self.columns, self.format, part.start, part.stop
        )

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
    files: tuple[Path, ...],
    window: int,
    timezone: str,
    columns: tuple[str, ...],
    format: str,
    start: int | None,
    stop: int | None,
) -> RecordedBars:
    """Return the source of the bars of files; compiled programs hold the bars as constants."""
    return RecordedBars.of(cached_bars(files, timezone, columns, format)[start:stop], window or None)
