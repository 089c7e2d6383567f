"""A Gymnasium skin over any scenario: its learner's seat as an environment, with no rules of its own.

`ScenarioEnv` is one market, `ScenarioVectorEnv` many that take a step in one compiled call. An observation is
the scenario's as one vector, in the order of its fields; an action is the vector of its fields in their own
units, or the index of one of a finite list. Whatever the market does with an action beyond its bounds (the
dealer market clips it) is the market's.

The seed given to `reset` decides everything that follows: the same seed and actions give the same numbers. A
`reset` without one starts a new episode and goes on with chance and with the makers' memories, which outlive
an episode as they do in a rollout. An episode that the scenario's horizon cuts is truncated, one that the
market ends is terminated. `info` holds the learner's PnL of the step by part, in currency: pnl_spread,
pnl_hedge, pnl_inventory, pnl_fees, pnl_total.
"""

from functools import partial
from typing import Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray

from twosided.markets.base import Scenario, ScenarioShock, ScenarioState
from twosided.policies.neural import features
from twosided.types import PARTS, Box, Discrete, as_arrays, check


class ScenarioEnv(gymnasium.Env[np.ndarray, Any]):
    """One market, seen from the learner's seat."""

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's own declaration)

    def __init__(self, scenario: Scenario, block: int = 256):
        """`block` is the number of steps for which chance is drawn at a time."""
        self._markets = _Markets(scenario, 1, block, restarts=False)
        self.observation_space = _observation_space(scenario)
        self.action_space = _action_space(scenario.action_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        observation = self._markets.reset(self.np_random, anew=seed is not None)
        return observation[0], {}

    def step(self, action):
        lived = self._markets.step(_checked(action, self.action_space)[None])
        info = {f"pnl_{part}": float(value[0]) for part, value in zip(PARTS, lived.pnl, strict=True)}
        terminated, truncated = bool(lived.terminated[0]), bool(lived.truncated[0])
        return lived.observation[0], float(lived.reward[0]), terminated, truncated, info


class ScenarioVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Many markets, independent of each other, that take a step in one compiled call.

    A market whose episode ends starts anew in the same step: the observation returned is the new episode's,
    and `info["final_obs"]` holds the one that ended the old, where `info["_final_obs"]` is true.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, scenario: Scenario, num_envs: int, block: int = 64):
        """`block` is the number of steps for which chance is drawn at a time."""
        check("num_envs", num_envs, "at least 1", num_envs >= 1)
        self.num_envs = num_envs
        self._markets = _Markets(scenario, num_envs, block, restarts=True)
        self.single_observation_space = _observation_space(scenario)
        self.single_action_space = _action_space(scenario.action_space)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        return self._markets.reset(self.np_random, anew=seed is not None), {}

    def step(self, actions):
        lived = self._markets.step(_checked(actions, self.action_space))
        info: dict[str, Any] = {}
        for part, value in zip(PARTS, lived.pnl, strict=True):
            info |= {f"pnl_{part}": value, f"_pnl_{part}": np.ones(self.num_envs, bool)}
        done = lived.terminated | lived.truncated
        if done.any():
            final = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(done):
                final[i] = lived.final_observation[i].copy()
            info |= {"final_obs": final, "_final_obs": done}
        return lived.observation, lived.reward, lived.terminated, lived.truncated, info


class _Lived(eqx.Module):
    """What a step of every market shows to those outside."""

    observation: Any
    """To act on next; of the new episode where one starts in the step."""
    final_observation: Any
    """After the step, before any new start."""
    reward: Any
    terminated: Any
    truncated: Any
    pnl: Any
    """Of the learner, a row a part."""


