"""The law of a block, which both likelihoods share, and the joint density of returns and the variance's path.

Over a block of δ years that begins at variance V, with m = e^{-κδ} and x' = log V' where it ends:

    E[V']    = θ + (V - θ) m                          Var[V'] = σ² (1 - m)/κ (V m + θ (1 - m)/2)
    I        = E[∫V dt] = θ δ + (V - θ) (1 - m)/κ     Cov[R, V'] = ρ σ (θ (1 - m)/κ + (V - θ) δ m)

    x' ~ N(log E[V'] - s²/2 + r²/(2 + 2r)², s²),   s² = log(1 + r + 3r²/2),   r = Var[V'] / E[V']²
    R  ~ N(μ δ - I/2, I),                          Corr[R, x'] = Cov[R, V'] / √(I Var[V'])

R and x' jointly normal given V. The mean and variance of x' are those of log V' to second order in r where V' is a
scaled χ² with many degrees of freedom, non-central as it is; a log-normal with V's own two moments would have 6% too
little of it at r = 0.04. To first order in δ this is the Heston model, and it is a law of its own at any δ (no variance
below 0, whether Feller's condition holds or not). Sums of squares of the first half are V times a χ², those of
the second V' times one. R stands over √δ and I over δ, so that nothing is small when bars are short.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from twosided.calibrate.heston.blocks import Blocks


class Parameters(NamedTuple):
    """Of the Heston model, per year."""

    kappa: Float[Array, ""]
    theta: Float[Array, ""]
    sigma: Float[Array, ""]
    rho: Float[Array, ""]
    v0: Float[Array, ""]
    """Variance where the first block begins."""
    mu: Float[Array, ""]


class BlockLaw(NamedTuple):
    """Given where the variance stands."""

    mean: Float[Array, "*n"]
    """Of x'."""
    deviation: Float[Array, "*n"]
    """s."""
    drift: Float[Array, "*n"]
    """E[R] / √δ."""
    variance: Float[Array, "*n"]
    """I / δ."""
    correlation: Float[Array, "*n"]


def block_law(p: Parameters, x: Float[Array, "*n"], length: Float[Array, ""]) -> BlockLaw:
    """Of a block that begins at log variance x."""
    v, time = jnp.exp(x), p.kappa * length
    decay, left = jnp.exp(-time), -jnp.expm1(-time)
    share = left / time
    mean = p.theta + (v - p.theta) * decay
    relative = jnp.square(p.sigma) * length * share * (v * decay + p.theta * left / 2) / jnp.square(mean)
    square = jnp.log1p(relative + 1.5 * jnp.square(relative))
    held = p.theta + (v - p.theta) * share
    common = p.theta * share + (v - p.theta) * decay
    correlation = p.rho * p.sigma * jnp.sqrt(length) * common / (mean * jnp.sqrt(held * relative))
    return BlockLaw(
        mean=jnp.log(mean) - square / 2 + jnp.square(relative / (1 + relative)) / 4,
        deviation=jnp.sqrt(square),
        drift=(p.mu - held / 2) * jnp.sqrt(length),
        variance=held,
        # Cauchy and Schwarz bound it, up to the terms of order δ² that I leaves out.
        correlation=jnp.clip(correlation, -0.999, 0.999),
    )


class Given(NamedTuple):
    """The law of x' given also the block's return, and the density of what is seen before x'."""

    seen: Float[Array, "*n"]
    """Log density of the return and of the first half's squares."""
    mean: Float[Array, "*n"]
    deviation: Float[Array, "*n"]


def given_return(law: BlockLaw, x: Float[Array, "*n"], move: Array, early: Array, freedom: Array) -> Given:
    """From a block's law at log variance x, its return (over √δ) and its first half's squares."""
    surprise = (move - law.drift) / jnp.sqrt(law.variance)
    density = -(jnp.square(surprise) + jnp.log(2 * jnp.pi * law.variance)) / 2
    return Given(
        seen=density + squares(x, early, freedom),
        mean=law.mean + law.correlation * law.deviation * surprise,
        deviation=law.deviation * jnp.sqrt(1 - jnp.square(law.correlation)),
    )


def squares(x: Float[Array, "*n"], total: Array, freedom: Array) -> Float[Array, "*n"]:
    """Log density of a sum of squares that is V times a χ², but for what the parameters do not change."""
    return -(freedom * x + total * jnp.exp(-x)) / 2


def joint_log_density(
    p: Parameters, normals: Float[Array, "blocks"], blocks: Blocks
) -> tuple[Float[Array, ""], Float[Array, "blocks"]]:
    """Log density of the returns given the variance's path, and log V at the end of each block.

    The path is not centred: x' = M + τ z, with M and τ those of the law given the block's return and z standard
    normals, whose own density is the caller's.
    """

    def one(x, row):
        normal, move, early, late = row
        given = given_return(block_law(p, x, blocks.length), x, move, early, blocks.freedom[0])
        after = given.mean + given.deviation * normal
        return after, (given.seen + squares(after, late, blocks.freedom[1]), after)

    rows = (normals, blocks.move, blocks.early, blocks.late)
    _, (seen, path) = jax.lax.scan(one, jnp.log(p.v0), rows)
    return seen.sum(), path
