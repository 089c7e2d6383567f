"""Sampler on a known target, diagnostics with known answers, priors, and calibrations to simulated bars."""

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
from twosided.heston.blocks import make_sample
from twosided.heston.checks import (
    STATISTICS,
    Design,
    check_data_sets,
    posterior_predictive,
    simulate_returns,
    simulate_sample,
    statistics,
)
from twosided.heston.files import read_draws, write_fit
from twosided.heston.fit import fit_heston, rolling_fits
from twosided.heston.grid import initial_grid
from twosided.heston.posterior import MAX_START_RISE, find_mode, grid_potential, pull_toward_mode
from twosided.heston.priors import (
    GorePrior,
    InverseGamma,
    LogNormal,
    LogNormalAroundTheta,
    Normal,
    TruncatedNormal,
    Uniform,
    WeakPrior,
    constrain,
    draw_prior,
    initial_point,
    log_prior,
    unconstrain,
)
from twosided.heston.process import Heston
from twosided.heston.sampler import Sampling, bounded_potential, e_bfmi, run_chains, summarize
from twosided.heston.transition import Parameters
from twosided.prices.bars import simulate_bars
from twosided.settings import build, load, read

pytestmark = [pytest.mark.extended, pytest.mark.optimised]
SHORT = Sampling(num_chains=2, num_warmup=50, num_samples=50)
TRUTH = Heston(
    initial_variance=0.04,
    mean_reversion=3.0,
    long_run_variance=0.05,
    vol_of_vol=0.6,
    correlation=-0.6,
    time_step=1 / 252,
)


def daily_bars(number=161, seed=3):
    return simulate_bars(TRUTH, number, substeps=1, seconds=86_400.0, seed=seed)[0]


@functools.cache
def small_fit():
    return fit_heston(make_sample(daily_bars(), size=4, years_per_bar=1 / 252), sampling=SHORT, points=32)


# --- The sampler and its diagnostics ---


def normal_potential(z, data):
    mean, precision = data
    return (z - mean) @ precision @ (z - mean) / 2


@pytest.mark.parametrize("sampler", ["nuts", "hmc"])
def test_sampler_recovers_a_normal_distribution(sampler):
    """Means within 4.5 standard errors, by the effective sample size; variances within 30%."""
    covariance = np.array([[1.0, 0.8], [0.8, 4.0]])
    data = jnp.asarray([1.0, -2.0]), jnp.asarray(np.linalg.inv(covariance))
    settings = Sampling(sampler=sampler, num_chains=3, num_warmup=150, num_samples=400, trajectory_length=1.5)
    chains = run_chains(normal_potential, data, jnp.zeros((3, 2)), jnp.eye(2), settings, seed=1)
    assert chains.z.shape == (3, 400, 2)
    assert not chains.diverging.any()
    for i, mean in enumerate((1.0, -2.0)):
        found = summarize(chains.z[..., i])
        assert abs(found.mean - mean) < 4.5 * np.sqrt(covariance[i, i] / found.ess_bulk)
        assert found.rhat < 1.03
        assert found.std**2 == pytest.approx(covariance[i, i], rel=0.3)
    assert e_bfmi(chains.energy) > 0.5
    again = run_chains(normal_potential, data, jnp.zeros((3, 2)), jnp.eye(2), settings, seed=1)
    np.testing.assert_array_equal(again.z, chains.z)


def test_chains_do_not_step_to_where_the_gradient_overflows():
    """Without the bound, one chain of this fit steps to a potential of 1e20 with a kinetic energy of minus infinity."""
    assert small_fit().chains.energy.max() < 100
    assert float(bounded_potential(jnp.asarray(3.0))) == 3.0
    assert (
        float(bounded_potential(jnp.asarray(1e20)))
        == float(bounded_potential(jnp.asarray(jnp.nan)))
        == np.inf
    )


def test_ctrl_c_stops_the_chains_early():
    reports = []

    def interrupt(share):
        reports.append(share)
        if len(reports) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)

    data, settings = (jnp.zeros(1), jnp.eye(1)), Sampling(num_chains=2, num_warmup=20, num_samples=5000)
    # A process that a shell runs in the background ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_chains(normal_potential, data, jnp.zeros((2, 1)), jnp.ones(1), settings, 0, interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(reports) < 100, "all chunks would be 202"


