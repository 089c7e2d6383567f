"""The calibration of Heston: the law's moments, two likelihoods against sums over paths and each other, the sampler."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from twosided.core.errors import Refusal
from twosided.data.bars import OHLC, Bars
from twosided.heston.blocks import blocks_of, make_blocks, variance_path
from twosided.heston.checks import Design, simulated_sample
from twosided.heston.grid import (
    Grid,
    _resolved,
    better_grid,
    filtered,
    first_grid,
    log_likelihood,
    misjudged,
    own_grid,
)
from twosided.heston.law import Parameters, joint_log_density, log_seen, return_law, volatility_law
from twosided.heston.moments import variance_moments
from twosided.heston.posterior import as_floats, posterior_mode
from twosided.heston.priors import WeakPrior, constrain
from twosided.heston.process import Heston
from twosided.prices.bars import simulate_bars


def parameters(kappa=3.0, theta=0.05, sigma=0.6, rho=-0.6, v0=0.04, mu=0.0) -> Parameters:
    return Parameters(*(jnp.asarray(float(x)) for x in (kappa, theta, sigma, rho, v0, mu)))


@functools.cache
def daily(number=300, size=1, seed=3):
    process = Heston(
        initial_variance=0.04,
        reversion=3.0,
        level=0.05,
        vol_of_vol=0.6,
        correlation=-0.6,
        time_step=1 / 252 / 4,
    )
    bars, states = simulate_bars(process, number + 1, substeps=4, seconds=86_400.0, seed=seed)
    return blocks_of(bars, size=size, years_per_bar=1 / 252), np.asarray(states.variance, float)[1:]


# --- Blocks ---


def bars_of(closes, times=None):
    closes = np.asarray(closes, float)
    times = 60.0 * np.arange(len(closes)) if times is None else np.asarray(times, float)
    return Bars(times, OHLC(closes, closes, closes, closes), 60.0, sources=("made",))


def test_blocks_by_hand():
    rows = np.array([[0.01, 0.03, -0.02, 0.02], [0.0, 0.0, 0.04, 0.0]])
    blocks = make_blocks(rows, 0.25)
    np.testing.assert_allclose(blocks.move, [0.04, 0.04], rtol=1e-6)
    # About the mean 0.01: 0, 0.02², 0.03², 0.01², over a quarter.
    np.testing.assert_allclose(blocks.squares, [0.0056, 0.0048], rtol=1e-5)
    assert blocks.freedom == 3
    assert float(blocks.length) == 1.0
    assert make_blocks(rows[:, :1], 0.25).freedom == 0


def test_returns_over_gaps_are_left_out():
    rng = np.random.default_rng(0)
    times = np.concatenate([60.0 * np.arange(50), 1e6 + 60.0 * np.arange(50)])
    closes = np.exp(np.cumsum(0.01 * rng.normal(size=100)))
    closes[50:] *= 5
    sample = blocks_of(bars_of(closes, times), size=4, years_per_bar=1e-3)
    assert (sample.gaps, sample.rest, len(sample.blocks), len(sample.returns)) == (1, 2, 24, 96)
    assert np.abs(sample.returns).max() < 0.1, "the jump over the gap is not a return"
    assert sample.time[-1] == times[-1]


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(Refusal, match=r"^made: 9 returns make 9 blocks of 1, where a calibration needs 20$"):
        blocks_of(bars_of(np.arange(1, 11)))
    with pytest.raises(Refusal, match=r"^made: the price never moves, so that there is nothing to fit$"):
        blocks_of(bars_of(np.ones(100)))
    with pytest.raises(ValueError, match=r"^years_per_bar must be positive and finite, but got -1"):
        blocks_of(bars_of(np.arange(1, 101)), years_per_bar=-1)


# --- The law ---


@pytest.mark.parametrize("sigma", [0.3, 0.6, 1.5], ids="vol-of-vol {}".format)
@pytest.mark.parametrize(("v", "length"), [(0.09, 1 / 52), (0.04, 1 / 252), (1e-3, 1 / 252), (0.04, 1e-6)])
def test_the_law_has_the_moments_of_the_volatility(v, length, sigma):
    """Exactly, V' is a non-central χ²: its mean is exact, those of its root are right to second order."""
    kappa, theta = 3.0, 0.05
    with jax.enable_x64(True):
        law = volatility_law(parameters(sigma=sigma), jnp.asarray(v), jnp.asarray(length))
    mean, deviation = map(float, law)
    moments = variance_moments(
        Heston(initial_variance=v, reversion=kappa, level=theta, vol_of_vol=sigma), length
    )
    assert mean**2 + deviation**2 == pytest.approx(moments.mean, rel=1e-6)
    if length < 1e-5:
        assert deviation == pytest.approx(sigma * np.sqrt(length) / 2, rel=1e-3)
        return
    scale = sigma**2 * -np.expm1(-kappa * length) / (4 * kappa)
    exact = stats.ncx2(4 * kappa * theta / sigma**2, v * np.exp(-kappa * length) / scale, scale=scale)
    assert exact.mean() == pytest.approx(moments.mean)
    y = np.sqrt(exact.ppf((np.arange(20_000) + 0.5) / 20_000))
    relative = moments.variance / moments.mean**2
    assert deviation == pytest.approx(y.std(), rel=0.001 + 0.15 * min(relative, 0.6) ** 2)


