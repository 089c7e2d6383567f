"""What makers share that learn on every step of their own life: SARSA and its kin, actor and critic.

Each seed is a maker that learns of a step when it has been lived, within the one loop over time of `rollout`. Thousands
of them are mapped. Step sizes and exploration change between rollouts, and a table has a row for each cell.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from twosided.core.numeric import Scalar
from twosided.core.policy import Policy
from twosided.core.rollout import Carry, rollout, start
from twosided.core.scenario import Scenario, Step
from twosided.core.spaces import Cells, Discrete
from twosided.core.validation import check
from twosided.learn.base import Learner, repeated

UNROLL = 4
"""Steps compiled as one: twice as fast for one maker alone, and no slower for many."""


class LearnState(eqx.Module):
    """Where training stands; everything that it needs to go on."""

    carry: Carry
    """One path, the memory being what the maker has learned."""
    key: PRNGKeyArray
    iteration: Int[Array, ""]


class OnlineMaker(Policy):
    """A policy that learns of every step."""

    @abc.abstractmethod
    def learn(self, memory: Any, step: Step) -> Any:
        """What it remembers after a step."""


class OnlineLearner(Learner):
    """A way to learn on every step of one life."""

    trace_decay: eqx.AbstractVar[Scalar]
    total_timesteps: int = eqx.field(static=True, default=750_000)
    """Market steps to learn from, a seed; 5,000 days of 150."""
    num_steps: int = eqx.field(static=True, default=3_000)
    """Market steps between two changes of step size and exploration."""
    cells: Cells | None = None
    """Rows of the table: how observations are grouped. None takes the market's default."""
    gamma: Scalar = 0.9
    """γ, a step."""

    def __check_init__(self):
        check_steps(self.total_timesteps, self.num_steps)
        check("gamma", self.gamma, "in [0, 1)", lambda: 0 <= self.gamma < 1)
        check("trace_decay", self.trace_decay, "in [0, 1]", lambda: 0 <= self.trace_decay <= 1)

    @abc.abstractmethod
    def maker(self, scenario: Scenario, progress: Scalar | Float[Array, ""]) -> OnlineMaker:
        """The maker that lives and learns, with what its schedules have come to: progress goes from 0 to 1."""

    @property
    def iterations(self) -> int:
        return -(-self.total_timesteps // self.num_steps)

    @property
    def steps_per_iteration(self) -> int:
        return self.num_steps

    def begin(self, scenario: Scenario, key: PRNGKeyArray) -> LearnState:
        key_start, key = jax.random.split(key)
        carry = start(scenario, self.maker(scenario, 0.0), key_start, 1)
        return LearnState(carry, key, jnp.zeros((), jnp.int32))

    def train_chunk(self, scenario, state, iterations):
        """A number of iterations; `reward` is the mean a step of the maker as it explores."""

        def iterate(state: LearnState) -> tuple[LearnState, dict[str, Any]]:
            key_now, key = jax.random.split(state.key)
            maker = self.maker(scenario, state.iteration / max(self.iterations - 1, 1))
            after, rewards = rollout(
                scenario, maker, state.carry, key_now, self.num_steps, _reward, maker.learn, UNROLL
            )
            return LearnState(after, key, state.iteration + 1), {"reward": rewards.mean()}

        return repeated(iterate, state, iterations)


def falling(first: Scalar, last: Scalar, progress: Scalar | Float[Array, ""]) -> Float[Array, ""]:
    """From the first value to the last by equal factors, and then no further."""
    return first * (last / first) ** jnp.clip(progress, 0.0, 1.0)


def greedy(values: Float[Array, "... actions"]) -> Float[Array, "... actions"]:
    """The best action, or all that tie for it alike."""
    best = (values == values.max(-1, keepdims=True)).astype(values.dtype)
    return best / best.sum(-1, keepdims=True)


def check_steps(total_timesteps: int, num_steps: int) -> None:
    check("total_timesteps", total_timesteps, "at least 1", total_timesteps >= 1)
    check("num_steps", num_steps, "from 1 to 1000000", 1 <= num_steps <= 1_000_000)


def actions_of(scenario: Scenario) -> Discrete:
    """The list of actions. Raises ValueError if they are none."""
    if not isinstance(scenario.action_space, Discrete):
        raise ValueError("learner needs a market with a finite list of actions")
    return scenario.action_space


def _reward(observation: Any, memory: Any, step: Step) -> Float[Array, ""]:
    return step.reward
