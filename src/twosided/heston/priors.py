"""Priors of the Heston parameters, per year, and the parameters without their constraints.

A sampler moves in vectors z without bounds: logarithms of what is positive, a logistic transform of what lies between
two numbers. `log_prior` counts the transform's volume.
"""

import abc
from dataclasses import dataclass, fields
from math import inf
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.core.validation import check, is_positive
from twosided.heston.law import Parameters


@dataclass(frozen=True)
class Law(abc.ABC):
    """A law of one parameter."""

    @abc.abstractmethod
    def distribution(self, theta: Any) -> Any:
        """As numpyro has it; `theta` is the level of variance, for laws that stand on it."""


@dataclass(frozen=True)
class LogNormal(Law):
    """Positive, and its logarithm normal."""

    median: float = 1.0
    """In the parameter's unit."""
    spread: float = 1.0
    """Deviation of its natural logarithm."""

    def __post_init__(self):
        check("median", self.median, "positive and finite", lambda: is_positive(self.median))
        check("spread", self.spread, "positive and finite", lambda: is_positive(self.spread))

    def distribution(self, theta):
        return _numpyro().LogNormal(jnp.log(self.median), self.spread)


@dataclass(frozen=True)
class AroundLevel(Law):
    """Log-normal around the level of variance θ."""

    spread: float = 1.0
    """Deviation of the natural logarithm of its ratio to θ."""

    def __post_init__(self):
        check("spread", self.spread, "positive and finite", lambda: is_positive(self.spread))

    def distribution(self, theta):
        return _numpyro().LogNormal(jnp.log(theta), self.spread)


@dataclass(frozen=True)
class InverseGamma(Law):
    """Inverse gamma: mean scale / (shape - 1)."""

    shape: float = 3.0
    """How fast the upper tail falls."""
    scale: float = 0.4
    """In the parameter's unit."""

    def __post_init__(self):
        check("shape", self.shape, "positive and finite", lambda: is_positive(self.shape))
        check("scale", self.scale, "positive and finite", lambda: is_positive(self.scale))

    def distribution(self, theta):
        return _numpyro().InverseGamma(self.shape, self.scale)


@dataclass(frozen=True)
class TruncatedNormal(Law):
    """Normal, cut off at 0."""

    mean: float = 1.0
    """Before it is cut, in the parameter's unit."""
    deviation: float = 1.0
    """Before it is cut, in the parameter's unit."""

    def __post_init__(self):
        check("deviation", self.deviation, "positive and finite", lambda: is_positive(self.deviation))

    def distribution(self, theta):
        return _numpyro().TruncatedNormal(self.mean, self.deviation, low=0.0)


@dataclass(frozen=True)
class Normal(Law):
    """Normal."""

    mean: float = 0.0
    """In the parameter's unit."""
    deviation: float = 1.0
    """In the parameter's unit."""

    def __post_init__(self):
        check("deviation", self.deviation, "positive and finite", lambda: is_positive(self.deviation))

    def distribution(self, theta):
        return _numpyro().Normal(self.mean, self.deviation)


@dataclass(frozen=True)
class Uniform(Law):
    """Anything between two numbers, as likely."""

    low: float = -1.0
    """In the parameter's unit."""
    high: float = 1.0
    """In the parameter's unit."""

    def __post_init__(self):
        check("high", self.high, f"finite and above low ({self.low})", -inf < self.low < self.high < inf)

    def distribution(self, theta):
        return _numpyro().Uniform(self.low, self.high)


def _support(law: Law) -> tuple[float, float]:
    """Between which numbers a law's parameter lies."""
    match law:
        case Uniform(low, high):
            return low, high
        case Normal():
            return -inf, inf
        case _:
            return 0.0, inf


_OTHERS = {"rho": (-1.0, 1.0), "mu": (-inf, inf)}
"""Parameters that need not be positive, and their bounds."""


