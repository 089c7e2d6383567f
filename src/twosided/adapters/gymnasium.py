"""A Gymnasium skin over any scenario with one learner: its seat as an environment, with no rules of its own.

    gymnasium.make("twosided/Dealer-v0", competitors=["random-quoter:low=-1,high=1"])      one dealer market
    gymnasium.make_vec("twosided/Dealer-v0", num_envs=64)                           many, a compiled call a step
    gymnasium.make("twosided/Electronic-v0")                                        the electronic market
    ScenarioEnv(scenario), ScenarioVectorEnv(scenario, 64)                          the same of any scenario

An observation is the scenario's as one vector, in the order of its fields; an action is the vector of its fields in
their own units, or the index of one of a finite list.

The seed given to `reset` decides everything that follows: the same seed and actions give the same numbers. A
`reset` without one starts a new episode and goes on with chance and with the makers' memories. An episode that the
scenario's horizon cuts is truncated, one that the market ends is terminated. `info` holds the learner's PnL of
the step by part, in currency: pnl_spread, pnl_hedge, pnl_inventory, pnl_fees, pnl_total.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import equinox as eqx
import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from twosided.adapters.episode import RENDERING, Episode
from twosided.adapters.simulation import Restarts, Simulation, action_space, checked, observation_space
from twosided.core.market import Market
from twosided.core.policy import Policy
from twosided.core.reward import Reward
from twosided.core.scenario import Scenario
from twosided.core.transition import PARTS
from twosided.core.validation import check
from twosided.runs.run import TrainSettings
from twosided.settings import build, read

SETTINGS = "twosided.runs.run:TrainSettings"
ELECTRONIC = {"market": "electronic-market", "competitors": (), "reward": "spread-pnl", "horizon": 150}
"""The electronic market, where nobody else makes prices, paid by the spread part of PnL over days of 150 events."""
RESTARTS: dict[AutoresetMode, Restarts] = {
    AutoresetMode.SAME_STEP: "same step",
    AutoresetMode.NEXT_STEP: "next step",
}


class ScenarioEnv(gymnasium.Env[np.ndarray, Any]):
    """One market, seen from the learner's seat."""

    metadata = RENDERING

    def __init__(self, scenario: Scenario, block: int = 256, render_mode: str | None = None):
        """`block` is the number of steps for which chance is drawn at a time."""
        _check_one_learner(scenario)
        self._simulation = Simulation(scenario, 1, block, "never", shows=render_mode is not None)
        self._episode = Episode(render_mode, self._simulation)
        self.render_mode = render_mode
        self.observation_space = observation_space(scenario)
        self.action_space = action_space(scenario)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self._episode.begin()
        return self._simulation.reset(self.np_random, anew=seed is not None)[0, 0], {}

    def step(self, action):
        lived = self._simulation.step(checked(action, self.action_space)[None, None])
        self._episode.add(lived.shown)
        info = {f"pnl_{part}": float(value[0, 0]) for part, value in zip(PARTS, lived.pnl, strict=True)}
        terminated, truncated = bool(lived.terminated[0]), bool(lived.truncated[0])
        return lived.observation[0, 0], float(lived.reward[0, 0]), terminated, truncated, info

    def render(self) -> Any:
        """The figure of the episode so far: a plotly figure, or its pixels."""
        return self._episode.render()


class ScenarioVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Many markets, independent of each other, that take a step in one compiled call.

    A market whose episode ends starts anew in the same step: the observation returned is the new episode's,
    and `info["final_obs"]` holds the one that ended the old, where `info["_final_obs"]` is true. With
    `autoreset_mode=AutoresetMode.NEXT_STEP` the observation is the one that ended the old, and the next step, whatever
    the action, only starts the new episode, with no reward.
    """

    def __init__(
        self,
        scenario: Scenario,
        num_envs: int,
        block: int = 64,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
    ):
        """`block` is the number of steps for which chance is drawn at a time."""
        _check_one_learner(scenario)
        check("num_envs", num_envs, "at least 1", num_envs >= 1)
        if autoreset_mode not in RESTARTS:
            raise ValueError(
                f"autoreset_mode must be one of {[mode.name for mode in RESTARTS]}, but got {autoreset_mode}"
            )
        self.metadata = {"render_modes": [], "autoreset_mode": autoreset_mode}
        self.num_envs = num_envs
        self._simulation = Simulation(scenario, num_envs, block, RESTARTS[autoreset_mode])
        self.single_observation_space = observation_space(scenario)
        self.single_action_space = action_space(scenario)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        return self._simulation.reset(self.np_random, anew=seed is not None)[:, 0], {}

    def step(self, actions):
        lived = self._simulation.step(checked(actions, self.action_space)[:, None])
        info: dict[str, Any] = {}
        for part, value in zip(PARTS, lived.pnl, strict=True):
            info |= {f"pnl_{part}": value[:, 0], f"_pnl_{part}": np.ones(self.num_envs, bool)}
        done = lived.terminated | lived.truncated
        if done.any() and self._simulation.restarts == "same step":
            final = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(done):
                final[i] = lived.final_observation[i, 0].copy()
            info |= {"final_obs": final, "_final_obs": done}
        return lived.observation[:, 0], lived.reward[:, 0], lived.terminated, lived.truncated, info


def dealer(*, block: int = 256, render_mode: str | None = None, **parts: Any) -> ScenarioEnv:
    """What `gymnasium.make("twosided/Dealer-v0", ...)` makes; `parts` are those of `scenario_of_words`."""
    return ScenarioEnv(scenario_of_words(**parts), block, render_mode)


def dealers(
    num_envs: int,
    *,
    block: int = 64,
    autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
    **parts: Any,
) -> ScenarioVectorEnv:
    """What `gymnasium.make_vec("twosided/Dealer-v0", num_envs, ...)` makes."""
    return ScenarioVectorEnv(scenario_of_words(**parts), num_envs, block, autoreset_mode)


def electronic(**parts: Any) -> ScenarioEnv:
    """What `gymnasium.make("twosided/Electronic-v0", ...)` makes: the electronic market, with its own defaults."""
    return dealer(**ELECTRONIC | parts)


def electronics(num_envs: int, **parts: Any) -> ScenarioVectorEnv:
    """What `gymnasium.make_vec("twosided/Electronic-v0", num_envs, ...)` makes."""
    return dealers(num_envs, **ELECTRONIC | parts)


def scenario_of_words(
    market: Market | str | dict | None = None,
    competitors: Sequence[Policy | str | dict] | str | None = None,
    reward: Reward | str | dict | None = None,
    horizon: int | None = None,
) -> Scenario:
    """A scenario from parts, or from the words and tables that the command line and settings files have for them.

    As there, the number of makers follows from the competitors, and what is not given is the default. Raises
    SettingsError.
    """
    given: dict[str, Any] = {"market": market, "reward": reward, "horizon": horizon}
    given = {name: _made(name, value) for name, value in given.items() if value is not None}
    if competitors is not None:
        several = [competitors] if isinstance(competitors, str) else competitors
        given["competitors"] = tuple(chain.from_iterable(map(_makers, several)))
    return TrainSettings(**given).scenario


def _made(name: str, given: Any) -> Any:
    """A part as it is, or what words mean by it."""
    if isinstance(given, eqx.Module):
        return given
    return getattr(build(read(SETTINGS, {name: given}, "scenario")), name)


def _makers(given: Policy | str | dict) -> tuple[Policy, ...]:
    """One competitor; none for the word "none"."""
    return (given,) if isinstance(given, Policy) else _made("competitors", given)


def _check_one_learner(scenario: Scenario) -> None:
    only = "1 in a Gymnasium environment (PettingZoo's is for several)"
    check("learners", scenario.learners, only, scenario.learners == 1)
