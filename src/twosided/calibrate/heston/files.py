"""The files of a calibration: its draws, its variances, what it says of itself, and the process for a market."""

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from numpy import ndarray

from twosided import store
from twosided.calibrate.heston.fit import HestonFit
from twosided.calibrate.heston.law import Parameters

DRAWS, ABOUT, PROCESS, VARIANCE = "draws.parquet", "about.json", "heston.toml", "variance.parquet"


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


def read_draws(folder: Path) -> dict[str, Float[ndarray, "draws"]]:
    """The parameters' draws, all chains one after the other. Raises StoreError."""
    frame = store.read_frame(folder / DRAWS)
    kept = [name for name in frame.columns if name in Parameters._fields]
    return {name: frame[name].to_numpy() for name in kept}


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
