"""Sampling: a known target, diagnostics with known answers, priors, and calibrations of simulated bars."""

import functools
import json
import os
import signal
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from scipy import stats

from twosided.cli.main import main
from twosided.data.bar_files import write_bars
from twosided.heston.blocks import blocks_of
from twosided.heston.checks import (
    STATISTICS,
    Design,
    check_sets,
    predictive,
    simulate_returns,
    simulated_sample,
    statistics,
)
from twosided.heston.files import read_draws, write_fit
from twosided.heston.fit import fit_heston, rolling
from twosided.heston.grid import first_grid
from twosided.heston.law import Parameters
from twosided.heston.posterior import FURTHEST, brought_near, descend, grid_potential
from twosided.heston.priors import (
    AroundLevel,
    BayesianMarketMaker,
    InverseGamma,
    LogNormal,
    Normal,
    TruncatedNormal,
    Uniform,
    WeakPrior,
    constrain,
    draw_prior,
    log_prior,
    start_at,
    unconstrain,
)
from twosided.heston.process import Heston
from twosided.heston.sampler import Sampling, bounded, diagnose, energy_share, sample
from twosided.prices.bars import simulate_bars
from twosided.settings import build, load, read

pytest.importorskip("numpyro")
pytestmark = pytest.mark.optimised
FEW = Sampling(chains=2, warmup=50, draws=50)
TRUTH = Heston(
    initial_variance=0.04, reversion=3.0, level=0.05, vol_of_vol=0.6, correlation=-0.6, time_step=1 / 252
)


def bars(number=161, seed=3):
    return simulate_bars(TRUTH, number, substeps=1, seconds=86_400.0, seed=seed)[0]


@functools.cache
def fitted():
    return fit_heston(blocks_of(bars(), size=4, years_per_bar=1 / 252), sampling=FEW, points=32)


# --- The sampler and its diagnostics ---


def gaussian(z, data):
    mean, precision = data
    return (z - mean) @ precision @ (z - mean) / 2


@pytest.mark.parametrize("sampler", ["nuts", "hmc"])
def test_a_normal_law_is_sampled(sampler):
    """Means within 4.5 standard errors of as many effective draws, variances within 30%."""
    covariance = np.array([[1.0, 0.8], [0.8, 4.0]])
    data = jnp.asarray([1.0, -2.0]), jnp.asarray(np.linalg.inv(covariance))
    settings = Sampling(sampler=sampler, chains=3, warmup=150, draws=400, path=1.5)
    chains = sample(gaussian, data, jnp.zeros((3, 2)), jnp.eye(2), settings, seed=1)
    assert chains.z.shape == (3, 400, 2)
    assert not chains.diverging.any()
    for i, mean in enumerate((1.0, -2.0)):
        found = diagnose(chains.z[..., i])
        assert abs(found.mean - mean) < 4.5 * np.sqrt(covariance[i, i] / found.bulk)
        assert found.rhat < 1.03
        assert found.deviation**2 == pytest.approx(covariance[i, i], rel=0.3)
    assert energy_share(chains.energy) > 0.5
    again = sample(gaussian, data, jnp.zeros((3, 2)), jnp.eye(2), settings, seed=1)
    np.testing.assert_array_equal(again.z, chains.z)


def test_a_chain_takes_no_step_to_where_a_slope_overflows():
    """One of these chains did: the potential there is 1e20, and the kinetic energy came out as minus infinity."""
    assert fitted().chains.energy.max() < 100
    assert float(bounded(jnp.asarray(3.0))) == 3.0
    assert float(bounded(jnp.asarray(1e20))) == float(bounded(jnp.asarray(jnp.nan))) == np.inf


def test_ctrl_c_does_not_wait_for_the_chains_ends():
    chunks = []

    def interrupted(share):
        chunks.append(share)
        if len(chunks) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)

    data, settings = (jnp.zeros(1), jnp.eye(1)), Sampling(chains=2, warmup=20, draws=5000)
    # A shell starts what goes on in the background with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            sample(gaussian, data, jnp.zeros((2, 1)), jnp.ones(1), settings, 0, interrupted)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(chunks) < 100, "of 202"


