"""Bars: open, high, low and close of intervals of equal length, with optional bid and ask prices and volume.

Files of bars are read and written by `twosided.data.bar_files`. Bars are simulated by `twosided.prices.bars`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

OHLC_FIELDS = ("open", "high", "low", "close")
DAY = 86_400.0
"""Seconds in a day."""
YEAR = 365.25 * DAY
"""Seconds in a calendar year."""


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

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, index: slice | ndarray) -> "Bars":
        """Return the selected bars."""
        arrays = {name: getattr(self, name) for name in ("time", "price", "bid", "ask", "volume")}
        return replace(
            self, **{name: array if array is None else array[index] for name, array in arrays.items()}
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
        """Bars per trading day: the median over complete dates (UTC), or the length of a day over that of a bar if
        there is no complete date; below 1 for bars longer than a day."""
        counts = np.unique(np.floor(self.time / DAY), return_counts=True)[1][1:-1]
        return min(DAY / self.seconds, float(np.median(counts)) if len(counts) else np.inf)

    @property
    def years_per_bar(self) -> float:
        """Calendar time from the first to the last bar over the number of steps, in years. A year of trading time thus
        has the length of a calendar year."""
        span = self.time[-1] - self.time[0]
        return float(span / YEAR / max(len(self) - 1, 1))

    def summary(self) -> list[tuple[str, str]]:
        """Return labels and values that describe the data: number, length, period, gaps and irregularities."""
        missing = ~self.contiguous[1:]
        steps = np.diff(self.time)
        off_grid = np.abs(steps / self.seconds - np.round(steps / self.seconds)) > 1e-3
        longest = float(steps.max()) if len(steps) else 0.0
        lines = [
            ("bars", f"{len(self):,} of {format_duration(self.seconds)}"),
            ("from", format_time(self.time[0])),
            ("to", format_time(self.time[-1])),
            (
                "gaps",
                f"{missing.sum():,}, the longest of {format_duration(longest)}" if missing.any() else "none",
            ),
            ("sessions", f"{len(self.sessions):,}"),
            ("bars per year", f"{1 / self.years_per_bar:,.0f}"),
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
