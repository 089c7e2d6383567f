"""Calibration of the reference book: parameter recovery, exact small cases, calibrated standard errors, files."""

import math

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats
from support.files import BOOKS, MUTATION, NAMED, mutate, write

from twosided.core.bootstrap import block_bootstrap, block_length
from twosided.core.errors import Refusal
from twosided.data.content import DataError
from twosided.data.order_books import BookSnapshots, read_snapshots
from twosided.dealer.book_files import read_book, write_book
from twosided.dealer.book_plots import figure_book_fit
from twosided.dealer.calibration import (
    MAX_GAMMA_SHAPE,
    default_target,
    fit_book,
    gamma_shape,
    mean_spread,
    reference_book,
    sample_curves,
    solve_volume_scale,
)
from twosided.dealer.reference_book import ReferenceBook

pytestmark = pytest.mark.extended

BOOK = ReferenceBook(
    spread_mean=3e-4,
    spread_std=1e-4,
    spread_min=2e-4,
    spread_max=5e-4,
    tick=1.5e-4,
    best_volume_shape=1.7,
    depth_linear=0.05,
    depth_quadratic=-0.008,
    depth_linear_std=0.04,
    depth_quadratic_std=0.005,
    depth_correlation=-0.6,
)


def snapshots_of(sizes, spread, tick, mid=50.0) -> BookSnapshots:
    """Snapshots from sizes (n, 2, levels) and, as fractions of the mid, spreads (n,) and a tick."""
    n, _, levels = sizes.shape
    away = np.asarray(spread)[:, None] / 2 + tick * np.arange(levels)
    return BookSnapshots(
        ask_price=mid * (1 + away),
        ask_size=sizes[:, 0],
        bid_price=mid * (1 - away),
        bid_size=sizes[:, 1],
        time=None,
        rows_read=n,
        rows_halted=0,
        sources=("made",),
    )


def sampled_snapshots(book: ReferenceBook, n: int, seed: int = 0, unit: float = 5000.0) -> BookSnapshots:
    """Independent snapshots of the book, with independent sides."""
    drawn = book.snapshot(book.shocks(jax.random.key(seed), (n, 2)))
    sizes = unit * np.asarray(drawn.volumes, dtype=float)
    return snapshots_of(sizes, np.asarray(drawn.spread[:, 0], dtype=float), float(book.tick))


# --- Recovery ---


def test_known_book_is_recovered_within_standard_errors():
    """4 standard errors for 8 estimates from independent snapshots; a correct fit fails in 1 of 2,000 data sets."""
    fit = fit_book(sampled_snapshots(BOOK, 20_000), levels=10)
    for name, error in fit.standard_errors.items():
        if name != "tick":
            assert error > 0
            assert abs(fit.estimates[name] - getattr(BOOK, name)) < 4 * error, name
    # The standard errors are small compared with the parameters.
    assert fit.standard_errors["best_volume_shape"] < 0.03
    assert fit.standard_errors["depth_linear_std"] < 0.002
    assert fit.estimates["tick"] == pytest.approx(BOOK.tick, rel=1e-9)
    # The bounds of the spread are attained by clipping.
    assert fit.estimates["spread_min"] == pytest.approx(BOOK.spread_min, rel=1e-6)
    assert fit.estimates["spread_max"] == pytest.approx(BOOK.spread_max, rel=1e-6)
    assert fit.block_length <= 10


def test_standard_errors_match_scatter_of_estimates():
    """25 data sets determine a standard deviation to 14%; the bounds allow three times that and the bootstrap bias."""
    fits = [fit_book(sampled_snapshots(BOOK, 1_000, seed), resamples=60, seed=seed) for seed in range(25)]
    for name in fits[0].standard_errors:
        if name == "tick":
            continue
        scatter = np.std([fit.estimates[name] for fit in fits], ddof=1)
        reported = np.mean([fit.standard_errors[name] for fit in fits])
        assert 0.55 < reported / scatter < 1.6, name


