"""Common parts of learners that update after every step: SARSA, expected SARSA, Q-learning and actor-critic.

Each seed is one maker whose policy state holds what it has learned and is updated within the one loop over time of
`rollout`. Thousands of seeds can be mapped. The learning rate and the exploration change between rollouts. A table has
one row per cell.
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
from twosided.learn.base import Learner, run_iterations

UNROLL = 4
"""Steps unrolled in the compiled loop, which is faster for a single maker and no slower for many."""


class TrainState(eqx.Module):
    """Training state: everything that training needs to resume."""

    carry: Carry
    """State of one environment, with the policy state that holds what was learned."""
    key: PRNGKeyArray
    """Key of the random numbers still to be drawn."""
    iteration: Int[Array, ""]
    """Iterations completed."""


class OnlineMaker(Policy):
    """Policy that learns from every step."""

    @abc.abstractmethod
    def learn(self, state: Any, step: Step) -> Any:
        """Return the policy state updated by a step."""


class OnlineLearner(Learner):
    """Learner that updates after every step of a single environment."""

    trace_decay: eqx.AbstractVar[Scalar]
    total_timesteps: int = eqx.field(static=True, default=750_000)
    """Training steps per seed. The default is 5,000 days of 150 steps."""
    num_steps: int = eqx.field(static=True, default=3_000)
    """Steps between two changes of the learning rate and the exploration."""
    cells: Cells | None = None
    """Grouping of observations into the rows of the table. None uses the market's default."""
    gamma: Scalar = 0.9
    """Discount factor γ per step."""

    def __check_init__(self):
        check("total_timesteps", self.total_timesteps, "at least 1", self.total_timesteps >= 1)
        check("num_steps", self.num_steps, "from 1 to 1000000", 1 <= self.num_steps <= 1_000_000)
        check("gamma", self.gamma, "in [0, 1)", lambda: 0 <= self.gamma < 1)
        check("trace_decay", self.trace_decay, "in [0, 1]", lambda: 0 <= self.trace_decay <= 1)

    @abc.abstractmethod
    def maker(self, scenario: Scenario, progress: Scalar | Float[Array, ""]) -> OnlineMaker:
        """Return the learning policy, with its schedules evaluated at a progress from 0 to 1."""

    @property
    def iterations(self) -> int:
        return -(-self.total_timesteps // self.num_steps)

    @property
    def steps_per_iteration(self) -> int:
        return self.num_steps

    def init(self, scenario: Scenario, key: PRNGKeyArray) -> TrainState:
        key_start, key = jax.random.split(key)
        carry = start(scenario, self.maker(scenario, 0.0), key_start, 1)
        return TrainState(carry, key, jnp.zeros((), jnp.int32))

    def train_chunk(self, scenario, state, iterations):
        """Run a number of iterations. Metric `reward`: mean reward per step while exploring."""

        def iterate(state: TrainState) -> tuple[TrainState, dict[str, Any]]:
            key_rollout, key = jax.random.split(state.key)
            maker = self.maker(scenario, state.iteration / max(self.iterations - 1, 1))
            carry, rewards = rollout(
                scenario, maker, state.carry, key_rollout, self.num_steps, _reward, maker.learn, UNROLL
            )
            return TrainState(carry, key, state.iteration + 1), {"reward": rewards.mean()}

        return run_iterations(iterate, state, iterations)


def geometric_schedule(first: Scalar, last: Scalar, progress: Scalar | Float[Array, ""]) -> Float[Array, ""]:
    """Return the value between `first` and `last` on a geometric schedule, constant beyond progress 0 and 1."""
    return first * (last / first) ** jnp.clip(progress, 0.0, 1.0)


def greedy(values: Float[Array, "... actions"]) -> Float[Array, "... actions"]:
    """Return the probabilities of the greedy policy; actions that tie for the best are equally likely."""
    best = (values == values.max(-1, keepdims=True)).astype(values.dtype)
    return best / best.sum(-1, keepdims=True)


def discrete_actions(scenario: Scenario) -> Discrete:
    """Return the list of actions. Raises ValueError if the actions are not a finite list."""
    if not isinstance(scenario.action_space, Discrete):
        raise ValueError("learner needs a market with a finite list of actions")
    return scenario.action_space


def _reward(observation: Any, policy_state: Any, step: Step) -> Float[Array, ""]:
    return step.reward