@pytest.mark.parametrize("days", [1, 5])
def test_the_law_is_hestons_over_a_short_block(days):
    """Of simulated blocks in 20 substeps a day: the normals that the law says moved them are such; 4.5 errors."""
    length, number = days / 252, 40_000
    process = Heston(
        initial_variance=0.04,
        reversion=3.0,
        level=0.05,
        vol_of_vol=0.6,
        correlation=-0.6,
        time_step=1 / 252 / 20,
    )

    @jax.jit
    def blocks(key):
        start = process.reset(process.shocks(key, ()))

        def one(key):
            shocks = process.shocks(key, (20 * days,))
            last, _ = jax.lax.scan(lambda s, z: (process.step(s, z), None), start, shocks)
            return jnp.log(last.mid / 100) / jnp.sqrt(length), last.variance

        return jax.vmap(one)(jax.random.split(key, number))

    move, after = (np.asarray(a, float) for a in blocks(jax.random.key(0)))
    law = return_law(parameters(), jnp.asarray(length))
    drift, ahead, behind, free = map(float, law)
    mean, deviation = map(float, volatility_law(parameters(), jnp.asarray(0.04), jnp.asarray(length)))
    z = (np.sqrt(after) - mean) / deviation
    w = (move - drift - ahead * after - behind * 0.04) / np.sqrt(free * (0.04 + after) / 2)
    for samples, exact in ((z, 0), (w, 0), (z**2, 1), (w**2, 1), (z * w, 0), (z * w**2, 0), (z**2 * w, 0)):
        # And what the law leaves out at this length.
        assert abs(samples.mean() - exact) < 4.5 * samples.std() / np.sqrt(number) + 0.01 * days
    # A surprise in the price says where the variance went.
    assert np.corrcoef(move, np.sqrt(after))[0, 1] == pytest.approx(-0.6, abs=0.02)


def test_the_likelihood_is_flat_where_the_truth_is():
    """Its slopes in σ and ρ at the truth of 20,000 simulated days, in deviations: the law of a week has no leaning."""
    truth = parameters()
    design = Design(returns=20_000, block=5, source="heston", years_per_bar=1 / 252, substeps=8)
    sample, _ = simulated_sample(truth, jax.random.key(1), design)
    grid = own_grid(truth, sample.blocks)
    slope = jax.jit(jax.grad(log_likelihood))

    def slopes(shift):
        p = truth._replace(sigma=truth.sigma * np.exp(shift[0]), rho=truth.rho + shift[1])
        found = slope(p, sample.blocks, grid)
        return np.array([float(found.sigma * p.sigma), float(found.rho)])

    curvature = np.array(
        [(slopes(-step) - slopes(step)) / 0.04 for step in (np.array([0.02, 0]), np.array([0, 0.02]))]
    )
    covariance = np.linalg.inv((curvature + curvature.T) / 2)
    away = covariance @ slopes(np.zeros(2)) / np.sqrt(np.diag(covariance))
    assert np.abs(away).max() < 2.5, "1% of right laws; one that knows V only where a block begins has -5"
    assert np.sqrt(covariance[0, 0]) < 0.06


# --- The likelihoods ---


