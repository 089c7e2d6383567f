"""Closed forms of the Heston model against published prices, a second inversion, quadrature and limits."""

import numpy as np
import pytest
from scipy import integrate, stats

from twosided.heston.moments import (
    call_price,
    characteristic_function,
    integrated_variance_moments,
    return_cumulants,
    variance_moments,
)
from twosided.heston.process import Heston

ANDERSEN = {
    "I": (
        Heston(
            mean_reversion=0.5,
            long_run_variance=0.04,
            initial_variance=0.04,
            vol_of_vol=1.0,
            correlation=-0.9,
        ),
        10.0,
    ),
    "II": (
        Heston(
            mean_reversion=0.3,
            long_run_variance=0.04,
            initial_variance=0.04,
            vol_of_vol=0.9,
            correlation=-0.5,
        ),
        15.0,
    ),
    "III": (
        Heston(
            mean_reversion=1.0,
            long_run_variance=0.09,
            initial_variance=0.09,
            vol_of_vol=1.0,
            correlation=-0.3,
        ),
        5.0,
    ),
}
DRIFTING = Heston(
    drift=0.1,
    mean_reversion=1.5,
    long_run_variance=0.05,
    initial_variance=0.02,
    vol_of_vol=0.4,
    correlation=-0.6,
)


@pytest.mark.parametrize(
    ("strike", "price"),
    [
        (80.0, 26.774758743998854221),
        (100.0, 16.070154917028834278),
        (120.0, 9.024913483457835564),
    ],
)
def test_calls_match_the_prices_published_by_lewis(strike, price):
    """Prices of A. Lewis (2012), by Mathematica to 20 digits: rate 1%, dividend 2%, discounted at the rate."""
    process = Heston(
        drift=-0.01,
        mean_reversion=4.0,
        long_run_variance=0.25,
        initial_variance=0.04,
        vol_of_vol=1.0,
        correlation=-0.5,
    )
    assert np.exp(-0.01) * call_price(process, strike, 1.0) == pytest.approx(price, rel=1e-10)


@pytest.mark.parametrize("case", ANDERSEN)
@pytest.mark.parametrize("strike", [70.0, 100.0, 140.0])
def test_calls_match_hestons_inversion_in_andersens_cases(case, strike):
    """C = S P_1 - K P_2 without rates, with Heston's two probabilities by Gil-Pelaez inversion."""
    process, time = ANDERSEN[case]

    def probability(shift):
        def integrand(u):
            value = characteristic_function(process, np.asarray(u - shift), time)
            return (np.exp(-1j * u * np.log(strike / 100)) * value / (1j * u)).real

        return 0.5 + integrate.quad(integrand, 0, np.inf, limit=2000, epsabs=1e-11)[0] / np.pi

    two = 100 * probability(1j) - strike * probability(0)
    assert call_price(process, strike, time) == pytest.approx(two, abs=1e-6)


@pytest.mark.parametrize(
    ("case", "strike", "price"), [("I", 70.0, 35.8498), ("I", 100.0, 13.0847), ("I", 140.0, 0.2958)]
)
def test_calls_match_published_prices_of_andersens_first_case(case, strike, price):
    process, time = ANDERSEN[case]
    assert call_price(process, strike, time) == pytest.approx(price, abs=5e-5)


@pytest.mark.parametrize("process", [DRIFTING, ANDERSEN["I"][0]], ids=["drifting", "case I"])
@pytest.mark.parametrize("time", [0.01, 1.0, 7.0])
def test_moments_solve_their_differential_equations(process, time):
    """dE[V] = κ(θ - E[V]) dt; dVar[V] = (σ² E[V] - 2κ Var[V]) dt; with I = ∫V: dCov = (Var[V] - κ Cov) dt, ..."""
    kappa, theta, sigma = process.mean_reversion, process.long_run_variance, process.vol_of_vol

    def slope(_, y):
        mean, variance, _, covariance, _ = y
        return [
            kappa * (theta - mean),
            sigma**2 * mean - 2 * kappa * variance,
            mean,
            variance - kappa * covariance,
            2 * covariance,
        ]

    start = [process.initial_variance, 0, 0, 0, 0]
    end = integrate.solve_ivp(slope, (0, time), start, rtol=1e-11, atol=1e-16, method="DOP853").y[:, -1]
    np.testing.assert_allclose(variance_moments(process, time), [end[0], end[1]], rtol=1e-8)
    np.testing.assert_allclose(integrated_variance_moments(process, time), [end[2], end[4]], rtol=1e-6)


def test_characteristic_function_has_its_defining_properties():
    u = np.linspace(-30, 30, 4001)
    for process, time in (*ANDERSEN.values(), (DRIFTING, 30.0)):
        values = characteristic_function(process, u, time)
        assert characteristic_function(process, np.asarray(1e-12), time) == pytest.approx(1)
        np.testing.assert_allclose(values, np.conj(values[::-1]), rtol=1e-9)
        assert np.all(np.abs(values) <= 1 + 1e-12)
        # E[S_T] = S_0 e^{μT}, also where the form with branch cuts would jump.
        forward = characteristic_function(process, np.asarray(-1j), time)
        assert forward == pytest.approx(np.exp(process.drift * time), rel=1e-10)
        # |φ(u + h) - φ(u)| ≤ h E|X|
        bound = np.sqrt(return_cumulants(process, time)[1] + return_cumulants(process, time)[0] ** 2)
        assert np.abs(np.diff(values)).max() <= 0.015 * bound


def test_return_cumulants_match_known_values():
    """The mean is μT - E[I]/2; for a constant variance only the mean and the variance are not 0."""
    for process, time in (*ANDERSEN.values(), (DRIFTING, 1.0)):
        integral = integrated_variance_moments(process, time).mean
        cumulants = return_cumulants(process, time)
        assert cumulants[0] == pytest.approx(process.drift * time - integral / 2, rel=1e-9)
        assert cumulants[2] < 0 < cumulants[3], "negative skewness, since the correlation is negative"
    calm = Heston(drift=0.1, initial_variance=0.09, long_run_variance=0.09, vol_of_vol=1e-3, correlation=0.0)
    np.testing.assert_allclose(return_cumulants(calm, 2.0), [0.2 - 0.09, 0.18, 0, 0], atol=1e-5)


def test_second_cumulant_without_correlation():
    """Var[X] = E[I] + Var[I] / 4."""
    process = Heston(
        mean_reversion=1.5, long_run_variance=0.05, initial_variance=0.02, vol_of_vol=0.4, correlation=0.0
    )
    integral = integrated_variance_moments(process, 3.0)
    assert return_cumulants(process, 3.0)[1] == pytest.approx(integral.mean + integral.variance / 4, rel=1e-8)


def test_calls_converge_to_black_scholes_for_small_vol_of_vol():
    calm = Heston(drift=0.05, initial_variance=0.09, long_run_variance=0.09, vol_of_vol=1e-3, correlation=0.0)
    forward, std = 100 * np.exp(0.1), 0.3 * np.sqrt(2)
    d = np.log(forward / 110) / std + std / 2
    expected = forward * stats.norm.cdf(d) - 110 * stats.norm.cdf(d - std)
    assert call_price(calm, 110.0, 2.0) == pytest.approx(expected, rel=1e-5)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="strike must be positive and finite, but got 0"):
        call_price(Heston(), 0.0, 1.0)
    with pytest.raises(ValueError, match="time must be positive and finite, but got -1"):
        call_price(Heston(), 100.0, -1.0)
