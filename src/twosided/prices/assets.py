"""Several assets, log-normal, whose moves are correlated (Bakshaev 2020, eq. 7-9 and section 7).

    S_k(t+1) = S_k(t) exp((μ - σ²/2) Δ + σ √Δ Z_k),   E[Z_j Z_k] = R_jk

The market asks what is expected of the change of a position, q · ΔS; with x_k = q_k S_k e^{μΔ},

    E[q·ΔS] = Σ x_k - q·S,      Var[q·ΔS] = Σ_jk x_j x_k (exp(R_jk σ² Δ) - 1)
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.core.numeric import Scalar
from twosided.core.validation import check
from twosided.prices.process import check_motion


class AssetsState(eqx.Module):
    """Where the prices stand."""

    mid: Float[Array, "assets"]


class AssetPrices(eqx.Module):
    """How the midprices of several assets move."""

    @property
    @abc.abstractmethod
    def number(self) -> int:
        """Of assets."""

    @property
    @abc.abstractmethod
    def first(self) -> Any:
        """Midprices at the start of an episode, in currency: one for all, or each."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """The innovations, with the given leading axes."""

    @abc.abstractmethod
    def reset(self, shock: Any) -> AssetsState:
        """The state at the start of an episode."""

    @abc.abstractmethod
    def step(self, state: AssetsState, shock: Any) -> AssetsState:
        """The state one step later."""

    @abc.abstractmethod
    def change(
        self, state: AssetsState, position: Float[Array, "assets"]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """E[q·ΔS] and E[(q·ΔS)²] of a position q, in currency and its square."""

    @abc.abstractmethod
    def deviation(self, state: AssetsState) -> Float[Array, "assets"]:
        """Of the next log return of each."""


class _LogNormal(AssetPrices):
    """What the two ways of giving correlations share."""

    initial: Scalar = 100.0
    """S_0 of every asset, in currency."""
    drift: Scalar = 0.0
    """μ of every asset, per unit of time."""
    volatility: Scalar = 0.15
    """σ of every asset, per square root of a unit of time."""
    time_step: Scalar = 1 / 512
    """Δ, units of time in a step."""

    def __check_init__(self):
        check_motion(self)

    @property
    def first(self):
        return self.initial

    def shocks(self, key, shape):
        return jax.random.normal(key, (*shape, self.number))

    def reset(self, shock):
        return AssetsState(jnp.broadcast_to(jnp.asarray(self.initial, shock.dtype), shock.shape))

    def step(self, state, shock):
        variance = jnp.square(self.volatility) * self.time_step
        drift = self.drift * self.time_step - variance / 2
        return AssetsState(state.mid * jnp.exp(drift + jnp.sqrt(variance) * self._correlated(shock)))

    def change(self, state, position):
        value = position * state.mid
        grown = value * jnp.exp(jnp.asarray(self.drift * self.time_step, value.dtype))
        mean = value.sum() * jnp.expm1(jnp.asarray(self.drift * self.time_step, value.dtype))
        variance = jnp.asarray(jnp.square(self.volatility) * self.time_step, value.dtype)
        return mean, jnp.square(mean) + self._quadratic(grown, variance)

    def deviation(self, state):
        return jnp.full_like(state.mid, self.volatility * jnp.sqrt(self.time_step))

    @abc.abstractmethod
    def _correlated(self, shock: Float[Array, "assets"]) -> Float[Array, "assets"]:
        """Normals with the correlations, from independent ones."""

    @abc.abstractmethod
    def _quadratic(self, x: Float[Array, "assets"], variance: Float[Array, ""]) -> Float[Array, ""]:
        """Σ_jk x_j x_k (exp(R_jk variance) - 1)."""


class EqualCorrelation(_LogNormal):
    """Assets with the same correlation between any two; of two assets, that of eq. 9."""

    assets: int = eqx.field(static=True, default=2)
    """How many."""
    correlation: Scalar = 0.0
    """ρ between any two, from -1 / (assets - 1) to 1."""

    def __check_init__(self):
        check("assets", self.assets, "from 1 to 10000", 1 <= self.assets <= 10_000)
        least = -1 / max(self.assets - 1, 1)
        check("correlation", self.correlation, f"in [{least:g}, 1]", lambda: least <= self.correlation <= 1)

    @property
    def number(self):
        return self.assets

    def _correlated(self, shock):
        # R = (1 - ρ) I + ρ 1 1ᵀ has the square root √(1-ρ) I + (√(1 + (n-1) ρ) - √(1-ρ)) 1 1ᵀ / n.
        own = jnp.sqrt(1 - self.correlation)
        common = jnp.sqrt(jnp.maximum(1 + (self.assets - 1) * self.correlation, 0.0))
        return own * shock + (common - own) * shock.mean()

    def _quadratic(self, x, variance):
        squares = jnp.square(x).sum()
        pairs = jnp.square(x.sum()) - squares
        return squares * jnp.expm1(variance) + pairs * jnp.expm1(self.correlation * variance)


class AnyCorrelation(_LogNormal):
    """Assets with any matrix of correlations; made by `of`."""

    correlations: Float[Array, "assets assets"] = eqx.field(kw_only=True)
    """R."""
    root: Float[Array, "assets assets"] = eqx.field(kw_only=True)
    """A matrix L with L Lᵀ = R."""

    @classmethod
    def of(cls, correlations: np.ndarray, **parameters: Any) -> "AnyCorrelation":
        """From a correlation matrix, which may be singular. Raises ValueError for what is none."""
        matrix = np.asarray(correlations, float)
        square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
        symmetric = square and np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 1)
        values, vectors = np.linalg.eigh(matrix) if symmetric else (np.array([-1.0]), np.eye(1))
        what = "a symmetric matrix with ones on its diagonal and no negative eigenvalue"
        check("correlations", matrix, what, bool(values.min() >= -1e-8))
        root = vectors * np.sqrt(np.maximum(values, 0))
        return cls(correlations=jnp.asarray(matrix), root=jnp.asarray(root), **parameters)

    @property
    def number(self):
        return self.correlations.shape[0]

    def _correlated(self, shock):
        return self.root.astype(shock.dtype) @ shock

    def _quadratic(self, x, variance):
        return x @ jnp.expm1(self.correlations.astype(x.dtype) * variance) @ x
