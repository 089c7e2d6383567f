"""Rollout: a scenario with a policy in the learner's seat, scanned over steps and mapped over paths."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from twosided.core.policy import Policy
from twosided.core.scenario import Scenario, ScenarioShock, ScenarioState, Step


class Carry(eqx.Module):
    """State of a rollout, from which the next one continues."""

    state: ScenarioState
    observation: Any
    policy_state: Any
    """State of the learner's policy."""


def start(scenario: Scenario, policy: Policy, key: PRNGKeyArray, paths: int) -> Carry:
    """Return the carry at the start of the first episodes on a number of paths."""
    return _start(scenario, policy, scenario.shocks(key, (paths,)))


def rollout(
    scenario: Scenario,
    policy: Policy,
    carry: Carry,
    key: PRNGKeyArray,
    steps: int,
    record: Callable[[Any, Any, Step], Any],
    learn: Callable[[Any, Step], Any] = lambda policy_state, step: policy_state,
    unroll: int = 1,
) -> tuple[Carry, Any]:
    """Run a policy in the learner's seat for a number of steps; a new episode starts where one ends.

    `record(observation, policy_state, step)` returns the quantities to keep of a step of one path, given the
    observation that was acted on and the policy state after acting. The results have leading axes (time, paths).
    `learn(policy_state, step)` returns the policy state after the step, for a policy that learns at every step.
    `unroll` is the number of steps per iteration of the compiled loop; larger values are faster on few paths, where
    the overhead of the loop dominates.

    Random inputs depend on the key and not on the policies, so policies with the same key meet the same arrivals,
    prices and books.
    """
    paths = carry.state.time.shape[0]
    key_scenario, key_policy = jax.random.split(key)
    shocks = scenario.shocks(key_scenario, (steps, paths))
    return _scan(
        scenario, policy, carry, shocks, policy.shocks(key_policy, (steps, paths)), record, learn, unroll
    )


def episodes(
    scenario: Scenario,
    policy: Policy,
    key: PRNGKeyArray,
    paths: int,
    record: Callable[[Any, Any, Step], Any],
) -> Any:
    """Run one episode to the horizon on each of a number of paths, and return its records, as in `rollout`.

    After the market has ended an episode, the records of the steps up to the horizon are 0 (false). If the policy of
    any maker has a state, an unrecorded warm-up episode is run first, so that makers are evaluated after they have
    adapted. Start and steps are drawn in one call, which compiles in half the time of two.
    """
    key_scenario, key_policy = jax.random.split(key)
    warm_up = scenario.horizon if _has_state(scenario, policy) else 0
    shocks = scenario.shocks(key_scenario, (1 + warm_up + scenario.horizon, paths))
    policy_shocks = policy.shocks(key_policy, (warm_up + scenario.horizon, paths))
    carry = _start(scenario, policy, jax.tree.map(lambda leaf: leaf[0], shocks))

    def run(carry: Carry, begin: int, end: int, record: Callable[..., Any]) -> tuple[Carry, Any]:
        now = jax.tree.map(lambda leaf: leaf[1 + begin : 1 + end], shocks)
        return _scan(
            scenario, policy, carry, now, jax.tree.map(lambda leaf: leaf[begin:end], policy_shocks), record
        )

    if warm_up:
        carry, _ = run(carry, 0, warm_up, lambda observation, policy_state, step: None)
        # Where the market ended the warm-up episode early, another has started, so all paths are restarted together.
        now = jax.tree.map(lambda leaf: leaf[warm_up], shocks)
        carry = Carry(*jax.vmap(scenario.restart)(carry.state, now), carry.policy_state)

    def record_end(observation: Any, policy_state: Any, step: Step) -> tuple[Any, Any]:
        return record(observation, policy_state, step), step.terminated

    kept, ends = run(carry, warm_up, warm_up + scenario.horizon, record_end)[1]
    valid = jnp.cumsum(ends, axis=0, dtype=jnp.int32) - ends == 0

    def while_valid(leaf: Array) -> Array:
        return jnp.where(valid.reshape(*valid.shape, *[1] * (leaf.ndim - 2)), leaf, jnp.zeros_like(leaf))

    return jax.tree.map(while_valid, kept)


def _has_state(scenario: Scenario, policy: Policy) -> bool:
    """Return whether any maker's policy has a state."""
    makers = (policy, *scenario.competitors)
    return bool(jax.tree.leaves(jax.eval_shape(lambda: [maker.init() for maker in makers])))


def _start(scenario: Scenario, policy: Policy, shocks: ScenarioShock) -> Carry:
    def one(shock: ScenarioShock) -> Carry:
        return Carry(*scenario.reset(shock), policy.init())

    return jax.vmap(one)(shocks)


def _scan(
    scenario: Scenario,
    policy: Policy,
    carry: Carry,
    shocks: ScenarioShock,
    policy_shocks: Any,
    record: Callable[[Any, Any, Step], Any],
    learn: Callable[[Any, Step], Any] = lambda policy_state, step: policy_state,
    unroll: int = 1,
) -> tuple[Carry, Any]:
    """Scan over time the step of one path, mapped over paths."""

    def one(carry: Carry, shock: ScenarioShock, policy_shock: Any) -> tuple[Carry, Any]:
        acted, policy_state = policy.act(policy_shock, carry.policy_state, carry.observation)
        state, step = scenario.step(carry.state, acted, shock)
        kept = record(carry.observation, policy_state, step)
        done = step.terminated | step.truncated
        following = (state, step.observation)
        restarted = scenario.restart(state, shock)
        state, observation = jax.tree.map(lambda a, b: jnp.where(done, a, b), restarted, following)
        return Carry(state, observation, learn(policy_state, step)), kept

    return jax.lax.scan(
        lambda carry, x: jax.vmap(one)(carry, *x), carry, (shocks, policy_shocks), unroll=unroll
    )
