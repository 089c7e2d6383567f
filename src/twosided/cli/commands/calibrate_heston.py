"""Calibration of the Heston model: `twosided calibrate heston`."""

import json as json_format
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from twosided.cli.heston_page import COLUMNS, heston_page, parameter_rows
from twosided.cli.heston_refits import Refits
from twosided.core import store
from twosided.core.errors import Refusal
from twosided.core.validation import check, check_seed
from twosided.data.bar_files import FIELDS, read_bars
from twosided.data.bars import Bars
from twosided.data.formats import parse_columns
from twosided.heston.blocks import make_sample
from twosided.heston.files import PROCESS, REFITS, about, write_fit
from twosided.heston.fit import HestonFit, Likelihood, fit_heston
from twosided.heston.grid import DEFAULT_POINTS
from twosided.heston.priors import Prior, WeakPrior
from twosided.heston.sampler import Sampling
from twosided.settings import Settings, dump


@dataclass(frozen=True)
class CalibrateHeston:
    """Sample the parameters of the Heston model from bars, diagnose the chains, and write the process and a report.

    Refits are saved one by one, so the same command resumes after the last window of one that was stopped.

    Examples:

        twosided calibrate heston EURUSD.csv --window 20000
        twosided calibrate heston EURUSD.csv --window 20000 --refit 1440
    """

    files: tuple[Path, ...]
    """Bars of one price, or of bid and ask in one file or two (CSV or Parquet; plain, .gz or .zip)."""
    timezone: str = "UTC"
    """Time zone of dates without an offset, such as Europe/London."""
    columns: tuple[str, ...] = ()
    """Columns whose names are not recognised, such as time=opened,close=last; by number, such as close=5, in a file
    without a header."""
    format: str = ""
    """Form of times and numbers that cannot be detected: dmy, mdy or ymd; s, ms, us or ns (since 1970); decimal-comma
    or decimal-point; or a pattern such as %d/%m/%Y %H:%M."""
    window: int | None = None
    """Number of last bars to use. Default: all."""
    refit: int | None = None
    """Bars between refits of `window` bars, each warm-started from the one before and using no later bar. Default: fit
    only the last bars of the file."""
    bars_per_year: float | None = None
    """Bars per year of trading time, such as 252 for days of an exchange. Default: from whole weeks of the fitted bars,
    with refits those of the first window, or else of all bars; required for less than a week."""
    block: int | None = None
    """Returns per block, within which the variance is nearly constant. Default: as many as make `blocks`."""
    blocks: int = 500
    """Largest number of blocks, where `block` is not given."""
    likelihood: Likelihood = "grid"
    """Treatment of the variance: integrated out on a grid, or its path sampled along with the parameters."""
    points: int = DEFAULT_POINTS
    """Points of the grid, from 16 to 512."""
    prior: Prior = WeakPrior()
    """Prior distribution of the parameters, per year."""
    sampling: Sampling = Sampling()
    """Sampler and its settings."""
    out: Path = Path("heston")
    """Output folder of the draws, the filtered variance, the process (heston.toml) and the report."""
    seed: int = 0
    """Seed of all random numbers."""
    json: bool = False
    """Print the results as JSON. Progress goes to standard error."""

    def __post_init__(self):
        check_seed(self.seed)
        check("blocks", self.blocks, "at least 20", self.blocks >= 20)
        check("points", self.points, "from 16 to 512", 16 <= self.points <= 512)
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
        columns = parse_columns(self.columns, FIELDS)
        bars = read_bars(*self.files, timezone=self.timezone, columns=columns, format=self.format)
        text, last = dump(settings), bars if self.window is None else bars[-self.window :]
        if self.window is not None and self.refit is not None:
            found = Refits(
                out=self.out,
                window=self.window,
                every=self.refit,
                prior=self.prior,
                sampling=self.sampling,
                block=self.block,
                blocks=self.blocks,
                years_per_bar=self._years_per_bar,
                points=self.points,
                seed=self.seed,
            ).run(bars, text, console)
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
            console.print(f"report: {page}", highlight=False, soft_wrap=True)
            if not fit.rejected:
                toml = self.out / PROCESS
                console.print(f"process: {toml} (--market.price {toml})", highlight=False, soft_wrap=True)
        for warning in fit.warnings:
            console.print(f"[bold red]{warning}[/]", highlight=False)
        if fit.rejected:
            text = f"The chains disagree too much for the draws to be used: {PROCESS} is not written."
            console.print(f"[bold red]{text}[/]", highlight=False)
        return 1 if fit.rejected else 0

    def _fit(self, bars: Bars, console: Console) -> HestonFit:
        """Return the fit of these bars."""
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
