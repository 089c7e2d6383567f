"""The Heston model: a price whose variance is a mean-reverting square-root process.

    dS / S = μ dt + √V dW_S,   dV = κ (θ - V) dt + σ √V dW_V,   d⟨W_S, W_V⟩ = ρ dt

Time is in the unit of `time_step`: if that is years, θ = 0.04 is a volatility of 20% a year. There are two schemes:

    Heston         quadratic-exponential with martingale correction (Andersen 2008): V' is a scaled squared normal far
                   from 0, and an exponential with an atom at 0 near 0, with the exact mean and variance given V;
                   E[S'] = S exp(μ Δ) holds exactly for ρ ≤ 0, and for ρ > 0 wherever the expectation is finite
    HestonEuler    full-truncation Euler (Lord, Koekkoek & van Dijk 2010): V may fall below 0, where it counts as 0

`twosided.heston.moments` has the model's moments, its characteristic function and option prices.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twosided.core.numeric import Scalar
from twosided.core.validation import check, is_at_least, is_positive
from twosided.prices.process import PriceProcess, correlated_normal, log_normal_moments

PSI_C = 1.5
"""ψ_c: V' is quadratic up to this relative variance and exponential above it (Andersen 2008, section 3.2.3)."""
QUADRATURE_NODES = 12
"""Nodes of the quadrature over V' in the moments of the next price change."""


class HestonShock(eqx.Module):
    """Independent standard normals of a step."""

    variance: Float[Array, "*batch"]
    """Innovation of the variance."""
    price: Float[Array, "*batch"]
    """Innovation of the price that is independent of the variance's."""


class HestonState(eqx.Module):
    """Midprice and current variance."""

    mid: Float[Array, ""]
    """Midprice, in currency."""
    variance: Float[Array, ""]
    """V, variance per unit of time."""


class HestonProcess(PriceProcess):
    """Base class of the schemes: parameters, random inputs and initial state."""

    initial: Scalar = 100.0
    """S_0, midprice at the start of an episode, in currency."""
    drift: Scalar = 0.0
    """μ, drift of the price per unit of time."""
    initial_variance: Scalar = 0.04
    """V_0, variance at the start of an episode, per unit of time: the square of the volatility."""
    mean_reversion: Scalar = 2.5
    """κ, mean-reversion rate of the variance, per unit of time."""
    long_run_variance: Scalar = 0.04
    """θ, long-run variance, per unit of time."""
    vol_of_vol: Scalar = 0.5
    """σ, volatility of the variance, per unit of time; the volatility √V itself has half of it."""
    correlation: Scalar = -0.5
    """ρ, correlation between the Brownian motions of price and variance; in (-1, 1)."""
    time_step: Scalar = 1 / 6552
    """Δ, units of time in a step. Default: 15 minutes of a year of 252 days of 6.5 hours."""

    def __check_init__(self):
        for name in ("initial", "mean_reversion", "long_run_variance", "vol_of_vol", "time_step"):
            value = getattr(self, name)
            check(name, value, "positive and finite", lambda value=value: is_positive(value))
        check("drift", self.drift, "finite", lambda: np.isfinite(self.drift))
        variance, correlation = self.initial_variance, self.correlation
        check("initial_variance", variance, "at least 0 and finite", lambda: is_at_least(variance, 0))
        check("correlation", correlation, "in (-1, 1)", lambda: (correlation > -1) & (correlation < 1))

    def shocks(self, key, shape):
        return HestonShock(*jax.random.normal(key, (2, *shape)))

    def correlated(self, shock, normal, correlation):
        """Correlate the price's independent innovation with a signal.

        The signal's correlation with the whole price move is √(1 - ρ²) times as large.
        """
        return HestonShock(shock.variance, correlated_normal(shock.price, normal, correlation))

    def reset(self, shock):
        dtype = shock.price.dtype
        return HestonState(jnp.asarray(self.initial, dtype), jnp.asarray(self.initial_variance, dtype))


