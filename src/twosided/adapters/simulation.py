"""Simulation behind the environment adapters: independent markets, with random inputs drawn many steps at a time.

Every array has leading axes (markets, learners), also where only one maker learns. An observation is the scenario's
as one vector, in the order of its fields. An action is the vector of its fields in their own units, or an index into
a finite list. Actions beyond their bounds are left to the market (the dealer market clips them).

The generator given to `reset` decides everything that follows. A reset without a new generator starts a new episode
and keeps the random stream and the competitors' policy states, as a rollout does.
"""

from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray

from twosided.core.evaluation import trace_columns
from twosided.core.numeric import as_arrays
from twosided.core.scenario import Scenario, ScenarioShock, ScenarioState
from twosided.core.spaces import Box, Discrete
from twosided.core.transition import PARTS
from twosided.core.validation import check
from twosided.learn.networks import features

Autoreset = Literal["never", "same step", "next step"]
"""When a market is reset after its episode: never, in the step that ends it, or in the next step, which does
nothing else."""


class Outcome(eqx.Module):
    """Outcome of one step of every market."""

    observation: Any
    """Observation to act on next: that of the new episode where one starts in the step."""
    final_observation: Any
    """Observation after the step, before any reset."""
    reward: Any
    terminated: Any
    truncated: Any
    pnl: Any
    """PnL of the learners by part, in currency; leading axes (parts, markets, learners)."""
    traced: Any
    """Columns of a trace, for every maker; None unless rendering needs them."""


class Simulation:
    """Independent markets of one scenario."""

    def __init__(
        self, scenario: Scenario, markets: int, block: int, autoreset: Autoreset, traces: bool = False
    ):
        """`block` is the number of steps for which random inputs are drawn at a time."""
        check("block", block, "at least 1", block >= 1)
        self.scenario, self.shape = as_arrays(scenario), (block, markets)
        self.autoreset, self.traces = autoreset, traces
        self.state: ScenarioState | None = None

    def reset(self, generator: np.random.Generator, fresh: bool) -> np.ndarray:
        """Start new episodes; with `fresh`, or at the first call, also a new random stream and new policy states."""
        if self.state is None or fresh:
            self.key = jax.random.key(generator.integers(2**32, dtype=np.uint32))
            self._draw()
            self.state, observation = _start(self.scenario, self.shocks, self.now)
        else:
            self.state, observation = _restart(self.scenario, self.state, self.shocks, self.now)
        self.ended = np.zeros(self.shape[1], bool) if self.autoreset == "next step" else None
        return np.array(observation)

    def step(self, actions: np.ndarray) -> Outcome:
        """Advance every market by one step. Raises ResetNeeded before the first reset."""
        if self.state is None:
            raise ResetNeeded("reset must be called before step")
        self.now += 1
        if self.now == self.shape[0]:
            self._draw()
        self.state, outcome = _step(
            self.scenario, self.state, self.ended, actions, self.shocks, self.now, self.autoreset, self.traces
        )
        outcome = jax.tree.map(np.array, outcome)  # what JAX gives is read-only
        if self.ended is not None:
            self.ended = outcome.terminated | outcome.truncated
        return outcome

    def traced_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes, (markets, makers), of the columns that a step adds to a trace."""
        one = np.asarray(action_space(self.scenario).sample())
        actions = np.broadcast_to(one, (self.shape[1], self.scenario.learners, *one.shape))

        def first(scenario: Scenario, key: PRNGKeyArray) -> Any:
            shocks = scenario.shocks(key, (1, self.shape[1]))
            state, _ = _start(scenario, shocks, 0)
            return _step(scenario, state, None, actions, shocks, 0, "never", True)[1].traced

        return {
            name: leaf.shape for name, leaf in jax.eval_shape(first, self.scenario, jax.random.key(0)).items()
        }

    def _draw(self) -> None:
        self.key, self.shocks = _draw(self.scenario, self.key, self.shape)
        self.now = np.int32(0)


def action_space(scenario: Scenario) -> spaces.Space[Any]:
    """Action space of one learner."""
    space = scenario.action_space
    if isinstance(space, Discrete):
        return spaces.Discrete(space.size)
    low, high = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(bound)]).astype(np.float32)
        for bound in (space.low, space.high)
    )
    return spaces.Box(low, high, dtype=np.float32)


def observation_space(scenario: Scenario) -> spaces.Box:
    """Observation space of one learner."""
    shock = eqx.filter_eval_shape(lambda: scenario.shocks(jax.random.key(0), ()))
    vectors = eqx.filter_eval_shape(lambda s: _observed(scenario, scenario.reset(s)[1]), shock)
    return spaces.Box(-np.inf, np.inf, vectors.shape[1:], vectors.dtype)


def checked(action: Any, space: spaces.Space[Any]) -> np.ndarray:
    """Return the action as an array. Raises ValueError for one that is not of the space's shape, or not finite."""
    action = np.asarray(action)
    if not isinstance(space, spaces.Box):
        if not space.contains(action):
            raise ValueError(f"action must be one of {space}, but got {action.tolist()}")
    elif action.shape != space.shape:
        raise ValueError(f"action must be of shape {space.shape}, but got {action.shape}")
    elif not np.isfinite(action).all():
        raise ValueError(f"action must be finite, but got {action.tolist()}")
    return action


