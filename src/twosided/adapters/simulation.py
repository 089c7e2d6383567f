"""What the skins stand on: markets side by side, and the chance that they live on, drawn many steps at a time.

Everything has leading axes (markets, learners), the axis of learners also where only one learns. An observation is the
scenario's as one vector, in the order of its fields; an action is the vector of its fields in their own units,
or the index of one of a finite list. Whatever the market does with an action beyond its bounds (the dealer
market clips it) is the market's.

The generator given to `reset` decides everything that follows. A reset that is not anew starts a new episode and
goes on with chance and with the makers' memories, which outlive an episode as they do in a rollout.
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

from twosided.core.evaluation import shown
from twosided.core.numeric import as_arrays
from twosided.core.scenario import Scenario, ScenarioShock, ScenarioState
from twosided.core.spaces import Box, Discrete
from twosided.core.transition import PARTS
from twosided.core.validation import check
from twosided.learn.networks import features

Restarts = Literal["never", "same step", "next step"]
"""When a market whose episode has ended starts anew by itself. In the next step: that step only does this."""


class Lived(eqx.Module):
    """What a step of every market shows to those outside."""

    observation: Any
    """To act on next; of the new episode where one starts in the step."""
    final_observation: Any
    """After the step, before any new start."""
    reward: Any
    terminated: Any
    truncated: Any
    pnl: Any
    """Of the learners, by part; leading axes (parts, markets, learners)."""
    shown: Any
    """Of every maker, for a figure; None unless asked for."""


class Simulation:
    """A number of independent markets of one scenario."""

    def __init__(self, scenario: Scenario, markets: int, block: int, restarts: Restarts, shows: bool = False):
        """`block` is the number of steps for which chance is drawn at a time."""
        check("block", block, "at least 1", block >= 1)
        self.scenario, self.shape = as_arrays(scenario), (block, markets)
        self.restarts, self.shows = restarts, shows
        self.state: ScenarioState | None = None

    def reset(self, generator: np.random.Generator, anew: bool) -> np.ndarray:
        """New episodes; `anew` (or the first time) with chance and memories from the beginning too."""
        if self.state is None or anew:
            self.key = jax.random.key(generator.integers(2**32, dtype=np.uint32))
            self._draw()
            self.state, observation = _start(self.scenario, self.shocks, self.now)
        else:
            self.state, observation = _restart(self.scenario, self.state, self.shocks, self.now)
        self.ended = np.zeros(self.shape[1], bool) if self.restarts == "next step" else None
        return np.array(observation)

    def step(self, actions: np.ndarray) -> Lived:
        if self.state is None:
            raise ResetNeeded("reset must be called before step")
        self.now += 1
        if self.now == self.shape[0]:
            self._draw()
        chance = self.shocks, self.now
        self.state, lived = _step(
            self.scenario, self.state, self.ended, actions, *chance, self.restarts, self.shows
        )
        lived = jax.tree.map(np.array, lived)  # what JAX gives is read-only
        if self.ended is not None:
            self.ended = lived.terminated | lived.truncated
        return lived

    def shapes_shown(self) -> dict[str, tuple[int, ...]]:
        """What a step shows for a figure, and the shape of each: (markets, makers)."""
        one = np.asarray(action_space(self.scenario).sample())
        actions = np.broadcast_to(one, (self.shape[1], self.scenario.learners, *one.shape))

        def first(scenario: Scenario, key: PRNGKeyArray) -> Any:
            shocks = scenario.shocks(key, (1, self.shape[1]))
            state, _ = _start(scenario, shocks, 0)
            return _step(scenario, state, None, actions, shocks, 0, "never", True)[1].shown

        return {
            name: leaf.shape for name, leaf in jax.eval_shape(first, self.scenario, jax.random.key(0)).items()
        }

    def _draw(self) -> None:
        self.key, self.shocks = _draw(self.scenario, self.key, self.shape)
        self.now = np.int32(0)


def action_space(scenario: Scenario) -> spaces.Space:
    """What one learner can do."""
    space = scenario.action_space
    if isinstance(space, Discrete):
        return spaces.Discrete(space.size)
    low, high = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(bound)]).astype(np.float32)
        for bound in (space.low, space.high)
    )
    return spaces.Box(low, high, dtype=np.float32)


def observation_space(scenario: Scenario) -> spaces.Box:
    """What one learner sees."""
    shock = eqx.filter_eval_shape(lambda: scenario.shocks(jax.random.key(0), ()))
    vectors = eqx.filter_eval_shape(lambda s: _seen(scenario, scenario.reset(s)[1]), shock)
    return spaces.Box(-np.inf, np.inf, vectors.shape[1:], vectors.dtype)


def checked(action: Any, space: spaces.Space) -> np.ndarray:
    """The action as an array, refused if the market could make nothing of it."""
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
    return state, jax.vmap(partial(_seen, scenario))(observation)


@jax.jit
def _restart(scenario: Scenario, state: ScenarioState, shocks: ScenarioShock, now: Any):
    state, observation = jax.vmap(scenario.restart)(state, _at(shocks, now))
    return state, jax.vmap(partial(_seen, scenario))(observation)


@partial(jax.jit, static_argnames=("restarts", "shows"))
def _step(
    scenario: Scenario,
    state: ScenarioState,
    ended: Any,
    actions: Any,
    shocks: ScenarioShock,
    now: Any,
    restarts: Restarts,
    shows: bool,
) -> tuple[ScenarioState, Lived]:
    def one(state: ScenarioState, ended: Any, action: Array, shock: ScenarioShock):
        after, step = scenario.step(state, _acted(scenario, action), shock)
        observation = _seen(scenario, step.observation)
        lived = Lived(
            observation=observation,
            final_observation=observation,
            reward=jnp.reshape(step.reward, scenario.learners),
            terminated=step.terminated,
            truncated=step.truncated,
            pnl=jnp.stack([getattr(step.transition.pnl, part)[: scenario.learners] for part in PARTS]),
            shown=shown(scenario.market, step) if shows else None,
        )
        if restarts == "never":
            return after, lived
        fresh, first = scenario.restart(after if restarts == "same step" else state, shock)
        first = _seen(scenario, first)
        if restarts == "same step":
            anew = step.terminated | step.truncated
            begun = eqx.tree_at(lambda x: x.observation, lived, first)
        else:
            anew = ended
            begun = eqx.tree_at(lambda x: x.observation, jax.tree.map(jnp.zeros_like, lived), first)
        return jax.tree.map(partial(jnp.where, anew), (fresh, begun), (after, lived))

    state, lived = jax.vmap(one)(state, ended, actions, _at(shocks, now))
    return state, eqx.tree_at(lambda x: x.pnl, lived, jnp.moveaxis(lived.pnl, 1, 0))


def _at(shocks: ScenarioShock, now: Any) -> ScenarioShock:
    """The shocks of one step of a block."""
    return jax.tree.map(lambda leaf: leaf[now], shocks)


def _seen(scenario: Scenario, observation: Any) -> Array:
    """What each learner sees, as vectors."""
    return features(observation)[None] if scenario.learners == 1 else jax.vmap(features)(observation)


def _acted(scenario: Scenario, actions: Any) -> Any:
    """What the scenario takes, from a skin's vectors or indices."""
    if scenario.learners == 1:
        return _action(scenario.action_space, actions[0])
    return jax.vmap(partial(_action, scenario.action_space))(actions)


def _action(space: Box | Discrete, action: Any) -> Any:
    if isinstance(space, Discrete):
        return jax.tree.map(lambda leaf: leaf[action], space.actions)
    low, unravel = ravel_pytree(jax.tree.map(jnp.asarray, space.low))
    return unravel(action.astype(low.dtype))