def test_the_likelihood_of_two_blocks_is_a_double_integral():
    """Over a fine grid of both variances, in double precision."""
    rows = np.random.default_rng(1).normal(size=(2, 3)) * 0.02
    with jax.enable_x64(True):
        p, blocks = parameters(), make_blocks(rows, 1 / 52)
        n = 800
        y = (jnp.arange(n) + 0.5) / n * 1.2
        h, law = 1.2 / n, return_law(p, blocks.length)

        def step(y, after, i):
            mean, deviation = volatility_law(p, jnp.square(y), blocks.length)
            normal = jax.scipy.stats.norm.logpdf
            density = jnp.logaddexp(normal(after, mean, deviation), normal(-after, mean, deviation))
            seen = log_seen(
                law, jnp.square(y), jnp.square(after), blocks.move[i], blocks.squares[i], blocks.freedom
            )
            return density + seen

        both = step(jnp.sqrt(p.v0), y, 0)[:, None] + step(y[:, None], y[None, :], 1)
        exact = jax.scipy.special.logsumexp(both) + 2 * np.log(h)
        ends = jnp.zeros(2), jnp.full(2, 1.2)
        found = [float(log_likelihood(p, blocks, Grid.of(blocks, *ends, n))) for n in (64, 128)]
    assert found[1] == pytest.approx(float(exact), abs=1e-6)
    assert found[0] == pytest.approx(float(exact), abs=1e-3)


def test_the_grid_agrees_with_a_mean_over_paths():
    """The other likelihood, its path drawn from the law: a mean over 40,000 paths of 5 blocks."""
    sample, _ = daily(25)
    sample = replace(sample, blocks=jax.tree.map(lambda leaf: leaf[:5] if leaf.ndim else leaf, sample.blocks))
    p, blocks = parameters(), sample.blocks
    normals = jax.random.normal(jax.random.key(0), (40_000, 5))
    logs = np.asarray(jax.jit(jax.vmap(lambda z: joint_log_density(p, z, blocks)[0]))(normals), float)
    weights = np.exp(logs - logs.max())
    error = weights.std() / weights.mean() / np.sqrt(len(weights))
    assert error < 0.02
    mean = np.log(weights.mean()) + logs.max()
    grid = better_grid(p, blocks, first_grid(blocks))
    assert abs(float(log_likelihood(p, blocks, grid)) - mean) < 4 * error


@pytest.mark.parametrize("rho", [-0.6, 1e-6])
def test_the_gradient_is_the_slope(rho):
    with jax.enable_x64(True):
        sample, _ = daily(60, 2)
        blocks = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), sample.blocks)
        p = parameters(rho=rho)
        grid = better_grid(p, blocks, first_grid(blocks))
        value = jax.jit(log_likelihood)
        gradient = jax.jit(jax.grad(log_likelihood))(p, blocks, grid)
        for name in p._fields:
            at, step = getattr(p, name), 1e-5
            up, down = (float(value(p._replace(**{name: at + s * step}), blocks, grid)) for s in (1, -1))
            assert float(getattr(gradient, name)) == pytest.approx((up - down) / (2 * step), rel=1e-5), name


def test_single_precision_and_48_points_are_enough():
    sample, _ = daily()
    p = parameters()
    grid = better_grid(p, sample.blocks, first_grid(sample.blocks))
    single = float(log_likelihood(p, sample.blocks, grid))
    with jax.enable_x64(True):
        blocks, fine = (jax.tree.map(lambda leaf: jnp.asarray(leaf, float), x) for x in (sample.blocks, grid))
        double = float(log_likelihood(parameters(), blocks, Grid.of(blocks, fine.low, fine.high, 128)))
    assert single == pytest.approx(double, abs=0.05)
    assert float(misjudged(p, sample.blocks, grid)) == pytest.approx(0, abs=0.05)
    narrow = Grid.of(sample.blocks, grid.low, (grid.low + grid.high) / 2, 48)
    assert float(misjudged(p, sample.blocks, narrow)) < -1