def test_autocorrelated_snapshots_have_larger_standard_errors():
    """The standard error for independent samples is too small for an autocorrelated best volume."""
    z = ar1(0.95, 4_000, paths=2, seed=1)
    best = stats.gamma.ppf(stats.norm.cdf(z.T), 1.7)
    sizes = best[..., None] * np.ones(5)
    fit = fit_book(snapshots_of(sizes, np.full(4_000, 3e-4), 1e-4))
    # For normal AR(1) factors the variance of a mean of squares grows by (1 + φ²) / (1 - φ²).
    assert fit.standard_errors["best_volume_shape"] > 2.5 * fit.independent_standard_error
    assert abs(fit.estimates["best_volume_shape"] - 1.7) < 4 * fit.standard_errors["best_volume_shape"]


def test_fitted_mean_volumes_match_data_when_the_floor_binds():
    """(a, b) varies so much that the floor often binds; E[v(n)] in closed form and by simulation.

    A floored polynomial is not a polynomial: single levels match within 2%, the total depth within 0.2%.
    """
    book = with_changes(BOOK, depth_linear=-0.08, depth_linear_std=0.09, depth_quadratic=0.002)
    data = sampled_snapshots(book, 20_000)
    sizes = np.stack([data.ask_size, data.bid_size]).reshape(-1, 10)
    floored = np.mean(sizes / sizes[:, :1] <= 0.05 + 1e-6)
    assert floored > 0.02, "the floor must bind in this test"
    fit = fit_book(data, resamples=2)
    in_data = sizes.mean(0) / sizes[:, 0].mean()
    np.testing.assert_allclose(fit.fitted_shape, in_data, rtol=0.02)
    np.testing.assert_allclose(fit.fitted_shape.sum(), in_data.sum(), rtol=0.002)
    fitted = reference_book(fit)
    volumes = np.asarray(fitted.snapshot(fitted.shocks(jax.random.key(7), (200_000,))).volumes, dtype=float)
    error = volumes.std(0) / math.sqrt(len(volumes)) / fitted.volume_scale
    assert np.all(np.abs(volumes.mean(0) / fitted.volume_scale - fit.fitted_shape) < 4 * error)


def with_changes(book: ReferenceBook, **changes) -> ReferenceBook:
    return ReferenceBook(**{name: getattr(book, name) for name in book.__dataclass_fields__} | changes)


# --- Exact small cases ---


def test_depth_shape_estimates_are_exact_for_a_factorial_design():
    """All pairs of V(0) in {1, 3} and a in {-0.05, 0.05}, equally often: V(0) and a are independent in the sample."""
    best, a = np.meshgrid([1.0, 3.0], [-0.05, 0.05])
    rows = best.ravel()[:, None] * (1 + a.ravel()[:, None] * np.arange(4))
    sizes = np.repeat(np.stack([rows, rows], axis=1), 10, axis=0)
    fit = fit_book(snapshots_of(sizes, np.full(40, 3e-4), 1e-4), resamples=5)
    assert fit.mean_best_volume == 2
    np.testing.assert_allclose(fit.mean_shape, 1, rtol=1e-12)
    assert fit.estimates["depth_linear"] == pytest.approx(0, abs=1e-9)
    assert fit.estimates["depth_linear_std"] == pytest.approx(0.05, rel=1e-9)
    assert fit.estimates["depth_quadratic_std"] == pytest.approx(0, abs=1e-7)
    assert fit.estimates["depth_correlation"] == 0
    # Maximum likelihood of a gamma distribution for the sample {1/2, 3/2}.
    assert fit.estimates["best_volume_shape"] == pytest.approx(
        stats.gamma.fit([0.5, 1.5], floc=0)[0], rel=1e-6
    )
    assert set(np.round(fit.best_volumes, 12)) == {0.5, 1.5}


