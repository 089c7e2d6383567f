"""The law of a block, which both likelihoods share, and the joint density of returns and the variance's path.

Over a block of δ years that begins at variance V and ends at V', with m = e^{-κδ} and n returns:

    E[V'] = θ + (V - θ) m,    Var[V'] = σ² (1 - m)/κ (V m + θ (1 - m)/2)
    r = Var[V'] / E[V']²,     c = (2 V m / (E[V'] + V m))²

    √V' = |M + τ z|,    τ² = E[V'] / (1 + e),    M² = e τ²,    e = (8/r + 3 - 2 c)/(2 + r)         (1)
    R   = μ δ - I/2 + ρ/σ (V' - V - κ (θ δ - I)) + √((1 - ρ²) I) w,    I = δ (V + V')/2          (2)
    Σ of squared returns about their mean = I/n · χ² of n - 1 degrees of freedom                 (3)

with z and w independent standard normals. V' is a scaled χ², non-central, whose root is all but normal, of a variance
that hardly depends on V (Fisher's). (1) has the exact mean of V' and the variance of its root to second order in r, and
both right as r grows without bound. (2) is Heston's model given ∫V dt (Broadie & Kaya 2006), which I stands for by the
trapezoid (Andersen 2008); so do the squares. To know the variance at both ends matters: with V alone in (2) and (3), σ
comes out too low by an eighth on blocks of two days.

R stands over √δ and I over δ, so that nothing is small when bars are short.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from twosided.heston.blocks import Blocks


class Parameters(NamedTuple):
    """Of the Heston model, per year."""

    kappa: Float[Array, ""]
    theta: Float[Array, ""]
    sigma: Float[Array, ""]
    rho: Float[Array, ""]
    v0: Float[Array, ""]
    """Variance where the first block begins."""
    mu: Float[Array, ""]


class VolatilityLaw(NamedTuple):
    """Of √V' = |M + τ z|, equation (1)."""

    mean: Float[Array, "*n"]
    """M."""
    deviation: Float[Array, "*n"]
    """τ."""


def volatility_law(p: Parameters, v: Float[Array, "*n"], length: Float[Array, ""]) -> VolatilityLaw:
    """Where the volatility is at the end of a block that begins at variance v."""
    time = p.kappa * length
    decay, left = jnp.exp(-time), -jnp.expm1(-time)
    mean = p.theta + (v - p.theta) * decay
    held = v * decay + p.theta * left / 2
    relative = jnp.square(p.sigma) * length * (left / time) * held / jnp.square(mean)
    carried = jnp.square(2 * v * decay / (mean + v * decay))
    certain = (8 / relative + 3 - 2 * carried) / (2 + relative)
    deviation = jnp.sqrt(mean / (1 + certain))
    return VolatilityLaw(jnp.sqrt(certain) * deviation, deviation)


class ReturnLaw(NamedTuple):
    """R / √δ = drift + ahead V' + behind V + √(free (V + V')/2) w, equation (2)."""

    drift: Float[Array, ""]
    ahead: Float[Array, ""]
    behind: Float[Array, ""]
    free: Float[Array, ""]
    """1 - ρ²."""


def return_law(p: Parameters, length: Float[Array, ""]) -> ReturnLaw:
    """Of a block's return given the variance at both ends."""
    root = jnp.sqrt(length)
    led = p.rho / p.sigma
    both = (led * p.kappa - 0.5) * root / 2
    return ReturnLaw(
        drift=(p.mu - led * p.kappa * p.theta) * root,
        ahead=led / root + both,
        behind=both - led / root,
        free=1 - jnp.square(p.rho),
    )


def log_seen(
    law: ReturnLaw, v: Array, after: Array, move: Array, squares: Array, freedom: Array
) -> Float[Array, "*n"]:
    """Log density of a block's return and squares given the variance at both ends, but for what neither changes."""
    held = (v + after) / 2
    surprise = move - law.drift - law.ahead * after - law.behind * v
    total = squares + jnp.square(surprise) / law.free
    return -((freedom + 1) * jnp.log(held) + jnp.log(law.free) + total / held) / 2


def joint_log_density(
    p: Parameters, normals: Float[Array, "blocks"], blocks: Blocks
) -> tuple[Float[Array, ""], Float[Array, "blocks"]]:
    """Log density of the returns given the variance's path, and V at the end of each block.

    The path is not centred: its normals are those of equation (1), and their own density is the caller's.
    """
    law = return_law(p, blocks.length)

    def one(v, row):
        normal, move, squares = row
        volatility = volatility_law(p, v, blocks.length)
        after = jnp.square(volatility.mean + volatility.deviation * normal)
        return after, (log_seen(law, v, after, move, squares, blocks.freedom), after)

    _, (seen, path) = jax.lax.scan(one, p.v0, (normals, blocks.move, blocks.squares))
    return seen.sum(), path
