"""Refits of the Heston model in rolling windows, saved one by one so that they can be resumed."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from twosided.cli.terminal import stopping, time_left
from twosided.core import store
from twosided.core.errors import Refusal
from twosided.data.bars import Bars, format_time
from twosided.heston.blocks import make_sample
from twosided.heston.files import REFITS, claim_refits, read_refits, refit_row, remove_fit
from twosided.heston.fit import HestonFit, rolling_fits
from twosided.heston.priors import Prior
from twosided.heston.sampler import Sampling


@dataclass(frozen=True)
class Refits:
    """Refits of rolling windows into a folder."""

    out: Path
    """Folder of the refits."""
    window: int
    """Bars per window."""
    every: int
    """Bars between the ends of two windows."""
    prior: Prior
    sampling: Sampling
    block: int | None
    """Returns per block; None for as many as make `blocks` in the first window."""
    blocks: int
    """Largest number of blocks, where `block` is None."""
    years_per_bar: float | None
    """None for the calendar time of the first window."""
    points: int
    seed: int

    def run(self, bars: Bars, text: str, console: Console) -> tuple[HestonFit, pl.DataFrame] | None:
        """Return the fit of the last window and the table of all windows; None if the refits were stopped.

        Continues after the windows that the folder holds. The next window is fitted without a warm start, since no
        draws of the window before are kept. The last window is fitted even if the folder holds it, for its draws.
        `text` is the settings as TOML and identifies the refits. Raises Refusal.
        """
        if len(bars) < self.window:
            names = " and ".join(bars.sources)
            raise Refusal(f"{names}: {len(bars):,} bars, fewer than the {self.window:,} of a window")
        # The last window is to end at the last bar.
        rest = (len(bars) - self.window) % self.every
        bars = bars[rest:]
        ends = range(self.window, len(bars) + 1, self.every)
        windows = [bars[end - self.window : end] for end in ends]
        # Blocks and years of the first window hold for all windows, so that none uses a later bar.
        first = make_sample(
            windows[0], size=self.block, max_blocks=self.blocks, years_per_bar=self.years_per_bar
        )
        for later in windows[1:]:
            # Refuses unsuitable windows now; otherwise the same command would always stop at them.
            make_sample(later, size=first.size, years_per_bar=first.years_per_bar)
        claim_refits(self.out, text)
        kept = read_refits(self.out, windows)
        if rest:
            message = f"the oldest {rest:,} bars are left out, so that the last window ends at the last bar"
            console.print(message, highlight=False)
        if len(kept):
            console.print(f"{len(kept)} of {len(ends)} windows are already fitted", highlight=False)
        # Until the last window is fitted, the folder must not hold the fit of another as if it were the last.
        remove_fit(self.out)
        fits = rolling_fits(
            bars,
            self.window,
            self.every,
            self.prior,
            self.sampling,
            block=first.size,
            years_per_bar=first.years_per_bar,
            points=self.points,
            seed=self.seed,
            first_end=ends[min(len(kept), len(ends) - 1)],
        )
        return self._save((fit for _, fit in fits), windows, kept, console)

    def _save(
        self, fits: Iterator[HestonFit], windows: Sequence[Bars], refits: pl.DataFrame, console: Console
    ) -> tuple[HestonFit, pl.DataFrame] | None:
        """Save the table of windows after each fit. Return the last fit and the table; None if it was stopped."""
        total, started = len(windows), time.perf_counter()
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
                    pace = (time.perf_counter() - started) / (done - before)
                    left = time_left(pace * (total - done)) if done < total else ""
                    message = f"refit {done} of {total}, to {format_time(window.time[-1])}"
                    if fit.rejected:
                        message += f", is rejected: R-hat {fit.rhat:.3f}, {fit.diverging} draws diverged"
                    if fit.rejected or not console.is_terminal:
                        console.print(f"{message}  {left}", highlight=False, soft_wrap=True)
                    following = f"refit {min(done + 1, total)} of {total}"
                    bar.update(task, completed=done, description=following, left=left)
                    if stop.is_set:
                        break
        except KeyboardInterrupt:
            pass
        if fit is None or len(refits) < total:
            where = f"{kept} of {total} windows are kept in {self.out / REFITS}"
            message = f"stopped; {where}, and the same command resumes after them"
            console.print(message, highlight=False, soft_wrap=True)
            return None
        return fit, refits