def test_gamma_shape_maximizes_the_likelihood():
    rng = np.random.default_rng(0)
    for k in (0.05, 0.7, 1.5, 30.0, 3000.0):
        x = rng.gamma(k, size=500)
        x = x[x > 0]
        fitted = gamma_shape(math.log(x.mean()) - np.log(x).mean())
        assert fitted == pytest.approx(stats.gamma.fit(x, floc=0)[0], rel=1e-5)
    assert gamma_shape(0.0) == MAX_GAMMA_SHAPE


def test_independent_standard_error_matches_scatter_over_data_sets():
    """400 data sets determine a standard deviation to 3.5%; the tolerance is four times that."""
    x = np.random.default_rng(0).gamma(1.7, size=(400, 2_000))
    fitted = [gamma_shape(math.log(row.mean()) - np.log(row).mean()) for row in x]
    sizes = np.stack([x[0], x[0]], axis=1)[..., None] * np.ones(3)
    error = fit_book(snapshots_of(sizes, np.full(2_000, 3e-4), 1e-4), resamples=2).independent_standard_error
    assert error * math.sqrt(2) == pytest.approx(np.std(fitted), rel=0.15)


@pytest.mark.parametrize(
    "spread",
    [
        [1e-4] * 12 + [2e-4] * 9 + [3e-4] * 5,
        [1e-4] * 5 + [1.5e-4] * 9 + [3e-4],
        [2e-5 * (i % 7) + 1e-4 for i in range(30)],
    ],
)
def test_clipped_spread_matches_mean_and_std_of_the_data(spread):
    spread = np.array(spread * 2)
    fit = fit_book(snapshots_of(np.ones((len(spread), 2, 3)), spread, 1e-4), resamples=2)
    e = fit.estimates
    assert fit.spread_moments == (pytest.approx(spread.mean()), pytest.approx(spread.std()))
    assert mean_spread(ReferenceBook(**e)) == pytest.approx(spread.mean(), rel=1e-6)
    # Second moment of the clipped normal, by quadrature.
    normal = stats.norm(e["spread_mean"], e["spread_std"])
    low, high = e["spread_min"], e["spread_max"]
    inside, _ = integrate.quad(lambda s: s**2 * normal.pdf(s), low, high, epsabs=1e-16)
    second = inside + low**2 * normal.cdf(low) + high**2 * normal.sf(high)
    assert math.sqrt(second - mean_spread(ReferenceBook(**e)) ** 2) == pytest.approx(spread.std(), rel=1e-4)


def test_mean_spread_is_matched_when_the_spread_is_almost_always_one_tick():
    """A two-point distribution is not a clipped normal: its mean is matched, with a positive mean before clipping."""
    spread = np.where(np.arange(400) % 40 == 0, 2e-4, 1e-4)
    fit = fit_book(snapshots_of(np.ones((400, 2, 3)), spread, 1e-4), resamples=2)
    assert fit.estimates["spread_mean"] > 0
    assert mean_spread(ReferenceBook(**fit.estimates)) == pytest.approx(spread.mean(), rel=1e-3)


