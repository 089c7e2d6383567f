"""Interface of learning algorithms: initialize, train in compiled chunks, return the policy."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, PRNGKeyArray

from twosided.core.policy import Policy
from twosided.core.rollout import Carry, start
from twosided.core.scenario import Scenario
from twosided.learn.networks import JointPolicy


class Learner(eqx.Module):
    """Learning algorithm for the learner's seat of a scenario, with its hyperparameters.

    `init`, `train_chunk` and `policy` are pure functions. They can be compiled, and mapped over keys (seeds) and over
    any numeric hyperparameter.
    """

    @property
    @abc.abstractmethod
    def iterations(self) -> int:
        """Number of iterations in the whole training."""

    @property
    @abc.abstractmethod
    def steps_per_iteration(self) -> int:
        """Market steps per iteration."""

    def prepare(self, scenario: Scenario, report: Callable[[str], None]) -> None:
        """Do slow work before training, and report its progress.

        Raises Refusal if the learner does not fit the scenario although their shapes agree.
        """

    @abc.abstractmethod
    def init(self, scenario: Scenario, key: PRNGKeyArray) -> Any:
        """Return the training state before the first iteration. It holds everything that training needs to resume."""

    @abc.abstractmethod
    def train_chunk(
        self, scenario: Scenario, state: Any, iterations: Int[Array, ""]
    ) -> tuple[Any, dict[str, Any]]:
        """Run a number of iterations and return the state and the mean of each metric.

        The number is traced, so one compiled program serves chunks of any length.
        """

    @abc.abstractmethod
    def policy(self, scenario: Scenario, state: Any, explore: bool = False) -> Policy:
        """Return the current policy: greedy (the mode of a distribution), or exploring as in training."""


def run_iterations(
    iterate: Callable[[Any], tuple[Any, dict[str, Any]]], state: Any, iterations: Int[Array, ""]
) -> tuple[Any, dict[str, Any]]:
    """Apply `iterate` a traced number of times, and return the state and the mean of each metric."""

    def one(_: Any, carry: tuple[Any, dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
        state, sums = carry
        state, metrics = iterate(state)
        return state, jax.tree.map(jnp.add, sums, metrics)

    shapes = jax.eval_shape(lambda: iterate(state)[1])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    state, sums = jax.lax.fori_loop(0, iterations, one, (state, zeros))
    return state, jax.tree.map(lambda leaf: leaf / iterations, sums)


# Several learners in one scenario are stacked: every leaf of theirs has a leading axis of learners.


def per_learner(scenario: Scenario, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function mapped over the learners of the scenario; with one learner, the function itself."""
    return function if scenario.learners == 1 else jax.vmap(function)


def learner_keys(scenario: Scenario, key: PRNGKeyArray) -> Key[Array, "*learners"]:
    """Return one key per learner."""
    return key if scenario.learners == 1 else jax.random.split(key, scenario.learners)


def joint_policy(scenario: Scenario, policies: Policy) -> Policy:
    """Return the policy of all learners' seats."""
    return policies if scenario.learners == 1 else JointPolicy(policies)


def start_staggered(scenario: Scenario, policy: Policy, key: PRNGKeyArray, num_envs: int) -> Carry:
    """Start episodes at random times within the horizon, so that a rollout covers all times at once."""
    key_start, key_time = jax.random.split(key)
    carry = start(scenario, policy, key_start, num_envs)
    times = jax.random.randint(key_time, (num_envs,), 0, scenario.horizon)
    return eqx.tree_at(lambda c: c.state.time, carry, times)