class Heston(HestonProcess):
    """Heston's stochastic volatility model, by the quadratic-exponential scheme (Andersen 2008)."""

    def step(self, state, shock):
        distribution = self._next_variance(state.variance)
        variance = distribution.draw(shock.variance)
        mean, return_variance = self._log_return(distribution, state.variance, variance)
        growth = jnp.exp(mean + jnp.sqrt(return_variance) * shock.price)
        return HestonState((state.mid * growth).astype(state.mid.dtype), variance.astype(state.mid.dtype))

    def change_moments(self, state):
        """Return the moments of the next price change, by quadrature over V', given which the price is log-normal."""
        distribution = self._next_variance(state.variance)
        weights, variance = distribution.nodes()
        mean, return_variance = self._log_return(distribution, state.variance, variance)
        given = log_normal_moments(state.mid, mean + return_variance / 2, return_variance)
        expected = jax.tree.map(lambda leaf: (weights * leaf).sum().astype(state.mid.dtype), given)
        exact = state.mid * jnp.expm1(jnp.asarray(self.drift * self.time_step, state.mid.dtype))
        return eqx.tree_at(
            lambda m: m.mean,
            expected,
            jnp.where(self._martingale_correction(distribution)[1], exact, expected.mean),
        )

    def _next_variance(self, variance: Any) -> "VarianceDistribution":
        """Return Andersen's distribution of V' with the exact mean and variance given V (eq. 17-18, 23-30)."""
        decay = jnp.exp(-self.mean_reversion * self.time_step)
        one_minus_decay = -jnp.expm1(-self.mean_reversion * self.time_step)
        # Not θ + (V - θ) e^{-κΔ}: if V is 0, that is 0 for steps so short that e^{-κΔ} rounds to 1.
        mean = variance * decay + self.long_run_variance * one_minus_decay
        scale = jnp.square(self.vol_of_vol) * one_minus_decay / self.mean_reversion
        return VarianceDistribution.of(
            mean, scale * (variance * decay + self.long_run_variance * one_minus_decay / 2)
        )

    def _log_return(self, distribution: "VarianceDistribution", before: Any, after: Any) -> tuple[Any, Any]:
        """Return the mean and variance of log(S'/S) given V and V'.

        This is eq. 33 with γ_1 = γ_2 = 1/2 and the martingale correction of section 4.2. The mean K_0 + K_1 V + K_2 V'
        is written so that the difference V' - V keeps its digits.
        """
        integrated = self.time_step * (before + after) / 2
        leverage = self.correlation / self.vol_of_vol
        correlated = leverage * (
            after - before + self.mean_reversion * (integrated - self.long_run_variance * self.time_step)
        )
        uncorrected = correlated - integrated / 2
        variance = (1 - jnp.square(self.correlation)) * integrated
        # The correction subtracts log E[exp(uncorrected + variance / 2) | V].
        log_mean, finite = self._martingale_correction(distribution)
        linear = (
            leverage * (self.mean_reversion * self.time_step / 2 - 1)
            - self._half_rho_squared * self.time_step / 2
        ) * before
        constant = -leverage * self.mean_reversion * self.long_run_variance * self.time_step
        excess = jnp.where(finite, constant + linear + log_mean, 0.0)
        return self.drift * self.time_step + uncorrected - excess, variance

    @property
    def _half_rho_squared(self):
        """ρ²/2, the Itô term 1/2 less (1 - ρ²)/2 from the expectation over the independent innovation."""
        return jnp.square(self.correlation) / 2

    def _martingale_correction(self, distribution: "VarianceDistribution") -> tuple[Any, Any]:
        """Return log E[exp(A V')] with A = K_2 + K_4 / 2 (section 4.2), and whether it is finite."""
        leverage = self.correlation / self.vol_of_vol
        tilt = (
            leverage * (1 + self.mean_reversion * self.time_step / 2)
            - self._half_rho_squared * self.time_step / 2
        )
        return distribution.log_moment(tilt)


class HestonEuler(HestonProcess):
    """Heston's stochastic volatility model, by the full-truncation Euler scheme (Lord, Koekkoek & van Dijk 2010)."""

    def step(self, state, shock):
        truncated = jnp.maximum(state.variance, 0.0)
        std = jnp.sqrt(truncated * self.time_step)
        independent = jnp.sqrt(1 - jnp.square(self.correlation))
        noise = std * (self.correlation * shock.variance + independent * shock.price)
        mid = state.mid * jnp.exp((self.drift - truncated / 2) * self.time_step + noise)
        drift = self.mean_reversion * (self.long_run_variance - truncated) * self.time_step
        variance = state.variance + drift + self.vol_of_vol * std * shock.variance
        return HestonState(mid.astype(state.mid.dtype), variance.astype(state.mid.dtype))

    def change_moments(self, state):
        variance = jnp.maximum(state.variance, 0.0) * self.time_step
        return log_normal_moments(state.mid, self.drift * self.time_step, variance)