@dataclass(frozen=True)
class Prior(abc.ABC):
    """What is believed of the parameters before the data, per year."""

    kappa: Law
    """κ, the rate at which variance returns to its level."""
    theta: Law
    """θ, the level of variance."""
    sigma: Law
    """σ, the volatility of variance."""
    rho: Law
    """ρ, the correlation of price and variance."""
    v0: Law
    """Variance where the data begin."""
    mu: Law | None
    """μ, the drift of the price; 0 if there is no law."""

    def __post_init__(self):
        on_itself = isinstance(self.theta, AroundLevel)
        check("theta", str(self.theta), "a law that does not stand on θ", not on_itself)
        for name in self.names:
            law, (low, high) = getattr(self, name), _OTHERS.get(name, (0.0, inf))
            kind = (
                f"a law of numbers from {low:g} to {high:g}"
                if name in _OTHERS
                else "a law of positive numbers"
            )
            least, most = _support(law)
            check(name, str(law), kind, low <= least and most <= high)

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """For people."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters that are not fixed."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not None)


@dataclass(frozen=True)
class WeakPrior(Prior):
    """Weakly informative: every market's volatility from 5% to 100% a year, memories from days to years."""

    kappa: Law = LogNormal(median=5.0, spread=1.5)
    """κ, the rate at which variance returns to its level, per year: 95% from 0.26 to 95."""
    theta: Law = LogNormal(median=0.05, spread=1.5)
    """θ, the level of variance, per year: 95% from 0.0026 to 0.95."""
    sigma: Law = LogNormal(median=0.5, spread=1.0)
    """σ, the volatility of variance, per year: 95% from 0.07 to 3.5."""
    rho: Law = Uniform(low=-1.0, high=1.0)
    """ρ, the correlation of price and variance."""
    v0: Law = AroundLevel(spread=1.0)
    """Variance where the data begin, per year."""
    mu: Law | None = None
    """μ, the drift of the price, per year; 0 if there is no law."""

    @property
    def name(self):
        return "weakly informative"


@dataclass(frozen=True)
class BayesianMarketMaker(Prior):
    """Those of T. Gore's BayesianMarketMaker (2024), for yearly units."""

    kappa: Law = TruncatedNormal(mean=2.5, deviation=0.5)
    """κ, the rate at which variance returns to its level, per year."""
    theta: Law = InverseGamma(shape=3.0, scale=0.4)
    """θ, the level of variance, per year."""
    sigma: Law = InverseGamma(shape=3.0, scale=0.6)
    """σ, the volatility of variance, per year."""
    rho: Law = Uniform(low=-1.0, high=0.0)
    """ρ, the correlation of price and variance."""
    v0: Law = InverseGamma(shape=3.0, scale=0.4)
    """Variance where the data begin, per year."""
    mu: Law | None = None
    """μ, the drift of the price, per year; 0 if there is no law."""

    @property
    def name(self):
        return "of BayesianMarketMaker"


def constrain(prior: Prior, z: Float[Array, "parameters"]) -> Parameters:
    """The parameters that a vector without bounds stands for."""
    return _constrained(prior, z)[0]


def unconstrain(prior: Prior, parameters: Parameters) -> Float[Array, "parameters"]:
    """The vector of some parameters; those that the prior fixes are not in it."""
    laws = _laws(prior, parameters.theta)
    return jnp.stack([_transform(law).inv(getattr(parameters, name)) for name, law in laws.items()])


def start_at(prior: Prior, parameters: Parameters) -> Float[Array, "parameters"]:
    """The vector of some parameters that a search may begin at: where the prior excludes one, the middle of its law's
    support instead."""
    z = unconstrain(prior, parameters)
    return jnp.where(jnp.isfinite(z), z, 0.0)


def log_prior(prior: Prior, z: Float[Array, "parameters"]) -> Float[Array, ""]:
    """Log density of z."""
    return _constrained(prior, z)[1]


def draw_prior(prior: Prior, key: PRNGKeyArray) -> Parameters:
    """Parameters drawn from it."""
    drawn: dict[str, Any] = {"mu": jnp.zeros(())}
    names = sorted(prior.names, key=_theta_first)
    for name, own in zip(names, jax.random.split(key, len(names)), strict=True):
        drawn[name] = getattr(prior, name).distribution(drawn.get("theta")).sample(own)
    return Parameters(**drawn)


def _constrained(prior: Prior, z: Float[Array, "parameters"]) -> tuple[Parameters, Float[Array, ""]]:
    values: dict[str, Any] = {"mu": jnp.zeros(())}
    total = jnp.zeros(())
    for name in sorted(prior.names, key=_theta_first):
        i = prior.names.index(name)
        law = getattr(prior, name).distribution(values.get("theta"))
        transform = _transform(law)
        value = transform(z[i])
        values[name] = value
        total = total + law.log_prob(value) + transform.log_abs_det_jacobian(z[i], value)
    return Parameters(**values), total


def _theta_first(name: str) -> bool:
    """As a key to sort by: other laws stand on θ."""
    return name != "theta"


def _laws(prior: Prior, theta: Any) -> dict[str, Any]:
    return {name: getattr(prior, name).distribution(theta) for name in prior.names}


def _transform(law: Any) -> Any:
    return _numpyro().biject_to(law.support)


def _numpyro() -> Any:
    """Imported where it is used: it comes with an extra, and takes a second."""
    from twosided.heston.sampler import numpyro

    return numpyro().distributions