def test_diagnostics_of_known_draws():
    rng = np.random.default_rng(0)
    independent = diagnose(rng.normal(size=(4, 2000)))
    assert independent.rhat < 1.003
    assert independent.bulk == pytest.approx(8000, rel=0.1)
    # AR(1): n (1 - φ) / (1 + φ) effective draws of the mean.
    z = rng.normal(size=(4, 4000))
    for i in range(1, 4000):
        z[:, i] = 0.9 * z[:, i - 1] + np.sqrt(1 - 0.81) * z[:, i]
    assert diagnose(z).bulk == pytest.approx(16_000 * 0.1 / 1.9, rel=0.25)
    apart = rng.normal(size=(4, 500))
    apart[0] += 1
    assert diagnose(apart).rhat > 1.05
    wide = rng.normal(size=(4, 500))
    wide[0] *= 3
    assert diagnose(wide).rhat > 1.05, "the same means, but other widths"
    bound = np.minimum(rng.normal(size=(4, 2000)), 1.0)
    with np.errstate(invalid="raise"):
        assert diagnose(bound).tail == pytest.approx(8000, rel=0.1), "though the 95% quantile is the bound"
    assert energy_share(np.cumsum(rng.normal(size=(2, 500)), axis=1)) < 0.1


# --- Priors ---


@pytest.mark.parametrize("prior", [WeakPrior(), BayesianMarketMaker(), WeakPrior(mu=Normal(0.1, 0.2))])
def test_vectors_and_parameters_are_one_to_one_and_densities_count_it(prior):
    drawn = jax.vmap(lambda key: draw_prior(prior, key))(jax.random.split(jax.random.key(0), 3))
    one = jax.tree.map(lambda leaf: leaf[0], drawn)
    z = unconstrain(prior, one)
    for a, b in zip(one, constrain(prior, z), strict=True):
        assert float(a) == pytest.approx(float(b), rel=1e-4, abs=1e-6)
    # log p(z) = log p(parameters) + log |d parameters / d z|, by a difference in one coordinate.
    i = prior.names.index("kappa")
    own = (
        stats.lognorm(1.5, scale=5.0)
        if isinstance(prior, WeakPrior)
        else stats.truncnorm(-5, np.inf, 2.5, 0.5)
    )
    logs = [float(log_prior(prior, z.at[i].set(np.log(k)))) for k in (2.0, 3.0)]
    exact = np.diff(own.logpdf([2.0, 3.0]) + np.log([2.0, 3.0]))[0]
    assert logs[1] - logs[0] == pytest.approx(exact, rel=1e-3)


def test_prior_draws_have_the_laws_moments():
    prior = BayesianMarketMaker()
    drawn = jax.vmap(lambda key: draw_prior(prior, key))(jax.random.split(jax.random.key(1), 20_000))
    assert np.mean(drawn.kappa) == pytest.approx(2.5, abs=0.02)
    assert np.median(drawn.theta) == pytest.approx(stats.invgamma(3, scale=0.4).median(), rel=0.02)
    assert np.mean(drawn.rho) == pytest.approx(-0.5, abs=0.01)
    assert not np.any(drawn.mu)


def test_a_search_begins_inside_a_prior_that_excludes_the_guess():
    prior = WeakPrior(kappa=Uniform(low=0.0, high=20.0), rho=Uniform(low=0.0, high=1.0))
    guess = Parameters(*(jnp.asarray(x) for x in (8766.0, 0.05, 0.5, -0.1, 0.04, 0.0)))
    begun = constrain(prior, start_at(prior, guess))
    np.testing.assert_allclose(begun, (10.0, 0.05, 0.5, 0.5, 0.04, 0.0), rtol=1e-5)


def test_chains_that_do_not_move_are_complained_of_and_refused():
    still = replace(fitted(), diagnoses=fitted().diagnoses | {"rho": diagnose(np.zeros((2, 50)))})
    assert np.isnan(still.rhat) and still.refused
    assert still.complaints[0].startswith("The chains disagree: R-hat of rho is nan")


