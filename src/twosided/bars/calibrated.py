"""A model of bars for planning: what was known of the Heston model after each bar, and nothing that came later."""

import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from twosided.bars.heston_bars import HestonBars, HestonDraws
from twosided.bars.history import FileBars, bars_of
from twosided.bars.source import BarModel, RecordedBars
from twosided.core.errors import Refusal
from twosided.core.validation import check
from twosided.data.bars import Bars
from twosided.heston.blocks import FEWEST, make_blocks
from twosided.heston.fit import HestonFit, filter_blocks, rolling
from twosided.heston.law import Parameters
from twosided.heston.priors import Prior, WeakPrior, draw_prior

ROUGH = 30
"""Bars that the variance before the first fit is a mean of."""


def heston_bars(
    bars: Bars,
    fits: Iterable[tuple[int, HestonFit]],
    *,
    prior: Prior | None = None,
    substeps: int = 10,
    draws: int = 200,
    seed: int = 0,
) -> HestonBars:
    """The model of some bars, from fits and the number of the bar after each one's window, as `rolling` gives them.

    After a bar the parameters are draws from the last fit that had ended by then, or from the prior before the first;
    the variance is that of the filter at the fit's medians, over its window and the bars since. Time is in the years of
    the first fit's bars.
    """
    fits = list(fits)
    check(
        "fits",
        [end for end, _ in fits],
        "of windows in order",
        all(a < b for (a, _), (b, _) in pairwise(fits)),
    )
    rng, number = np.random.default_rng(seed), len(bars)
    first = prior or WeakPrior()
    keys = jax.random.split(jax.random.key(seed), draws)
    rows = [_picked(jax.vmap(lambda key: draw_prior(first, key))(keys))]
    years = fits[0][1].sample.years_per_bar if fits else bars.years_per_bar
    fit_of, volatility = np.zeros(number, int), _rough(bars, years)
    deviation = volatility / 4
    for i, (end, fit) in enumerate(fits):
        some = rng.choice(next(iter(fit.draws.values())).size, draws)
        rows.append(
            {name: fit.draws[name].ravel()[some] if name in fit.draws else np.zeros(draws) for name in _NAMES}
        )
        # Known from its last bar on, until the next one is.
        begin, until = end - 1, fits[i + 1][0] - 1 if i + 1 < len(fits) else number
        fit_of[begin:until] = i + 1
        volatility[begin:until], deviation[begin:until] = _filtered(bars, fit, begin, until)
    table = {
        field: jnp.asarray(np.stack([row[name] for row in rows]), jnp.float32)
        for name, field in _NAMES.items()
    }
    return HestonBars(
        record=RecordedBars.of(bars),
        draws=HestonDraws(**table),
        fit=jnp.asarray(fit_of),
        volatility=jnp.asarray(volatility, jnp.float32),
        deviation=jnp.asarray(deviation, jnp.float32),
        years_per_bar=years,
        substeps=substeps,
    )


_NAMES = {"kappa": "reversion", "theta": "level", "sigma": "vol_of_vol", "rho": "correlation", "mu": "drift"}


def _picked(parameters: Parameters) -> dict[str, ndarray]:
    return {name: np.broadcast_to(getattr(parameters, name), parameters.theta.shape) for name in _NAMES}


def _rough(bars: Bars, years: float) -> Float[ndarray, "bars"]:
    """Root of the mean square of the last returns a year, where nothing better is known; of the bars so far alone."""
    squares, seen = np.square(bars.returns), _returns_so_far(bars)
    sums = np.concatenate([[0.0], np.cumsum(squares)])
    low = np.maximum(seen - ROUGH, 0)
    means = (sums[seen] - sums[low]) / np.maximum(seen - low, 1)
    # Before the price has moved, the prior's own level.
    return np.sqrt(np.where(means > 0, means / years, 0.05))


