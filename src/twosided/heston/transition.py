"""Distribution of a block of returns under the Heston model, and joint density of returns and the variance path.

Both likelihoods use it. A block of δ years starts at variance V and ends at variance V'. With m = e^{-κδ} and n
returns:

    E[V'] = θ + (V - θ) m,    Var[V'] = σ² (1 - m)/κ (V m + θ (1 - m)/2)
    r = Var[V'] / E[V']²,     c = (2 V m / (E[V'] + V m))²

    √V' = |M + τ z|,    τ² = E[V'] / (1 + e),    M² = e τ²,    e = (8/r + 3 - 2 c)/(2 + r)         (1)
    R   = μ δ - I/2 + ρ/σ (V' - V - κ (θ δ - I)) + √((1 - ρ²) I) w,    I = δ (V + V')/2          (2)
    Σ of squared returns about their mean = I/n · χ² of n - 1 degrees of freedom                 (3)

with independent standard normals z and w. Exactly, V' is a scaled non-central χ² variable. Its square root is nearly
normal, with a variance that hardly depends on V (Fisher's approximation). Equation (1) has the exact mean of V' and
the variance of its square root to second order in r, and both are right in the limit of large r. Equation (2) is
Heston's model given ∫V dt (Broadie & Kaya 2006). Here and in (3), I replaces the integral by the trapezoidal rule
(Andersen 2008). Conditioning on the variance at both ends matters: with V alone in (2) and (3), σ is
underestimated by an eighth on blocks of two days.

In the code, R is divided by √δ and I by δ, so that no quantity becomes small when bars are short.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from twosided.heston.blocks import Blocks


class Parameters(NamedTuple):
    """Parameters of the Heston model, per year."""

    kappa: Float[Array, ""]
    """κ, mean-reversion rate of the variance."""
    theta: Float[Array, ""]
    """θ, long-run variance."""
    sigma: Float[Array, ""]
    """σ, volatility of the variance (vol of vol)."""
    rho: Float[Array, ""]
    """ρ, correlation between the Brownian motions of price and variance."""
    v0: Float[Array, ""]
    """Variance at the start of the first block."""
    mu: Float[Array, ""]
    """μ, drift of the price."""


class VolatilityDistribution(NamedTuple):
    """Distribution of √V' = |M + τ z|, equation (1)."""

    mean: Float[Array, "*n"]
    """M."""
    std: Float[Array, "*n"]
    """τ."""


def volatility_distribution(
    p: Parameters, v: Float[Array, "*n"], length: Float[Array, ""]
) -> VolatilityDistribution:
    """Return the distribution of the volatility √V' at the end of a block of `length` years that starts at v."""
    time = p.kappa * length
    m, one_minus_m = jnp.exp(-time), -jnp.expm1(-time)
    mean = p.theta + (v - p.theta) * m
    weighted = v * m + p.theta * one_minus_m / 2
    r = jnp.square(p.sigma) * length * (one_minus_m / time) * weighted / jnp.square(mean)
    c = jnp.square(2 * v * m / (mean + v * m))
    e = (8 / r + 3 - 2 * c) / (2 + r)
    tau = jnp.sqrt(mean / (1 + e))
    return VolatilityDistribution(jnp.sqrt(e) * tau, tau)


class ReturnDistribution(NamedTuple):
    """Distribution of R / √δ given V and V': intercept + end_slope V' + start_slope V + √(residual (V + V')/2) w.

    This is equation (2).
    """

    intercept: Float[Array, ""]
    end_slope: Float[Array, ""]
    """Coefficient of V'."""
    start_slope: Float[Array, ""]
    """Coefficient of V."""
    residual: Float[Array, ""]
    """1 - ρ², the share of the return's variance that the variance path does not explain."""


def return_distribution(p: Parameters, length: Float[Array, ""]) -> ReturnDistribution:
    """Return the distribution of a block's return given the variance at both ends."""
    root = jnp.sqrt(length)
    leverage = p.rho / p.sigma
    common = (leverage * p.kappa - 0.5) * root / 2
    return ReturnDistribution(
        intercept=(p.mu - leverage * p.kappa * p.theta) * root,
        end_slope=leverage / root + common,
        start_slope=common - leverage / root,
        residual=1 - jnp.square(p.rho),
    )


def log_block_density(
    distribution: ReturnDistribution,
    v: Array,
    v_end: Array,
    scaled_return: Array,
    sum_squares: Array,
    degrees_of_freedom: Array,
) -> Float[Array, "*n"]:
    """Return the log density of a block's return and sum of squares given V and V', equations (2) and (3).

    Terms that depend neither on the parameters nor on the variance are left out.
    """
    average = (v + v_end) / 2
    innovation = (
        scaled_return - distribution.intercept - distribution.end_slope * v_end - distribution.start_slope * v
    )
    total = sum_squares + jnp.square(innovation) / distribution.residual
    return (
        -((degrees_of_freedom + 1) * jnp.log(average) + jnp.log(distribution.residual) + total / average) / 2
    )


def joint_log_density(
    p: Parameters, normals: Float[Array, "blocks"], blocks: Blocks
) -> tuple[Float[Array, ""], Float[Array, "blocks"]]:
    """Return the log density of the returns given the variance path, and V at the end of each block.

    The path is parameterized by the standard normals z of equation (1), a non-centred parameterization. The density of
    the normals themselves is not included.
    """
    distribution = return_distribution(p, blocks.length)

    def step(v, block):
        normal, scaled_return, sum_squares = block
        volatility = volatility_distribution(p, v, blocks.length)
        v_end = jnp.square(volatility.mean + volatility.std * normal)
        return v_end, (
            log_block_density(distribution, v, v_end, scaled_return, sum_squares, blocks.degrees_of_freedom),
            v_end,
        )

    _, (log_densities, path) = jax.lax.scan(step, p.v0, (normals, blocks.scaled_return, blocks.sum_squares))
    return log_densities.sum(), path