@pytest.mark.parametrize("rho", [0.0, -0.7, 0.95], ids="correlation {}".format)
def test_a_grid_too_coarse_for_the_law_takes_it_for_one_of_a_larger_volatility_of_variance(rho):
    """Neither E[V'] nor the return's variance moves, so that no level of variance is mistaken for another."""
    length, before = jnp.asarray(1 / 252), jnp.asarray([0.5, 1.0, 2.0])
    p = parameters(theta=1.0, sigma=0.2, rho=rho, kappa=10.0)
    exact = volatility_law(p, before, length)
    for spacing in (1e-4, 0.02, 0.06):
        law, returns = _resolved(p, before, length, jnp.asarray(spacing))
        assert np.all(np.asarray(law.deviation) >= 0.7 * spacing)
        mean = law.mean**2 + law.deviation**2
        np.testing.assert_allclose(mean, exact.mean**2 + exact.deviation**2, rtol=1e-4)
        # Of what moves a return: what V' explains, by its slope in y', and what is left.
        explained = (2 * law.mean * law.deviation * returns.ahead) ** 2
        np.testing.assert_allclose(explained + returns.free * before, before, rtol=0.06)


def test_a_coarse_grid_finds_the_level_of_a_variance_that_hardly_moves():
    """One that takes every kernel for wider than it is, and one that does not, agree on which θ is likeliest."""
    truth = parameters(kappa=18.0, theta=1.0, sigma=0.2, rho=-0.7, v0=1.0)
    sample, _ = simulated_sample(truth, jax.random.key(2), Design(returns=250))
    coarse, seen = first_grid(sample.blocks), jax.jit(log_likelihood)

    def known(p):
        found = float(seen(p, sample.blocks, coarse))
        return found, found - float(misjudged(p, sample.blocks, coarse))

    at_truth = known(truth)
    for level in (0.5, 0.7, 0.85, 1.15, 1.4, 2.0):
        worse, exactly = np.subtract(
            known(truth._replace(theta=jnp.asarray(level), v0=jnp.asarray(level))), at_truth
        )
        assert 1.2 * exactly < worse < 0.4 * exactly < 0, level


def test_the_posteriors_grid_suits_the_filter_a_deviation_away_from_the_mode():
    """Of 250 returns that hardly tell how the variance moves; the grid of the mode alone cuts such a posterior off."""
    truth = parameters(kappa=18.0, theta=1.0, sigma=0.2, rho=-0.7, v0=1.0)
    prior, blocks = WeakPrior(), simulated_sample(truth, jax.random.key(2), Design(returns=250))[0].blocks
    grid, mode, covariance = posterior_mode(prior, blocks, 48)
    alone = own_grid(constrain(prior, as_floats(mode)), blocks)
    values, vectors = np.linalg.eigh(covariance)
    axes = (np.sqrt(values) * vectors).T[::-1]  # the longest first
    around = [constrain(prior, as_floats(mode + away)) for away in (*axes, *-axes)]
    assert max(abs(float(misjudged(p, blocks, grid))) for p in around) < 0.5
    assert any(float(misjudged(p, blocks, alone)) < -10 for p in around)


def test_the_filter_knows_the_variance_as_well_as_it_says():
    """Of 2,000 simulated days, which remember each other: as 100 independent ones; 3 errors of their mean square."""
    sample, truth = daily(2_000, seed=5)
    p = parameters()
    grid = own_grid(p, sample.blocks)
    found = filtered(p, sample.blocks, grid)
    z = (np.sqrt(truth) - np.asarray(found.mean)) / np.asarray(found.deviation)
    assert abs(np.mean(z**2) - 1) < 3 * np.sqrt(2 / 100)
    rough = np.sqrt(variance_path(sample.blocks))
    assert np.std(np.sqrt(truth) - np.asarray(found.mean)) < 0.9 * np.std(np.sqrt(truth) - rough), (
        "and better than squares"
    )


@pytest.mark.parametrize(
    "bad",
    [{"sigma": 1e-4, "theta": 5.0, "v0": 5.0}, {"sigma": 200.0, "theta": 1e-4, "kappa": 0.02}, {"rho": 0.0}],
    ids=["calm", "wild", "no correlation"],
)
def test_parameters_that_are_out_of_the_way_give_numbers(bad):
    sample, _ = daily(100)
    grid = first_grid(sample.blocks)
    bad = parameters(**bad)
    assert np.isfinite(float(log_likelihood(bad, sample.blocks, grid)))
    assert all(np.isfinite(float(g)) for g in jax.grad(log_likelihood)(bad, sample.blocks, grid))
