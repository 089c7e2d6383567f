"""Tabular temporal-difference control: SARSA, expected SARSA and Q-learning, with eligibility traces.

After a step from the pair (s, a) with reward r to s', followed by action a' (Sutton and Barto 2018, sections 6.4 to 6.6
and 12.7),

    δ = r + γ B - Q(s, a),     B = Q(s', a')                 SARSA
                                   Σ_a π(a | s') Q(s', a)    expected SARSA
                                   max_a Q(s', a)            Q-learning
    e ← γ λ e + 1(s, a),       Q ← Q + α δ e

The maker is ε-greedy: with probability ε it draws an action uniformly, otherwise it takes the best action of the row.
An episode truncated at the horizon is bootstrapped from its last observation, whose value is the expectation under the
maker's own policy. α and ε follow geometric schedules from their initial to their final values.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from twosided.core.numeric import Scalar
from twosided.core.scenario import Step
from twosided.core.spaces import Cells, Discrete
from twosided.core.validation import check
from twosided.learn.online import OnlineLearner, OnlineMaker, discrete_actions, geometric_schedule, greedy
from twosided.learn.tables import (
    TabularPolicy,
    cells_or_default,
    epsilon_soft,
    sample_one_hot,
    select_action,
)


class PendingUpdate(eqx.Module):
    """Last step, whose update waits for the next action."""

    pair: Float[Array, "cells actions"]
    """1(s, a): one at the pair, zero elsewhere; zero everywhere before the first step."""
    reward: Float[Array, ""]
    """r."""
    next_cell: Int[Array, ""]
    """Cell of s'."""
    done: Bool[Array, ""]
    """Whether the episode ended with the step."""
    terminated: Bool[Array, ""]
    """Whether the market terminated with the step, so that the value of s' is 0."""


class QState(eqx.Module):
    """Policy state of the maker: its table, eligibility trace and pending update."""

    q: Float[Array, "cells actions"]
    """Q."""
    trace: Float[Array, "cells actions"]
    """e."""
    pending: PendingUpdate
    """Last step, not yet learned from."""


class _EpsilonGreedyMaker(OnlineMaker):
    """Maker that is ε-greedy in its table, and updates it for a step once the next action is drawn."""

    learner: "_TemporalDifference"
    cells: Cells
    space: Discrete
    alpha: Scalar
    epsilon: Scalar

    def shocks(self, key, shape):
        return jax.random.uniform(key, shape)

    def init(self):
        table = jnp.zeros((self.cells.size, self.space.size))
        false = jnp.zeros((), bool)
        pending = PendingUpdate(table, jnp.zeros(()), jnp.zeros((), jnp.int32), false, false)
        return QState(table + self.learner.initial_q, table, pending)

    def act(self, shock, state, observation):
        pending, learner = state.pending, self.learner
        # One-hot sums over the whole table, because indexing compiles to a separate operation.
        indices = jnp.stack([self.cells(observation), pending.next_cell])
        rows = (indices[:, None] == jnp.arange(self.cells.size)).astype(state.q.dtype)
        values = (rows[:, :, None] * state.q).sum(1)
        probabilities = epsilon_soft(greedy(values), self.epsilon)
        choice = sample_one_hot(probabilities[0], shock)
        pair = rows[0][:, None] * choice

        # After the end of an episode the observation is of the next one, so s' is read from the pending step.
        bootstrap = jnp.where(
            pending.done,
            jnp.where(pending.terminated, 0.0, (probabilities[1] * values[1]).sum()),
            learner.bootstrap(values[0], probabilities[0], choice),
        )
        error = pending.reward + learner.gamma * bootstrap - (pending.pair * state.q).sum()
        trace = state.trace + pending.pair
        q = state.q + self.alpha * error * trace
        decayed = learner.gamma * learner.trace_decay * trace
        state = QState(
            q,
            jnp.where(pending.done, 0.0, decayed),
            eqx.tree_at(lambda p: p.pair, pending, pair),
        )
        return select_action(self.space, choice), state

    def learn(self, state: QState, step: Step) -> QState:
        """Store the step; `act` applies its update once the next action is known."""
        pending = PendingUpdate(
            state.pending.pair,
            step.reward,
            self.cells(step.observation),
            step.terminated | step.truncated,
            step.terminated,
        )
        return QState(state.q, state.trace, pending)


class _TemporalDifference(OnlineLearner):
    """Common parts of SARSA, expected SARSA and Q-learning."""

    alpha: Scalar = 0.05
    """Initial learning rate α."""
    alpha_end: Scalar = 0.0005
    """Final learning rate α, on a geometric schedule."""
    epsilon: Scalar = 0.2
    """Initial probability ε of a uniformly drawn action."""
    epsilon_end: Scalar = 0.2
    """Final probability ε, on a geometric schedule."""
    initial_q: Scalar = 0.0
    """Initial value of Q(s, a)."""

    def __check_init__(self):
        for name in ("alpha", "alpha_end", "epsilon", "epsilon_end"):
            value = getattr(self, name)
            check(name, value, "positive and at most 1", lambda value=value: 0 < value <= 1)
        check("initial_q", self.initial_q, "finite", lambda: np.isfinite(self.initial_q))

    @abc.abstractmethod
    def bootstrap(
        self,
        values: Float[Array, "actions"],
        probabilities: Float[Array, "actions"],
        choice: Float[Array, "actions"],
    ) -> Float[Array, ""]:
        """Return B from the row of s', the probabilities of its actions, and the one-hot vector of the chosen one."""

    def maker(self, scenario, progress):
        space = discrete_actions(scenario)
        return _EpsilonGreedyMaker(
            self,
            cells_or_default(scenario, self.cells),
            space,
            geometric_schedule(self.alpha, self.alpha_end, progress),
            geometric_schedule(self.epsilon, self.epsilon_end, progress),
        )

    def policy(self, scenario, state, explore=False):
        """Return the greedy policy of the table, or with `explore` the ε-greedy policy of the final ε."""
        q = state.carry.policy_state.q[0]
        table = greedy(q)
        return TabularPolicy(
            epsilon_soft(table, self.epsilon_end) if explore else table,
            cells_or_default(scenario, self.cells),
            discrete_actions(scenario),
        )


class SARSA(_TemporalDifference):
    """Tabular SARSA(λ), which learns the value of its own exploring policy."""

    trace_decay: Scalar = 0.9
    """Decay λ of the eligibility traces, per step."""

    def bootstrap(self, values, probabilities, choice):
        return (values * choice).sum()


class ExpectedSARSA(_TemporalDifference):
    """Tabular expected SARSA(λ): SARSA without the noise of the next action."""

    trace_decay: Scalar = 0.9
    """Decay λ of the eligibility traces, per step."""

    def bootstrap(self, values, probabilities, choice):
        return (values * probabilities).sum()


class QLearning(_TemporalDifference):
    """Tabular one-step Q-learning, which learns the value of the greedy policy while exploring, without traces."""

    @property
    def trace_decay(self):
        return 0.0

    def bootstrap(self, values, probabilities, choice):
        return values.max()