@pytest.mark.parametrize(
    ("law", "arguments", "sentence"),
    [
        (LogNormal, {"median": 0.0}, "median must be positive and finite, but got 0"),
        (InverseGamma, {"shape": -1.0}, "shape must be positive and finite, but got -1"),
        (TruncatedNormal, {"deviation": 0.0}, "deviation must be positive and finite, but got 0"),
        (Uniform, {"low": 1.0, "high": 1.0}, r"high must be finite and above low \(1.0\), but got 1"),
        (Uniform, {"high": np.inf}, r"high must be finite and above low \(-1.0\), but got inf"),
        (WeakPrior, {"rho": Normal()}, "rho must be a law of numbers from -1 to 1, but got 'Normal"),
        (WeakPrior, {"kappa": Uniform()}, "kappa must be a law of positive numbers, but got 'Uniform"),
        (
            WeakPrior,
            {"theta": AroundLevel()},
            "theta must be a law that does not stand on θ, but got 'AroundLevel",
        ),
        (Sampling, {"chains": 1}, "chains must be from 2 to 64, but got 1"),
        (Sampling, {"acceptance": 1.0}, r"acceptance must be in \(0, 1\), but got 1"),
    ],
)
def test_bad_input(law, arguments, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        law(**arguments)


# --- Calibrations ---


def test_a_fit_its_files_and_what_reads_them(tmp_path):
    fit = fitted()
    assert set(fit.draws) == {"kappa", "theta", "sigma", "rho", "v0"}
    assert np.all((fit.variance[:, 1] < fit.variance[:, 0]) & (fit.variance[:, 0] < fit.variance[:, 2]))
    for name, truth in (("theta", 0.05), ("sigma", 0.6), ("rho", -0.6), ("kappa", 3.0)):
        d = fit.diagnoses[name]
        # 8 months say little: within three deviations of its logarithm, or of itself.
        draws, at = (fit.draws[name], truth) if name == "rho" else (np.log(fit.draws[name]), np.log(truth))
        assert abs(draws.mean() - at) < 3 * draws.std(), (name, d)
    write_fit(tmp_path, fit)
    np.testing.assert_array_equal(read_draws(tmp_path)["theta"], fit.draws["theta"].ravel())
    frame = pl.read_parquet(tmp_path / "variance.parquet")
    assert frame.columns == ["time", "mean", "low", "high"]
    if not fit.refused:
        process = build(
            read(
                "twosided.heston.process:Heston",
                {k: v for k, v in load(tmp_path / "heston.toml").items() if k != "kind"},
            )
        )
        assert process == fit.process()
        assert process.initial_variance == fit.variance[-1, 0]


def test_no_chain_starts_where_it_could_not_come_back_from():
    fit = fitted()
    blocks, potential = fit.sample.blocks, grid_potential(fit.prior)
    z = np.median(fit.chains.z, axis=(0, 1))
    # Of the second the variance would hardly move, and move with the price alone.
    far = z + np.array([[0.3, 0.1, 0.1, 0.1, 0.1], [-4.0, 0.0, -8.0, -6.0, 0.0]])
    near = brought_near(fit.prior, blocks, fit.grid, z, far)
    np.testing.assert_array_equal(near[0], far[0])
    height = [float(potential(jnp.asarray(at), (blocks, fit.grid))) for at in (z, far[1], near[1])]
    assert height[1] - height[0] > FURTHEST > height[2] - height[0]
    share = (near[1] - z)[[0, 2, 3]] / (far[1] - z)[[0, 2, 3]]
    np.testing.assert_allclose(share, share[0])
    assert np.log2(share[0]) % 1 == pytest.approx(0)


def test_the_search_for_the_mode_gets_there_from_where_the_slope_is_steep():
    """From this guess a first step along the whole slope goes to vols of vol of 200, and nowhere from there."""
    truth = Parameters(*(jnp.asarray(x) for x in (4.0, 0.05, 0.6, -0.6, 0.04, 0.0)))
    key = jax.random.split(jax.random.fold_in(jax.random.key(0), 8))[1]
    design = Design(returns=5000, block=5, source="heston", substeps=8)
    prior, blocks = WeakPrior(), simulated_sample(truth, key, design)[0].blocks
    grid = first_grid(blocks)
    slope = jax.jit(jax.grad(grid_potential(prior)))
    guess = Parameters(*(jnp.asarray(x) for x in (2.96, 0.058, 0.4825, -0.1, 0.0665, 0.0)))
    mode = descend(prior, blocks, grid, np.asarray(unconstrain(prior, guess), float))
    assert np.abs(slope(jnp.asarray(mode, jnp.float32), (blocks, grid))).max() < 0.5
    assert float(constrain(prior, jnp.asarray(mode)).sigma) == pytest.approx(0.6, rel=0.3)


@pytest.mark.slow
def test_the_path_gives_the_posterior_that_the_grid_gives():
    """Means of log θ and log σ: within a third of a deviation, about four errors of 150 effective draws."""
    data = blocks_of(bars(81), size=4, years_per_bar=1 / 252)
    settings = Sampling(chains=2, warmup=200, draws=400)
    grid, path = (
        fit_heston(data, sampling=settings, points=32, likelihood=kind, seed=2) for kind in ("grid", "path")
    )
    for name in ("theta", "sigma"):
        a, b = (np.log(fit.draws[name]) for fit in (grid, path))
        assert abs(a.mean() - b.mean()) < 0.35 * a.std(), name
        assert 0.6 < a.std() / b.std() < 1.6, name


def test_refits_start_from_the_last_one_and_know_no_later_bar():
    made = bars(211)
    how = {"sampling": FEW, "block": 4, "years_per_bar": 1 / 252, "points": 32}
    ends = list(rolling(made, 161, 25, **how))
    assert [end for end, _ in ends] == [161, 186, 211]
    before = [fit for _, fit in ends[:-1]]
    assert [fit.sampling.warmup for _, fit in ends] == [50, *(50 if fit.refused else 20 for fit in before)]
    cut = list(rolling(made[:186], 161, 25, **how))
    for (_, a), (_, b) in zip(ends, cut, strict=False):
        np.testing.assert_array_equal(a.draws["theta"], b.draws["theta"])


def test_a_refit_is_warmed_up_less_unless_the_fit_it_starts_from_was_refused():
    fit, (none, all_) = fitted(), (np.full((2, 50), diverging) for diverging in (False, True))
    agreed = {name: replace(found, rhat=1.0) for name, found in fit.diagnoses.items()}
    for diverging, warmup in ((none, 20), (all_, 50)):
        start = replace(fit, diagnoses=agreed, chains=fit.chains._replace(diverging=diverging))
        assert fit_heston(fit.sample, sampling=FEW, points=32, start=start).sampling.warmup == warmup


def test_predictive_statistics():
    fit = fitted()
    found = predictive(fit, number=40)
    assert set(found) == set(STATISTICS)
    assert all(len(values) == 40 for values in found.values())
    seen = statistics(fit.sample.returns, fit.sample.years_per_bar)
    # The data are of the model: its volatility is among the simulated ones.
    assert found["volatility"].min() < seen["volatility"] < found["volatility"].max()
    known = statistics(np.array([0.01, -0.01, 0, 0] * 25), 1 / 252)
    assert known["volatility"] == pytest.approx(0.01 * np.sqrt(252 / 2))
    assert known["kurtosis"] == pytest.approx(2)
    assert known["skewness"] == pytest.approx(0, abs=1e-12)


def test_simulated_data_sets_have_the_models_variance():
    p = Parameters(*(jnp.full(500, x) for x in (3.0, 0.05, 0.6, -0.6, 0.05, 0.0)))
    returns, last = simulate_returns(p, jax.random.split(jax.random.key(0), 500), 100, 1 / 252, 2)
    squares = np.asarray(returns, float) ** 2 * 252
    means = squares.mean(1)
    assert abs(means.mean() - 0.05) < 4 * means.std() / np.sqrt(500)
    assert abs(np.mean(last) - 0.05) < 4 * np.std(last) / np.sqrt(500)


@pytest.mark.slow
def test_ranks_of_simulated_data_sets_are_uniform():
    """A small run of the command in benchmarks/: 6 data sets; the chance that a right one fails is 1 in 1,000."""
    prior = BayesianMarketMaker()
    checked = list(check_sets(prior, Design(returns=60, block=2), FEW, range(6)))
    for name in ("theta", "sigma", "v0"):
        ranks = np.array([one.ranks[name] for one in checked])
        assert stats.kstest(ranks, "uniform").pvalue > 3e-4, (name, ranks)
    again = next(check_sets(prior, Design(returns=60, block=2), FEW, range(3, 4)))
    assert again.truth == checked[3].truth, "a data set is the same whatever is run before it"
    law, end = simulated_sample(
        draw_prior(prior, jax.random.key(0)), jax.random.key(1), Design(returns=60, source="heston")
    )
    assert len(law.blocks) == 60
    assert end >= 0


def test_the_command(tmp_path, capsys):
    write_bars(tmp_path / "bars.csv", bars())
    out = str(tmp_path / "out")
    words = ["calibrate", "heston", str(tmp_path / "bars.csv"), "--out", out, "--bars-per-year", "252"]
    # As `fitted` is, so that nothing has to be compiled again.
    words += ["--sampling.chains", "2", "--sampling.warmup", "50", "--sampling.draws", "50"]
    words += ["--block", "4", "--points", "32", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    found = json.loads(capsys.readouterr().out)
    assert ended.value.code == (1 if found["refused"] else 0)
    assert found["blocks"] == 40
    median = found["parameters"]["theta"]["median"]
    assert median == pytest.approx(fitted().diagnoses["theta"].median, rel=1e-3)
    page = (tmp_path / "out" / "report.html").read_text()
    for title in ("Posterior pairs", "Ranks", "one chain and the mean of chains"):
        assert title in page
    assert ("The chains agree." in page) == (not found["complaints"]) == ("evaluation bad" not in page)
    assert f"error of the grid, log likelihood</dt><dd>{found['misjudged']:.2g}<" in page
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", "heston", str(tmp_path / "no.csv"), "--prior", "bayesian-market-maker"])
    assert ended.value.code == 2
    assert "cannot be read" in capsys.readouterr().err
