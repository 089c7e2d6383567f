"""The Heston model in closed form: moments, characteristic function, cumulants and option prices.

With m = e^{-κT} and the process's parameters,

    E[V_T]    = θ + (V_0 - θ) m
    Var[V_T]  = V_0 σ²/κ (m - m²) + θ σ²/(2κ) (1 - m)²
    E[I_T]    = θ T + (V_0 - θ) (1 - m)/κ,   I_T = ∫_0^T V dt
    Var[I_T]  = (2/κ) ∫_0^T Var[V_s] (1 - e^{-κ(T-s)}) ds, integrated below

The characteristic function of log(S_T/S_0) is the form without branch cuts, the "little trap" of Albrecher, Mayer,
Schoutens & Tistaert (2007). Calls are one Fourier integral of it (Lewis 2001, eq. 3.11):

    E[(S_T - K)⁺] = F - √(F K)/π ∫_0^∞ Re[e^{iu log(F/K)} φ(u - i/2)] / (u² + 1/4) du,   F = S_0 e^{μT}

with φ that of log(S_T/F). Time is in the process's unit; the process's `time_step` and scheme do not matter.
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
    """Of one quantity."""

    mean: float
    variance: float


def variance_moments(process: HestonProcess, time: float) -> Moments:
    """Of V_T."""
    kappa, theta, sigma, start = _parameters(process)
    decay, left = math.exp(-kappa * time), -math.expm1(-kappa * time)
    return Moments(
        mean=theta + (start - theta) * decay,
        variance=sigma**2 / kappa * left * (start * decay + theta * left / 2),
    )


def integrated_variance_moments(process: HestonProcess, time: float) -> Moments:
    """Of ∫ V dt over [0, T], the variance of the log return in the mean."""
    kappa, theta, sigma, start = _parameters(process)
    decay, left = math.exp(-kappa * time), -math.expm1(-kappa * time)
    of_start = left * (1 + decay) / (2 * kappa) - decay * time
    of_level = (time * (1 + 2 * decay) - left * (5 + decay) / (2 * kappa)) / 2
    return Moments(
        mean=theta * time + (start - theta) * left / kappa,
        variance=2 * sigma**2 / kappa**2 * (start * of_start + theta * of_level),
    )


def characteristic_function(
    process: HestonProcess, u: Complex[ndarray, "*n"] | Float[ndarray, "*n"], time: float
) -> Complex[ndarray, "*n"]:
    """E[exp(i u log(S_T / S_0))]; u may be complex, within the strip where the expectation is finite."""
    kappa, theta, sigma, start = _parameters(process)
    rho, z = float(process.correlation), 1j * np.asarray(u)
    slope = kappa - rho * sigma * z
    root = np.sqrt(slope**2 + sigma**2 * (z - z**2))
    ratio = (slope - root) / (slope + root)
    decayed = np.exp(-root * time)
    through_level = (slope - root) * time - 2 * np.log((1 - ratio * decayed) / (1 - ratio))
    through_start = (slope - root) * (1 - decayed) / (1 - ratio * decayed)
    drift = z * float(process.drift) * time
    return np.exp(drift + (kappa * theta * through_level + start * through_start) / sigma**2)


def return_cumulants(process: HestonProcess, time: float, radius: float = 0.05) -> Float[ndarray, "4"]:
    """The first four cumulants of log(S_T / S_0): mean, variance, and what skewness and excess kurtosis scale.

    Cauchy's integral of log E[exp(z log(S_T / S_0))] over the circle |z| = radius / √E[I_T], within which the
    expectation must be finite; the rule of equal points converges geometrically there.
    """
    points = 64
    turn = np.exp(2j * np.pi * np.arange(points) / points)
    inside = radius / math.sqrt(integrated_variance_moments(process, time).mean)
    logarithm = np.log(characteristic_function(process, -1j * inside * turn, time))
    order = np.arange(1, 5)
    coefficients = (np.fft.fft(logarithm).real / points)[order]
    return coefficients * np.array([math.factorial(k) for k in order]) / inside**order


def call_price(process: HestonProcess, strike: float, time: float) -> float:
    """E[(S_T - K)⁺] under the process's own drift, in currency; a discount is the caller's."""
    check("strike", strike, "positive and finite", 0 < strike < math.inf)
    check("time", time, "positive and finite", 0 < time < math.inf)
    forward = float(process.initial) * math.exp(float(process.drift) * time)
    moneyness = math.log(forward / strike) - float(process.drift) * time

    def integrand(u: float) -> float:
        # The process's φ is of log(S_T / S_0): e^{μT} is taken out at u - i/2.
        shifted = u - 0.5j
        value = characteristic_function(process, np.asarray(shifted), time)
        value = value * np.exp(-0.5 * float(process.drift) * time)
        return float((np.exp(1j * u * moneyness) * value).real) / (u**2 + 0.25)

    area, _ = integrate.quad(integrand, 0, np.inf, limit=1000, epsabs=1e-12, epsrel=1e-11)
    return forward - math.sqrt(forward * strike) / math.pi * area


def _parameters(process: HestonProcess) -> tuple[float, float, float, float]:
    """κ, θ, σ and V_0."""
    names = ("reversion", "level", "vol_of_vol", "initial_variance")
    kappa, theta, sigma, start = (float(getattr(process, name)) for name in names)
    return kappa, theta, sigma, start