def test_diagnostics_match_known_values():
    rng = np.random.default_rng(0)
    independent = summarize(rng.normal(size=(4, 2000)))
    assert independent.rhat < 1.003
    assert independent.ess_bulk == pytest.approx(8000, rel=0.1)
    # AR(1): n (1 - φ) / (1 + φ) effective draws of the mean.
    z = rng.normal(size=(4, 4000))
    for i in range(1, 4000):
        z[:, i] = 0.9 * z[:, i - 1] + np.sqrt(1 - 0.81) * z[:, i]
    assert summarize(z).ess_bulk == pytest.approx(16_000 * 0.1 / 1.9, rel=0.25)
    shifted = rng.normal(size=(4, 500))
    shifted[0] += 1
    assert summarize(shifted).rhat > 1.05
    wide = rng.normal(size=(4, 500))
    wide[0] *= 3
    assert summarize(wide).rhat > 1.05, "equal means, different widths"
    bound = np.minimum(rng.normal(size=(4, 2000)), 1.0)
    with np.errstate(invalid="raise"):
        assert summarize(bound).ess_tail == pytest.approx(8000, rel=0.1), (
            "although the 95% quantile equals the bound"
        )
    assert e_bfmi(np.cumsum(rng.normal(size=(2, 500)), axis=1)) < 0.1


# --- Priors ---


@pytest.mark.parametrize("prior", [WeakPrior(), GorePrior(), WeakPrior(mu=Normal(0.1, 0.2))])
def test_transform_is_invertible_and_density_includes_its_jacobian(prior):
    drawn = jax.vmap(lambda key: draw_prior(prior, key))(jax.random.split(jax.random.key(0), 3))
    first = jax.tree.map(lambda leaf: leaf[0], drawn)
    z = unconstrain(prior, first)
    for a, b in zip(first, constrain(prior, z), strict=True):
        assert float(a) == pytest.approx(float(b), rel=1e-4, abs=1e-6)
    # log p(z) = log p(parameters) + log |d parameters / d z|, checked as a difference in one coordinate.
    i = prior.names.index("kappa")
    distribution = (
        stats.lognorm(1.5, scale=5.0)
        if isinstance(prior, WeakPrior)
        else stats.truncnorm(-5, np.inf, 2.5, 0.5)
    )
    logs = [float(log_prior(prior, z.at[i].set(np.log(k)))) for k in (2.0, 3.0)]
    exact = np.diff(distribution.logpdf([2.0, 3.0]) + np.log([2.0, 3.0]))[0]
    assert logs[1] - logs[0] == pytest.approx(exact, rel=1e-3)


def test_prior_draws_match_moments_of_their_distributions():
    prior = GorePrior()
    drawn = jax.vmap(lambda key: draw_prior(prior, key))(jax.random.split(jax.random.key(1), 20_000))
    assert np.mean(drawn.kappa) == pytest.approx(2.5, abs=0.02)
    assert np.median(drawn.theta) == pytest.approx(stats.invgamma(3, scale=0.4).median(), rel=0.02)
    assert np.mean(drawn.rho) == pytest.approx(-0.5, abs=0.01)
    assert not np.any(drawn.mu)


def test_initial_point_is_inside_the_prior_support():
    prior = WeakPrior(kappa=Uniform(low=0.0, high=20.0), rho=Uniform(low=0.0, high=1.0))
    guess = Parameters(*(jnp.asarray(x) for x in (8766.0, 0.05, 0.5, -0.1, 0.04, 0.0)))
    start = constrain(prior, initial_point(prior, guess))
    np.testing.assert_allclose(start, (10.0, 0.05, 0.5, 0.5, 0.04, 0.0), rtol=1e-5)


