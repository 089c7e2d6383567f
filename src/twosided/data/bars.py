"""Bars: open, high, low and close of intervals of equal length, what is odd about them, and how to simulate some.

`twosided.data.bar_files` reads and writes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

QUOTES = ("open", "high", "low", "close")
DAY = 86_400.0
YEAR = 365.25 * DAY
"""Seconds of a calendar year."""


@dataclass(frozen=True)
class Quotes:
    """Prices of intervals, in currency."""

    open: Float[ndarray, "bars"]
    high: Float[ndarray, "bars"]
    low: Float[ndarray, "bars"]
    close: Float[ndarray, "bars"]

    def __getitem__(self, which: Any) -> "Quotes":
        return Quotes(*(getattr(self, name)[which] for name in QUOTES))


@dataclass(frozen=True)
class Bars:
    """Bars one after the other."""

    time: Float[ndarray, "bars"]
    """As in the file, when a bar begins as a rule; seconds since 1970 UTC."""
    price: Quotes
    """The mid of bid and ask where there are both."""
    seconds: float
    """Length of a bar: the most frequent distance of two."""
    bid: Quotes | None = None
    ask: Quotes | None = None
    volume: Float[ndarray, "bars"] | None = None
    unpaired: int = 0
    """Bars of one side's file without one of the other's, which are left out."""
    sources: tuple[str, ...] = ()
    """The files, as they were named."""

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, which: slice | ndarray) -> "Bars":
        """Some of the bars."""
        parts = {name: getattr(self, name) for name in ("time", "price", "bid", "ask", "volume")}
        return replace(self, **{name: part if part is None else part[which] for name, part in parts.items()})

    @property
    def half_spread(self) -> Float[ndarray, "bars"] | None:
        """At the close, in currency; 0 where bid and ask cross."""
        if self.bid is None or self.ask is None:
            return None
        return np.maximum(self.ask.close - self.bid.close, 0.0) / 2

    @property
    def crossed(self) -> int:
        """Bars whose bid is above the ask at the close."""
        return 0 if self.bid is None or self.ask is None else int(np.sum(self.bid.close > self.ask.close))

    @property
    def follows(self) -> Bool[ndarray, "bars"]:
        """Whether a bar comes right after the one before it: no bar is missing between, nor a night or a weekend.

        Days may be up to four and a half apart, so that a weekend with a holiday is no gap of daily bars.
        """
        most = 1.5 * self.seconds if self.seconds < 0.9 * DAY else 4.5 * self.seconds
        return np.append(False, np.diff(self.time) <= most)

    @property
    def returns(self) -> Float[ndarray, "returns"]:
        """Log returns of the closes, those over gaps left out."""
        return np.diff(np.log(self.price.close))[self.follows[1:]]

    @property
    def sessions(self) -> list[slice]:
        """Runs of bars between pauses of an hour or more (of days: of the gaps), in order."""
        gap = ~self.follows
        pause = gap & (np.append(np.inf, np.diff(self.time)) >= max(3600.0, 2 * self.seconds))
        starts = np.flatnonzero(pause)
        return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(self)], strict=True)]

    @property
    def bars_per_day(self) -> float:
        """Of trading: the median of whole dates (UTC), or what a day holds where there are none; fewer than one where
        bars are longer."""
        whole = np.unique(np.floor(self.time / DAY), return_counts=True)[1][1:-1]
        return min(DAY / self.seconds, float(np.median(whole)) if len(whole) else np.inf)

    @property
    def years_per_bar(self) -> float:
        """The calendar time of the file over its bars: a year of trading is as long as a calendar's."""
        span = self.time[-1] - self.time[0]
        return float(span / YEAR / max(len(self) - 1, 1))

    def report(self) -> list[tuple[str, str]]:
        """What a reader should know of them, in words."""
        missing = ~self.follows[1:]
        steps = np.diff(self.time)
        off = np.abs(steps / self.seconds - np.round(steps / self.seconds)) > 1e-3
        longest = float(steps.max()) if len(steps) else 0.0
        lines = [
            ("bars", f"{len(self):,} of {_span(self.seconds)}"),
            ("from", moment(self.time[0])),
            ("to", moment(self.time[-1])),
            ("gaps", f"{missing.sum():,}, the longest of {_span(longest)}" if missing.any() else "none"),
            ("sessions", f"{len(self.sessions):,}"),
            ("a year", f"{1 / self.years_per_bar:,.0f} bars"),
        ]
        counted = (
            ("off the grid", int(off.sum())),
            ("bid above ask", self.crossed),
            ("unpaired, left out", self.unpaired),
            ("high = low", int(np.sum(self.price.high == self.price.low))),
        )
        return lines + [(name, f"{count:,}") for name, count in counted if count]


def moment(time: Any) -> str:
    """Seconds since 1970 UTC for people."""
    try:
        text = str(np.datetime64(round(float(time) * 1000), "ms")).replace("T", " ")
    except (OverflowError, ValueError):
        return f"{float(time):.10g}"
    return f"{text.removesuffix('.000')} UTC"


def _span(seconds: float) -> str:
    units: Sequence[tuple[float, str]] = ((DAY, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))
    size, unit = next(((s, u) for s, u in units if seconds >= s), units[-1])
    number = f"{seconds / size:.4g}"
    return f"{number} {unit}{'' if number == '1' else 's'}"
