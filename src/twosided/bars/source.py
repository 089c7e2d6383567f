"""Sources of bars: a price process simulated in substeps, or a record of bars.

A source is deterministic given its shock, like a price process. Bars are those of the midprice. The lowest price at
which one could buy and the highest at which one could sell are separate: with bars of bid and ask they are the low of
the ask and the high of the bid, with bars of one price the low and the high of that price.
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

from twosided.core.market import Part
from twosided.core.numeric import HostArray, Scalar
from twosided.core.validation import check
from twosided.data.bars import OHLC, OHLC_FIELDS, Bars
from twosided.prices.bars import Bar, step_bar
from twosided.prices.brownian import GeometricBrownian
from twosided.prices.process import PriceProcess


class QuotedBar(eqx.Module):
    """Bar of the midprice, and the prices at which one could trade in it; in currency."""

    mid: Bar
    """Bar of the midprice."""
    lowest_ask: Float[HostArray, "*bars"]
    """Lowest ask in the bar: it touches a bid at this price or above."""
    highest_bid: Float[HostArray, "*bars"]
    """Highest bid in the bar: it touches an ask at this price or below."""
    half_spread_at_open: Float[HostArray, "*bars"]
    """Half-spread at the open, which a market order pays."""
    half_spread: Float[HostArray, "*bars"]
    """Half-spread at the close, which is observed."""
    contiguous: Bool[HostArray, "*bars"]
    """Whether the bar directly follows the previous bar; no limit order rests over a gap."""

    @classmethod
    def around(cls, mid: Bar, relative_half_spread: Scalar) -> "QuotedBar":
        """Return a bar without a gap before it whose asks and bids are the midprice plus and less the half-spread, a
        fraction of the midprice."""
        half, contiguous = relative_half_spread, jnp.ones((), bool)
        return cls(
            mid, mid.low * (1 + half), mid.high * (1 - half), mid.open * half, mid.close * half, contiguous
        )


class BarSource(eqx.Module):
    """Source of consecutive bars."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """Draw the random inputs, with the given leading axes."""

    @abc.abstractmethod
    def reset(self, shock: Any) -> Any:
        """Return the state at the start of an episode, after its first bar."""

    @abc.abstractmethod
    def step(self, state: Any, shock: Any) -> Any:
        """Return the state one bar later."""

    @abc.abstractmethod
    def bar(self, state: Any) -> QuotedBar:
        """Return the last bar of a state."""

    @abc.abstractmethod
    def ended(self, state: Any) -> Bool[Array, ""]:
        """Whether the source has no further bar."""

    @property
    @abc.abstractmethod
    def history(self) -> "RecordedBars | None":
        """Record that the bars come from; None for simulated bars."""

    def part(self, part: Part) -> "BarSource":
        """Return the bars that learners train on, or those held out to test them; the source itself where none are."""
        return self


class BarModel(BarSource):
    """Model of the bars that follow each bar of a record."""

    record: eqx.AbstractVar["RecordedBars"]
    """Record of the bars that paths start from."""

    @property
    def history(self):
        """None: the bars of a model are simulated."""
        return None

    def prepare(self, report: Callable[[str], None]) -> None:
        """Do the slow work of the first use now, such as fitting; `report` is called with lines of progress."""

    @abc.abstractmethod
    def continued(self, place: Any, shock: Any) -> Any:
        """Return the start of a path at `place`, a state of `record`: its last bar is that of the record."""


class SimulatedState(eqx.Module):
    """State of a simulated source: the state of its price process, and the last bar."""

    price: Any
    """State of the price process."""
    bar: Bar
    """Last bar of the midprice."""


class SimulatedBars(BarSource):
    """Bars of a price process, simulated in substeps of its time step."""

    price: PriceProcess = GeometricBrownian(initial=100.0, volatility=0.5, time_step=1 / 5_256_000)
    """Price process of the midprice; one step per substep. Default: steps of 0.1 minutes in a year of 525,600."""
    substeps: int = eqx.field(static=True, default=10)
    """Steps of the price process in a bar."""
    relative_half_spread: Scalar = 0.0
    """Half-spread around the midprice, as a fraction of it: a market order pays it, and the price must go as far beyond
    a limit order to reach it."""

    def __check_init__(self):
        check("substeps", self.substeps, "from 1 to 100000", 1 <= self.substeps <= 100_000)
        half, within = self.relative_half_spread, "at least 0 and below 1"
        check("relative_half_spread", half, within, lambda: (half >= 0) & (half < 1))

    def shocks(self, key, shape):
        return self.price.shocks(key, (*shape, self.substeps))

    def reset(self, shock):
        """Return the start of an episode: a bar in which the price did not move."""
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
        """None: the bars are simulated."""
        return None


class RecordedBars(BarSource):
    """Recorded bars; episodes start at a random bar. Use `of` to make them."""

    bars: QuotedBar
    """All bars of the record, in order of time."""
    window: int = eqx.field(static=True)
    """Steps for which every start leaves enough bars, with one bar to spare. An episode that reaches the last bar of
    the record is terminated there."""

    @classmethod
    def of(cls, bars: Bars, window: int | None = None) -> "RecordedBars":
        """Make a source from bars of one price, or of bid and ask; gaps are found from the times.

        Without a window, an episode starts at the first bar and may take all steps but the last. Raises ValueError if
        prices are not positive and finite, or not those of bars, or if the window is out of range.
        """
        price = _checked("", bars.price)
        bid = price if bars.bid is None else _checked("bid ", bars.bid)
        ask = price if bars.ask is None else _checked("ask ", bars.ask)
        num_bars = price.shape[1]
        check("bars", num_bars, "at least 3", num_bars >= 3)
        steps = num_bars - 2 if window is None else window
        check(
            "window",
            steps,
            f"from 1 to {num_bars - 2} (the number of bars less 2)",
            1 <= steps <= num_bars - 2,
        )
        # Bars of two files may cross for a moment; a negative spread would pay market orders.
        half = np.maximum(ask - bid, 0.0) / 2
        rows: list[Any] = [x.astype(np.float32) for x in (*price, ask[2], bid[1], half[0], half[3])]
        contiguous: Any = bars.contiguous
        return cls(QuotedBar(Bar(*rows[:4]), *rows[4:], contiguous=contiguous), steps)

    @property
    def history(self):
        """This record."""
        return self

    @property
    def number(self) -> int:
        """Number of bars."""
        return self.bars.mid.close.shape[0]

    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Int[Array, "..."]:
        """Draw the first bars of episodes, the only random inputs."""
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
    """Return the rows of open, high, low and close. Raises ValueError if they are not prices of bars."""
    rows = np.stack([np.asarray(getattr(quotes, name), float) for name in OHLC_FIELDS])
    for name, array in zip(OHLC_FIELDS, rows, strict=True):
        bad = ~(np.isfinite(array) & (array > 0))
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(f"{side}{name} must be positive and finite, but bar {row} has {array[row]}")
    open, high, low, close = rows
    bad = (low > np.minimum(open, close)) | (high < np.maximum(open, close))
    if bad.any():
        raise ValueError(
            f"{side}open and close must be between low and high, but those of bar {int(bad.argmax())} are not"
        )
    return rows
