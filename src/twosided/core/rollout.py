"""What every market is, what a learner sees of it, and the one loop over time.

    shocks(key, shape)          what chance decides, with leading axes (time, paths)
    reset(shock)                -> state, observation
    step(state, action, shock)  -> state, Transition

A market is written for one path and `num_makers` seats. A scenario puts a policy in every seat but the
learners', pays a reward and cuts episodes at a horizon. `rollout` scans a scenario over time for many paths;
it is the only loop over time in the project.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from twosided.core.policy import Policy
from twosided.core.scenario import Scenario, ScenarioShock, ScenarioState, Step


class Carry(eqx.Module):
    """Where a rollout stands: what the next one goes on from."""

    state: ScenarioState
    observation: Any
    memory: Any
    """The learner's policy's own memory."""


def start(scenario: Scenario, policy: Policy, key: PRNGKeyArray, paths: int) -> Carry:
    """First episodes on a number of paths."""
    return _start(scenario, policy, scenario.shocks(key, (paths,)))


def rollout(
    scenario: Scenario,
    policy: Policy,
    carry: Carry,
    key: PRNGKeyArray,
    steps: int,
    record: Callable[[Any, Any, Step], Any],
    learn: Callable[[Any, Step], Any] = lambda memory, step: memory,
    unroll: int = 1,
) -> tuple[Carry, Any]:
    """Run a policy in the learner's seat for a number of steps, new episodes included.

    `record(observation, memory, step)` says what to keep of a step of one path, given the observation that was
    acted on and the policy's memory of it; it comes back with leading axes (time, paths). Chance depends on
    the key and on nothing that a policy does, so policies with the same key meet the same arrivals, prices and
    books. `learn(memory, step)` is what a policy that learns as it goes remembers after a step.
    `unroll` steps are compiled as one: on few paths the loop itself is what takes time.
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
    """One episode on each of a number of paths, from its start to the horizon; what `record` keeps, as in `rollout`.

    Where the market itself ends an episode, what is kept of the steps from there to the horizon is 0 (false).
    Where a maker remembers what it lived through, an episode of which nothing is kept comes first: makers are
    judged as they are once they have settled. The start and all steps are drawn in one call, which also compiles in
    half the time of two.
    """
    key_scenario, key_policy = jax.random.split(key)
    unseen = scenario.horizon if _remembers(scenario, policy) else 0
    shocks = scenario.shocks(key_scenario, (1 + unseen + scenario.horizon, paths))
    lots = policy.shocks(key_policy, (unseen + scenario.horizon, paths))
    carry = _start(scenario, policy, jax.tree.map(lambda leaf: leaf[0], shocks))

    def live(carry: Carry, begin: int, end: int, record: Callable) -> tuple[Carry, Any]:
        now = jax.tree.map(lambda leaf: leaf[1 + begin : 1 + end], shocks)
        return _scan(scenario, policy, carry, now, jax.tree.map(lambda leaf: leaf[begin:end], lots), record)

    if unseen:
        carry, _ = live(carry, 0, unseen, lambda observation, memory, step: None)
        # Where the market ended the unseen episode the next one is under way: all begin together.
        now = jax.tree.map(lambda leaf: leaf[unseen], shocks)
        carry = Carry(*jax.vmap(scenario.restart)(carry.state, now), carry.memory)

    def record_end(observation: Any, memory: Any, step: Step) -> tuple[Any, Any]:
        return record(observation, memory, step), step.terminated

    kept, ends = live(carry, unseen, unseen + scenario.horizon, record_end)[1]
    lived = jnp.cumsum(ends, axis=0, dtype=jnp.int32) - ends == 0

    def while_it_lived(leaf: Array) -> Array:
        return jnp.where(lived.reshape(*lived.shape, *[1] * (leaf.ndim - 2)), leaf, jnp.zeros_like(leaf))

    return jax.tree.map(while_it_lived, kept)


def _remembers(scenario: Scenario, policy: Policy) -> bool:
    """Whether any maker has a memory."""
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
    lots: Any,
    record: Callable[[Any, Any, Step], Any],
    learn: Callable[[Any, Step], Any] = lambda memory, step: memory,
    unroll: int = 1,
) -> tuple[Carry, Any]:
    """The loop over time: for one path, mapped over paths, scanned over steps."""

    def one(carry: Carry, shock: ScenarioShock, lot: Any) -> tuple[Carry, Any]:
        acted, memory = policy.act(lot, carry.memory, carry.observation)
        state, step = scenario.step(carry.state, acted, shock)
        kept = record(carry.observation, memory, step)
        done = step.terminated | step.truncated
        following = (state, step.observation)
        restarted = scenario.restart(state, shock)
        state, observation = jax.tree.map(lambda a, b: jnp.where(done, a, b), restarted, following)
        return Carry(state, observation, learn(memory, step)), kept

    return jax.lax.scan(lambda carry, x: jax.vmap(one)(carry, *x), carry, (shocks, lots), unroll=unroll)
