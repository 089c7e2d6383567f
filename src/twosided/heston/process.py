"""The Heston model: a price whose variance is itself a mean-reverting square-root process.

    dS / S = μ dt + √V dW_S,   dV = κ (θ - V) dt + σ √V dW_V,   d⟨W_S, W_V⟩ = ρ dt

in the units of time of `time_step`: with years, θ = 0.04 is a volatility of 20% a year. Two schemes step it:

    Heston         quadratic-exponential with martingale correction (Andersen 2008): V' is a scaled square of a normal
                   where it is far from 0 and an exponential with an atom at 0 where it is near, with the exact mean
                   and variance given V; E[S'] = S exp(μ Δ) holds exactly for ρ ≤ 0, and for ρ > 0 wherever the
                   expectation is finite
    HestonEuler    full-truncation Euler (Lord, Koekkoek & van Dijk 2010): V may fall below 0, and counts as 0 there

`twosided.heston.moments` has the model's moments, its characteristic function and its option prices.
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

SWITCH = 1.5
"""ψ_c: above this relative variance V' is exponential, below it quadratic (Andersen 2008, section 3.2.3)."""
NODES = 12
"""Of the quadrature over V' that the moments of the next change take."""


class HestonShock(eqx.Module):
    """Independent standard normals."""

    variance: Float[Array, "*batch"]
    """Of the variance."""
    price: Float[Array, "*batch"]
    """Of the part of the price that the variance does not decide."""


class HestonState(eqx.Module):
    """The price, and the variance that its next move starts from."""

    mid: Float[Array, ""]
    variance: Float[Array, ""]
    """V, per unit of time."""


class HestonProcess(PriceProcess):
    """What the schemes share."""

    initial: Scalar = 100.0
    """S_0, the midprice at the start of an episode, in currency."""
    drift: Scalar = 0.0
    """μ, per unit of time."""
    initial_variance: Scalar = 0.04
    """V_0, per unit of time: the square of a volatility per square root of it."""
    reversion: Scalar = 2.5
    """κ, the rate at which the variance returns to its level, per unit of time."""
    level: Scalar = 0.04
    """θ, the variance in the long run, per unit of time."""
    vol_of_vol: Scalar = 0.5
    """σ, volatility of the variance's square root (twice it), per unit of time."""
    correlation: Scalar = -0.5
    """ρ, of what drives the price and what drives the variance; in (-1, 1)."""
    time_step: Scalar = 1 / 6552
    """Δ, units of time in a step; 15 minutes of a year of 252 days of 6.5 hours."""

    def __check_init__(self):
        for name in ("initial", "reversion", "level", "vol_of_vol", "time_step"):
            value = getattr(self, name)
            check(name, value, "positive and finite", lambda value=value: is_positive(value))
        check("drift", self.drift, "finite", lambda: np.isfinite(self.drift))
        variance, correlation = self.initial_variance, self.correlation
        check("initial_variance", variance, "at least 0 and finite", lambda: is_at_least(variance, 0))
        check("correlation", correlation, "in (-1, 1)", lambda: (correlation > -1) & (correlation < 1))

    def shocks(self, key, shape):
        return HestonShock(*jax.random.normal(key, (2, *shape)))

    def correlated(self, shock, normal, correlation):
        """A signal of the price's own part: with the whole move its correlation is √(1 - ρ²) times as large."""
        return HestonShock(shock.variance, correlated_normal(shock.price, normal, correlation))

    def reset(self, shock):
        dtype = shock.price.dtype
        return HestonState(jnp.asarray(self.initial, dtype), jnp.asarray(self.initial_variance, dtype))


class Heston(HestonProcess):
    """Heston's stochastic volatility, by the quadratic-exponential scheme."""

    def step(self, state, shock):
        law = self._variance_law(state.variance)
        variance = law.draw(shock.variance)
        mean, spread = self._log_return(law, state.variance, variance)
        growth = jnp.exp(mean + jnp.sqrt(spread) * shock.price)
        return HestonState((state.mid * growth).astype(state.mid.dtype), variance.astype(state.mid.dtype))

    def change_moments(self, state):
        """Given V' the change is log-normal: a quadrature over V'."""
        law = self._variance_law(state.variance)
        chance, variance = law.nodes()
        mean, spread = self._log_return(law, state.variance, variance)
        given = log_normal_moments(state.mid, mean + spread / 2, spread)
        expected = jax.tree.map(lambda leaf: (chance * leaf).sum().astype(state.mid.dtype), given)
        exact = state.mid * jnp.expm1(jnp.asarray(self.drift * self.time_step, state.mid.dtype))
        return eqx.tree_at(
            lambda m: m.mean, expected, jnp.where(self._compensation(law)[1], exact, expected.mean)
        )

    def _variance_law(self, variance: Any) -> "_VarianceLaw":
        """Of V' given V: its exact mean and variance in the law that Andersen chooses (eq. 17-18, 23-30)."""
        decay = jnp.exp(-self.reversion * self.time_step)
        left = -jnp.expm1(-self.reversion * self.time_step)
        # Not θ + (V - θ) e^{-κΔ}, which is 0 in steps so short that a float's e^{-κΔ} is 1.
        mean = variance * decay + self.level * left
        square = jnp.square(self.vol_of_vol) * left / self.reversion
        return _VarianceLaw.of(mean, square * (variance * decay + self.level * left / 2))

    def _log_return(self, law: "_VarianceLaw", before: Any, after: Any) -> tuple[Any, Any]:
        """Mean and variance of log(S'/S) given V and V' (eq. 33, with γ_1 = γ_2 = 1/2, corrected as in 4.2).

        The same as K_0 + K_1 V + K_2 V', written so that the difference V' - V keeps its digits.
        """
        within = self.time_step * (before + after) / 2
        leverage = self.correlation / self.vol_of_vol
        drawn = leverage * (after - before + self.reversion * (within - self.level * self.time_step))
        plain = drawn - within / 2
        spread = (1 - jnp.square(self.correlation)) * within
        # log E[exp(plain + spread / 2) | V] is what the correction takes away.
        log_mean, finite = self._compensation(law)
        fixed = (
            leverage * (self.reversion * self.time_step / 2 - 1) - self._taken * self.time_step / 2
        ) * before
        constant = -leverage * self.reversion * self.level * self.time_step
        excess = jnp.where(finite, constant + fixed + log_mean, 0.0)
        return self.drift * self.time_step + plain - excess, spread

    @property
    def _taken(self):
        """What is left of half the variance once the price's own part has given its half back."""
        return jnp.square(self.correlation) / 2

    def _compensation(self, law: "_VarianceLaw") -> tuple[Any, Any]:
        """log E[exp(A V')] with A = K_2 + K_4 / 2 (section 4.2), and whether it is finite."""
        leverage = self.correlation / self.vol_of_vol
        tilt = leverage * (1 + self.reversion * self.time_step / 2) - self._taken * self.time_step / 2
        return law.log_moment(tilt)


