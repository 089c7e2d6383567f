"""What every learner is: a configuration that begins, advances in compiled chunks and yields a policy."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from twosided.core.policy import Policy
from twosided.core.rollout import Carry, start
from twosided.core.scenario import Scenario
from twosided.learn.networks import JointPolicy


class Learner(eqx.Module):
    """A way to find a policy for the learner's seat of a scenario.

    Its three abstract methods are pure, so they can be compiled, and mapped over keys (seeds) and over any numeric
    parameter of the learner.
    """

    @property
    @abc.abstractmethod
    def iterations(self) -> int:
        """Updates of the whole training."""

    @property
    @abc.abstractmethod
    def steps_per_iteration(self) -> int:
        """Market steps that an iteration takes."""

    def prepare(self, scenario: Scenario, tell: Callable[[str], None]) -> None:
        """Do what takes long and comes before any training, and say how it goes. Raises Refusal where the learner is
        made for another scenario in what shapes do not tell."""

    @abc.abstractmethod
    def begin(self, scenario: Scenario, key: PRNGKeyArray) -> Any:
        """The state before the first iteration: everything that training needs to go on."""

    @abc.abstractmethod
    def train_chunk(
        self, scenario: Scenario, state: Any, iterations: Int[Array, ""]
    ) -> tuple[Any, dict[str, Any]]:
        """A number of iterations (traced, so that one program serves all), and means of what they tell."""

    @abc.abstractmethod
    def policy(self, scenario: Scenario, state: Any, explore: bool = False) -> Policy:
        """The policy as it stands: at its best, or as it explores."""


def repeated(
    iterate: Callable[[Any], tuple[Any, dict[str, Any]]], state: Any, iterations: Int[Array, ""]
) -> tuple[Any, dict[str, Any]]:
    """A number of iterations (traced, so that one program serves all), and means of what they tell."""

    def one(_: Any, carry: tuple[Any, dict]) -> tuple[Any, dict]:
        state, sums = carry
        state, metrics = iterate(state)
        return state, jax.tree.map(jnp.add, sums, metrics)

    shapes = jax.eval_shape(lambda: iterate(state)[1])
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    state, sums = jax.lax.fori_loop(0, iterations, one, (state, nothing))
    return state, jax.tree.map(lambda leaf: leaf / iterations, sums)


# What learners of any number in one scenario share: with several, everything of theirs has a leading axis.


def each(scenario: Scenario, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of one learner, for all of them."""
    return function if scenario.learners == 1 else jax.vmap(function)


def keys_of(scenario: Scenario, key: PRNGKeyArray) -> PRNGKeyArray:
    """A key a learner."""
    return key if scenario.learners == 1 else jax.random.split(key, scenario.learners)


def joint_policy(scenario: Scenario, policies: Policy) -> Policy:
    """What sits in the learners' seats."""
    return policies if scenario.learners == 1 else JointPolicy(policies)


def first_episodes(scenario: Scenario, policy: Policy, key: PRNGKeyArray, paths: int) -> Carry:
    """First episodes out of step with each other, so that a rollout sees all their ages at once."""
    key_start, key_time = jax.random.split(key)
    carry = start(scenario, policy, key_start, paths)
    ages = jax.random.randint(key_time, (paths,), 0, scenario.horizon)
    return eqx.tree_at(lambda c: c.state.time, carry, ages)
