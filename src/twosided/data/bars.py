"""Bars: open, high, low and close of intervals of equal length, with optional bid and ask prices and volume.

Files of bars are read and written by `twosided.data.bar_files`. Bars are simulated by `twosided.prices.bars`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from twosided.core.errors import Refusal

OHLC_FIELDS = ("open", "high", "low", "close")
DAY = 86_400.0
"""Seconds in a day."""
YEAR = 365.25 * DAY
"""Seconds in a calendar year."""
WEEK = 7 * DAY
LONGEST_SESSION = 16 * 3600.0
"""Longest session of a market that closes every day, in seconds. Bars without a pause for longer are those of a market
around the clock."""


@dataclass(frozen=True)
class OHLC:
    """Open, high, low and close prices of intervals, in currency."""

    open: Float[ndarray, "bars"]
    high: Float[ndarray, "bars"]
    low: Float[ndarray, "bars"]
    close: Float[ndarray, "bars"]

    def __getitem__(self, index: Any) -> "OHLC":
        return OHLC(*(getattr(self, name)[index] for name in OHLC_FIELDS))


@dataclass(frozen=True)
class Bars:
    """Sequence of bars in order of time."""

    time: Float[ndarray, "bars"]
    """Time of each bar as in the file, usually its start; seconds since 1970 UTC."""
    price: OHLC
    """Prices, in currency; midprices if there are bid and ask prices."""
    seconds: float
    """Length of a bar, in seconds: the most frequent difference between consecutive times."""
    bid: OHLC | None = None
    """Bid prices, in currency."""
    ask: OHLC | None = None
    """Ask prices, in currency."""
    volume: Float[ndarray, "bars"] | None = None
    """Traded volume of each bar, in the unit of the file; NaN where the file has none."""
    num_unpaired: int = 0
    """Number of bars that were in only one of the bid and ask files, and were dropped."""
    sources: tuple[str, ...] = ()
    """Paths of the files, as given."""
    layouts: tuple[str, ...] = ()
    """Descriptions of the layouts of the files, as they were detected."""
    known_years_per_bar: float | None = None
    """Length of a bar in years of trading time, where it is known otherwise than from the times: of simulated bars, and
    of a part of longer bars. None: inferred from whole weeks."""

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, index: slice | ndarray) -> "Bars":
        """Return the selected bars. A part that is too short for its own number of bars per year has that of all."""
        arrays = {name: getattr(self, name) for name in ("time", "price", "bid", "ask", "volume")}
        part = replace(
            self, **{name: array if array is None else array[index] for name, array in arrays.items()}
        )
        return (
            part
            if part._years_per_bar() is not None
            else replace(part, known_years_per_bar=self._years_per_bar())
        )

    @property
    def half_spread(self) -> Float[ndarray, "bars"] | None:
        """Half of the bid-ask spread at the close, in currency; 0 where bid and ask are crossed, None without bid and
        ask."""
        if self.bid is None or self.ask is None:
            return None
        return np.maximum(self.ask.close - self.bid.close, 0.0) / 2

    @property
    def num_crossed(self) -> int:
        """Number of bars whose bid is above the ask at the close."""
        return 0 if self.bid is None or self.ask is None else int(np.sum(self.bid.close > self.ask.close))

    @property
    def contiguous(self) -> Bool[ndarray, "bars"]:
        """Whether each bar directly follows the bar before it, without a missing bar, a night or a weekend between
        them.

        Daily (and longer) bars may be up to 4.5 bar lengths apart, so a weekend with a holiday is not a gap in daily
        bars.
        """
        max_step = 1.5 * self.seconds if self.seconds < 0.9 * DAY else 4.5 * self.seconds
        return np.append(False, np.diff(self.time) <= max_step)

    @property
    def returns(self) -> Float[ndarray, "returns"]:
        """Log returns of the closes, without those over gaps."""
        return np.diff(np.log(self.price.close))[self.contiguous[1:]]

    @property
    def sessions(self) -> list[slice]:
        """Trading sessions in order: runs of bars without a pause of an hour or more (in daily bars, without a gap)."""
        gap = ~self.contiguous
        pause = gap & (np.append(np.inf, np.diff(self.time)) >= max(3600.0, 2 * self.seconds))
        starts = np.flatnonzero(pause)
        return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(self)], strict=True)]

    @property
    def bars_per_day(self) -> float:
        """Bars per trading day: the median over complete dates (UTC); below 1 for bars longer than a day.

        Without a complete date, bars without a pause for more than 16 hours are taken to go on around the clock. Raises
        `Refusal` if the bars do not determine the number.
        """
        counts = np.unique(np.floor(self.time / DAY), return_counts=True)[1][1:-1]
        if len(counts):
            return min(DAY / self.seconds, float(np.median(counts)))
        longest = max((self.time[s.stop - 1] - self.time[s.start] for s in self.sessions), default=0.0)
        if self.seconds < DAY and longest + self.seconds <= LONGEST_SESSION:
            raise Refusal(
                f"{self._described} have no complete day, so that the number of bars per day is unknown; more bars are"
                " needed"
            )
        return DAY / self.seconds

    @property
    def years_per_bar(self) -> float:
        """Length of a bar in years of trading time: calendar time over the number of its bars. A year of trading time
        thus has the length of a calendar year.

        The calendar time is that from the first to the last bar if this is a year or more, or if no bar is missing;
        otherwise whole weeks from the first bar on, so that nights and weekends count in proportion. Raises `Refusal`
        for bars of less than a week: whether there are bars at night and on other days is unknown.
        """
        years = self._years_per_bar()
        if years is None:
            raise Refusal(
                f"{self._described} cover less than a week of trading, so that the number of bars per year is unknown;"
                " state it with `bars_per_year`, such as 252 times the bars of a day"
            )
        return years

    def _years_per_bar(self) -> float | None:
        """Return the length of a bar in years, or None if it is unknown."""
        if self.known_years_per_bar is not None or not len(self):
            return self.known_years_per_bar
        span = float(self.time[-1] - self.time[0])
        weeks = np.floor((span + self.seconds) / WEEK + 1e-6)
        is_complete = not (np.diff(self.time) > 1.5 * self.seconds).any()
        if span >= YEAR or (weeks and is_complete):
            return float(span / YEAR / max(len(self) - 1, 1))
        count = int(np.searchsorted(self.time, self.time[0] + weeks * WEEK - 1e-3))
        dates = len(np.unique(np.floor(self.time[:count] / DAY)))
        # A week has four days of trading or more; fewer are two sessions of a longer history.
        enough = 4 * weeks if self.seconds <= DAY else 1
        return float(weeks * WEEK / YEAR / count) if weeks and dates >= enough else None

    @property
    def _described(self) -> str:
        names = " and ".join(self.sources) or "the bars"
        return f"{names}: the bars" if self.sources else names

    def summary(self) -> list[tuple[str, str]]:
        """Return labels and values that describe the data: number, length, period, gaps and irregularities."""
        missing = ~self.contiguous[1:]
        steps = np.diff(self.time)
        off_grid = np.abs(steps / self.seconds - np.round(steps / self.seconds)) > 1e-3
        longest = float(steps.max()) if len(steps) else 0.0
        years = self._years_per_bar()
        lines = [
            ("bars", f"{len(self):,} of {format_duration(self.seconds)}"),
            ("from", format_time(self.time[0])),
            ("to", format_time(self.time[-1])),
            (
                "gaps",
                f"{missing.sum():,}, the longest of {format_duration(longest)}" if missing.any() else "none",
            ),
            ("sessions", f"{len(self.sessions):,}"),
            ("bars per year", f"{1 / years:,.0f}" if years else "unknown, from less than a week"),
        ]
        irregular = (
            ("off the time grid", int(off_grid.sum())),
            ("bid above ask", self.num_crossed),
            ("unpaired, dropped", self.num_unpaired),
            ("high equal to low", int(np.sum(self.price.high == self.price.low))),
        )
        return lines + [(name, f"{count:,}") for name, count in irregular if count]


def format_time(time: Any) -> str:
    """Format seconds since 1970 UTC as a date and time."""
    try:
        text = str(np.datetime64(round(float(time) * 1000), "ms")).replace("T", " ")
    except (OverflowError, ValueError):
        return f"{float(time):.10g}"
    return f"{text.removesuffix('.000')} UTC"


def format_duration(seconds: float) -> str:
    """Format a duration in its largest unit, such as "5 minutes"."""
    units: Sequence[tuple[float, str]] = ((DAY, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))
    size, unit = next(((s, u) for s, u in units if seconds >= s), units[-1])
    number = f"{seconds / size:.4g}"
    return f"{number} {unit}{'' if number == '1' else 's'}"