def _filtered(bars: Bars, fit: HestonFit, begin: int, until: int) -> tuple[ndarray, ndarray]:
    """Mean and deviation of √V after bars begin ... until - 1, at a fit's medians; each from its past alone.

    Blocks of as many returns as the fit's end at every bar, not only where the fit's do: those that end a number of
    returns after the fit's own are a filter of their own, which begins that much later in the window.
    """
    size, number = fit.sample.size, len(fit.sample.blocks)
    median = {name: jnp.asarray(np.median(x)) for name, x in fit.draws.items()}
    parameters = Parameters(**{"mu": jnp.zeros(()), **median})
    returns, seen = bars[:until].returns, _returns_so_far(bars[:until])
    since = seen[begin:] - seen[begin]
    mean, deviation = np.empty(until - begin), np.empty(until - begin)
    for late in range(min(size, since[-1] + 1)):
        first = seen[begin] + late - number * size
        kept = returns[first : first + (len(returns) - first) // size * size]
        found = filter_blocks(parameters, make_blocks(kept.reshape(-1, size), fit.sample.years_per_bar))
        here = since % size == late
        block = number - 1 + since[here] // size
        mean[here], deviation[here] = np.asarray(found.mean)[block], np.asarray(found.deviation)[block]
    return mean, deviation


def _returns_so_far(bars: Bars) -> Int[ndarray, "bars"]:
    """How many of the bars' returns there are up to each of them."""
    return np.cumsum(bars.contiguous)


class CalibratedBars(BarModel):
    """The model of bars of files, fitted to the last of them every so many; what a market on `file-bars` plans with."""

    files: tuple[Path, ...] = eqx.field(static=True)
    """Bars of one price, or of bid and ask in one file or two: the market's own files."""
    refit: int = eqx.field(static=True, default=1000)
    """Bars between fits."""
    window: int = eqx.field(static=True, default=1000)
    """Bars of a fit: the last so many."""
    block: int = eqx.field(static=True, default=10)
    """Returns that a fit takes together: a fit costs what its blocks cost."""
    substeps: int = eqx.field(static=True, default=10)
    """Steps of the model in a bar."""
    timezone: str = eqx.field(static=True, default="UTC")
    """The clock of dates without an offset."""

    def __check_init__(self):
        for name in ("refit", "window", "block", "substeps"):
            check(name, getattr(self, name), "at least 1", getattr(self, name) >= 1)
        fewest = FEWEST * self.block + 1
        check(
            "window",
            self.window,
            f"at least {fewest} for {FEWEST} blocks of {self.block}",
            self.window >= fewest,
        )

    @property
    def model(self) -> HestonBars:
        """Fitted when it is first asked for, unless that was done before by `prepare`."""
        # Whoever asks while a program is traced must not leave what is traced in it.
        with jax.ensure_compile_time_eval():
            self.prepare(lambda text: None)
        return _FITTED[self]

    @property
    def record(self) -> RecordedBars:
        """The bars of the files."""
        return FileBars(self.files, window=0, timezone=self.timezone).history

    def prepare(self, tell):
        """Read and fit the files, once in a process; compiled programs hold what was found."""
        if self in _FITTED:
            return
        bars = bars_of(self.files, self.timezone)
        if len(bars) < self.window:
            raise Refusal(
                f"{' and '.join(bars.sources)}: the model is fitted to windows of {self.window} bars, but there are"
                f" {len(bars)}"
            )
        number = len(range(self.window, len(bars) + 1, self.refit))
        since = time.perf_counter()

        def told(fits: Iterable[tuple[int, HestonFit]]) -> Iterator[tuple[int, HestonFit]]:
            for done, (end, fit) in enumerate(fits, 1):
                left = (time.perf_counter() - since) / done * (number - done)
                # It is drawn from all the same: it knows more than the fit before it.
                doubt = f", not to be trusted (R-hat {fit.rhat:.2f})" if fit.refused else ""
                tell(f"fit {done} of {number} of the model of the bars{doubt}, {left:.0f} s left")
                yield end, fit

        fits = told(rolling(bars, self.window, self.refit, block=self.block))
        _FITTED[self] = heston_bars(bars, fits, substeps=self.substeps)

    def shocks(self, key, shape):
        return self.model.shocks(key, shape)

    def reset(self, shock):
        return self.model.reset(shock)

    def continued(self, place, shock):
        return self.model.continued(place, shock)

    def step(self, state, shock):
        return self.model.step(state, shock)

    def bar(self, state):
        return self.model.bar(state)

    def ended(self, state):
        return self.model.ended(state)


_FITTED: dict[CalibratedBars, HestonBars] = {}
