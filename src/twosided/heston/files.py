"""Files of a calibration: draws, filtered variance, diagnostics, the process for a market, and a table of refits."""

import hashlib
import io
import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from numpy import ndarray

from twosided.core import store
from twosided.core.errors import Refusal
from twosided.data.bars import Bars
from twosided.heston.fit import HestonFit
from twosided.heston.transition import Parameters
from twosided.settings import load

DRAWS, ABOUT, PROCESS, VARIANCE = "draws.parquet", "about.json", "heston.toml", "variance.parquet"
REFITS = "refits.parquet"


def write_fit(folder: Path, fit: HestonFit) -> None:
    """Write draws.parquet, variance.parquet and about.json, and heston.toml unless the fit is rejected.

    heston.toml is a value for --market.price.
    """
    chains, draws = next(iter(fit.draws.values())).shape
    frame = {
        "chain": np.repeat(np.arange(chains), draws),
        "draw": np.tile(np.arange(draws), chains),
        **{name: x.ravel() for name, x in fit.draws.items()},
        "energy": fit.chains.energy.ravel(),
        "diverging": fit.chains.diverging.ravel(),
        "num_steps": fit.chains.num_steps.ravel(),
    }
    store.write_frame(folder / DRAWS, pl.DataFrame(frame))
    columns = dict(zip(("mean", "low", "high"), fit.variance.T, strict=True))
    store.write_frame(folder / VARIANCE, pl.DataFrame({"time": fit.sample.time, **columns}))
    if fit.rejected:
        store.remove(folder / PROCESS)
    else:
        store.write(folder / PROCESS, _process_file(fit))
    store.write(folder / ABOUT, json.dumps(about(fit), indent=1))


def remove_fit(folder: Path) -> None:
    """Remove the files of a fit, but not the table of refits."""
    for name in (DRAWS, VARIANCE, PROCESS, ABOUT, store.REPORT):
        store.remove(folder / name)


def read_draws(folder: Path) -> dict[str, Float[ndarray, "draws"]]:
    """Read the draws of each parameter, with the chains concatenated. Raises StoreError."""
    frame = store.read_frame(folder / DRAWS)
    names = [name for name in frame.columns if name in Parameters._fields]
    return {name: frame[name].to_numpy() for name in names}


def claim_refits(folder: Path, text: str) -> None:
    """Claim a folder for a calibration with the settings in `text` (TOML).

    Raises Refusal if the folder holds a calibration with other settings; --out and --json may differ.
    """
    if store.claim(folder, text, "calibration"):
        return
    stored, requested = load(folder / store.SETTINGS), tomllib.loads(text)
    if {**stored, "out": "", "json": False} != {**requested, "out": "", "json": False}:
        raise Refusal(f"{folder} holds a calibration with other settings; choose another --out, or remove it")


def read_refits(folder: Path, windows: Sequence[Bars]) -> pl.DataFrame:
    """Read the refits that a folder already holds, which must be those of the first of these windows.

    Returns an empty frame if there are none. Raises Refusal if they are of other windows.
    """
    path = folder / REFITS
    if not path.exists():
        return pl.DataFrame()
    frame = store.read_frame(path)
    digests = [_digest(window) for window in windows[: len(frame)]]
    if "bars" not in frame.columns or frame["bars"].to_list() != digests:
        raise Refusal(f"{path} holds refits of other windows; choose another --out, or remove it")
    return frame


def refit_row(window: Bars, fit: HestonFit) -> dict[str, Any]:
    """Return the row of refits.parquet for a window: its end, a digest of its bars, estimates and diagnostics."""
    row: dict[str, Any] = {"time": float(window.time[-1]), "bars": _digest(window)}
    for name, summary in fit.summaries.items():
        row |= {name: summary.median, f"{name}_low": summary.low, f"{name}_high": summary.high}
    row |= dict(zip(("variance", "variance_low", "variance_high"), map(float, fit.variance[-1]), strict=True))
    return row | {
        "rhat": fit.rhat,
        "effective_samples": fit.effective_samples,
        "diverging": fit.diverging,
        "rejected": fit.rejected,
    }


def about(fit: HestonFit) -> dict[str, Any]:
    """Return the content of about.json: data, settings, estimates, diagnostics and timings of a fit."""
    return {
        "sources": list(fit.sample.sources),
        "bars": fit.sample.num_bars,
        "returns": len(fit.sample.returns),
        "gaps": fit.sample.num_gaps,
        "block": fit.sample.size,
        "blocks": len(fit.sample.blocks),
        "years_per_bar": fit.sample.years_per_bar,
        "prior": fit.prior.name,
        "likelihood": fit.likelihood,
        "sampling": asdict(fit.sampling),
        "parameters": {name: asdict(summary) for name, summary in fit.summaries.items()},
        "variance_today": dict(zip(("mean", "low", "high"), map(float, fit.variance[-1]), strict=True)),
        "rhat": fit.rhat,
        "effective_samples": fit.effective_samples,
        "effective_samples_per_second": fit.effective_samples / fit.chains.sampling_seconds,
        "diverging": fit.diverging,
        "e_bfmi": fit.e_bfmi,
        "grid_error": fit.grid_error,
        "sampling_seconds": fit.chains.sampling_seconds,
        "compile_seconds": fit.chains.compile_seconds,
        "num_gradients": fit.chains.num_gradients,
        "warnings": fit.warnings,
        "rejected": fit.rejected,
    }


def _digest(bars: Bars) -> str:
    """Return a digest of everything that a fit uses of the bars, to detect a file that has changed."""
    used = np.concatenate([[bars.seconds], bars.time, bars.price.close])
    return hashlib.sha256(used.tobytes()).hexdigest()[:16]


def _process_file(fit: HestonFit) -> str:
    """Return the process as TOML settings, with 90% intervals as comments."""
    process, out = fit.process(), io.StringIO()
    sources = "".join(c if c.isprintable() else "?" for c in " and ".join(fit.sample.sources))
    out.write(
        f"# Heston model at posterior medians, in years; fitted to {len(fit.sample.returns)} returns of {sources}.\n"
    )
    out.write('kind = "heston"\n')
    symbols = {
        "mean_reversion": "kappa",
        "long_run_variance": "theta",
        "vol_of_vol": "sigma",
        "correlation": "rho",
        "drift": "mu",
    }
    for name in (
        "initial",
        "drift",
        "initial_variance",
        "mean_reversion",
        "long_run_variance",
        "vol_of_vol",
        "correlation",
        "time_step",
    ):
        out.write(f"{name} = {float(getattr(process, name))!r}")
        if symbols.get(name) in fit.summaries:
            summary = fit.summaries[symbols[name]]
            out.write(f"  # 90% interval: {summary.low:.4g} to {summary.high:.4g}")
        if name == "initial_variance":
            out.write(
                f"  # at the end of the data; 90% interval: {fit.variance[-1, 1]:.4g} to {fit.variance[-1, 2]:.4g}"
            )
        out.write("\n")
    return out.getvalue()