class VarianceDistribution(eqx.Module):
    """Distribution of V' (Andersen 2008, section 3.2).

    Either a (b + Z)² with Z standard normal (quadratic), or 0 with probability p and else exponential of rate β.
    """

    quadratic: Any
    """Whether it is the quadratic one."""
    a: Any
    """Scale of the square."""
    b: Any
    """Location of the normal."""
    p: Any
    """Probability of 0."""
    one_minus_p: Any
    """1 - p, stored since the difference would lose digits for p near 1."""
    rate: Any
    """β, rate of the exponential."""

    @classmethod
    def of(cls, mean: Any, variance: Any) -> "VarianceDistribution":
        """Make the distribution with this mean and variance."""
        # For V = 0 and a tiny θ the mean may underflow to 0, and it is a divisor below.
        mean = jnp.maximum(mean, jnp.finfo(jnp.result_type(mean)).tiny)
        psi = variance / mean / mean
        quadratic = psi <= PSI_C
        inverse = 2 / jnp.clip(psi, 1e-12, PSI_C)
        b_squared = inverse - 1 + jnp.sqrt(inverse) * jnp.sqrt(inverse - 1)
        clipped = jnp.clip(psi, 1.0, 1e30)
        p, one_minus_p = (clipped - 1) / (clipped + 1), 2 / (clipped + 1)
        return cls(quadratic, mean / (1 + b_squared), jnp.sqrt(b_squared), p, one_minus_p, one_minus_p / mean)

    def draw(self, normal: Any) -> Any:
        """Return V' from a standard normal, whose upper tail probability is 1 - U in the inverse of the exponential."""
        upper_tail = jax.scipy.special.ndtr(-normal)
        exponential = jnp.maximum(jnp.log(self.one_minus_p / jnp.maximum(upper_tail, 1e-37)), 0.0) / self.rate
        return jnp.where(self.quadratic, self.a * jnp.square(self.b + normal), exponential)

    def nodes(self) -> tuple[Any, Any]:
        """Return the weights and nodes of a quadrature rule for smooth functions of V'."""
        normal, normal_weights, exponential, exponential_weights = _quadrature()
        values = jnp.where(
            self.quadratic, self.a * jnp.square(self.b + normal), jnp.append(0.0, exponential) / self.rate
        )
        return jnp.where(
            self.quadratic, normal_weights, jnp.append(self.p, self.one_minus_p * exponential_weights)
        ), values

    def log_moment(self, tilt: Any) -> tuple[Any, Any]:
        """Return log E[exp(tilt V')], or 0 where the expectation is infinite, and whether it is finite."""
        scaled = 2 * tilt * self.a
        finite = jnp.where(self.quadratic, scaled < 1, tilt < self.rate)
        exponent = jnp.square(self.b) * scaled / 2
        bounded = jnp.where(scaled < 1, scaled, 0.0)
        if_quadratic = exponent / (1 - bounded) - jnp.log1p(-bounded) / 2
        if_exponential = jnp.log(
            self.p + self.one_minus_p * self.rate / jnp.where(tilt < self.rate, self.rate - tilt, 1.0)
        )
        return jnp.where(finite, jnp.where(self.quadratic, if_quadratic, if_exponential), 0.0), finite


@functools.cache
def _quadrature() -> tuple[Any, ...]:
    """Return the Gauss-Hermite nodes and weights of a standard normal, and Gauss-Laguerre's of an exponential."""
    normal, normal_weights = np.polynomial.hermite_e.hermegauss(QUADRATURE_NODES)
    exponential, exponential_weights = np.polynomial.laguerre.laggauss(QUADRATURE_NODES - 1)
    return normal, normal_weights / normal_weights.sum(), exponential, exponential_weights
