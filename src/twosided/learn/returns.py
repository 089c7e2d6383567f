"""Advantages and discounted returns of one environment's experience. Map over environments with `jax.vmap`."""

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
    """Return generalised advantage estimates, Schulman et al. (2016), equations 11 and 16.

        δ_t = r_t + γ (1 - terminated_t) V(s'_t) - V(s_t)
        A_t = δ_t + γ λ (1 - terminated_t) (1 - truncated_t) A_{t+1}

    `next_values` are the values of the observation after each step and before any reset. A truncated episode is
    therefore bootstrapped from its last observation, and a terminated one is not bootstrapped. Treating truncation
    by the horizon as termination would bias every value towards 0.
    """
    deltas = rewards + gamma * jnp.where(terminated, 0.0, next_values) - values
    weights = jnp.where(terminated | truncated, 0.0, gamma * gae_lambda)

    def backward(next_advantage, step):
        delta, weight = step
        advantage = delta + weight * next_advantage
        return advantage, advantage

    _, advantages = jax.lax.scan(backward, jnp.zeros_like(deltas[0]), (deltas, weights), reverse=True)
    return advantages


def discounted_returns(
    initial: Float[Array, ""], rewards: Float[Array, "time"], done: Bool[Array, "time"], gamma: Scalar
) -> Float[Array, "time"]:
    """Return R_t = r_t + γ R_{t-1}, restarted from 0 after each episode.

    The standard deviation of this sum scales rewards. `initial` is R before the first step.
    """

    def forward(total, step):
        reward, last = step
        total = gamma * total + reward
        return jnp.where(last, 0.0, total), total

    return jax.lax.scan(forward, initial, (rewards, done))[1]