def test_constant_spread_and_volume_are_fitted():
    fit = fit_book(snapshots_of(np.full((50, 2, 4), 8.0), np.full(50, 1e-4), 1e-4), resamples=2)
    e = fit.estimates
    assert e["spread_min"] == pytest.approx(1e-4) and e["spread_max"] == pytest.approx(1e-4)
    assert (e["spread_mean"], e["spread_std"]) == (pytest.approx(1e-4), pytest.approx(0, abs=1e-12))
    assert e["best_volume_shape"] == MAX_GAMMA_SHAPE
    assert (e["depth_linear"], e["depth_linear_std"]) == (
        pytest.approx(0, abs=1e-9),
        pytest.approx(0, abs=1e-7),
    )
    assert 0 < reference_book(fit).volume_scale < 1
    figure_book_fit(fit, np.array([0.5, 1.0]), sample_curves(reference_book(fit), np.array([0.5, 1.0])))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_books_of_few_levels_are_fitted(levels):
    """Two levels do not determine b, and one level determines nothing of the shape."""
    book = with_changes(BOOK, num_levels=levels)
    fit = fit_book(sampled_snapshots(book, 2_000), resamples=20)
    assert fit.num_levels == levels
    assert len(fit.standard_errors) == {1: 3, 2: 6, 3: 9}[levels]
    fitted = reference_book(fit)
    assert fitted.num_levels == levels
    if levels < 3:
        assert fitted.depth_quadratic == fitted.depth_quadratic_std == 0
    if levels == 2:
        assert abs(fitted.depth_linear - (0.05 - 0.008)) < 4 * fit.standard_errors["depth_linear"]
    if levels == 1:
        assert fitted.depth_linear == 0
        curve = sample_curves(fitted, np.array([0.1, 1.0, 100.0]))
        np.testing.assert_allclose(curve, curve[:, :1] * np.ones(3), rtol=1e-5)


def test_missing_levels_have_volume_0_and_one_sided_books_are_excluded():
    sizes = np.ones((60, 2, 3))
    data = snapshots_of(sizes, np.full(60, 2e-4), 1e-4)
    data.ask_size[:30, 2], data.ask_price[:30, 2] = 0, np.nan
    data.bid_size[50:], data.bid_price[50:] = 0, np.nan
    fit = fit_book(data, resamples=2)
    assert (fit.rows_read, fit.rows_used) == (60, 50)
    np.testing.assert_allclose(fit.mean_shape, [1, 1, 0.7])
    assert fit.estimates["tick"] == pytest.approx(1e-4, rel=1e-9)


def test_too_few_snapshots_are_rejected():
    data = snapshots_of(np.ones((19, 2, 3)), np.full(19, 2e-4), 1e-4)
    with pytest.raises(
        DataError, match=r"^made: a fit needs at least 20 snapshots with both a bid and an ask, but got 19$"
    ):
        fit_book(data)


# --- Volume scale ---


def test_volume_scale_matches_closed_form():
    """Two equal levels with exponential volume: E[S_ref(1)] = s/2 + tick (1 - λ (1 - exp(-1/λ)))."""
    book = ReferenceBook(
        spread_mean=2e-4, spread_std=0.0, best_volume_shape=1.0, num_levels=2, depth_linear=0.0,
        depth_linear_std=0.0, depth_quadratic=0.0, depth_quadratic_std=0.0,
    )  # fmt: skip
    for share in (0.1, 0.5, 0.9):
        exact = optimize.brentq(lambda x, share=share: 1 - x * (1 - math.exp(-1 / x)) - share, 1e-3, 1e3)
        assert solve_volume_scale(book, 1e-4 + share * 1e-4) == pytest.approx(exact, rel=2e-4)


def test_default_book_has_cost_of_a_unit_trade_of_the_paper():
    """Its λ solves E[S_ref(1)] = 4.7 bp; checked with four times as many points and by simulation."""
    book = ReferenceBook()
    scale = solve_volume_scale(book)
    assert scale == pytest.approx(float(book.volume_scale), rel=1e-4)
    assert scale == pytest.approx(solve_volume_scale(book, log2_points=18), rel=1e-4)
    costs = np.asarray(sample_curves(book, np.array([1.0]), samples=400_000), dtype=float)
    assert abs(costs.mean() - 4.7e-4) < 4 * costs.std() / math.sqrt(costs.size)
    assert default_target(book) == pytest.approx(4.7e-4, rel=1e-12)


