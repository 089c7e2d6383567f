"""Where bars come from: any price process seen through substeps, or history.

A source is deterministic given its shock, like a price process. What a bar shows is the mid; trades by others happen
about it, so the lowest price that somebody could have bought at, and the highest that somebody could have sold at, are
kept apart: with bars of bid and ask they are the ask's low and the bid's high, with bars of trades the bar's own.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from numpy.typing import NDArray

from twosided.core.numeric import Scalar
from twosided.core.validation import check
from twosided.data.bars import OHLC, OHLC_FIELDS, Bars
from twosided.prices.bars import Bar, step_bar
from twosided.prices.brownian import GeometricBrownian
from twosided.prices.process import PriceProcess


class QuotedBar(eqx.Module):
    """A bar of the mid, and what could be traded at in it; in currency."""

    mid: Bar
    lowest_ask: Float[Array, "*bars"]
    """At which a resting order to buy was reached."""
    highest_bid: Float[Array, "*bars"]
    """At which a resting order to sell was reached."""
    half_spread_at_open: Float[Array, "*bars"]
    """That a market order pays at the open."""
    half_spread: Float[Array, "*bars"]
    """At the close, for what is to be seen."""
    follows: Bool[Array, "*bars"]
    """Whether it comes right after the bar before it: over a gap no limit order rests."""

    @classmethod
    def around(cls, mid: Bar, relative_half_spread: Scalar) -> "QuotedBar":
        """Asks above the mid by the half-spread, a fraction of it, and bids below; no gap before it."""
        half, follows = relative_half_spread, jnp.ones((), bool)
        return cls(
            mid, mid.low * (1 + half), mid.high * (1 - half), mid.open * half, mid.close * half, follows
        )


class BarSource(eqx.Module):
    """Bars, one after the other."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """What chance decides, with the given leading axes."""

    @abc.abstractmethod
    def reset(self, shock: Any) -> Any:
        """The state at the start of an episode, its first bar seen."""

    @abc.abstractmethod
    def step(self, state: Any, shock: Any) -> Any:
        """The state one bar later."""

    @abc.abstractmethod
    def bar(self, state: Any) -> QuotedBar:
        """The last bar that the state has seen."""

    @abc.abstractmethod
    def ended(self, state: Any) -> Bool[Array, ""]:
        """Whether no bar follows."""

    @property
    @abc.abstractmethod
    def history(self) -> "RecordedBars | None":
        """The record that the bars come from, if they do."""


class BarModel(BarSource):
    """What is expected of the bars of another source: paths go on from where that one stood."""

    record: eqx.AbstractVar["RecordedBars"]
    """The bars that it goes on from."""

    @property
    def history(self):
        """None: they are expected, and were not."""
        return None

    def prepare(self, tell: Callable[[str], None]) -> None:
        """Do now, and say how it goes, what takes long and would be done when the model is first asked for."""

    @abc.abstractmethod
    def continued(self, place: Any, shock: Any) -> Any:
        """The state where the other source stands at `place`: the same last bar, and what is expected of the next."""


class SimulatedState(eqx.Module):
    """Where the price stands, and the bar that led there."""

    price: Any
    bar: Bar


class SimulatedBars(BarSource):
    """Bars of a price process, by substeps of its time step."""

    price: PriceProcess = GeometricBrownian(initial=100.0, volatility=0.5, time_step=1 / 5_256_000)
    """How the mid moves in a substep; by default a tenth of a minute of a year that never closes."""
    substeps: int = eqx.field(static=True, default=10)
    """Steps of the price in a bar."""
    relative_half_spread: Scalar = 0.0
    """That a market order pays, and a resting order is reached at the better for; a fraction of the mid."""

    def __check_init__(self):
        check("substeps", self.substeps, "from 1 to 100000", 1 <= self.substeps <= 100_000)
        half, within = self.relative_half_spread, "at least 0 and below 1"
        check("relative_half_spread", half, within, lambda: (half >= 0) & (half < 1))

    def shocks(self, key, shape):
        return self.price.shocks(key, (*shape, self.substeps))

    def reset(self, shock):
        """An episode starts at a price, a bar in which nothing moved."""
        price = self.price.reset(jax.tree.map(lambda leaf: leaf[0], shock))
        return SimulatedState(price, Bar(price.mid, price.mid, price.mid, price.mid))

    def step(self, state, shock):
        return SimulatedState(*step_bar(self.price, state.price, shock))

    def bar(self, state):
        return QuotedBar.around(state.bar, self.relative_half_spread)

    def ended(self, state):
        return jnp.zeros((), bool)

    @property
    def history(self):
        """None: every path is another."""
        return None


class RecordedBars(BarSource):
    """Bars of history, from a start that chance decides; made by `of`."""

    bars: QuotedBar
    """Of the whole record, in order."""
    window: int = eqx.field(static=True)
    """Bars that an episode takes after its first: starts are so early that they are there, and one more. Who goes on to
    the last bar ends there."""

    @classmethod
    def of(cls, bars: Bars, window: int | None = None) -> "RecordedBars":
        """From bars of one price, or of bid and ask; times tell gaps.

        Without a window an episode starts at the first bar and may take all but the last. Raises ValueError.
        """
        price = _checked("", bars.price)
        bid = price if bars.bid is None else _checked("bid ", bars.bid)
        ask = price if bars.ask is None else _checked("ask ", bars.ask)
        number = price.shape[1]
        check("bars", number, "at least 3", number >= 3)
        steps = number - 2 if window is None else window
        check("window", steps, f"from 1 to {number - 2}, two less than the bars", 1 <= steps <= number - 2)
        # A spread that is crossed for a moment, as bars of two files may be, pays nobody.
        half = np.maximum(ask - bid, 0.0) / 2
        rows: list[Any] = [x.astype(np.float32) for x in (*price, ask[2], bid[1], half[0], half[3])]
        follows: Any = bars.contiguous
        return cls(QuotedBar(Bar(*rows[:4]), *rows[4:], follows=follows), steps)

    @property
    def history(self):
        """Itself."""
        return self

    @property
    def number(self) -> int:
        """Of bars."""
        return self.bars.mid.close.shape[0]

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Int[Array, "..."]:
        """The bar that an episode would start from: nothing else is left to chance."""
        return jax.random.randint(key, shape, 0, self.number - 1 - self.window)

    def reset(self, shock):
        return shock

    def step(self, state, shock):
        return jnp.minimum(state + 1, self.number - 1)

    def bar(self, state):
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[state], self.bars)

    def ended(self, state):
        return state >= self.number - 1


def _checked(side: str, quotes: OHLC) -> NDArray[np.float64]:
    """Open, high, low and close, a row each, if they are bars. Raises ValueError."""
    rows = np.stack([np.asarray(getattr(quotes, name), float) for name in OHLC_FIELDS])
    for name, array in zip(OHLC_FIELDS, rows, strict=True):
        bad = ~(np.isfinite(array) & (array > 0))
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(f"{side}{name} must be positive and finite, but bar {row} has {array[row]}")
    first, high, low, last = rows
    bad = (low > np.minimum(first, last)) | (high < np.maximum(first, last))
    if bad.any():
        raise ValueError(
            f"{side}open and close must be from low to high, but those of bar {int(bad.argmax())} are not"
        )
    return rows
