"""Fitting the Heston model to bars: `twosided calibrate heston`."""

import json as json_format
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from twosided.cli.heston_page import COLUMNS, heston_page, parameter_rows
from twosided.cli.terminal import stopping, time_left
from twosided.core import store
from twosided.core.errors import Refusal
from twosided.core.validation import check, check_seed
from twosided.data.bar_files import read_bars
from twosided.data.bars import Bars, format_time
from twosided.heston.blocks import make_sample
from twosided.heston.files import (
    PROCESS,
    REFITS,
    about,
    claim_refits,
    read_refits,
    refit_row,
    remove_fit,
    write_fit,
)
from twosided.heston.fit import HestonFit, Likelihood, fit_heston, rolling_fits
from twosided.heston.grid import DEFAULT_POINTS
from twosided.heston.priors import Prior, WeakPrior
from twosided.heston.sampler import Sampling
from twosided.settings import Settings, dump


@dataclass(frozen=True)
class CalibrateHeston:
    """Sample the Heston model's parameters given bars, say whether the chains agree, and write process and page.

    Refits are kept one by one, so the same words go on after the last window of what was stopped.
    """

    files: tuple[Path, ...]
    """Bars with named columns (CSV or Parquet, plain or .gz); or bid bars and ask bars."""
    timezone: str = "UTC"
    """Whose clock dates without an offset are on, as in Europe/London."""
    columns: tuple[str, ...] = ()
    """Columns that have other names than time, open, high, low, close: close=last."""
    window: int | None = None
    """Use the last so many bars; all if none is given."""
    refit: int | None = None
    """Bars between refits of the last `window` bars, each started from the one before and none knowing a later bar;
    only the file's last bars are fitted if none is given."""
    bars_per_year: float | None = None
    """Of trading time; if none is given, so many as make the calendar time of the bars that are fitted, with refits of
    the first window: 252 for days of an exchange."""
    block: int | None = None
    """Returns in a block, within which the variance hardly moves; if none is given, so many as make `blocks`."""
    blocks: int = 500
    """Most blocks, where `block` is not given."""
    likelihood: Likelihood = "grid"
    """The variance integrated out on a grid, or its path sampled along with the parameters."""
    points: int = DEFAULT_POINTS
    """Of the grid."""
    prior: Prior = WeakPrior()
    """What is believed of the parameters, per year, before the data."""
    sampling: Sampling = Sampling()
    """How to sample."""
    out: Path = Path("heston")
    """Folder of the draws, the filtered variance, the process (heston.toml) and the page."""
    seed: int = 0
    """Decides all chance."""
    json: bool = False
    """Print what was found as JSON, progress going to the standard error."""

    def __post_init__(self):
        check_seed(self.seed)
        check("blocks", self.blocks, "at least 20", self.blocks >= 20)
        check("points", self.points, "from 16 to 512", 16 <= self.points <= 512)
        for column in self.columns:
            check("columns", column, "of the kind close=last", "=" in column)
        if self.window is not None:
            check("window", self.window, "at least 2", self.window >= 2)
        if self.refit is not None:
            check("refit", self.refit, "at least 1", self.refit >= 1)
            check("refit", self.refit, "given together with --window", self.window is not None)
            check("likelihood", self.likelihood, "grid where there are refits", self.likelihood == "grid")
        if self.block is not None:
            check("block", self.block, "at least 1", self.block >= 1)
        if self.bars_per_year is not None:
            check("bars_per_year", self.bars_per_year, "positive", self.bars_per_year > 0)

    def __call__(self, settings: Settings) -> int:
        console = Console(stderr=self.json)
        names = dict(column.split("=", 1) for column in self.columns)
        bars = read_bars(*self.files, timezone=self.timezone, columns=names)
        text, last = dump(settings), bars if self.window is None else bars[-self.window :]
        if self.window is not None and self.refit is not None:
            found = self._refits(bars, self.window, self.refit, text, console)
            if found is None:
                return 130
            fit, refits = found
        else:
            if (self.out / REFITS).exists():
                raise Refusal(f"{self.out} holds refits; choose another --out, or remove it")
            fit, refits = self._fit(last, console), None
        write_fit(self.out, fit)
        page = self.out / store.REPORT
        store.write(self.out / store.SETTINGS, text)
        store.write(page, heston_page(fit, last, self.seed, text, refits))
        if self.json:
            counts = {} if refits is None else {"refits": _counts(refits)}
            print(json_format.dumps(about(fit) | counts | {"folder": str(self.out)}, indent=1))
        else:
            console.print(_table(fit))
            speed = f"{fit.effective_samples:.0f} effective samples in {fit.chains.sampling_seconds:.0f} s of sampling"
            console.print(
                f"{speed} ({fit.chains.compile_seconds:.0f} s of compiling before)", highlight=False
            )
            if refits is not None:
                counts = f"{len(refits)} refits, {_counts(refits)['rejected']} of them rejected"
                console.print(f"{counts}: {self.out / REFITS}", highlight=False, soft_wrap=True)
            console.print(f"the page: {page}", highlight=False, soft_wrap=True)
            if not fit.rejected:
                toml = self.out / PROCESS
                console.print(f"the process: {toml} (--market.price {toml})", highlight=False, soft_wrap=True)
        for warning in fit.warnings:
            console.print(f"[bold red]{warning}[/]", highlight=False)
        if fit.rejected:
            text = f"The chains disagree too much for the draws to be used: {PROCESS} is not written."
            console.print(f"[bold red]{text}[/]", highlight=False)
        return 1 if fit.rejected else 0

    def _fit(self, bars: Bars, console: Console) -> HestonFit:
        """The only fit that was asked for."""
        sample = make_sample(bars, size=self.block, max_blocks=self.blocks, years_per_bar=self._years_per_bar)
        with Progress(
            TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console
        ) as bar:
            task = bar.add_task("sampling", total=1.0)
            return fit_heston(
                sample,
                self.prior,
                self.sampling,
                likelihood=self.likelihood,
                points=self.points,
                seed=self.seed,
                progress=lambda share: bar.update(task, completed=share),
            )

    def _refits(
        self, bars: Bars, window: int, every: int, text: str, console: Console
    ) -> tuple[HestonFit, pl.DataFrame] | None:
        """The fit of the last window and the table of all, or None where it was stopped before.

        Goes on after the windows that the folder holds: the first of the others is then fitted from cold, since no
        draws are kept of the one before it. The last one is fitted even if it is there, for its draws.
        """
        if len(bars) < window:
            names = " and ".join(bars.sources)
            raise Refusal(f"{names}: {len(bars):,} bars, fewer than the {window:,} of a window")
        # The last window is to end at the last bar.
        rest = (len(bars) - window) % every
        bars = bars[rest:]
        ends = range(window, len(bars) + 1, every)
        windows = [bars[end - window : end] for end in ends]
        # What the first says of blocks and years holds for all: none may know a later bar.
        first = make_sample(
            windows[0], size=self.block, max_blocks=self.blocks, years_per_bar=self._years_per_bar
        )
        for later in windows[1:]:
            # Better refused now than where the same command would always stop.
            make_sample(later, size=first.size, years_per_bar=first.years_per_bar)
        claim_refits(self.out, text)
        there = read_refits(self.out, windows)
        if rest:
            said = f"the oldest {rest:,} bars are left out, so that the last window ends at the last bar"
            console.print(said, highlight=False)
        if len(there):
            console.print(f"{len(there)} of {len(ends)} windows are there already", highlight=False)
        # Until the last window is fitted, nothing in the folder is of another as if it were the last.
        remove_fit(self.out)
        fits = rolling_fits(
            bars,
            window,
            every,
            self.prior,
            self.sampling,
            block=first.size,
            years_per_bar=first.years_per_bar,
            points=self.points,
            seed=self.seed,
            first_end=ends[min(len(there), len(ends) - 1)],
        )
        return self._kept((fit for _, fit in fits), windows, there, console)

    def _kept(
        self, fits: Iterator[HestonFit], windows: Sequence[Bars], refits: pl.DataFrame, console: Console
    ) -> tuple[HestonFit, pl.DataFrame] | None:
        """The last of the fits and the table of all windows, which is written after each; or None if it was stopped."""
        total, since = len(windows), time.perf_counter()
        kept, before = len(refits), min(len(refits), total - 1)
        refits = refits[:before]
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}")
        fit = None
        try:
            with stopping(console) as stop, Progress(*columns, console=console) as bar:
                task = bar.add_task(f"refit {before + 1} of {total}", total=total, completed=before, left="")
                for done, (window, fit) in enumerate(zip(windows[before:], fits, strict=True), before + 1):
                    row = pl.DataFrame([refit_row(window, fit)])
                    longer = pl.concat([refits, row]) if len(refits) else row
                    store.write_frame(self.out / REFITS, longer)
                    refits, kept = longer, done
                    pace = (time.perf_counter() - since) / (done - before)
                    left = time_left(pace * (total - done)) if done < total else ""
                    told = f"refit {done} of {total}, to {format_time(window.time[-1])}"
                    if fit.rejected:
                        told += f", is rejected: R-hat {fit.rhat:.3f}, {fit.diverging} draws diverged"
                    if fit.rejected or not console.is_terminal:
                        console.print(f"{told}  {left}", highlight=False, soft_wrap=True)
                    next_ = f"refit {min(done + 1, total)} of {total}"
                    bar.update(task, completed=done, description=next_, left=left)
                    if stop.is_set:
                        break
        except KeyboardInterrupt:
            pass
        if fit is None or len(refits) < total:
            where = f"{kept} of {total} windows are kept in {self.out / REFITS}"
            said = f"stopped; {where}, and the same command goes on after them"
            console.print(said, highlight=False, soft_wrap=True)
            return None
        return fit, refits

    @property
    def _years_per_bar(self) -> float | None:
        return None if self.bars_per_year is None else 1 / self.bars_per_year


def _counts(refits: pl.DataFrame) -> dict[str, int]:
    return {"windows": len(refits), "rejected": int(refits["rejected"].sum())}


def _table(fit: HestonFit) -> Table:
    table = Table(
        title=f"Heston, per year; {len(fit.sample.returns):,} returns, {len(fit.sample.blocks):,} blocks"
    )
    for i, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if i else "left")
    for label, *cells in parameter_rows(fit):
        table.add_row(label, *cells)
    return table
