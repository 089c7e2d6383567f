"""Page of a calibrated Heston model: estimates, diagnostics of the chains, and figures of model and data."""

import jax
import numpy as np
import polars as pl

from twosided.core import store
from twosided.core.dashboard import Section
from twosided.data.bars import Bars
from twosided.heston.blocks import realized_variance
from twosided.heston.checks import STATISTICS, posterior_predictive, statistics
from twosided.heston.fit import HestonFit
from twosided.heston.plots import (
    SYMBOLS,
    figure_marginals,
    figure_pairs,
    figure_predictive,
    figure_ranks,
    figure_refits,
    figure_theta,
    figure_traces,
    figure_volatility,
)
from twosided.heston.priors import draw_prior
from twosided.report.html import render
from twosided.report.pages import Provenance

COLUMNS = ("per year", "median", "90% interval", "R-hat", "effective: bulk", "tail")
"""Headings of the table of parameters."""
VOLATILITY = (
    "Filtered volatility at each time, from the bars up to that time only; the band includes the uncertainty of the "
    "parameters. Simulated paths start from the last value."
)
REFITS = (
    "Estimates of each window at its end, from no later bar. Rejected fits must not be used. Everything else on "
    "this page is of the last window."
)
MARGINALS = "Where a posterior looks like its prior, the data hold no information on that parameter."
PAIRS = (
    "Ridges are combinations of parameters that the data cannot distinguish. σ and κ, which together determine how "
    "far the variance moves from its mean, often lie on one."
)
PREDICTIVE = (
    "Statistics of data sets simulated from the posterior, each with its own draw of the parameters. A line far "
    "outside its histogram is a feature of the data that the model lacks."
)
TRACES = "Chains that have converged look alike and show no trend. A chain that stays apart has found another mode."
RANKS = (
    "The draws of a converged chain have all ranks equally often, so its line is level up to sampling noise."
)
LEVEL = (
    "The point-by-point mean of the chains varies less than one chain because it is a mean. It is not a better "
    "chain: its spread is not that of the posterior. Everything else on this page pools the draws instead."
)


def heston_page(
    fit: HestonFit, bars: Bars, seed: int = 0, settings: str = "", refits: pl.DataFrame | None = None
) -> str:
    """Return the page of a fit as HTML; with `refits`, of the refits of which it is the last."""
    keys = jax.random.split(jax.random.key(seed), 4000)
    drawn = jax.vmap(lambda key: draw_prior(fit.prior, key))(keys)
    prior = {name: np.asarray(getattr(drawn, name), float) for name in fit.draws}
    seen = statistics(fit.sample.returns, fit.sample.years_per_bar)
    simulated = posterior_predictive(fit, seed=seed)
    sections = (
        Section("Volatility", VOLATILITY, figure_volatility(fit, realized_variance(fit.sample.blocks))),
        *([] if refits is None else [Section("Refits", REFITS, figure_refits(refits))]),
        Section("Prior and posterior", MARGINALS, figure_marginals(fit.draws, prior)),
        Section("Posterior pairs", PAIRS, figure_pairs(fit.draws), min_width=640),
        Section("Posterior predictive checks", PREDICTIVE, figure_predictive(simulated, seen, STATISTICS)),
        Section("Traces", TRACES, figure_traces(fit.draws)),
        Section("Ranks", RANKS, figure_ranks(fit.draws)),
        Section("θ: one chain and the mean of chains", LEVEL, figure_theta(fit.draws["theta"])),
    )
    facts = {
        "prior": fit.prior.name,
        "likelihood": fit.likelihood,
        "sampler": fit.sampling.sampler,
        "effective samples per second": f"{fit.effective_samples / fit.chains.sampling_seconds:.3g}",
        "time of sampling": f"{fit.chains.sampling_seconds:.0f} s, {fit.chains.num_gradients:,} gradients",
        "divergences": str(fit.diverging),
        "E-BFMI": f"{fit.e_bfmi:.2f}",
        "error of the grid, log likelihood": f"{fit.grid_error:.2g}",
    }
    refusal = "Do not use these draws. " if fit.rejected else ""
    sample = fit.sample
    return render(
        "calibration.html.j2",
        "Calibration of the Heston model",
        f"Posterior of the parameters given {len(sample.returns):,} returns in {len(sample.blocks):,} blocks of "
        f"{sample.size}: how volatility moves, how uncertain that is, and whether the chains have converged.",
        message="The chains agree.",
        warning=refusal + " ".join(fit.warnings) if fit.warnings else "",
        parameters={"title": "Parameters", "columns": COLUMNS, "rows": parameter_rows(fit)},
        data={"title": "Bars", "facts": _bar_facts(bars, fit)},
        sections=sections,
        made=Provenance(f"twosided calibrate heston --settings {store.SETTINGS}", settings, facts),
    )


def parameter_rows(fit: HestonFit) -> list[list[str]]:
    """Return the estimates as text, a row per parameter, under the headings of `COLUMNS`."""
    rows = []
    for name, d in fit.summaries.items():
        interval = f"{d.low:.4g} to {d.high:.4g}"
        rows.append(
            [
                SYMBOLS[name],
                f"{d.median:.4g}",
                interval,
                f"{d.rhat:.3f}",
                f"{d.ess_bulk:.0f}",
                f"{d.ess_tail:.0f}",
            ]
        )
    mean, low, high = fit.variance[-1]
    return [*rows, ["variance today", f"{mean:.4g}", f"{low:.4g} to {high:.4g}", "", "", ""]]


def _bar_facts(bars: Bars, fit: HestonFit) -> dict[str, str]:
    """Return what was read of the bars, and how they were fitted."""
    # A fit may have been given another number of bars per year, or may have that of an earlier window.
    facts = dict(bars.summary()) | {"a year": f"{1 / fit.sample.years_per_bar:,.0f} bars"}
    facts["returns in a block"] = f"{fit.sample.size:,}"
    if fit.sample.num_gaps:
        facts["returns over gaps, left out"] = f"{fit.sample.num_gaps:,}"
    return facts
