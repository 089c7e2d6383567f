"""The files of a calibration: its draws, its variances, what it says of itself, and the process for a market; and of
refits, what each window said."""

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
from twosided.heston.law import Parameters
from twosided.settings import load

DRAWS, ABOUT, PROCESS, VARIANCE = "draws.parquet", "about.json", "heston.toml", "variance.parquet"
REFITS = "refits.parquet"


def write_fit(folder: Path, fit: HestonFit) -> None:
    """draws.parquet, variance.parquet, about.json, and heston.toml for --market.price unless the draws are refused."""
    chains, draws = next(iter(fit.draws.values())).shape
    frame = {
        "chain": np.repeat(np.arange(chains), draws),
        "draw": np.tile(np.arange(draws), chains),
        **{name: x.ravel() for name, x in fit.draws.items()},
        "energy": fit.chains.energy.ravel(),
        "diverging": fit.chains.diverging.ravel(),
        "steps": fit.chains.steps.ravel(),
    }
    store.write_frame(folder / DRAWS, pl.DataFrame(frame))
    columns = dict(zip(("mean", "low", "high"), fit.variance.T, strict=True))
    store.write_frame(folder / VARIANCE, pl.DataFrame({"time": fit.sample.time, **columns}))
    if fit.refused:
        store.remove(folder / PROCESS)
    else:
        store.write(folder / PROCESS, _process_file(fit))
    store.write(folder / ABOUT, json.dumps(about(fit), indent=1))


def unfit(folder: Path) -> None:
    """Remove what a fit has left, and nothing of refits."""
    for name in (DRAWS, VARIANCE, PROCESS, ABOUT, store.REPORT):
        store.remove(folder / name)


def read_draws(folder: Path) -> dict[str, Float[ndarray, "draws"]]:
    """The parameters' draws, all chains one after the other. Raises StoreError."""
    frame = store.read_frame(folder / DRAWS)
    kept = [name for name in frame.columns if name in Parameters._fields]
    return {name: frame[name].to_numpy() for name in kept}


def claim_refits(folder: Path, text: str) -> None:
    """Make the folder this calibration's own. Raises Refusal if it is another's; --out and --json decide no number."""
    if store.claim(folder, text, "calibration"):
        return
    held, asked = load(folder / store.SETTINGS), tomllib.loads(text)
    if {**held, "out": "", "json": False} != {**asked, "out": "", "json": False}:
        raise Refusal(f"{folder} holds a calibration with other settings; choose another --out, or remove it")


def read_refits(folder: Path, windows: Sequence[Bars]) -> pl.DataFrame:
    """The refits that are there already, of the first of these windows. Raises Refusal if they are of others."""
    path = folder / REFITS
    if not path.exists():
        return pl.DataFrame()
    frame = store.read_frame(path)
    known = [_digest(window) for window in windows[: len(frame)]]
    if "bars" not in frame.columns or frame["bars"].to_list() != known:
        raise Refusal(f"{path} is of other windows than the file now has; choose another --out, or remove it")
    return frame


def refit_row(window: Bars, fit: HestonFit) -> dict[str, Any]:
    """What refits.parquet says of a window: when it ends, which bars it has, and what was found."""
    row: dict[str, Any] = {"time": float(window.time[-1]), "bars": _digest(window)}
    for name, d in fit.diagnoses.items():
        row |= {name: d.median, f"{name}_low": d.low, f"{name}_high": d.high}
    row |= dict(zip(("variance", "variance_low", "variance_high"), map(float, fit.variance[-1]), strict=True))
    return row | {
        "rhat": fit.rhat,
        "effective": fit.effective,
        "diverging": fit.diverging,
        "refused": fit.refused,
    }


def about(fit: HestonFit) -> dict[str, Any]:
    """What a program may want to know of a fit."""
    return {
        "sources": list(fit.sample.sources),
        "bars": fit.sample.bars,
        "returns": len(fit.sample.returns),
        "gaps": fit.sample.gaps,
        "block": fit.sample.size,
        "blocks": len(fit.sample.blocks),
        "years_per_bar": fit.sample.years_per_bar,
        "prior": fit.prior.name,
        "likelihood": fit.likelihood,
        "sampling": asdict(fit.sampling),
        "parameters": {name: asdict(d) for name, d in fit.diagnoses.items()},
        "variance_today": dict(zip(("mean", "low", "high"), map(float, fit.variance[-1]), strict=True)),
        "rhat": fit.rhat,
        "effective": fit.effective,
        "effective_a_second": fit.effective / fit.chains.seconds,
        "diverging": fit.diverging,
        "energy_share": fit.energy_share,
        "misjudged": fit.misjudged,
        "seconds": fit.chains.seconds,
        "seconds_compiling": fit.chains.compiling,
        "gradients": fit.chains.gradients,
        "complaints": fit.complaints,
        "refused": fit.refused,
    }


def _digest(bars: Bars) -> str:
    """Of all that a fit knows of them, to tell whether a file still holds the same."""
    known = np.concatenate([[bars.seconds], bars.time, bars.price.close])
    return hashlib.sha256(known.tobytes()).hexdigest()[:16]


def _process_file(fit: HestonFit) -> str:
    """The process as settings take it, with intervals as comments."""
    process, out = fit.process(), io.StringIO()
    sources = "".join(c if c.isprintable() else "?" for c in " and ".join(fit.sample.sources))
    out.write(
        f"# The Heston model at the posterior's medians; years. From {len(fit.sample.returns)} returns of {sources}.\n"
    )
    out.write('kind = "heston"\n')
    of = {"reversion": "kappa", "level": "theta", "vol_of_vol": "sigma", "correlation": "rho", "drift": "mu"}
    for name in (
        "initial",
        "drift",
        "initial_variance",
        "reversion",
        "level",
        "vol_of_vol",
        "correlation",
        "time_step",
    ):
        out.write(f"{name} = {float(getattr(process, name))!r}")
        if of.get(name) in fit.diagnoses:
            d = fit.diagnoses[of[name]]
            out.write(f"  # 90% from {d.low:.4g} to {d.high:.4g}")
        if name == "initial_variance":
            out.write(f"  # today's; 90% from {fit.variance[-1, 1]:.4g} to {fit.variance[-1, 2]:.4g}")
        out.write("\n")
    return out.getvalue()