class _Markets:
    """Markets side by side and the chance that they live on, drawn many steps at a time."""

    def __init__(self, scenario: Scenario, paths: int, block: int, restarts: bool):
        check("block", block, "at least 1", block >= 1)
        self.scenario, self.restarts = as_arrays(scenario), restarts
        self.shape = (block, paths)
        self.state: ScenarioState | None = None

    def reset(self, generator: np.random.Generator, anew: bool) -> np.ndarray:
        """New episodes; `anew` (or the first time) with chance and memories from the beginning too."""
        if self.state is None or anew:
            self.key = jax.random.key(generator.integers(2**32, dtype=np.uint32))
            self._draw()
            self.state, observation = _start(self.scenario, self.shocks, self.now)
        else:
            self.state, observation = _restart(self.scenario, self.state, self.shocks, self.now)
        return np.array(observation)

    def step(self, actions: np.ndarray) -> _Lived:
        if self.state is None:
            raise gymnasium.error.ResetNeeded("reset must be called before step")
        self.now += 1
        if self.now == self.shape[0]:
            self._draw()
        self.state, lived = _step(self.scenario, self.state, actions, self.shocks, self.now, self.restarts)
        # What JAX gives is read-only.
        return jax.tree.map(np.array, lived)

    def _draw(self):
        self.key, self.shocks = _draw(self.scenario, self.key, self.shape)
        self.now = np.int32(0)


# jax.jit, not equinox's: a call of one market is all overhead, and this halves it.
@partial(jax.jit, static_argnames="shape")
def _draw(scenario: Scenario, key: PRNGKeyArray, shape: tuple[int, int]):
    key, key_block = jax.random.split(key)
    return key, scenario.shocks(key_block, shape)


@jax.jit
def _start(scenario: Scenario, shocks: ScenarioShock, now: Any):
    state, observation = jax.vmap(scenario.reset)(_at(shocks, now))
    return state, jax.vmap(features)(observation)


@jax.jit
def _restart(scenario: Scenario, state: ScenarioState, shocks: ScenarioShock, now: Any):
    state, observation = jax.vmap(scenario.restart)(state, _at(shocks, now))
    return state, jax.vmap(features)(observation)


@partial(jax.jit, static_argnames="restarts")
def _step(scenario: Scenario, state: ScenarioState, actions: Any, shocks: Any, now: Any, restarts: bool):
    def one(state: ScenarioState, action: Array, shock: ScenarioShock):
        state, step = scenario.step(state, _action(scenario.action_space, action), shock)
        observation = step.observation
        if restarts:
            done = step.terminated | step.truncated
            state, observation = jax.tree.map(
                lambda new, old: jnp.where(done, new, old),
                scenario.restart(state, shock),
                (state, observation),
            )
        return state, _Lived(
            observation=features(observation),
            final_observation=features(step.observation),
            reward=step.reward,
            terminated=step.terminated,
            truncated=step.truncated,
            pnl=jnp.stack([getattr(step.transition.pnl, part)[0] for part in PARTS]),
        )

    state, lived = jax.vmap(one)(state, actions, _at(shocks, now))
    return state, eqx.tree_at(lambda x: x.pnl, lived, lived.pnl.T)


def _at(shocks: ScenarioShock, now: Any) -> ScenarioShock:
    """The shocks of one step of a block."""
    return jax.tree.map(lambda leaf: leaf[now], shocks)


def _action(space: Box | Discrete, action: Any) -> Any:
    """What the market takes, from what Gymnasium gives."""
    if isinstance(space, Discrete):
        return jax.tree.map(lambda leaf: leaf[action], space.actions)
    low, unravel = ravel_pytree(jax.tree.map(jnp.asarray, space.low))
    return unravel(action.astype(low.dtype))


def _action_space(space: Box | Discrete) -> spaces.Space:
    if isinstance(space, Discrete):
        return spaces.Discrete(space.size)
    low, high = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(bound)]).astype(np.float32)
        for bound in (space.low, space.high)
    )
    return spaces.Box(low, high, dtype=np.float32)


def _observation_space(scenario: Scenario) -> spaces.Box:
    shock = eqx.filter_eval_shape(lambda: scenario.shocks(jax.random.key(0), ()))
    vector = eqx.filter_eval_shape(lambda s: features(scenario.reset(s)[1]), shock)
    return spaces.Box(-np.inf, np.inf, vector.shape, vector.dtype)


def _checked(action: Any, space: spaces.Space) -> np.ndarray:
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