def test_fit_with_chains_that_do_not_move_is_rejected():
    still = replace(small_fit(), summaries=small_fit().summaries | {"rho": summarize(np.zeros((2, 50)))})
    assert np.isnan(still.rhat) and still.rejected
    assert still.warnings[0].startswith("The chains have not converged: R-hat of rho is nan")


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (LogNormal, {"median": 0.0}, "median must be positive and finite, but got 0"),
        (InverseGamma, {"shape": -1.0}, "shape must be positive and finite, but got -1"),
        (TruncatedNormal, {"std": 0.0}, "std must be positive and finite, but got 0"),
        (Uniform, {"low": 1.0, "high": 1.0}, r"high must be finite and above low \(1.0\), but got 1"),
        (Uniform, {"high": np.inf}, r"high must be finite and above low \(-1.0\), but got inf"),
        (WeakPrior, {"rho": Normal()}, "rho must be a distribution of values from -1 to 1, but got 'Normal"),
        (
            WeakPrior,
            {"kappa": Uniform()},
            "kappa must be a distribution of positive values, but got 'Uniform",
        ),
        (
            WeakPrior,
            {"theta": LogNormalAroundTheta()},
            "theta must be a distribution that does not depend on θ, but got 'LogNormalAroundTheta",
        ),
        (Sampling, {"num_chains": 1}, "num_chains must be from 2 to 64, but got 1"),
        (Sampling, {"target_accept_prob": 1.0}, r"target_accept_prob must be in \(0, 1\), but got 1"),
    ],
)
def test_bad_priors_and_settings_are_refused(cls, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        cls(**arguments)


# --- Calibrations ---


def test_fit_covers_the_truth_and_its_files_read_back(tmp_path):
    fit = small_fit()
    assert set(fit.draws) == {"kappa", "theta", "sigma", "rho", "v0"}
    assert np.all((fit.variance[:, 1] < fit.variance[:, 0]) & (fit.variance[:, 0] < fit.variance[:, 2]))
    for name, truth in (("theta", 0.05), ("sigma", 0.6), ("rho", -0.6), ("kappa", 3.0)):
        # Eight months hold little information: within 3 posterior std of the logarithm, or of ρ itself.
        draws, exact = (fit.draws[name], truth) if name == "rho" else (np.log(fit.draws[name]), np.log(truth))
        assert abs(draws.mean() - exact) < 3 * draws.std(), (name, fit.summaries[name])
    write_fit(tmp_path, fit)
    np.testing.assert_array_equal(read_draws(tmp_path)["theta"], fit.draws["theta"].ravel())
    frame = pl.read_parquet(tmp_path / "variance.parquet")
    assert frame.columns == ["time", "mean", "low", "high"]
    if not fit.rejected:
        process = build(
            read(
                "twosided.heston.process:Heston",
                {k: v for k, v in load(tmp_path / "heston.toml").items() if k != "kind"},
            )
        )
        assert process == fit.process()
        assert process.initial_variance == fit.variance[-1, 0]


def test_distant_starts_are_pulled_toward_the_mode():
    fit = small_fit()
    blocks, potential = fit.sample.blocks, grid_potential(fit.prior)
    z = np.median(fit.chains.z, axis=(0, 1))
    # At the second start the variance hardly moves, and only with the price.
    far = z + np.array([[0.3, 0.1, 0.1, 0.1, 0.1], [-4.0, 0.0, -8.0, -6.0, 0.0]])
    near = pull_toward_mode(fit.prior, blocks, fit.grid, z, far)
    np.testing.assert_array_equal(near[0], far[0])
    values = [float(potential(jnp.asarray(x), (blocks, fit.grid))) for x in (z, far[1], near[1])]
    assert values[1] - values[0] > MAX_START_RISE > values[2] - values[0]
    share = (near[1] - z)[[0, 2, 3]] / (far[1] - z)[[0, 2, 3]]
    np.testing.assert_allclose(share, share[0])
    assert np.log2(share[0]) % 1 == pytest.approx(0)


def test_find_mode_converges_from_a_steep_start():
    """From this guess an unscaled first step leads to a vol of vol of 200, from which the search does not return."""
    truth = Parameters(*(jnp.asarray(x) for x in (4.0, 0.05, 0.6, -0.6, 0.04, 0.0)))
    key = jax.random.split(jax.random.fold_in(jax.random.key(0), 8))[1]
    design = Design(returns=5000, block=5, source="heston", substeps=8)
    prior, blocks = WeakPrior(), simulate_sample(truth, key, design)[0].blocks
    grid = initial_grid(blocks)
    gradient = jax.jit(jax.grad(grid_potential(prior)))
    guess = Parameters(*(jnp.asarray(x) for x in (2.96, 0.058, 0.4825, -0.1, 0.0665, 0.0)))
    mode = find_mode(prior, blocks, grid, np.asarray(unconstrain(prior, guess), float))
    assert np.abs(gradient(jnp.asarray(mode, jnp.float32), (blocks, grid))).max() < 0.5
    assert float(constrain(prior, jnp.asarray(mode)).sigma) == pytest.approx(0.6, rel=0.3)


@pytest.mark.slow
def test_path_and_grid_likelihoods_give_the_same_posterior():
    """Means of log θ and log σ agree within 0.35 std, about four standard errors at 150 effective draws."""
    data = make_sample(daily_bars(81), size=4, years_per_bar=1 / 252)
    settings = Sampling(num_chains=2, num_warmup=200, num_samples=400)
    grid, path = (
        fit_heston(data, sampling=settings, points=32, likelihood=kind, seed=2) for kind in ("grid", "path")
    )
    for name in ("theta", "sigma"):
        a, b = (np.log(fit.draws[name]) for fit in (grid, path))
        assert abs(a.mean() - b.mean()) < 0.35 * a.std(), name
        assert 0.6 < a.std() / b.std() < 1.6, name


def test_rolling_fits_start_from_the_previous_one_and_use_no_later_bar():
    bars = daily_bars(211)
    settings = {"sampling": SHORT, "block": 4, "years_per_bar": 1 / 252, "points": 32}
    fits = list(rolling_fits(bars, 161, 25, **settings))
    assert [end for end, _ in fits] == [161, 186, 211]
    previous = [fit for _, fit in fits[:-1]]
    assert [fit.sampling.num_warmup for _, fit in fits] == [
        50,
        *(50 if fit.rejected else 20 for fit in previous),
    ]
    truncated = list(rolling_fits(bars[:186], 161, 25, **settings))
    for (_, a), (_, b) in zip(fits, truncated, strict=False):
        np.testing.assert_array_equal(a.draws["theta"], b.draws["theta"])


def test_refit_shortens_warmup_unless_the_previous_fit_was_rejected():
    fit, (none, all_) = small_fit(), (np.full((2, 50), diverging) for diverging in (False, True))
    converged = {name: replace(found, rhat=1.0) for name, found in fit.summaries.items()}
    for diverging, num_warmup in ((none, 20), (all_, 50)):
        start = replace(fit, summaries=converged, chains=fit.chains._replace(diverging=diverging))
        assert (
            fit_heston(fit.sample, sampling=SHORT, points=32, start=start).sampling.num_warmup == num_warmup
        )


def test_posterior_predictive_covers_the_data_and_statistics_are_exact():
    fit = small_fit()
    found = posterior_predictive(fit, number=40)
    assert set(found) == set(STATISTICS)
    assert all(len(values) == 40 for values in found.values())
    observed = statistics(fit.sample.returns, fit.sample.years_per_bar)
    # The data come from the model, so that their volatility is among the simulated ones.
    assert found["volatility"].min() < observed["volatility"] < found["volatility"].max()
    known = statistics(np.array([0.01, -0.01, 0, 0] * 25), 1 / 252)
    assert known["volatility"] == pytest.approx(0.01 * np.sqrt(252 / 2))
    assert known["kurtosis"] == pytest.approx(2)
    assert known["skewness"] == pytest.approx(0, abs=1e-12)


def test_simulated_returns_have_the_stationary_variance():
    p = Parameters(*(jnp.full(500, x) for x in (3.0, 0.05, 0.6, -0.6, 0.05, 0.0)))
    returns, last = simulate_returns(p, jax.random.split(jax.random.key(0), 500), 100, 1 / 252, 2)
    squares = np.asarray(returns, float) ** 2 * 252
    means = squares.mean(1)
    assert abs(means.mean() - 0.05) < 4 * means.std() / np.sqrt(500)
    assert abs(np.mean(last) - 0.05) < 4 * np.std(last) / np.sqrt(500)


@pytest.mark.slow
def test_simulation_based_calibration_ranks_are_uniform():
    """A small version of benchmarks/heston_calibration.py: 6 data sets; a false alarm in one of 1,000 runs."""
    prior = GorePrior()
    results = list(check_data_sets(prior, Design(returns=60, block=2), SHORT, range(6)))
    for name in ("theta", "sigma", "v0"):
        ranks = np.array([result.ranks[name] for result in results])
        assert stats.kstest(ranks, "uniform").pvalue > 3e-4, (name, ranks)
    again = next(check_data_sets(prior, Design(returns=60, block=2), SHORT, range(3, 4)))
    assert again.truth == results[3].truth, "a data set does not depend on those before it"
    heston, end = simulate_sample(
        draw_prior(prior, jax.random.key(0)), jax.random.key(1), Design(returns=60, source="heston")
    )
    assert len(heston.blocks) == 60
    assert end >= 0


def test_command_writes_report_and_json(tmp_path, capsys):
    write_bars(tmp_path / "bars.csv", daily_bars())
    out = str(tmp_path / "out")
    arguments = ["calibrate", "heston", str(tmp_path / "bars.csv"), "--out", out, "--bars-per-year", "252"]
    # The settings of `small_fit`, so that nothing is compiled again.
    arguments += ["--sampling.num-chains", "2", "--sampling.num-warmup", "50", "--sampling.num-samples", "50"]
    arguments += ["--block", "4", "--points", "32", "--json"]
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    found = json.loads(capsys.readouterr().out)
    assert exit_.value.code == (1 if found["rejected"] else 0)
    assert found["blocks"] == 40
    median = found["parameters"]["theta"]["median"]
    assert median == pytest.approx(small_fit().summaries["theta"].median, rel=1e-3)
    page = (tmp_path / "out" / "report.html").read_text()
    for title in ("Posterior pairs", "Ranks", "one chain and the mean of chains"):
        assert title in page
    assert ("The chains agree." in page) == (not found["warnings"]) == ("evaluation bad" not in page)
    assert f"error of the grid, log likelihood</dt><dd>{found['grid_error']:.2g}<" in page
    with pytest.raises(SystemExit) as exit_:
        main(["calibrate", "heston", str(tmp_path / "no.csv"), "--prior", "gore-prior"])
    assert exit_.value.code == 2
    assert "cannot be read" in capsys.readouterr().err
