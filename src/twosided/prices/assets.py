"""Several log-normal assets with correlated returns (Bakshaev 2020, eq. 7-9 and section 7).

    S_k(t+1) = S_k(t) exp((μ - σ²/2) Δ + σ √Δ Z_k),   E[Z_j Z_k] = R_jk

The moments of the revaluation of a position q, with x_k = q_k S_k e^{μΔ}, are

    E[q·ΔS] = Σ x_k - q·S,      Var[q·ΔS] = Σ_jk x_j x_k (exp(R_jk σ² Δ) - 1)
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike

from twosided.core.numeric import Scalar
from twosided.core.validation import check
from twosided.prices.process import check_parameters


class AssetsState(eqx.Module):
    """Midprices of the assets."""

    mid: Float[Array, "assets"]
    """S_k(t), in currency."""


class AssetPrices(eqx.Module):
    """Joint process of the midprices of several assets."""

    num_assets: eqx.AbstractVar[int]
    """Number of assets."""
    time_step: eqx.AbstractVar[Scalar]
    """Length of a step, in the market's units of time."""

    @property
    @abc.abstractmethod
    def initial_mid(self) -> Any:
        """Midprices at the start of an episode, in currency: one for all assets, or one for each."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """Draw the shocks of steps, with leading axes of the given shape."""

    @abc.abstractmethod
    def reset(self, shock: Any) -> AssetsState:
        """Return the state at the start of an episode."""

    @abc.abstractmethod
    def step(self, state: AssetsState, shock: Any) -> AssetsState:
        """Return the state one step later."""

    @abc.abstractmethod
    def position_moments(
        self, state: AssetsState, position: Float[Array, "assets"]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return E[q·ΔS] and E[(q·ΔS)²] of a position q, in currency and currency squared."""

    @abc.abstractmethod
    def return_std(self, state: AssetsState) -> Float[Array, "assets"]:
        """Return the standard deviation of each asset's next log return."""


class _LogNormal(AssetPrices):
    """Base class of log-normal assets; subclasses define the correlations."""

    initial: Scalar = 100.0
    """S_0 of every asset, in currency."""
    drift: Scalar = 0.0
    """μ of every asset, per unit of time."""
    volatility: Scalar = 0.15
    """σ of every asset, per square root of a unit of time."""
    time_step: Scalar = 1 / 512
    """Δ, length of a step in units of time."""

    def __check_init__(self):
        check_parameters(self)

    @property
    def initial_mid(self):
        return self.initial

    def shocks(self, key, shape):
        return jax.random.normal(key, (*shape, self.num_assets))

    def reset(self, shock):
        return AssetsState(jnp.broadcast_to(jnp.asarray(self.initial, shock.dtype), shock.shape))

    def step(self, state, shock):
        variance = jnp.square(self.volatility) * self.time_step
        drift = self.drift * self.time_step - variance / 2
        return AssetsState(state.mid * jnp.exp(drift + jnp.sqrt(variance) * self._correlate(shock)))

    def position_moments(self, state, position):
        value = position * state.mid
        expected_value = value * jnp.exp(jnp.asarray(self.drift * self.time_step, value.dtype))
        mean = value.sum() * jnp.expm1(jnp.asarray(self.drift * self.time_step, value.dtype))
        variance = jnp.asarray(jnp.square(self.volatility) * self.time_step, value.dtype)
        return mean, jnp.square(mean) + self._position_variance(expected_value, variance)

    def return_std(self, state):
        return jnp.full_like(state.mid, self.volatility * jnp.sqrt(self.time_step))

    @abc.abstractmethod
    def _correlate(self, shock: Float[Array, "assets"]) -> Float[Array, "assets"]:
        """Return normals with correlation R from independent standard normals."""

    @abc.abstractmethod
    def _position_variance(self, x: Float[Array, "assets"], variance: Float[Array, ""]) -> Float[Array, ""]:
        """Return Σ_jk x_j x_k (exp(R_jk variance) - 1)."""


class EqualCorrelation(_LogNormal):
    """Assets with the same correlation between any two of them; for two assets, eq. 9."""

    num_assets: int = eqx.field(static=True, default=2)
    """Number of assets."""
    correlation: Scalar = 0.0
    """ρ, correlation of any two assets, from -1 / (num_assets - 1) to 1."""

    def __check_init__(self):
        check("num_assets", self.num_assets, "from 1 to 10000", 1 <= self.num_assets <= 10_000)
        low = -1 / max(self.num_assets - 1, 1)
        check("correlation", self.correlation, f"in [{low:g}, 1]", lambda: low <= self.correlation <= 1)

    def _correlate(self, shock):
        # R = (1 - ρ) I + ρ 1 1ᵀ has the square root √(1-ρ) I + (√(1 + (n-1) ρ) - √(1-ρ)) 1 1ᵀ / n.
        own = jnp.sqrt(1 - self.correlation)
        common = jnp.sqrt(jnp.maximum(1 + (self.num_assets - 1) * self.correlation, 0.0))
        return own * shock + (common - own) * shock.mean()

    def _position_variance(self, x, variance):
        squares = jnp.square(x).sum()
        cross_products = jnp.square(x.sum()) - squares
        return squares * jnp.expm1(variance) + cross_products * jnp.expm1(self.correlation * variance)


class GeneralCorrelation(_LogNormal):
    """Assets with an arbitrary correlation matrix. Construct with `from_matrix`."""

    correlations: Float[Array, "assets assets"] = eqx.field(kw_only=True)
    """R, the correlation matrix."""
    factor: Float[Array, "assets assets"] = eqx.field(kw_only=True)
    """L with L Lᵀ = R."""

    @classmethod
    def from_matrix(cls, correlations: ArrayLike, **parameters: Any) -> "GeneralCorrelation":
        """Construct from a correlation matrix, which may be singular. Raises ValueError if it is not a correlation
        matrix."""
        matrix = np.asarray(correlations, float)
        square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
        symmetric = square and np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 1)
        values, vectors = np.linalg.eigh(matrix) if symmetric else (np.array([-1.0]), np.eye(1))
        constraint = "a symmetric matrix with ones on its diagonal and without negative eigenvalues"
        check("correlations", matrix, constraint, bool(values.min() >= -1e-8))
        factor = vectors * np.sqrt(np.maximum(values, 0))
        return cls(correlations=jnp.asarray(matrix), factor=jnp.asarray(factor), **parameters)

    @property
    def num_assets(self):
        return self.correlations.shape[0]

    def _correlate(self, shock):
        return self.factor.astype(shock.dtype) @ shock

    def _position_variance(self, x, variance):
        return x @ jnp.expm1(self.correlations.astype(x.dtype) * variance) @ x
