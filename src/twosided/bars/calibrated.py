"""Heston model of bars for planning, fitted on rolling windows; after each bar it uses only the bars so far."""

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
from twosided.bars.history import FileBars, cached_bars
from twosided.bars.source import BarModel, RecordedBars
from twosided.core.errors import Refusal
from twosided.core.validation import check
from twosided.data.bars import Bars
from twosided.heston.blocks import MIN_BLOCKS, make_blocks
from twosided.heston.fit import HestonFit, filter_blocks, rolling_fits
from twosided.heston.priors import Prior, WeakPrior, draw_prior
from twosided.heston.transition import Parameters

REALIZED_WINDOW = 30
"""Number of returns in the realized variance that stands in for the filter before the first fit."""


def heston_bars_from_fits(
    bars: Bars,
    fits: Iterable[tuple[int, HestonFit]],
    *,
    prior: Prior | None = None,
    substeps: int = 10,
    draws: int = 200,
    seed: int = 0,
) -> HestonBars:
    """Make the model of bars from fits of windows of them, in the form in which `rolling_fits` yields them.

    Each fit comes with the index of the bar after its window. The parameters after a bar are `draws` draws from the
    last fit whose window had ended by then, or from the prior before the first one. The variance is that of the filter
    at the posterior medians of the fit, over its window and the bars since. The length of a year is that of the first
    fit.

    Raises ValueError if the windows are not in order.
    """
    fits = list(fits)
    check(
        "fits",
        [end for end, _ in fits],
        "in order of the ends of their windows",
        all(a < b for (a, _), (b, _) in pairwise(fits)),
    )
    rng, num_bars = np.random.default_rng(seed), len(bars)
    prior = prior or WeakPrior()
    keys = jax.random.split(jax.random.key(seed), draws)
    rows = [_rows(jax.vmap(lambda key: draw_prior(prior, key))(keys))]
    years = fits[0][1].sample.years_per_bar if fits else bars.years_per_bar
    fit_index, volatility = np.zeros(num_bars, int), _realized_volatility(bars, years)
    volatility_std = volatility / 4
    for i, (end, fit) in enumerate(fits):
        index = rng.choice(next(iter(fit.draws.values())).size, draws)
        rows.append(
            {
                name: fit.draws[name].ravel()[index] if name in fit.draws else np.zeros(draws)
                for name in _NAMES
            }
        )
        # A fit is used from the last bar of its window to that of the next one.
        begin, until = end - 1, fits[i + 1][0] - 1 if i + 1 < len(fits) else num_bars
        fit_index[begin:until] = i + 1
        volatility[begin:until], volatility_std[begin:until] = _filtered_volatility(bars, fit, begin, until)
    table = {
        field: jnp.asarray(np.stack([row[name] for row in rows]), jnp.float32)
        for name, field in _NAMES.items()
    }
    return HestonBars(
        record=RecordedBars.of(bars),
        draws=HestonDraws(**table),
        fit_index=jnp.asarray(fit_index),
        volatility=jnp.asarray(volatility, jnp.float32),
        volatility_std=jnp.asarray(volatility_std, jnp.float32),
        years_per_bar=years,
        substeps=substeps,
    )


_NAMES = {
    "kappa": "mean_reversion",
    "theta": "long_run_variance",
    "sigma": "vol_of_vol",
    "rho": "correlation",
    "mu": "drift",
}
"""Names in `HestonDraws` of the parameters of a fit."""


def _rows(parameters: Parameters) -> dict[str, ndarray]:
    return {name: np.broadcast_to(getattr(parameters, name), parameters.theta.shape) for name in _NAMES}


def _realized_volatility(bars: Bars, years: float) -> Float[ndarray, "bars"]:
    """Return the realized volatility per year of the last REALIZED_WINDOW returns up to each bar."""
    squares, counts = np.square(bars.returns), _return_counts(bars)
    sums = np.concatenate([[0.0], np.cumsum(squares)])
    low = np.maximum(counts - REALIZED_WINDOW, 0)
    means = (sums[counts] - sums[low]) / np.maximum(counts - low, 1)
    # Until the price changes, the prior's median of the variance.
    return np.sqrt(np.where(means > 0, means / years, 0.05))