# jax.jit, not equinox's: a call of one market is all overhead, and this halves it.
@partial(jax.jit, static_argnames="shape")
def _draw(scenario: Scenario, key: PRNGKeyArray, shape: tuple[int, int]):
    key, key_block = jax.random.split(key)
    return key, scenario.shocks(key_block, shape)


@jax.jit
def _start(scenario: Scenario, shocks: ScenarioShock, now: Any):
    state, observation = jax.vmap(scenario.reset)(_at(shocks, now))
    return state, jax.vmap(partial(_observed, scenario))(observation)


@jax.jit
def _restart(scenario: Scenario, state: ScenarioState, shocks: ScenarioShock, now: Any):
    state, observation = jax.vmap(scenario.restart)(state, _at(shocks, now))
    return state, jax.vmap(partial(_observed, scenario))(observation)


@partial(jax.jit, static_argnames=("autoreset", "traces"))
def _step(
    scenario: Scenario,
    state: ScenarioState,
    ended: Any,
    actions: Any,
    shocks: ScenarioShock,
    now: Any,
    autoreset: Autoreset,
    traces: bool,
) -> tuple[ScenarioState, Outcome]:
    def one(state: ScenarioState, ended: Any, action: Array, shock: ScenarioShock):
        after, step = scenario.step(state, _actions(scenario, action), shock)
        observation = _observed(scenario, step.observation)
        outcome = Outcome(
            observation=observation,
            final_observation=observation,
            reward=jnp.reshape(step.reward, scenario.learners),
            terminated=step.terminated,
            truncated=step.truncated,
            pnl=jnp.stack([getattr(step.transition.pnl, part)[: scenario.learners] for part in PARTS]),
            traced=trace_columns(scenario.market, step) if traces else None,
        )
        if autoreset == "never":
            return after, outcome
        fresh, first = scenario.restart(after if autoreset == "same step" else state, shock)
        first = _observed(scenario, first)
        if autoreset == "same step":
            restarts = step.terminated | step.truncated
            first_outcome = eqx.tree_at(lambda x: x.observation, outcome, first)
        else:
            restarts = ended
            first_outcome = eqx.tree_at(lambda x: x.observation, jax.tree.map(jnp.zeros_like, outcome), first)
        return jax.tree.map(partial(jnp.where, restarts), (fresh, first_outcome), (after, outcome))

    state, outcome = jax.vmap(one)(state, ended, actions, _at(shocks, now))
    return state, eqx.tree_at(lambda x: x.pnl, outcome, jnp.moveaxis(outcome.pnl, 1, 0))


def _at(shocks: ScenarioShock, now: Any) -> ScenarioShock:
    """Shocks of one step of a block."""
    return jax.tree.map(lambda leaf: leaf[now], shocks)


def _observed(scenario: Scenario, observation: Any) -> Array:
    """Observations of the learners, as vectors."""
    return features(observation)[None] if scenario.learners == 1 else jax.vmap(features)(observation)


def _actions(scenario: Scenario, actions: Any) -> Any:
    """The scenario's actions, from an adapter's vectors or indices."""
    if scenario.learners == 1:
        return _action(scenario.action_space, actions[0])
    return jax.vmap(partial(_action, scenario.action_space))(actions)


def _action(space: Box | Discrete, action: Any) -> Any:
    if isinstance(space, Discrete):
        return jax.tree.map(lambda leaf: leaf[action], space.actions)
    low, unravel = ravel_pytree(jax.tree.map(jnp.asarray, space.low))
    return unravel(action.astype(low.dtype))