def test_volume_scale_does_not_depend_on_spread_and_tick():
    """The default target corresponds to the same share of the book for every spread and tick."""
    fit = fit_book(sampled_snapshots(BOOK, 500), resamples=2)
    own, papers = reference_book(fit), reference_book(fit, spread_from=ReferenceBook())
    assert own.volume_scale == pytest.approx(papers.volume_scale, rel=1e-4)
    assert own.tick == fit.estimates["tick"]
    assert (papers.tick, papers.spread_mean) == (1e-4, 1e-4)
    assert reference_book(fit, target=1.2 * default_target(own)).volume_scale < own.volume_scale


@pytest.mark.parametrize("target", [0.0, -1.0, 5e-5, 9.6e-4, math.nan])
def test_unattainable_targets_are_rejected(target):
    """The bounds are E[s_0]/2 = 0.503 bp and 9 ticks more, 9.503 bp."""
    with pytest.raises(Refusal, match=r"must be between 5\.03\de-05 .* and 0\.0009503 .*, but got"):
        solve_volume_scale(ReferenceBook(), target)


# --- Block bootstrap ---


def ar1(phi: float, n: int, paths: int, seed: int) -> np.ndarray:
    """Stationary normal series with unit variance, (paths, n)."""
    noise = np.random.default_rng(seed).normal(size=(paths, n))
    out = noise.copy()
    for t in range(1, n):
        out[:, t] = phi * out[:, t - 1] + math.sqrt(1 - phi**2) * noise[:, t]
    return out


@pytest.mark.parametrize(("phi", "n"), [(0.5, 4_000), (0.9, 20_000)])
def test_block_bootstrap_matches_standard_error_of_ar1_mean(phi, n):
    """Var(mean) of an AR(1) is (1 + φ)/(1 - φ)/n. The bootstrap is biased slightly low; 40 series average out noise."""
    errors, lengths = [], []
    for series in ar1(phi, n, paths=40, seed=3):
        lengths.append(block_length(series))
        errors.append(np.std(block_bootstrap(series[:, None], lengths[-1], 200, seed=0)))
    exact = math.sqrt((1 + phi) / (1 - phi) / n)
    assert 0.85 < np.mean(errors) / exact < 1.05
    # Optimal block length for the AR(1), Politis & White (2004) with Patton et al.'s correction.
    optimal = (1.5 * n * (2 * phi / (1 - phi**2)) ** 2) ** (1 / 3)
    assert 0.7 < np.median(lengths) / optimal < 1.4


def test_block_lengths_at_their_bounds():
    assert block_length(np.ones(100)) == 1
    assert block_length(np.random.default_rng(0).normal(size=10_000)) <= 10
    assert block_length(np.cumsum(np.random.default_rng(0).normal(size=1_000))) == 100
    # A block of length one is the ordinary bootstrap; a block of full length is a rotation, which keeps the mean.
    x = np.random.default_rng(0).normal(size=(200, 2))
    np.testing.assert_allclose(block_bootstrap(x, 200, 5, seed=0), np.tile(x.mean(0), (5, 1)))
    spread = block_bootstrap(x, 1, 4_000, seed=0).std(0)
    np.testing.assert_allclose(spread, x.std(0) / math.sqrt(200), rtol=0.05)


# --- Files and figures ---


