"""Fill models fitted to bars: recovery of known parameters, standard errors, and rejection of misfit."""

import numpy as np
import pytest
from scipy import signal, stats

from twosided.data.bars import OHLC, Bars
from twosided.limit_orders.calibration import FillsError, fit_fills
from twosided.limit_orders.fills import ProbabilisticFill, TouchFill, TradeThroughFill

A, K, SIGMA = 1.4, 2000.0, 4e-4
OFFSETS = np.linspace(0.0, 0.0015, 7)


def bars_of(reach_down, reach_up, close=100.0, step=60.0):
    """Return bars whose low and high are below and above the previous close by given fractions of it."""
    num_bars = reach_down.size
    closes = np.full(num_bars, close)
    low, high = closes * (1 - reach_down), closes * (1 + reach_up)
    # Only the extremes matter for the fit, so open and close may be outside of them.
    return Bars(step * np.arange(num_bars), OHLC(closes, high, low, closes), step)


def gumbel(rng, num_bars):
    return (np.log(A) - np.log(rng.exponential(size=(2, num_bars)))) / K


def test_fit_recovers_known_parameters_within_standard_errors():
    rng, scores = np.random.default_rng(0), []
    for _ in range(200):
        fit = fit_fills(bars_of(*gumbel(rng, 500)), OFFSETS)
        scores.append(
            [
                (fit.intensity - A) / fit.standard_errors["intensity"],
                (fit.decay - K) / fit.standard_errors["decay"],
                (fit.decay - K) / fit.robust_errors["decay"],
                fit.p_value,
            ]
        )
    scores = np.array(scores)
    # 200 scores with a standard deviation of 1: the mean is within 0.25 (3.5 standard errors), the standard deviation
    # within 1 ± 0.18.
    assert (np.abs(scores[:, :3].mean(0)) < 0.25).all()
    np.testing.assert_allclose(scores[:, :2].std(0), 1.0, atol=0.18)
    # Robust errors from 10 blocks are noisy: Student’s distribution with 9 degrees of freedom has a standard
    # deviation of 1.13.
    assert 0.85 < scores[:, 2].std() < 1.6
    # p-values are uniform: the mean is 0.5 ± 3.5 · 0.02.
    assert abs(scores[:, 3].mean() - 0.5) < 0.075


def test_sides_are_fitted_separately_and_errors_shrink_with_the_root_of_bars():
    rng = np.random.default_rng(1)
    down, up = gumbel(rng, 4000)
    up = up * 2  # buy orders reach twice as far, so their k is half
    bars = bars_of(down, up)
    bid, ask = (fit_fills(bars, OFFSETS, side=side) for side in ("bid", "ask"))
    assert abs(bid.decay - K) < 4 * bid.standard_errors["decay"]
    assert abs(ask.decay - K / 2) < 4 * ask.standard_errors["decay"]
    few = fit_fills(bars[:1000], OFFSETS, side="bid")
    assert few.standard_errors["decay"] / bid.standard_errors["decay"] == pytest.approx(2.0, rel=0.1)
    # Both sides together do not follow the model, and the fit is rejected.
    assert fit_fills(bars, OFFSETS).p_value < 1e-4
    assert bid.p_value > 1e-3


def test_observed_shares_match_hand_calculation():
    # Bars after the first reach 1 to 12 basis points; the offsets lie between.
    reach = np.append(0.0, np.arange(1, 13)) * 1e-4
    bars = bars_of(reach, np.zeros(13))
    fit = fit_fills(bars, np.array([2.5, 6.5, 10.5]) * 1e-4, side="bid")
    np.testing.assert_allclose(fit.observed, [10 / 12, 6 / 12, 2 / 12])
    assert fit.bars == 12
    # Fitted shares are the probabilities at the estimates.
    probability = 1 - np.exp(-fit.intensity * np.exp(-fit.decay * fit.offsets))
    np.testing.assert_allclose(fit.fitted, probability, rtol=1e-9)


def test_robust_errors_are_larger_with_volatility_clusters():
    rng = np.random.default_rng(2)
    reach = gumbel(rng, 6000) * np.repeat(rng.lognormal(0, 0.5, 100), 60)
    fit = fit_fills(bars_of(*reach), OFFSETS)
    assert fit.robust_errors["decay"] > 2 * fit.standard_errors["decay"]


