"""Training loop: several seeds side by side, in compiled chunks, with an evaluation of the policy after each chunk."""

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

EVAL_STEPS = 25_600
"""Market steps, in whole episodes, of the evaluation after each chunk."""


@dataclass(frozen=True)
class Progress:
    """Progress of training after a chunk."""

    iteration: int
    """Iterations completed."""
    iterations: int
    """Iterations of the whole training."""
    states: Any
    """Training states of the learner; leaves have a leading axis of seeds."""
    curve: dict[str, np.ndarray]
    """Metrics of the chunk, one value per seed: `timesteps` (market steps so far, per seed), `eval_pnl` (total PnL per
    step of the greedy policy, with inventory PnL in conditional expectation; the mean over several learners),
    `eval_reward` (its reward per step; the mean over several learners), `competitor_pnl` (the mean PnL per step of the
    competitors, if there are any), and the learner's own metrics."""


def train(
    scenario: Scenario,
    learner: Learner,
    seed: int = 0,
    seeds: int = 1,
    chunks: int = 20,
    resume: Progress | None = None,
    after_chunk: Callable[[Progress], bool | None] = lambda progress: None,
) -> tuple[tuple[Policy, ...], Progress]:
    """Train a policy for the learner's seat, once per seed, and return the policies and the final progress.

    The result of seed i does not depend on which other seeds are trained beside it. `after_chunk` receives the
    progress after each chunk, for a progress bar or a checkpoint; training stops if it returns True. Passing that
    progress as `resume` continues training with results identical to the bit.
    """
    size = -(-learner.iterations // chunks)
    learner.prepare(scenario, lambda text: None)
    scenario, learner = as_arrays(scenario), as_arrays(learner)
    progress = resume or init_progress(scenario, learner, seed, seeds)
    while progress.iteration < progress.iterations:
        iterations = min(size, progress.iterations - progress.iteration)
        progress = _advance(scenario, learner, seed, progress, iterations)
        if after_chunk(progress):
            break
    return policies_of(scenario, learner, progress.states, seeds), progress


def init_progress(scenario: Scenario, learner: Learner, seed: int, seeds: int) -> Progress:
    """Return the progress before the first chunk."""
    states = _init_states(as_arrays(scenario), as_arrays(learner), _keys(seed, seeds))
    return Progress(0, learner.iterations, states, {})


def policies_of(scenario: Scenario, learner: Learner, states: Any, seeds: int) -> tuple[Policy, ...]:
    """Return the current greedy policies of the training states, one per seed."""
    policies = _policies(as_arrays(scenario), as_arrays(learner), states)
    return tuple(jax.tree.map(lambda leaf, i=i: leaf[i], policies) for i in range(seeds))


def state_shapes(scenario: Scenario, learner: Learner, seed: int, seeds: int) -> Any:
    """Return the shapes and types of the training states, as needed to read a checkpoint."""
    return eqx.filter_eval_shape(_init_states, as_arrays(scenario), as_arrays(learner), _keys(seed, seeds))


def _keys(seed: int, seeds: int):
    return jnp.stack([jax.random.fold_in(jax.random.key(seed), i) for i in range(seeds)])


@eqx.filter_jit
def _init_states(scenario: Scenario, learner: Learner, keys) -> Any:
    return jax.vmap(lambda key: learner.init(scenario, key))(keys)


def _advance(
    scenario: Scenario, learner: Learner, seed: int, progress: Progress, iterations: int
) -> Progress:
    eval_key = jax.random.fold_in(jax.random.key(seed), 2**31 - 1)
    states, metrics, (pnl, reward) = _chunk(
        scenario, learner, progress.states, eval_key, jnp.asarray(iterations)
    )
    iteration = progress.iteration + iterations
    # Fetching the metrics waits until the chunk has finished.
    curve = {name: np.asarray(values) for name, values in metrics.items()}
    own, competitors = np.split(np.asarray(pnl), [scenario.learners], axis=1)
    curve["eval_pnl"], curve["eval_reward"] = own.mean(1), np.asarray(reward).mean(1)
    if competitors.size:
        curve["competitor_pnl"] = competitors.mean(1)
    curve["timesteps"] = np.full(curve["eval_pnl"].shape, iteration * learner.steps_per_iteration)
    return Progress(iteration, progress.iterations, states, curve)


@eqx.filter_jit
def _chunk(scenario: Scenario, learner: Learner, states: Any, eval_key: Any, iterations: Any):
    states, metrics = jax.vmap(lambda s: learner.train_chunk(scenario, s, iterations))(states)
    evaluated = jax.vmap(lambda s: _evaluate(scenario, learner.policy(scenario, s), eval_key))(states)
    return states, metrics, evaluated


def _evaluate(scenario: Scenario, policy: Policy, key: Any):
    """Return the total PnL per step of every maker, with inventory PnL in expectation, and each learner's reward.

    Every call with the same key uses the same random numbers.
    """

    def record(observation, policy_state, step):
        pnl = step.transition.pnl
        expected = pnl.total - pnl.inventory + step.transition.expected_inventory_pnl
        return expected, jnp.atleast_1d(step.reward)

    num_envs = max(1, EVAL_STEPS // scenario.horizon)
    return jax.tree.map(lambda leaf: leaf.mean((0, 1)), episodes(scenario, policy, key, num_envs, record))


@eqx.filter_jit
def _policies(scenario: Scenario, learner: Learner, states: Any) -> Policy:
    return jax.vmap(lambda s: learner.policy(scenario, s))(states)