def _filtered_volatility(bars: Bars, fit: HestonFit, begin: int, until: int) -> tuple[ndarray, ndarray]:
    """Return the filtered mean and standard deviation of √V after bars begin ... until - 1.

    The parameters are the medians of the fit. The blocks have the fit's size, but the last block must end at each of
    the bars, not only where a block of the fit ends. Hence there is one filter for each offset of the ends of blocks
    from those of the fit; it starts that many returns later in the window.
    """
    size, num_blocks = fit.sample.size, len(fit.sample.blocks)
    median = {name: jnp.asarray(np.median(x)) for name, x in fit.draws.items()}
    parameters = Parameters(**{"mu": jnp.zeros(()), **median})
    returns, counts = bars[:until].returns, _return_counts(bars[:until])
    since = counts[begin:] - counts[begin]
    mean, std = np.empty(until - begin), np.empty(until - begin)
    for offset in range(min(size, since[-1] + 1)):
        first = counts[begin] + offset - num_blocks * size
        complete = returns[first : first + (len(returns) - first) // size * size]
        found = filter_blocks(parameters, make_blocks(complete.reshape(-1, size), fit.sample.years_per_bar))
        selected = since % size == offset
        block = num_blocks - 1 + since[selected] // size
        mean[selected], std[selected] = np.asarray(found.mean)[block], np.asarray(found.std)[block]
    return mean, std


def _return_counts(bars: Bars) -> Int[ndarray, "bars"]:
    """Return the number of returns up to each bar."""
    return np.cumsum(bars.contiguous)


class CalibratedBars(BarModel):
    """Heston model of the bars of files, refitted on a rolling window; for planning in a market on `file-bars`."""

    files: tuple[Path, ...] = eqx.field(static=True)
    """Files of the market: bars of one price, or of bid and ask in one file or two."""
    refit: int = eqx.field(static=True, default=1000)
    """Number of bars between fits."""
    window: int = eqx.field(static=True, default=1000)
    """Number of bars of a fit."""
    block: int = eqx.field(static=True, default=10)
    """Number of returns in a block; the cost of a fit is proportional to its number of blocks."""
    substeps: int = eqx.field(static=True, default=10)
    """Steps of the model in a bar."""
    timezone: str = eqx.field(static=True, default="UTC")
    """Time zone of dates without a UTC offset."""
    columns: tuple[str, ...] = eqx.field(static=True, default=())
    """Columns whose names are not recognised, such as time=opened,close=last; by number, such as close=5, in a file
    without a header."""
    format: str = eqx.field(static=True, default="")
    """Form of times and numbers that cannot be detected: dmy, mdy or ymd; s, ms, us or ns (since 1970); decimal-comma
    or decimal-point; or a pattern such as %d/%m/%Y %H:%M."""
    bars_per_year: float | None = eqx.field(static=True, default=None)
    """Bars per year of trading time. Default: from whole weeks; required for less than a week."""

    def __check_init__(self):
        for name in ("refit", "window", "block", "substeps"):
            check(name, getattr(self, name), "at least 1", getattr(self, name) >= 1)
        min_window = MIN_BLOCKS * self.block + 1
        check(
            "window",
            self.window,
            f"at least {min_window} for {MIN_BLOCKS} blocks of {self.block}",
            self.window >= min_window,
        )
        if self.bars_per_year is not None:
            check("bars_per_year", self.bars_per_year, "positive", self.bars_per_year > 0)

    @property
    def model(self) -> HestonBars:
        """The fitted model; it is fitted on first use, unless `prepare` has done so."""
        # A first use within a traced program must not store traced values in the model.
        with jax.ensure_compile_time_eval():
            self.prepare(lambda text: None)
        return _FITTED[self]

    @property
    def record(self) -> RecordedBars:
        """The bars of the files."""
        return FileBars(
            self.files, window=0, timezone=self.timezone, columns=self.columns, format=self.format
        ).history

    def prepare(self, report):
        """Read the files and fit the model, once per process; compiled programs hold the result as constants."""
        if self in _FITTED:
            return
        bars = cached_bars(self.files, self.timezone, self.columns, self.format)
        if len(bars) < self.window:
            raise Refusal(
                f"{' and '.join(bars.sources)}: the model is fitted on windows of {self.window} bars, but there are"
                f" {len(bars)}"
            )
        num_fits = len(range(self.window, len(bars) + 1, self.refit))
        started = time.perf_counter()

        def reported(fits: Iterable[tuple[int, HestonFit]]) -> Iterator[tuple[int, HestonFit]]:
            for done, (end, fit) in enumerate(fits, 1):
                left = (time.perf_counter() - started) / done * (num_fits - done)
                # A rejected fit is used all the same: it has more information than the fit before it.
                rejected = f", rejected (R-hat {fit.rhat:.2f})" if fit.rejected else ""
                report(f"fit {done} of {num_fits} of the model of the bars{rejected}, {left:.0f} s left")
                yield end, fit

        years = bars[: self.window].years_per_bar if self.bars_per_year is None else 1 / self.bars_per_year
        fits = reported(rolling_fits(bars, self.window, self.refit, block=self.block, years_per_bar=years))
        _FITTED[self] = heston_bars_from_fits(bars, fits, substeps=self.substeps)

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
"""Fitted models of this process."""
