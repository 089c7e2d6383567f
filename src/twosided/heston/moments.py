"""Closed forms of the Heston model: moments, characteristic function, cumulants and option prices.

With m = e^{-κT}:

    E[V_T]    = θ + (V_0 - θ) m
    Var[V_T]  = V_0 σ²/κ (m - m²) + θ σ²/(2κ) (1 - m)²
    E[I_T]    = θ T + (V_0 - θ) (1 - m)/κ,   I_T = ∫_0^T V dt
    Var[I_T]  = (2/κ) ∫_0^T Var[V_s] (1 - e^{-κ(T-s)}) ds, integrated in closed form below

The characteristic function of log(S_T/S_0) is computed in the form without branch cuts, which Albrecher, Mayer,
Schoutens & Tistaert (2007) call the "little Heston trap". A call price is one Fourier integral of it (Lewis 2001, eq.
3.11):

    E[(S_T - K)⁺] = F - √(F K)/π ∫_0^∞ Re[e^{iu log(F/K)} φ(u - i/2)] / (u² + 1/4) du,   F = S_0 e^{μT}

with φ the characteristic function of log(S_T/F). Time T is in the process's unit of time. The results do not depend on
the process's `time_step` and scheme.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float
from numpy import ndarray
from scipy import integrate

from twosided.core.validation import check
from twosided.heston.process import HestonProcess


class Moments(NamedTuple):
    """Mean and variance of one quantity."""

    mean: float
    """Mean."""
    variance: float
    """Variance."""


def variance_moments(process: HestonProcess, time: float) -> Moments:
    """Return the mean and variance of V_T."""
    kappa, theta, sigma, v0 = _parameters(process)
    m, one_minus_m = math.exp(-kappa * time), -math.expm1(-kappa * time)
    return Moments(
        mean=theta + (v0 - theta) * m,
        variance=sigma**2 / kappa * one_minus_m * (v0 * m + theta * one_minus_m / 2),
    )


def integrated_variance_moments(process: HestonProcess, time: float) -> Moments:
    """Return the mean and variance of ∫ V dt over [0, T], the integrated variance of the log return."""
    kappa, theta, sigma, v0 = _parameters(process)
    m, one_minus_m = math.exp(-kappa * time), -math.expm1(-kappa * time)
    by_v0 = one_minus_m * (1 + m) / (2 * kappa) - m * time
    by_theta = (time * (1 + 2 * m) - one_minus_m * (5 + m) / (2 * kappa)) / 2
    return Moments(
        mean=theta * time + (v0 - theta) * one_minus_m / kappa,
        variance=2 * sigma**2 / kappa**2 * (v0 * by_v0 + theta * by_theta),
    )


def characteristic_function(
    process: HestonProcess, u: Complex[ndarray, "*n"] | Float[ndarray, "*n"], time: float
) -> Complex[ndarray, "*n"] | complex:
    """Return E[exp(i u log(S_T / S_0))]; u may be complex, within the strip where the expectation is finite."""
    kappa, theta, sigma, v0 = _parameters(process)
    rho, z = float(process.correlation), 1j * np.asarray(u)
    xi = kappa - rho * sigma * z
    d = np.sqrt(xi**2 + sigma**2 * (z - z**2))
    g = (xi - d) / (xi + d)
    decay = np.exp(-d * time)
    by_theta = (xi - d) * time - 2 * np.log((1 - g * decay) / (1 - g))
    by_v0 = (xi - d) * (1 - decay) / (1 - g * decay)
    drift = z * float(process.drift) * time
    return np.exp(drift + (kappa * theta * by_theta + v0 * by_v0) / sigma**2)


def return_cumulants(process: HestonProcess, time: float, radius: float = 0.05) -> Float[ndarray, "4"]:
    """Return the first four cumulants of log(S_T / S_0).

    They are the mean, the variance, and the numerators of skewness and excess kurtosis. They come from Cauchy's
    integral of log E[exp(z log(S_T / S_0))] over the circle |z| = radius / √E[I_T], within which the expectation must
    be finite. The trapezoidal rule converges geometrically on it.
    """
    points = 64
    circle = np.exp(2j * np.pi * np.arange(points) / points)
    scale = radius / math.sqrt(integrated_variance_moments(process, time).mean)
    logarithm = np.log(characteristic_function(process, -1j * scale * circle, time))
    order = np.arange(1, 5)
    coefficients = (np.fft.fft(logarithm).real / points)[order]
    return coefficients * np.array([math.factorial(k) for k in order]) / scale**order


def call_price(process: HestonProcess, strike: float, time: float) -> float:
    """Return E[(S_T - K)⁺] under the process's own drift, in currency and undiscounted.

    Raises ValueError if the strike or the time is not positive and finite.
    """
    check("strike", strike, "positive and finite", 0 < strike < math.inf)
    check("time", time, "positive and finite", 0 < time < math.inf)
    forward = float(process.initial) * math.exp(float(process.drift) * time)
    moneyness = math.log(forward / strike) - float(process.drift) * time

    def integrand(u: float) -> float:
        # The process's φ is that of log(S_T / S_0): at u - i/2 the drift contributes e^{μT/2}, removed here.
        shifted = u - 0.5j
        value = characteristic_function(process, np.asarray(shifted), time)
        value = value * np.exp(-0.5 * float(process.drift) * time)
        return float((np.exp(1j * u * moneyness) * value).real) / (u**2 + 0.25)

    integral, _ = integrate.quad(integrand, 0, np.inf, limit=1000, epsabs=1e-12, epsrel=1e-11)
    return forward - math.sqrt(forward * strike) / math.pi * integral


def _parameters(process: HestonProcess) -> tuple[float, float, float, float]:
    """Return κ, θ, σ and V_0."""
    names = ("mean_reversion", "long_run_variance", "vol_of_vol", "initial_variance")
    kappa, theta, sigma, v0 = (float(getattr(process, name)) for name in names)
    return kappa, theta, sigma, v0
