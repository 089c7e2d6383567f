"""Priors of the Heston parameters, per year, and their transforms to unconstrained vectors.

The sampler moves in unconstrained vectors z: the logarithm of a positive parameter, the logit of a parameter between
two bounds. `log_prior` includes the log Jacobian determinant of the transform.
"""

import abc
from dataclasses import dataclass, fields
from math import inf
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.core.validation import check, is_positive
from twosided.heston.transition import Parameters


@dataclass(frozen=True)
class PriorDistribution(abc.ABC):
    """Prior distribution of one parameter."""

    @abc.abstractmethod
    def distribution(self, theta: Any) -> Any:
        """Return the distribution as numpyro's; `theta` is the long-run variance, for those relative to it."""


@dataclass(frozen=True)
class LogNormal(PriorDistribution):
    """Log-normal distribution."""

    median: float = 1.0
    """Median, in the parameter's unit."""
    log_std: float = 1.0
    """Standard deviation of the natural logarithm."""

    def __post_init__(self):
        check("median", self.median, "positive and finite", lambda: is_positive(self.median))
        check("log_std", self.log_std, "positive and finite", lambda: is_positive(self.log_std))

    def distribution(self, theta):
        return _distributions().LogNormal(jnp.log(self.median), self.log_std)


@dataclass(frozen=True)
class LogNormalAroundTheta(PriorDistribution):
    """Log-normal distribution whose median is the long-run variance θ."""

    log_std: float = 1.0
    """Standard deviation of the natural logarithm of the ratio to θ."""

    def __post_init__(self):
        check("log_std", self.log_std, "positive and finite", lambda: is_positive(self.log_std))

    def distribution(self, theta):
        return _distributions().LogNormal(jnp.log(theta), self.log_std)


@dataclass(frozen=True)
class InverseGamma(PriorDistribution):
    """Inverse gamma distribution, with mean scale / (shape - 1)."""

    shape: float = 3.0
    """Shape; the larger it is, the faster the upper tail falls."""
    scale: float = 0.4
    """Scale, in the parameter's unit."""

    def __post_init__(self):
        check("shape", self.shape, "positive and finite", lambda: is_positive(self.shape))
        check("scale", self.scale, "positive and finite", lambda: is_positive(self.scale))

    def distribution(self, theta):
        return _distributions().InverseGamma(self.shape, self.scale)


@dataclass(frozen=True)
class TruncatedNormal(PriorDistribution):
    """Normal distribution truncated to positive values."""

    mean: float = 1.0
    """Mean before truncation, in the parameter's unit."""
    std: float = 1.0
    """Standard deviation before truncation, in the parameter's unit."""

    def __post_init__(self):
        check("std", self.std, "positive and finite", lambda: is_positive(self.std))

    def distribution(self, theta):
        return _distributions().TruncatedNormal(self.mean, self.std, low=0.0)


@dataclass(frozen=True)
class Normal(PriorDistribution):
    """Normal distribution."""

    mean: float = 0.0
    """Mean, in the parameter's unit."""
    std: float = 1.0
    """Standard deviation, in the parameter's unit."""

    def __post_init__(self):
        check("std", self.std, "positive and finite", lambda: is_positive(self.std))

    def distribution(self, theta):
        return _distributions().Normal(self.mean, self.std)


@dataclass(frozen=True)
class Uniform(PriorDistribution):
    """Uniform distribution."""

    low: float = -1.0
    """Lower bound, in the parameter's unit."""
    high: float = 1.0
    """Upper bound, in the parameter's unit."""

    def __post_init__(self):
        check("high", self.high, f"finite and above low ({self.low})", -inf < self.low < self.high < inf)

    def distribution(self, theta):
        return _distributions().Uniform(self.low, self.high)


def _support(distribution: PriorDistribution) -> tuple[float, float]:
    """Return the bounds of a distribution's support."""
    match distribution:
        case Uniform(low, high):
            return low, high
        case Normal():
            return -inf, inf
        case _:
            return 0.0, inf


_BOUNDS = {"rho": (-1.0, 1.0), "mu": (-inf, inf)}
"""Bounds of the parameters that need not be positive."""


@dataclass(frozen=True)
class Prior(abc.ABC):
    """Prior of the Heston parameters, per year."""

    kappa: PriorDistribution
    """κ, mean-reversion rate of the variance."""
    theta: PriorDistribution
    """θ, long-run variance."""
    sigma: PriorDistribution
    """σ, volatility of the variance (vol of vol)."""
    rho: PriorDistribution
    """ρ, correlation between price and variance."""
    v0: PriorDistribution
    """Variance at the start of the data."""
    mu: PriorDistribution | None
    """μ, drift of the price; fixed at 0 if no distribution is given."""

    def __post_init__(self):
        circular = isinstance(self.theta, LogNormalAroundTheta)
        check("theta", str(self.theta), "a distribution that does not depend on θ", not circular)
        for name in self.names:
            distribution, (low, high) = getattr(self, name), _BOUNDS.get(name, (0.0, inf))
            constraint = (
                f"a distribution of values from {low:g} to {high:g}"
                if name in _BOUNDS
                else "a distribution of positive values"
            )
            lower, upper = _support(distribution)
            check(name, str(distribution), constraint, low <= lower and upper <= high)

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Name in reports."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters that are not fixed."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not None)