def test_book_file_round_trip_is_exact(tmp_path):
    fit = fit_book(sampled_snapshots(BOOK, 300), resamples=5)
    book = reference_book(fit)
    path = tmp_path / "book.toml"
    write_book(path, book, fit)
    assert read_book(path) == book
    text = path.read_text()
    assert "# Fitted to 300 snapshots of made." in text
    assert text.count("# standard error") == len(fit.standard_errors)
    write_book(path, reference_book(fit, spread_from=ReferenceBook()), fit)
    assert (
        path.read_text().count("# standard error") == len(fit.standard_errors) - 3
    )  # two of the spread, one of the tick
    write_book(path, ReferenceBook())
    assert read_book(path) == ReferenceBook()
    assert [file.name for file in tmp_path.iterdir()] == ["book.toml"]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("tick =", "tikc =", "no parameter 'tikc'; did you mean tick?"),
        ("tick = 0.0001", "tick = 'wide'", "tick takes a finite number, but got 'wide'"),
        ("tick = 0.0001", "tick = nan", "tick takes a finite number, but got nan"),
        ("tick = 0.0001", "tick = -1.0", "tick must be positive and finite, but got -1.0"),
        ("correlation = -0", "correlation = -1", "depth_correlation must be in [-1, 1], but got -1.99708"),
        ("num_levels = 10", "num_levels = 1.5", "num_levels takes a whole number, but got 1.5"),
        ("tick =", "tick", "is not TOML"),
    ],
)  # fmt: skip
def test_invalid_book_file_is_rejected(tmp_path, old, new, sentence):
    path = tmp_path / "book.toml"
    write_book(path, ReferenceBook())
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(Refusal) as caught:
        read_book(path)
    assert str(caught.value).startswith(str(path))
    assert sentence in str(caught.value)


def test_default_inconsistent_with_the_file_is_rejected(tmp_path):
    path = tmp_path / "book.toml"
    path.write_text("spread_min = 1\n")
    with pytest.raises(Refusal, match=r"book\.toml: spread_min: spread_max must be at least spread_min"):
        read_book(path)


MUTATIONS = settings(
    max_examples=1000, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


@MUTATIONS
@given(st.lists(MUTATION, min_size=1, max_size=3))
def test_mutated_book_files_are_read_or_rejected_in_one_sentence(tmp_path_factory, mutations):
    path = tmp_path_factory.getbasetemp() / "mutated.toml"
    write_book(path, ReferenceBook())
    path.write_bytes(mutate(path.read_bytes(), mutations))
    try:
        book = read_book(path)
    except Refusal as error:
        assert str(error).startswith(str(path))
        assert "\n" not in str(error)
    else:
        assert np.all(np.isfinite(jax.tree.leaves(book)))


@pytest.mark.parametrize("lines", [BOOKS, NAMED], ids=["lobster", "named"])
def test_accepted_mutated_snapshots_have_finite_estimates(tmp_path_factory, lines):
    path = write(tmp_path_factory.mktemp("fit") / "b.csv", lines)
    content = path.read_bytes()
    fitted = []

    @settings(MUTATIONS, max_examples=150)
    @given(st.lists(MUTATION, min_size=1, max_size=2))
    def check(mutations):
        path.write_bytes(mutate(content, mutations))
        try:
            fit = fit_book(read_snapshots(path), resamples=2)
        except DataError as error:
            assert str(error).startswith(str(path))
            return
        assert np.all(np.isfinite(list(fit.estimates.values())))
        ReferenceBook(**fit.estimates)
        fitted.append(fit)

    check()
    assert len(fitted) > 10


def test_figure_shows_fitted_model_over_data():
    fit = fit_book(sampled_snapshots(BOOK, 500), resamples=2)
    sizes = np.linspace(0.1, 2, 20)
    curves = sample_curves(reference_book(fit), sizes, samples=7)
    assert curves.shape == (7, 20)
    assert np.all(np.diff(curves, axis=1) >= -1e-9), "S_ref rises with size"
    figure = figure_book_fit(fit, sizes, curves)
    traces = {trace.name: trace for trace in figure.data}
    gamma = traces[f"gamma, shape {fit.estimates['best_volume_shape']:.2f}"]
    np.testing.assert_allclose(np.trapezoid(gamma.y, gamma.x), 1, atol=0.02)
    np.testing.assert_allclose(traces["1 + a n + b n²"].y, fit.fitted_shape)
    np.testing.assert_allclose(traces["mean of the data"].y, fit.mean_shape)
    assert np.sum(traces["clipped normal"].y) == pytest.approx(1)
    assert sum(trace.name == "simulated snapshots" for trace in figure.data) == 7
    assert "NaN" not in figure.to_json()
