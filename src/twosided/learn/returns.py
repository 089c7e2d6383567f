"""Returns and advantages from a stretch of experience, unbatched; vmap over paths outside."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from twosided.core.numeric import Scalar


def generalized_advantages(
    rewards: Float[Array, "time"],
    values: Float[Array, "time"],
    next_values: Float[Array, "time"],
    terminated: Bool[Array, "time"],
    truncated: Bool[Array, "time"],
    gamma: Scalar,
    gae_lambda: Scalar,
) -> Float[Array, "time"]:
    """Generalised advantage estimation, Schulman et al. (2016), equations 11 and 16.

        δ_t = r_t + γ (1 - terminated_t) V(s'_t) - V(s_t)
        A_t = δ_t + γ λ (1 - terminated_t) (1 - truncated_t) A_{t+1}

    `next_values` are those of the observation after each step and before any new start, so a truncated
    episode is bootstrapped from where it was cut and a terminated one from nothing. A time that the horizon
    cuts is no end: treating it as one biases every value towards 0.
    """
    deltas = rewards + gamma * jnp.where(terminated, 0.0, next_values) - values
    goes_on = jnp.where(terminated | truncated, 0.0, gamma * gae_lambda)

    def backwards(following, step):
        delta, weight = step
        advantage = delta + weight * following
        return advantage, advantage

    _, advantages = jax.lax.scan(backwards, jnp.zeros_like(deltas[0]), (deltas, goes_on), reverse=True)
    return advantages


def discounted_returns(
    before: Float[Array, ""], rewards: Float[Array, "time"], done: Bool[Array, "time"], gamma: Scalar
) -> Float[Array, "time"]:
    """R_t = r_t + γ R_{t-1}, from 0 at each new start: the sum whose deviation scales rewards."""

    def forwards(total, step):
        reward, last = step
        total = gamma * total + reward
        return jnp.where(last, 0.0, total), total

    return jax.lax.scan(forwards, before, (rewards, done))[1]