@dataclass(frozen=True)
class WeakPrior(Prior):
    """Weakly informative prior, for volatilities from 5% to 100% a year and mean-reversion times from days to years."""

    kappa: PriorDistribution = LogNormal(median=5.0, log_std=1.5)
    """κ, mean-reversion rate of the variance, per year: 95% of the prior is from 0.26 to 95."""
    theta: PriorDistribution = LogNormal(median=0.05, log_std=1.5)
    """θ, long-run variance, per year: 95% of the prior is from 0.0026 to 0.95."""
    sigma: PriorDistribution = LogNormal(median=0.5, log_std=1.0)
    """σ, volatility of the variance (vol of vol), per year: 95% of the prior is from 0.07 to 3.5."""
    rho: PriorDistribution = Uniform(low=-1.0, high=1.0)
    """ρ, correlation between price and variance."""
    v0: PriorDistribution = LogNormalAroundTheta(log_std=1.0)
    """Variance at the start of the data, per year."""
    mu: PriorDistribution | None = None
    """μ, drift of the price, per year; fixed at 0 if no distribution is given."""

    @property
    def name(self):
        return "weakly informative"


@dataclass(frozen=True)
class GorePrior(Prior):
    """Prior of T. Gore's BayesianMarketMaker (2024), in yearly units."""

    kappa: PriorDistribution = TruncatedNormal(mean=2.5, std=0.5)
    """κ, mean-reversion rate of the variance, per year."""
    theta: PriorDistribution = InverseGamma(shape=3.0, scale=0.4)
    """θ, long-run variance, per year."""
    sigma: PriorDistribution = InverseGamma(shape=3.0, scale=0.6)
    """σ, volatility of the variance (vol of vol), per year."""
    rho: PriorDistribution = Uniform(low=-1.0, high=0.0)
    """ρ, correlation between price and variance."""
    v0: PriorDistribution = InverseGamma(shape=3.0, scale=0.4)
    """Variance at the start of the data, per year."""
    mu: PriorDistribution | None = None
    """μ, drift of the price, per year; fixed at 0 if no distribution is given."""

    @property
    def name(self):
        return "BayesianMarketMaker"


def constrain(prior: Prior, z: Float[Array, "parameters"]) -> Parameters:
    """Return the parameters of an unconstrained vector."""
    return _constrain(prior, z)[0]


def unconstrain(prior: Prior, parameters: Parameters) -> Float[Array, "parameters"]:
    """Return the unconstrained vector of the parameters, without those that the prior fixes."""
    distributions = _numpyro_distributions(prior, parameters.theta)
    return jnp.stack(
        [
            _transform(distribution).inv(getattr(parameters, name))
            for name, distribution in distributions.items()
        ]
    )


def initial_point(prior: Prior, parameters: Parameters) -> Float[Array, "parameters"]:
    """Return an unconstrained vector from which to start a search.

    A parameter that the prior excludes is replaced by the one at the origin of its transform: the midpoint of bounded
    support, or 1 for a positive parameter.
    """
    z = unconstrain(prior, parameters)
    return jnp.where(jnp.isfinite(z), z, 0.0)


def log_prior(prior: Prior, z: Float[Array, "parameters"]) -> Float[Array, ""]:
    """Return the log prior density of an unconstrained vector."""
    return _constrain(prior, z)[1]


def draw_prior(prior: Prior, key: PRNGKeyArray) -> Parameters:
    """Draw parameters from the prior."""
    drawn: dict[str, Any] = {"mu": jnp.zeros(())}
    names = sorted(prior.names, key=_theta_first)
    for name, own in zip(names, jax.random.split(key, len(names)), strict=True):
        drawn[name] = getattr(prior, name).distribution(drawn.get("theta")).sample(own)
    return Parameters(**drawn)


def _constrain(prior: Prior, z: Float[Array, "parameters"]) -> tuple[Parameters, Float[Array, ""]]:
    """Return the parameters of an unconstrained vector, and its log prior density."""
    values: dict[str, Any] = {"mu": jnp.zeros(())}
    total = jnp.zeros(())
    for name in sorted(prior.names, key=_theta_first):
        i = prior.names.index(name)
        distribution = getattr(prior, name).distribution(values.get("theta"))
        transform = _transform(distribution)
        value = transform(z[i])
        values[name] = value
        total = total + distribution.log_prob(value) + transform.log_abs_det_jacobian(z[i], value)
    return Parameters(**values), total


def _theta_first(name: str) -> bool:
    """Sort key that puts θ first, since other distributions may depend on it."""
    return name != "theta"


def _numpyro_distributions(prior: Prior, theta: Any) -> dict[str, Any]:
    return {name: getattr(prior, name).distribution(theta) for name in prior.names}


def _transform(distribution: Any) -> Any:
    return _distributions().biject_to(distribution.support)


def _distributions() -> Any:
    """Import numpyro's distributions on first use: the import takes a second."""
    from numpyro import distributions

    return distributions
