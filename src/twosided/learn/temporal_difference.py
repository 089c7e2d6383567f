"""Temporal-difference control with a table: SARSA, expected SARSA and Q-learning, with eligibility traces.

After a step from the pair (s, a) with reward r to s', where a' follows (Sutton and Barto 2018, sections 6.4 to 6.6
and 12.7),

    δ = r + γ B - Q(s, a),     B = Q(s', a')                 SARSA
                                   Σ_a π(a | s') Q(s', a)    expected SARSA
                                   max_a Q(s', a)            Q-learning
    e ← γ λ e + 1(s, a),       Q ← Q + α δ e

and the maker is ε-greedy: the best action of its row, or with probability ε any, all alike. A day that the horizon
cuts is not the end of what matters: the value of its last observation is expected under the maker's own policy. α and
ε fall by equal factors from their first to their last value.
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
from twosided.learn.online import OnlineLearner, OnlineMaker, actions_of, falling, greedy
from twosided.learn.tables import TabularPolicy, cells_of, chosen, drawn, explored


class Pending(eqx.Module):
    """The last step, of which is learned when the next action is known."""

    pair: Float[Array, "cells actions"]
    """1 at (s, a); 0 everywhere before the first step."""
    reward: Float[Array, ""]
    cell: Int[Array, ""]
    """s'."""
    ended: Bool[Array, ""]
    """The episode ended with it."""
    worthless: Bool[Array, ""]
    """The market ended, so nothing follows."""


class Lesson(eqx.Module):
    """What a maker knows and remembers."""

    q: Float[Array, "cells actions"]
    trace: Float[Array, "cells actions"]
    """e."""
    pending: Pending


class _Apprentice(OnlineMaker):
    """A maker that is ε-greedy in what it has learned, and learns of a step when it has chosen the next action."""

    learner: "_TemporalDifference"
    cells: Cells
    space: Discrete
    alpha: Scalar
    epsilon: Scalar

    def shocks(self, key, shape):
        return jax.random.uniform(key, shape)

    def init(self):
        table = jnp.zeros((self.cells.size, self.space.size))
        no = jnp.zeros((), bool)
        pending = Pending(table, jnp.zeros(()), jnp.zeros((), jnp.int32), no, no)
        return Lesson(table + self.learner.initial, table, pending)

    def act(self, shock, memory, observation):
        pending, learner = memory.pending, self.learner
        # Sums over a whole table, of which 1 picks an entry: an index would be a program of its own.
        seen = jnp.stack([self.cells(observation), pending.cell])
        rows = (seen[:, None] == jnp.arange(self.cells.size)).astype(memory.q.dtype)
        values = (rows[:, :, None] * memory.q).sum(1)
        probabilities = explored(greedy(values), self.epsilon)
        choice = drawn(probabilities[0], shock)
        pair = rows[0][:, None] * choice

        ahead = jnp.where(
            pending.ended,
            jnp.where(pending.worthless, 0.0, (probabilities[1] * values[1]).sum()),
            learner.bootstrap(values[0], probabilities[0], choice),
        )
        error = pending.reward + learner.gamma * ahead - (pending.pair * memory.q).sum()
        trace = memory.trace + pending.pair
        q = memory.q + self.alpha * error * trace
        kept = learner.gamma * learner.trace_decay * trace
        memory = Lesson(
            q,
            jnp.where(pending.ended, 0.0, kept),
            eqx.tree_at(lambda p: p.pair, pending, pair),
        )
        return chosen(self.space, choice), memory

    def learn(self, memory: Lesson, step: Step) -> Lesson:
        """What the step brought, to be learned of when the next action is known."""
        pending = Pending(
            memory.pending.pair,
            step.reward,
            self.cells(step.observation),
            step.terminated | step.truncated,
            step.terminated,
        )
        return Lesson(memory.q, memory.trace, pending)


class _TemporalDifference(OnlineLearner):
    """What SARSA, expected SARSA and Q-learning share."""

    alpha: Scalar = 0.05
    """α at first."""
    alpha_end: Scalar = 0.0005
    """α at the end; it falls by equal factors."""
    epsilon: Scalar = 0.2
    """ε at first, probability of any action instead of the best."""
    epsilon_end: Scalar = 0.2
    """ε at the end; it falls by equal factors."""
    initial: Scalar = 0.0
    """Q(s, a) before anything is learned."""

    def __check_init__(self):
        for name in ("alpha", "alpha_end", "epsilon", "epsilon_end"):
            value = getattr(self, name)
            check(name, value, "positive and at most 1", lambda value=value: 0 < value <= 1)
        check("initial", self.initial, "finite", lambda: np.isfinite(self.initial))

    @abc.abstractmethod
    def bootstrap(
        self,
        values: Float[Array, "actions"],
        probabilities: Float[Array, "actions"],
        choice: Float[Array, "actions"],
    ) -> Float[Array, ""]:
        """B, from the row of s', the probabilities of the actions there, and 1 at the one chosen."""

    def maker(self, scenario, progress):
        space = actions_of(scenario)
        return _Apprentice(
            self,
            cells_of(scenario, self.cells),
            space,
            falling(self.alpha, self.alpha_end, progress),
            falling(self.epsilon, self.epsilon_end, progress),
        )

    def policy(self, scenario, state, explore=False):
        q = state.carry.policy_state.q[0]
        table = greedy(q)
        return TabularPolicy(
            explored(table, self.epsilon_end) if explore else table,
            cells_of(scenario, self.cells),
            actions_of(scenario),
        )


class SARSA(_TemporalDifference):
    """SARSA(λ) with a table: learns what its own exploring policy is worth."""

    trace_decay: Scalar = 0.9
    """λ, a step: how far back a reward is credited."""

    def bootstrap(self, values, probabilities, choice):
        return (values * choice).sum()


class ExpectedSARSA(_TemporalDifference):
    """Expected SARSA(λ) with a table: SARSA without the noise of the next action's draw."""

    trace_decay: Scalar = 0.9
    """λ, a step: how far back a reward is credited."""

    def bootstrap(self, values, probabilities, choice):
        return (values * probabilities).sum()


class QLearning(_TemporalDifference):
    """Q-learning with a table: learns what the greedy policy is worth while it explores; one step, so no traces."""

    @property
    def trace_decay(self):
        return 0.0

    def bootstrap(self, values, probabilities, choice):
        return values.max()
