"""Tabular actor-critic, which can learn a random policy; the third learner of Chan and Shelton (2001) is of this kind.

The actor draws from the softmax of its preferences θ, and the critic holds the value V of each cell. After a step from
s by action a to s' with reward r (Sutton and Barto 2018, section 13.6, without the factor γ^t),

    δ = r + γ V(s') - V(s)
    z_V ← γ λ z_V + 1(s),                       V ← V + α δ z_V
    z_θ ← γ λ z_θ + 1(s) (1(a) - π(· | s)),     θ ← θ + β δ z_θ

Both learning rates follow geometric schedules. A maker that observes only the imbalance does not observe the state of
the market, so its best policy may be random, and a greedy policy cannot represent it.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from twosided.core.numeric import Scalar
from twosided.core.scenario import Step
from twosided.core.spaces import Cells, Discrete
from twosided.core.validation import check, is_positive
from twosided.learn.online import OnlineLearner, OnlineMaker, discrete_actions, geometric_schedule, greedy
from twosided.learn.tables import TabularPolicy, cells_or_default, sample_one_hot, select_action


class ActorCriticState(eqx.Module):
    """Policy state of the maker: its tables and eligibility traces."""

    preferences: Float[Array, "cells actions"]
    """θ."""
    values: Float[Array, "cells"]
    """V."""
    actor_trace: Float[Array, "cells actions"]
    """z_θ."""
    critic_trace: Float[Array, "cells"]
    """z_V."""
    cell: Float[Array, "cells"]
    """1(s): one-hot vector of the cell of the last action."""


class _ActorCriticMaker(OnlineMaker):
    """Maker that draws from the softmax of its preferences and learns from every step."""

    learner: "ActorCritic"
    cells: Cells
    space: Discrete
    actor_lr: Scalar
    critic_lr: Scalar

    def shocks(self, key, shape):
        return jax.random.uniform(key, shape)

    def init(self):
        zeros = jnp.zeros(self.cells.size)
        table = jnp.zeros((self.cells.size, self.space.size))
        return ActorCriticState(table, zeros, table, zeros, zeros)

    def act(self, shock, state, observation):
        cells = self.cells
        cell = (jnp.arange(cells.size) == cells(observation)).astype(state.values.dtype)
        probabilities = jax.nn.softmax((cell[:, None] * state.preferences).sum(0))
        choice = sample_one_hot(probabilities, shock)
        decay = self.learner.gamma * self.learner.trace_decay
        state = ActorCriticState(
            state.preferences,
            state.values,
            decay * state.actor_trace + cell[:, None] * (choice - probabilities),
            decay * state.critic_trace + cell,
            cell,
        )
        return select_action(self.space, choice), state

    def learn(self, state: ActorCriticState, step: Step) -> ActorCriticState:
        cells = self.cells
        next_cell = (jnp.arange(cells.size) == cells(step.observation)).astype(state.values.dtype)
        next_value = jnp.where(step.terminated, 0.0, self.learner.gamma * (next_cell * state.values).sum())
        error = step.reward + next_value - (state.cell * state.values).sum()
        kept = jnp.where(step.terminated | step.truncated, 0.0, 1.0)
        return ActorCriticState(
            state.preferences + self.actor_lr * error * state.actor_trace,
            state.values + self.critic_lr * error * state.critic_trace,
            kept * state.actor_trace,
            kept * state.critic_trace,
            state.cell,
        )


class ActorCritic(OnlineLearner):
    """Tabular actor-critic with eligibility traces and a random policy."""

    trace_decay: Scalar = 0.9
    """Decay λ of the eligibility traces, per step."""
    actor_lr: Scalar = 0.005
    """Initial learning rate β of the actor."""
    actor_lr_end: Scalar = 0.005
    """Final learning rate β of the actor, on a geometric schedule."""
    critic_lr: Scalar = 0.05
    """Initial learning rate α of the critic."""
    critic_lr_end: Scalar = 0.0005
    """Final learning rate α of the critic, on a geometric schedule."""

    def __check_init__(self):
        for name in ("actor_lr", "actor_lr_end", "critic_lr", "critic_lr_end"):
            value = getattr(self, name)
            check(name, value, "positive and finite", lambda value=value: is_positive(value))

    def maker(self, scenario, progress):
        space = discrete_actions(scenario)
        return _ActorCriticMaker(
            self,
            cells_or_default(scenario, self.cells),
            space,
            geometric_schedule(self.actor_lr, self.actor_lr_end, progress),
            geometric_schedule(self.critic_lr, self.critic_lr_end, progress),
        )

    def policy(self, scenario, state, explore=False):
        """Return the greedy policy of the preferences, or with `explore` their softmax."""
        preferences = state.carry.policy_state.preferences[0]
        table = jax.nn.softmax(preferences) if explore else greedy(preferences)
        return TabularPolicy(table, cells_or_default(scenario, self.cells), discrete_actions(scenario))
