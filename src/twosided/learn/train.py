"""Training from outside: seeds side by side, in compiled chunks, with a look at the policy after each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from twosided.core.numeric import as_arrays
from twosided.core.policy import Policy
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario
from twosided.learn.base import Learner

PROBE_STEPS = 25_600
"""Market steps, in whole episodes, on which a policy is looked at after a chunk."""


@dataclass(frozen=True)
class Progress:
    """Where training stands after a chunk."""

    iteration: int
    iterations: int
    states: Any
    """The learner's states, leaves with a leading axis of seeds."""
    curve: dict[str, np.ndarray]
    """Of the chunk: `timesteps` (market steps a seed so far), `eval_pnl` (total PnL a step of the policy's mode, with
    inventory PnL's conditional expectation; the mean of several learners), `competitor_pnl` (the mean of the
    competitors', if there are any), `eval_reward` (reward a step of the policy's mode; the mean of several learners)
    and the learner's own metrics; a row a seed."""


def train(
    scenario: Scenario,
    learner: Learner,
    seed: int = 0,
    seeds: int = 1,
    chunks: int = 20,
    resume: Progress | None = None,
    after_chunk: Callable[[Progress], bool | None] = lambda progress: None,
) -> tuple[tuple[Policy, ...], Progress]:
    """Train a policy for the learner's seat, once for each of a number of seeds.

    Seed i is the same whatever other seeds are trained beside it. `after_chunk` sees the progress after each
    chunk, for a progress bar or a checkpoint; if it returns True, training stops there. Passing that progress
    as `resume` later goes on with the same bits. Returns a policy a seed and the last progress.
    """
    size = -(-learner.iterations // chunks)
    learner.prepare(scenario, lambda text: None)
    scenario, learner = as_arrays(scenario), as_arrays(learner)
    progress = resume or begin(scenario, learner, seed, seeds)
    while progress.iteration < progress.iterations:
        iterations = min(size, progress.iterations - progress.iteration)
        progress = _advance(scenario, learner, seed, progress, iterations)
        if after_chunk(progress):
            break
    return policies_of(scenario, learner, progress.states, seeds), progress


def begin(scenario: Scenario, learner: Learner, seed: int, seeds: int) -> Progress:
    """Where training stands before its first chunk."""
    states = _first(as_arrays(scenario), as_arrays(learner), _keys(seed, seeds))
    return Progress(0, learner.iterations, states, {})


def policies_of(scenario: Scenario, learner: Learner, states: Any, seeds: int) -> tuple[Policy, ...]:
    """The policies of the learner's states as they stand, at their best; one a seed."""
    policies = _policies(as_arrays(scenario), as_arrays(learner), states)
    return tuple(jax.tree.map(lambda leaf, i=i: leaf[i], policies) for i in range(seeds))


def blank(scenario: Scenario, learner: Learner, seed: int, seeds: int) -> Any:
    """The shapes of the states, to read a checkpoint into."""
    return eqx.filter_eval_shape(_first, as_arrays(scenario), as_arrays(learner), _keys(seed, seeds))


def _keys(seed: int, seeds: int):
    return jnp.stack([jax.random.fold_in(jax.random.key(seed), i) for i in range(seeds)])


@eqx.filter_jit
def _first(scenario: Scenario, learner: Learner, keys) -> Any:
    return jax.vmap(lambda key: learner.begin(scenario, key))(keys)


def _advance(
    scenario: Scenario, learner: Learner, seed: int, progress: Progress, iterations: int
) -> Progress:
    probe_key = jax.random.fold_in(jax.random.key(seed), 2**31 - 1)
    states, metrics, (pnl, reward) = _chunk(
        scenario, learner, progress.states, probe_key, jnp.asarray(iterations)
    )
    iteration = progress.iteration + iterations
    # Fetching the metrics waits for the chunk: what follows sees finished work.
    curve = {name: np.asarray(values) for name, values in metrics.items()}
    mine, others = np.split(np.asarray(pnl), [scenario.learners], axis=1)
    curve["eval_pnl"], curve["eval_reward"] = mine.mean(1), np.asarray(reward).mean(1)
    if others.size:
        curve["competitor_pnl"] = others.mean(1)
    curve["timesteps"] = np.full(curve["eval_pnl"].shape, iteration * learner.steps_per_iteration)
    return Progress(iteration, progress.iterations, states, curve)


@eqx.filter_jit
def _chunk(scenario: Scenario, learner: Learner, states: Any, probe_key: Any, iterations: Any):
    states, metrics = jax.vmap(lambda s: learner.train_chunk(scenario, s, iterations))(states)
    score = jax.vmap(lambda s: _score(scenario, learner.policy(scenario, s), probe_key))(states)
    return states, metrics, score


def _score(scenario: Scenario, policy: Policy, key: Any):
    """Total PnL a step of every maker, inventory PnL in expectation, and what each learner is paid.

    It is on the same chance at every call.
    """

    def record(observation, memory, step):
        pnl = step.transition.pnl
        earned = pnl.total - pnl.inventory + step.transition.expected_inventory_pnl
        return earned, jnp.atleast_1d(step.reward)

    paths = max(1, PROBE_STEPS // scenario.horizon)
    return jax.tree.map(lambda leaf: leaf.mean((0, 1)), episodes(scenario, policy, key, paths, record))


@eqx.filter_jit
def _policies(scenario: Scenario, learner: Learner, states: Any) -> Policy:
    return jax.vmap(lambda s: learner.policy(scenario, s))(states)