class HestonEuler(HestonProcess):
    """Heston's stochastic volatility, by the full-truncation Euler scheme."""

    def step(self, state, shock):
        held = jnp.maximum(state.variance, 0.0)
        deviation = jnp.sqrt(held * self.time_step)
        own = jnp.sqrt(1 - jnp.square(self.correlation))
        moved = deviation * (self.correlation * shock.variance + own * shock.price)
        mid = state.mid * jnp.exp((self.drift - held / 2) * self.time_step + moved)
        drift = self.reversion * (self.level - held) * self.time_step
        variance = state.variance + drift + self.vol_of_vol * deviation * shock.variance
        return HestonState(mid.astype(state.mid.dtype), variance.astype(state.mid.dtype))

    def change_moments(self, state):
        variance = jnp.maximum(state.variance, 0.0) * self.time_step
        return log_normal_moments(state.mid, self.drift * self.time_step, variance)


class _VarianceLaw(eqx.Module):
    """Of V': a (b + Z)² where it is quadratic; else 0 with chance p, and exponential with rate β."""

    quadratic: Any
    """Which of the two."""
    a: Any
    b: Any
    p: Any
    rest: Any
    """1 - p, whose digits p itself would lose near 1."""
    rate: Any

    @classmethod
    def of(cls, mean: Any, variance: Any) -> "_VarianceLaw":
        """The law that has this mean and variance."""
        # V = 0 with a level of almost nothing has no moments to divide by.
        mean = jnp.maximum(mean, jnp.finfo(jnp.result_type(mean)).tiny)
        psi = variance / mean / mean
        quadratic = psi <= SWITCH
        inverse = 2 / jnp.clip(psi, 1e-12, SWITCH)
        square = inverse - 1 + jnp.sqrt(inverse) * jnp.sqrt(inverse - 1)
        wide = jnp.clip(psi, 1.0, 1e30)
        p, rest = (wide - 1) / (wide + 1), 2 / (wide + 1)
        return cls(quadratic, mean / (1 + square), jnp.sqrt(square), p, rest, rest / mean)

    def draw(self, normal: Any) -> Any:
        """V' from a standard normal; its upper tail probability is 1 - U of the exponential's inverse."""
        above = jax.scipy.special.ndtr(-normal)
        exponential = jnp.maximum(jnp.log(self.rest / jnp.maximum(above, 1e-37)), 0.0) / self.rate
        return jnp.where(self.quadratic, self.a * jnp.square(self.b + normal), exponential)

    def nodes(self) -> tuple[Any, Any]:
        """Probabilities and values that integrate smooth functions of V'."""
        normal, chance, exponential, tail = _quadrature()
        values = jnp.where(
            self.quadratic, self.a * jnp.square(self.b + normal), jnp.append(0.0, exponential) / self.rate
        )
        return jnp.where(self.quadratic, chance, jnp.append(self.p, self.rest * tail)), values

    def log_moment(self, tilt: Any) -> tuple[Any, Any]:
        """log E[exp(tilt V')], and whether the expectation is finite (0 stands where it is not)."""
        taken = 2 * tilt * self.a
        finite = jnp.where(self.quadratic, taken < 1, tilt < self.rate)
        square = jnp.square(self.b) * taken / 2
        inside = jnp.where(taken < 1, taken, 0.0)
        first = square / (1 - inside) - jnp.log1p(-inside) / 2
        second = jnp.log(self.p + self.rest * self.rate / jnp.where(tilt < self.rate, self.rate - tilt, 1.0))
        return jnp.where(finite, jnp.where(self.quadratic, first, second), 0.0), finite


@functools.cache
def _quadrature() -> tuple[Any, ...]:
    """Gauss-Hermite nodes and weights for a standard normal, Gauss-Laguerre's for a standard exponential."""
    normal, chance = np.polynomial.hermite_e.hermegauss(NODES)
    exponential, tail = np.polynomial.laguerre.laggauss(NODES - 1)
    return normal, chance / chance.sum(), exponential, tail
