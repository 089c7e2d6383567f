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

Each seed is a maker that learns on every step of its own life. Thousands of them are mapped; a day is learned within
the one loop over time of `rollout`.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from twosided.learn.base import Learner
from twosided.markets.base import Carry, Scenario, Step, rollout, start
from twosided.policies.tabular import Cells, ImbalanceCells, TabularPolicy, chosen, drawn, explored
from twosided.types import Discrete, Policy, Scalar, check

UNROLL = 4
"""Steps compiled as one: twice as fast for one maker alone, and no slower for many."""


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


class LearnState(eqx.Module):
    """Where training stands; everything that it needs to go on."""

    carry: Carry
    """One path, the memory being the lesson."""
    key: PRNGKeyArray
    iteration: Int[Array, ""]


class _Apprentice(Policy):
    """A maker that is ε-greedy in what it has learned, and learns of a step when it has chosen the next action."""

    learner: "_TemporalDifference"
    space: Discrete
    step_size: Scalar
    epsilon: Scalar

    def shocks(self, key, shape):
        return jax.random.uniform(key, shape)

    def init(self):
        table = jnp.zeros((self.learner.cells.size, self.space.size))
        no = jnp.zeros((), bool)
        pending = Pending(table, jnp.zeros(()), jnp.zeros((), jnp.int32), no, no)
        return Lesson(table + self.learner.initial, table, pending)

    def act(self, shock, memory, observation):
        pending, learner = memory.pending, self.learner
        # Sums over a whole table, of which 1 picks an entry: an index would be a program of its own.
        seen = jnp.stack([learner.cells(observation), pending.cell])
        rows = (seen[:, None] == jnp.arange(learner.cells.size)).astype(memory.q.dtype)
        values = (rows[:, :, None] * memory.q).sum(1)
        probabilities = explored(greedy(values), self.epsilon)
        choice = drawn(probabilities[0], shock)
        pair = rows[0][:, None] * choice

        ahead = jnp.where(
            pending.ended,
            jnp.where(pending.worthless, 0.0, (probabilities[1] * values[1]).sum()),
            learner.bootstrap(values[0], probabilities[0], choice),
        )
        error = pending.reward + learner.discount * ahead - (pending.pair * memory.q).sum()
        trace = memory.trace + pending.pair
        q = memory.q + self.step_size * error * trace
        kept = learner.discount * learner.trace_decay * trace
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
            self.learner.cells(step.observation),
            step.terminated | step.truncated,
            step.terminated,
        )
        return Lesson(memory.q, memory.trace, pending)


def greedy(values: Float[Array, "... actions"]) -> Float[Array, "... actions"]:
    """The best action, or all that tie for it alike."""
    best = (values == values.max(-1, keepdims=True)).astype(values.dtype)
    return best / best.sum(-1, keepdims=True)


class _TemporalDifference(Learner):
    """What SARSA, expected SARSA and Q-learning share."""

    trace_decay: eqx.AbstractVar[Scalar]
    steps: int = eqx.field(static=True, default=750_000)
    """Market steps to learn from, a seed; 5,000 days of 150."""
    rollout_steps: int = eqx.field(static=True, default=3_000)
    """Market steps between two changes of step size and exploration."""
    cells: Cells = ImbalanceCells()
    """What the maker tells apart."""
    discount: Scalar = 0.9
    """γ, a step."""
    step_size: Scalar = 0.05
    """α at first."""
    step_size_end: Scalar = 0.0005
    """α at the end; it falls by equal factors."""
    epsilon: Scalar = 0.2
    """ε at first, probability of any action instead of the best."""
    epsilon_end: Scalar = 0.2
    """ε at the end; it falls by equal factors."""
    initial: Scalar = 0.0
    """Q(s, a) before anything is learned."""

    def __check_init__(self):
        check_steps(self.steps, self.rollout_steps)
        check("discount", self.discount, "in [0, 1)", lambda: 0 <= self.discount < 1)
        check("trace_decay", self.trace_decay, "in [0, 1]", lambda: 0 <= self.trace_decay <= 1)
        for name in ("step_size", "step_size_end", "epsilon", "epsilon_end"):
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

    @property
    def iterations(self) -> int:
        return -(-self.steps // self.rollout_steps)

    @property
    def steps_per_iteration(self) -> int:
        return self.rollout_steps

    def begin(self, scenario: Scenario, key: PRNGKeyArray) -> LearnState:
        key_start, key = jax.random.split(key)
        maker = _Apprentice(self, actions_of(scenario), self.step_size, self.epsilon)
        return LearnState(start(scenario, maker, key_start, 1), key, jnp.zeros((), jnp.int32))

    def train_chunk(self, scenario, state, iterations):
        """A number of iterations; `reward` is the mean a step of the exploring maker."""

        def one(_: Any, carry: Any) -> Any:
            state, total = carry
            key_now, key = jax.random.split(state.key)
            progress = state.iteration / max(self.iterations - 1, 1)
            maker = _Apprentice(
                self,
                actions_of(scenario),
                falling(self.step_size, self.step_size_end, progress),
                falling(self.epsilon, self.epsilon_end, progress),
            )
            after, rewards = rollout(
                scenario, maker, state.carry, key_now, self.rollout_steps, _reward, maker.learn, UNROLL
            )
            return LearnState(after, key, state.iteration + 1), total + rewards.mean()

        state, total = jax.lax.fori_loop(0, iterations, one, (state, jnp.zeros(())))
        return state, {"reward": total / iterations}

    def policy(self, scenario, state, explore=False):
        q = state.carry.memory.q[0]
        table = greedy(q)
        return TabularPolicy(
            explored(table, self.epsilon_end) if explore else table, self.cells, actions_of(scenario)
        )


class Sarsa(_TemporalDifference):
    """SARSA(λ) with a table: learns what its own exploring policy is worth."""

    trace_decay: Scalar = 0.9
    """λ, a step: how far back a reward is credited."""

    def bootstrap(self, values, probabilities, choice):
        return (values * choice).sum()


class ExpectedSarsa(_TemporalDifference):
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


def falling(first: Scalar, last: Scalar, progress: Float[Array, ""]) -> Float[Array, ""]:
    """From the first value to the last by equal factors, and then no further."""
    return first * (last / first) ** jnp.clip(progress, 0.0, 1.0)


def check_steps(steps: int, rollout_steps: int) -> None:
    check("steps", steps, "at least 1", steps >= 1)
    check("rollout_steps", rollout_steps, "from 1 to 1000000", 1 <= rollout_steps <= 1_000_000)


def _reward(observation: Any, memory: Any, step: Step) -> Float[Array, ""]:
    return step.reward


def actions_of(scenario: Scenario) -> Discrete:
    """The list of actions. Raises ValueError if they are none."""
    if not isinstance(scenario.action_space, Discrete):
        raise ValueError("learner needs a market with a finite list of actions, such as electronic-market")
    return scenario.action_space
