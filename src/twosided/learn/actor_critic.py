"""Actor and critic with tables: a policy that stays random where that is best, as Chan and Shelton's (2001) third.

The actor draws from the softmax of preferences θ, the critic holds the value V of each cell. After a step from s with
action a, reward r and s' (Sutton and Barto 2018, section 13.6, without the factor of γ^t),

    δ = r + γ V(s') - V(s)
    z_V ← γ λ z_V + 1(s),                       V ← V + α δ z_V
    z_θ ← γ λ z_θ + 1(s) (1(a) - π(. | s)),     θ ← θ + β δ z_θ

Both step sizes fall by equal factors. A maker that sees the imbalance alone does not see the state of the market, and
then the best policy may have to be random, which no greedy one is.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from twosided.core.numeric import Scalar
from twosided.core.scenario import Step
from twosided.core.spaces import Cells, Discrete
from twosided.core.validation import check, is_positive
from twosided.learn.online import OnlineLearner, OnlineMaker, actions_of, falling, greedy
from twosided.learn.tables import TabularPolicy, cells_of, chosen, drawn


class Play(eqx.Module):
    """What the maker knows and remembers."""

    preferences: Float[Array, "cells actions"]
    """θ."""
    values: Float[Array, "cells"]
    """V."""
    actor_trace: Float[Array, "cells actions"]
    critic_trace: Float[Array, "cells"]
    row: Float[Array, "cells"]
    """1 at s."""


class _Player(OnlineMaker):
    """A maker that draws from the softmax of its preferences and learns of every step."""

    learner: "ActorCritic"
    cells: Cells
    space: Discrete
    actor_lr: Scalar
    critic_lr: Scalar

    def shocks(self, key, shape):
        return jax.random.uniform(key, shape)

    def init(self):
        row = jnp.zeros(self.cells.size)
        table = jnp.zeros((self.cells.size, self.space.size))
        return Play(table, row, table, row, row)

    def act(self, shock, memory, observation):
        cells = self.cells
        row = (jnp.arange(cells.size) == cells(observation)).astype(memory.values.dtype)
        probabilities = jax.nn.softmax((row[:, None] * memory.preferences).sum(0))
        choice = drawn(probabilities, shock)
        decay = self.learner.gamma * self.learner.trace_decay
        memory = Play(
            memory.preferences,
            memory.values,
            decay * memory.actor_trace + row[:, None] * (choice - probabilities),
            decay * memory.critic_trace + row,
            row,
        )
        return chosen(self.space, choice), memory

    def learn(self, memory: Play, step: Step) -> Play:
        cells = self.cells
        following = (jnp.arange(cells.size) == cells(step.observation)).astype(memory.values.dtype)
        ahead = jnp.where(step.terminated, 0.0, self.learner.gamma * (following * memory.values).sum())
        error = step.reward + ahead - (memory.row * memory.values).sum()
        kept = jnp.where(step.terminated | step.truncated, 0.0, 1.0)
        return Play(
            memory.preferences + self.actor_lr * error * memory.actor_trace,
            memory.values + self.critic_lr * error * memory.critic_trace,
            kept * memory.actor_trace,
            kept * memory.critic_trace,
            memory.row,
        )


class ActorCritic(OnlineLearner):
    """Actor and critic with tables and eligibility traces; its policy is random."""

    trace_decay: Scalar = 0.9
    """λ, a step: how far back a reward is credited."""
    actor_lr: Scalar = 0.005
    """β at first."""
    actor_lr_end: Scalar = 0.005
    """β at the end; it falls by equal factors."""
    critic_lr: Scalar = 0.05
    """α at first."""
    critic_lr_end: Scalar = 0.0005
    """α at the end; it falls by equal factors."""

    def __check_init__(self):
        for name in ("actor_lr", "actor_lr_end", "critic_lr", "critic_lr_end"):
            value = getattr(self, name)
            check(name, value, "positive and finite", lambda value=value: is_positive(value))

    def maker(self, scenario, progress):
        return _Player(
            self,
            cells_of(scenario, self.cells),
            actions_of(scenario),
            falling(self.actor_lr, self.actor_lr_end, progress),
            falling(self.critic_lr, self.critic_lr_end, progress),
        )

    def policy(self, scenario, state, explore=False):
        """What it prefers in each cell, or with `explore` the probabilities that it draws from."""
        preferences = state.carry.policy_state.preferences[0]
        table = jax.nn.softmax(preferences) if explore else greedy(preferences)
        return TabularPolicy(table, cells_of(scenario, self.cells), actions_of(scenario))
