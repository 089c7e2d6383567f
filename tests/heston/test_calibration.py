"""Heston calibration: moments of the block distribution, and both likelihoods against integrals and each other."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from twosided.core.errors import Refusal
from twosided.data.bars import OHLC, Bars
from twosided.heston.blocks import make_blocks, make_sample, realized_variance
from twosided.heston.checks import Design, simulate_sample
from twosided.heston.grid import (
    Grid,
    adapted_grid,
    filter_volatility,
    grid_error,
    initial_grid,
    log_likelihood,
    recenter_grid,
    widened_distributions,
)
from twosided.heston.moments import variance_moments
from twosided.heston.posterior import as_floats, posterior_mode
from twosided.heston.priors import WeakPrior, constrain
from twosided.heston.process import Heston
from twosided.heston.transition import (
    Parameters,
    joint_log_density,
    log_block_density,
    return_distribution,
    volatility_distribution,
)
from twosided.prices.bars import simulate_bars

pytestmark = pytest.mark.extended


def parameters(kappa=3.0, theta=0.05, sigma=0.6, rho=-0.6, v0=0.04, mu=0.0) -> Parameters:
    return Parameters(*(jnp.asarray(float(x)) for x in (kappa, theta, sigma, rho, v0, mu)))


@functools.cache
def daily_sample(number=300, size=1, seed=3):
    """Blocks of simulated daily bars, and the true variance after each return."""
    process = Heston(
        initial_variance=0.04,
        mean_reversion=3.0,
        long_run_variance=0.05,
        vol_of_vol=0.6,
        correlation=-0.6,
        time_step=1 / 252 / 4,
    )
    bars, states = simulate_bars(process, number + 1, substeps=4, seconds=86_400.0, seed=seed)
    return make_sample(bars, size=size, years_per_bar=1 / 252), np.asarray(states.variance, float)[1:]


# --- Blocks ---


def make_bars(closes, times=None):
    closes = np.asarray(closes, float)
    times = 60.0 * np.arange(len(closes)) if times is None else np.asarray(times, float)
    return Bars(times, OHLC(closes, closes, closes, closes), 60.0, sources=("test",))


def test_make_blocks_by_hand():
    rows = np.array([[0.01, 0.03, -0.02, 0.02], [0.0, 0.0, 0.04, 0.0]])
    blocks = make_blocks(rows, 0.25)
    np.testing.assert_allclose(blocks.scaled_return, [0.04, 0.04], rtol=1e-6)
    # First block: 0, 0.02², 0.03² and 0.01² about the mean 0.01, over a quarter of a year.
    np.testing.assert_allclose(blocks.sum_squares, [0.0056, 0.0048], rtol=1e-5)
    assert blocks.degrees_of_freedom == 3
    assert float(blocks.length) == 1.0
    assert make_blocks(rows[:, :1], 0.25).degrees_of_freedom == 0


def test_returns_over_gaps_are_left_out():
    rng = np.random.default_rng(0)
    times = np.concatenate([60.0 * np.arange(50), 1e6 + 60.0 * np.arange(50)])
    closes = np.exp(np.cumsum(0.01 * rng.normal(size=100)))
    closes[50:] *= 5
    sample = make_sample(make_bars(closes, times), size=4, years_per_bar=1e-3)
    assert (sample.num_gaps, sample.num_dropped, len(sample.blocks), len(sample.returns)) == (1, 2, 24, 96)
    assert np.abs(sample.returns).max() < 0.1, "the price jump over the gap is no return"
    assert sample.time[-1] == times[-1]


def test_unusable_bars_and_arguments_are_refused():
    with pytest.raises(
        Refusal, match=r"^test: 9 returns make 9 blocks of 1, but a calibration needs at least 20$"
    ):
        make_sample(make_bars(np.arange(1, 11)), years_per_bar=1e-3)
    with pytest.raises(Refusal, match=r"^test: the price never changes, so there is nothing to fit$"):
        make_sample(make_bars(np.ones(100)), years_per_bar=1e-3)
    with pytest.raises(ValueError, match=r"^years_per_bar must be positive and finite, but got -1"):
        make_sample(make_bars(np.arange(1, 101)), years_per_bar=-1)


# --- Distribution of a block ---


@pytest.mark.parametrize("sigma", [0.3, 0.6, 1.5], ids="vol-of-vol {}".format)
@pytest.mark.parametrize(("v", "length"), [(0.09, 1 / 52), (0.04, 1 / 252), (1e-3, 1 / 252), (0.04, 1e-6)])
def test_volatility_distribution_matches_exact_moments(v, length, sigma):
    """Exactly, V' is a scaled non-central χ²: its mean must match, and the moments of √V' to second order."""
    kappa, theta = 3.0, 0.05
    with jax.enable_x64(True):
        distribution = volatility_distribution(parameters(sigma=sigma), jnp.asarray(v), jnp.asarray(length))
    mean, std = map(float, distribution)
    moments = variance_moments(
        Heston(initial_variance=v, mean_reversion=kappa, long_run_variance=theta, vol_of_vol=sigma), length
    )
    assert mean**2 + std**2 == pytest.approx(moments.mean, rel=1e-6)
    if length < 1e-5:
        assert std == pytest.approx(sigma * np.sqrt(length) / 2, rel=1e-3)
        return
    scale = sigma**2 * -np.expm1(-kappa * length) / (4 * kappa)
    exact = stats.ncx2(4 * kappa * theta / sigma**2, v * np.exp(-kappa * length) / scale, scale=scale)
    assert exact.mean() == pytest.approx(moments.mean)
    y = np.sqrt(exact.ppf((np.arange(20_000) + 0.5) / 20_000))
    relative = moments.variance / moments.mean**2
    assert std == pytest.approx(y.std(), rel=0.001 + 0.15 * min(relative, 0.6) ** 2)


@pytest.mark.parametrize("days", [1, 5])
def test_block_distribution_matches_simulated_heston(days):
    """The normals implied by blocks simulated in 20 steps a day are standard and independent, within 4.5 errors."""
    length, number = days / 252, 40_000
    process = Heston(
        initial_variance=0.04,
        mean_reversion=3.0,
        long_run_variance=0.05,
        vol_of_vol=0.6,
        correlation=-0.6,
        time_step=1 / 252 / 20,
    )

    @jax.jit
    def blocks(key):
        start = process.reset(process.shocks(key, ()))

        def simulate(key):
            shocks = process.shocks(key, (20 * days,))
            last, _ = jax.lax.scan(lambda s, z: (process.step(s, z), None), start, shocks)
            return jnp.log(last.mid / 100) / jnp.sqrt(length), last.variance

        return jax.vmap(simulate)(jax.random.split(key, number))

    scaled_return, v_end = (np.asarray(a, float) for a in blocks(jax.random.key(0)))
    distribution = return_distribution(parameters(), jnp.asarray(length))
    intercept, end_slope, start_slope, residual = map(float, distribution)
    mean, std = map(float, volatility_distribution(parameters(), jnp.asarray(0.04), jnp.asarray(length)))
    z = (np.sqrt(v_end) - mean) / std
    w = scaled_return - intercept - end_slope * v_end - start_slope * 0.04
    w = w / np.sqrt(residual * (0.04 + v_end) / 2)
    for samples, exact in ((z, 0), (w, 0), (z**2, 1), (w**2, 1), (z * w, 0), (z * w**2, 0), (z**2 * w, 0)):
        # The second term allows for the approximation error at this length.
        assert abs(samples.mean() - exact) < 4.5 * samples.std() / np.sqrt(number) + 0.01 * days
    # Return and volatility have the correlation ρ.
    assert np.corrcoef(scaled_return, np.sqrt(v_end))[0, 1] == pytest.approx(-0.6, abs=0.02)


def test_likelihood_is_unbiased_in_sigma_and_rho():
    """Of 20,000 simulated days in weekly blocks, the maximum is within 2.5 standard errors of the true σ and ρ."""
    truth = parameters()
    design = Design(returns=20_000, block=5, source="heston", years_per_bar=1 / 252, substeps=8)
    sample, _ = simulate_sample(truth, jax.random.key(1), design)
    grid = adapted_grid(truth, sample.blocks)
    gradient = jax.jit(jax.grad(log_likelihood))

    def score(shift):
        """Derivatives by log σ and ρ."""
        p = truth._replace(sigma=truth.sigma * np.exp(shift[0]), rho=truth.rho + shift[1])
        found = gradient(p, sample.blocks, grid)
        return np.array([float(found.sigma * p.sigma), float(found.rho)])

    information = np.array(
        [(score(-step) - score(step)) / 0.04 for step in (np.array([0.02, 0]), np.array([0, 0.02]))]
    )
    covariance = np.linalg.inv((information + information.T) / 2)
    errors = covariance @ score(np.zeros(2)) / np.sqrt(np.diag(covariance))
    # An unbiased likelihood fails for 1% of seeds. If only V at the start of a block is conditioned on, it is -5.
    assert np.abs(errors).max() < 2.5
    assert np.sqrt(covariance[0, 0]) < 0.06


# --- Likelihoods ---


def test_likelihood_of_two_blocks_matches_a_double_integral():
    """The integral over both variances, on a fine grid in double precision."""
    rows = np.random.default_rng(1).normal(size=(2, 3)) * 0.02
    with jax.enable_x64(True):
        p, blocks = parameters(), make_blocks(rows, 1 / 52)
        n = 800
        y = (jnp.arange(n) + 0.5) / n * 1.2
        h, distribution = 1.2 / n, return_distribution(p, blocks.length)

        def log_kernel(y, y_end, i):
            mean, std = volatility_distribution(p, jnp.square(y), blocks.length)
            normal = jax.scipy.stats.norm.logpdf
            log_transition = jnp.logaddexp(normal(y_end, mean, std), normal(-y_end, mean, std))
            log_density = log_block_density(
                distribution,
                jnp.square(y),
                jnp.square(y_end),
                blocks.scaled_return[i],
                blocks.sum_squares[i],
                blocks.degrees_of_freedom,
            )
            return log_transition + log_density

        both = log_kernel(jnp.sqrt(p.v0), y, 0)[:, None] + log_kernel(y[:, None], y[None, :], 1)
        exact = jax.scipy.special.logsumexp(both) + 2 * np.log(h)
        ends = jnp.zeros(2), jnp.full(2, 1.2)
        found = [float(log_likelihood(p, blocks, Grid.of(blocks, *ends, n))) for n in (64, 128)]
    assert found[1] == pytest.approx(float(exact), abs=1e-6)
    assert found[0] == pytest.approx(float(exact), abs=1e-3)


def test_grid_likelihood_matches_a_mean_over_paths():
    """The path likelihood, averaged over 40,000 paths of 5 blocks drawn from the transition distribution."""
    sample, _ = daily_sample(25)
    sample = replace(sample, blocks=jax.tree.map(lambda leaf: leaf[:5] if leaf.ndim else leaf, sample.blocks))
    p, blocks = parameters(), sample.blocks
    normals = jax.random.normal(jax.random.key(0), (40_000, 5))
    logs = np.asarray(jax.jit(jax.vmap(lambda z: joint_log_density(p, z, blocks)[0]))(normals), float)
    weights = np.exp(logs - logs.max())
    error = weights.std() / weights.mean() / np.sqrt(len(weights))
    assert error < 0.02
    mean = np.log(weights.mean()) + logs.max()
    grid = recenter_grid(p, blocks, initial_grid(blocks))
    assert abs(float(log_likelihood(p, blocks, grid)) - mean) < 4 * error


@pytest.mark.parametrize("rho", [-0.6, 1e-6])
def test_gradient_matches_finite_differences(rho):
    with jax.enable_x64(True):
        sample, _ = daily_sample(60, 2)
        blocks = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), sample.blocks)
        p = parameters(rho=rho)
        grid = recenter_grid(p, blocks, initial_grid(blocks))
        value = jax.jit(log_likelihood)
        gradient = jax.jit(jax.grad(log_likelihood))(p, blocks, grid)
        for name in p._fields:
            at, step = getattr(p, name), 1e-5
            up, down = (float(value(p._replace(**{name: at + s * step}), blocks, grid)) for s in (1, -1))
            assert float(getattr(gradient, name)) == pytest.approx((up - down) / (2 * step), rel=1e-5), name


def test_single_precision_and_48_points_suffice():
    sample, _ = daily_sample()
    p = parameters()
    grid = recenter_grid(p, sample.blocks, initial_grid(sample.blocks))
    single = float(log_likelihood(p, sample.blocks, grid))
    with jax.enable_x64(True):
        blocks, fine = (jax.tree.map(lambda leaf: jnp.asarray(leaf, float), x) for x in (sample.blocks, grid))
        double = float(log_likelihood(parameters(), blocks, Grid.of(blocks, fine.low, fine.high, 128)))
    assert single == pytest.approx(double, abs=0.05)
    assert float(grid_error(p, sample.blocks, grid)) == pytest.approx(0, abs=0.05)
    narrow = Grid.of(sample.blocks, grid.low, (grid.low + grid.high) / 2, 48)
    assert float(grid_error(p, sample.blocks, narrow)) < -1


@pytest.mark.parametrize("rho", [0.0, -0.7, 0.95], ids="correlation {}".format)
def test_coarse_grid_widens_the_distribution_and_keeps_its_moments(rho):
    """Neither E[V'] nor the return's variance changes, so that θ is not biased."""
    length, v = jnp.asarray(1 / 252), jnp.asarray([0.5, 1.0, 2.0])
    p = parameters(theta=1.0, sigma=0.2, rho=rho, kappa=10.0)
    exact = volatility_distribution(p, v, length)
    for spacing in (1e-4, 0.02, 0.06):
        volatility, returns = widened_distributions(p, v, length, jnp.asarray(spacing))
        assert np.all(np.asarray(volatility.std) >= 0.7 * spacing)
        mean = volatility.mean**2 + volatility.std**2
        np.testing.assert_allclose(mean, exact.mean**2 + exact.std**2, rtol=1e-4)
        # The return's variance: the part that V' explains, by its slope in y', and the residual.
        explained = (2 * volatility.mean * volatility.std * returns.end_slope) ** 2
        np.testing.assert_allclose(explained + returns.residual * v, v, rtol=0.06)


def test_coarse_grid_finds_theta_for_small_vol_of_vol():
    """A grid that widens every kernel and an exact one agree on the most likely θ."""
    truth = parameters(kappa=18.0, theta=1.0, sigma=0.2, rho=-0.7, v0=1.0)
    sample, _ = simulate_sample(truth, jax.random.key(2), Design(returns=250))
    coarse, likelihood = initial_grid(sample.blocks), jax.jit(log_likelihood)

    def coarse_and_exact(p):
        found = float(likelihood(p, sample.blocks, coarse))
        return found, found - float(grid_error(p, sample.blocks, coarse))

    at_truth = coarse_and_exact(truth)
    for theta in (0.5, 0.7, 0.85, 1.15, 1.4, 2.0):
        on_coarse, exact = np.subtract(
            coarse_and_exact(truth._replace(theta=jnp.asarray(theta), v0=jnp.asarray(theta))), at_truth
        )
        assert 1.2 * exact < on_coarse < 0.4 * exact < 0, theta


def test_posterior_grid_covers_the_filter_one_std_from_the_mode():
    """For 250 returns with little information about σ, for which a grid around the mode alone is too narrow."""
    truth = parameters(kappa=18.0, theta=1.0, sigma=0.2, rho=-0.7, v0=1.0)
    prior, blocks = WeakPrior(), simulate_sample(truth, jax.random.key(2), Design(returns=250))[0].blocks
    grid, mode, covariance = posterior_mode(prior, blocks, 48)
    mode_grid = adapted_grid(constrain(prior, as_floats(mode)), blocks)
    values, vectors = np.linalg.eigh(covariance)
    axes = (np.sqrt(values) * vectors).T[::-1]  # the longest first
    around = [constrain(prior, as_floats(mode + offset)) for offset in (*axes, *-axes)]
    assert max(abs(float(grid_error(p, blocks, grid))) for p in around) < 0.5
    assert any(float(grid_error(p, blocks, mode_grid)) < -10 for p in around)


def test_filter_std_matches_its_error():
    """Over 2,000 simulated days, which count as 100 independent ones, within 3 standard errors of the mean square."""
    sample, truth = daily_sample(2_000, seed=5)
    p = parameters()
    grid = adapted_grid(p, sample.blocks)
    found = filter_volatility(p, sample.blocks, grid)
    z = (np.sqrt(truth) - np.asarray(found.mean)) / np.asarray(found.std)
    assert abs(np.mean(z**2) - 1) < 3 * np.sqrt(2 / 100)
    realized = np.sqrt(realized_variance(sample.blocks))
    filter_error, realized_error = (
        np.std(np.sqrt(truth) - volatility) for volatility in (np.asarray(found.mean), realized)
    )
    assert filter_error < 0.9 * realized_error


@pytest.mark.parametrize(
    "bad",
    [{"sigma": 1e-4, "theta": 5.0, "v0": 5.0}, {"sigma": 200.0, "theta": 1e-4, "kappa": 0.02}, {"rho": 0.0}],
    ids=["small vol of vol", "large vol of vol", "no correlation"],
)
def test_extreme_parameters_give_finite_likelihood_and_gradient(bad):
    sample, _ = daily_sample(100)
    grid = initial_grid(sample.blocks)
    bad = parameters(**bad)
    assert np.isfinite(float(log_likelihood(bad, sample.blocks, grid)))
    assert all(np.isfinite(float(g)) for g in jax.grad(log_likelihood)(bad, sample.blocks, grid))