def test_robust_intervals_cover_where_volatility_clusters():
    rng, number, fits = np.random.default_rng(5), 6000, []
    for _ in range(150):
        # Clusters that last for about 50 bars.
        innovations = rng.normal(0, 0.4 * np.sqrt(1 - 0.98**2), number + 500)
        scale = np.exp(signal.lfilter([1.0], [1.0, -0.98], innovations)[500:])
        fits.append(fit_fills(bars_of(*(gumbel(rng, number) * scale)), OFFSETS))
    for name in ("intensity", "decay"):
        values = np.array([getattr(fit, name) for fit in fits])
        half = np.array([stats.t.ppf(0.975, fit.robust_dof) * fit.robust_errors[name] for fit in fits])
        covered = np.mean(np.abs(values - values.mean()) < half)
        # Of 150 exact 95% intervals, at most 132 cover once in 2,000 such tests.
        assert 0.88 < covered < 0.99, (name, covered)
    # The decay depends on the volatility of the bars most: intervals for independent bars do not cover it.
    independent = np.array([1.96 * fit.standard_errors["decay"] for fit in fits])
    assert np.mean(np.abs(values - values.mean()) < independent) < 0.8


def test_volatility_is_recovered_within_its_standard_error():
    rng = np.random.default_rng(3)
    close = 50 * np.exp(np.cumsum(rng.normal(0, SIGMA, 20_000)))
    down, up = gumbel(rng, 20_000)
    before = np.append(close[0], close[:-1])
    bars = Bars(60.0 * np.arange(20_000), OHLC(close, before * (1 + up), before * (1 - down), close), 60.0)
    fit = fit_fills(bars, OFFSETS)
    assert abs(fit.volatility - SIGMA) < 4 * fit.standard_errors["volatility"]
    # For a normal distribution: σ / √(2n).
    assert fit.standard_errors["volatility"] == pytest.approx(SIGMA / np.sqrt(40_000), rel=0.05)
    maker = fit.avellaneda_stoikov(risk_aversion=50.0, horizon=30.0)
    assert (maker.volatility, maker.decay) == (fit.volatility, fit.decay)
    assert fit.gueant_lehalle_fernandez_tapia(50.0).intensity == fit.intensity


def test_observed_shares_depend_on_the_fill_rule():
    rng = np.random.default_rng(4)
    bars = bars_of(*gumbel(rng, 2000))
    touch, through, probabilistic = (
        fit_fills(bars, OFFSETS, rule).observed
        for rule in (TouchFill(), TradeThroughFill(margin=1e-4), ProbabilisticFill(touch=0.5, depth=1e-4))
    )
    assert (touch > probabilistic).all() and (touch > through).all()
    # A margin is equivalent to a larger offset.
    further = fit_fills(bars, OFFSETS + 1e-4).observed
    np.testing.assert_allclose(through, further, atol=0.003)


def test_bars_after_gaps_are_left_out():
    rng = np.random.default_rng(5)
    bars = bars_of(*gumbel(rng, 100))
    time = bars.time + np.where(np.arange(100) >= 50, 1e6, 0.0)
    assert fit_fills(Bars(time, bars.price, 60.0), OFFSETS).bars == 98


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"offsets": [0.0, 0.1]}, ValueError, "at least three increasing fractions"),
        ({"offsets": [0.0, 0.2, 0.1]}, ValueError, "at least three increasing fractions"),
        ({"offsets": [0.5, 0.6, 0.7]}, FillsError, "nearly all bars reach the same offsets"),
        ({"block": 0}, ValueError, "block must be at least 1"),
    ],
)
def test_invalid_arguments_raise(arguments, error, sentence):
    bars = bars_of(*gumbel(np.random.default_rng(6), 100))
    with pytest.raises(error, match=sentence):
        fit_fills(bars, **arguments)


def ticks(*reaches):
    """Return bars that reach given distances down and up, repeated in turn."""
    reach = np.resize(np.asarray(reaches, float), 60)
    return bars_of(reach, reach)


@pytest.mark.parametrize(
    ("bars", "found"),
    [(ticks(0.0), r"1 \(0\)"), (ticks(0.0, 0.01), r"1 \(0.01\)"), (ticks(2.0), "0")],
)
def test_bars_without_suitable_offsets_raise(bars, found):
    sentence = (
        f"at least 3 offsets below 1, but how far bars go beyond the close before them suggests {found}"
    )
    with pytest.raises(FillsError, match=sentence):
        fit_fills(bars)


@pytest.mark.parametrize("offsets", [None, OFFSETS])
def test_too_few_bars_raise(offsets):
    with pytest.raises(FillsError, match="at least 10 bars that follow another"):
        fit_fills(bars_of(*gumbel(np.random.default_rng(7), 5)), offsets)
