"""Gymnasium adapter: the learner's seat of any scenario as an environment. It adds no rules of its own.

Importing this module registers an id for every market. Without the import,
`gymnasium.make("twosided.adapters.gymnasium:twosided/Dealer-v0")` works:

    import gymnasium, twosided.adapters.gymnasium

    gymnasium.make("twosided/Dealer-v0", competitors=["random-quoter:low=-1,high=1"])  # one market
    gymnasium.make_vec("twosided/Dealer-v0", num_envs=64)  # many markets, stepped in one compiled call
    ScenarioEnv(scenario), ScenarioVectorEnv(scenario, 64)  # the same for any scenario

Ids: twosided/Dealer-v0, Hedging-v0, Portfolio-v0, Electronic-v0, TwoSidedElectronic-v0, LimitOrder-v0 and Bars-v0.

An observation is the scenario's as one vector, in the order of its fields. An action is the vector of its fields in
their own units, or an index into a finite list of actions.

The seed given to `reset` fixes all randomness from then on: the same seed and actions give the same numbers. A `reset`
without a seed starts a new episode and keeps the random stream and the competitors' policy states. An episode that ends
at the horizon is truncated; one that the market ends is terminated. `info` holds the learner's PnL of the step by part,
in currency: pnl_spread, pnl_hedge, pnl_inventory, pnl_fees, pnl_total.
"""

import dataclasses
from collections.abc import Sequence
from itertools import chain
from typing import Any

import equinox as eqx
import numpy as np

try:
    import gymnasium
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ModuleNotFoundError as error:
    sentence = (
        "the Gymnasium adapter needs the extra gym; install it with pip install '.[gym]' in the checkout"
    )
    raise ModuleNotFoundError(sentence, name=error.name) from error

from twosided.adapters.episode import RENDERING, Episode
from twosided.adapters.simulation import Autoreset, Simulation, action_space, checked, observation_space
from twosided.core.market import Market
from twosided.core.policy import Policy
from twosided.core.reward import Reward
from twosided.core.scenario import Scenario
from twosided.core.transition import PARTS
from twosided.core.validation import check
from twosided.settings import PRESETS, build, describe, load, read
from twosided.settings.layers import Reader

SETTINGS = "twosided.runs.settings:TrainSettings"
SPREAD_PNL_DAY = {"competitors": [], "reward": "spread-pnl", "horizon": 150}
"""Electronic markets: spread PnL over days of 150 events, without competitors."""
ENVIRONMENTS: dict[str, dict[str, Any] | str] = {
    "Dealer": {},
    "Hedging": "single-asset",
    "Portfolio": "portfolio",
    "Electronic": SPREAD_PNL_DAY | {"market": "electronic-market"},
    "TwoSidedElectronic": SPREAD_PNL_DAY | {"market": "two-sided-electronic-market"},
    "LimitOrder": "limit-order",
    "Bars": "bars",
}
"""Default scenario of each id: settings over those of `twosided train`, or the name of a preset."""
AUTORESETS: dict[AutoresetMode, Autoreset] = {
    AutoresetMode.SAME_STEP: "same step",
    AutoresetMode.NEXT_STEP: "next step",
}


class ScenarioEnv(gymnasium.Env[np.ndarray, Any]):
    """One market, seen from the learner's seat."""

    metadata = RENDERING

    def __init__(self, scenario: Scenario, block: int = 256, render_mode: str | None = None):
        """`block` is the number of steps for which random inputs are drawn at a time."""
        _check_one_learner(scenario)
        self._simulation = Simulation(scenario, 1, block, "never", traces=render_mode is not None)
        self._episode = Episode(render_mode, self._simulation)
        self.render_mode = render_mode
        self.observation_space = observation_space(scenario)
        self.action_space = action_space(scenario)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self._episode.begin()
        return self._simulation.reset(self.np_random, fresh=seed is not None)[0, 0], {}

    def step(self, action):
        outcome = self._simulation.step(checked(action, self.action_space)[None, None])
        self._episode.add(outcome.traced)
        info = {f"pnl_{part}": float(value[0, 0]) for part, value in zip(PARTS, outcome.pnl, strict=True)}
        terminated, truncated = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        return outcome.observation[0, 0], float(outcome.reward[0, 0]), terminated, truncated, info

    def render(self) -> Any:
        """Return the figure of the episode so far: a plotly figure, or its pixels."""
        return self._episode.render()


class ScenarioVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Independent markets that take a step in one compiled call.

    A market whose episode ends is reset in the same step: the returned observation belongs to the new episode, and
    `info["final_obs"]` holds the last one of the old episode where `info["_final_obs"]` is true. With
    `autoreset_mode=AutoresetMode.NEXT_STEP` the returned observation is the last one of the old episode, and the
    next step resets the market, ignoring the action, with a reward of 0.
    """

    def __init__(
        self,
        scenario: Scenario,
        num_envs: int,
        block: int = 64,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
    ):
        """`block` is the number of steps for which random inputs are drawn at a time."""
        _check_one_learner(scenario)
        check("num_envs", num_envs, "at least 1", num_envs >= 1)
        if autoreset_mode not in AUTORESETS:
            raise ValueError(
                f"autoreset_mode must be one of {[mode.name for mode in AUTORESETS]}, but got {autoreset_mode}"
            )
        self.metadata = {"render_modes": [], "autoreset_mode": autoreset_mode}
        self.num_envs = num_envs
        self._simulation = Simulation(scenario, num_envs, block, AUTORESETS[autoreset_mode])
        self.single_observation_space = observation_space(scenario)
        self.single_action_space = action_space(scenario)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        return self._simulation.reset(self.np_random, fresh=seed is not None)[:, 0], {}

    def step(self, actions):
        outcome = self._simulation.step(checked(actions, self.action_space)[:, None])
        info: dict[str, Any] = {}
        for part, value in zip(PARTS, outcome.pnl, strict=True):
            info |= {f"pnl_{part}": value[:, 0], f"_pnl_{part}": np.ones(self.num_envs, bool)}
        done = outcome.terminated | outcome.truncated
        if done.any() and self._simulation.autoreset == "same step":
            final = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(done):
                final[i] = outcome.final_observation[i, 0].copy()
            info |= {"final_obs": final, "_final_obs": done}
        return outcome.observation[:, 0], outcome.reward[:, 0], outcome.terminated, outcome.truncated, info


def make_env(
    environment: str = "Dealer", *, block: int = 256, render_mode: str | None = None, **parts: Any
) -> ScenarioEnv:
    """Return the environment of an id; `parts` are those of `scenario_of`. Entry point of `gymnasium.make`."""
    return ScenarioEnv(scenario_of(environment, **parts), block, render_mode)


def make_vector_env(
    num_envs: int,
    environment: str = "Dealer",
    *,
    block: int = 64,
    autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
    **parts: Any,
) -> ScenarioVectorEnv:
    """Return the vector environment of an id. Entry point of `gymnasium.make_vec`."""
    return ScenarioVectorEnv(scenario_of(environment, **parts), num_envs, block, autoreset_mode)


def scenario_of(
    environment: str = "Dealer",
    market: Market | str | dict[str, Any] | None = None,
    competitors: Sequence[Policy | str | dict[str, Any]] | str | None = None,
    reward: Reward | str | dict[str, Any] | None = None,
    horizon: int | None = None,
) -> Scenario:
    """Return the default scenario of an environment, with some of its parts replaced.

    A part is an object, or settings for one as on the command line and in settings files. As there, the number of
    makers follows from the competitors. Raises SettingsError and RunError.
    """
    defaults = ENVIRONMENTS[environment]
    defaults = load(PRESETS / f"{defaults}.toml") if isinstance(defaults, str) else defaults
    scenario = {
        name: defaults[name] for name in ("market", "competitors", "reward", "horizon") if name in defaults
    }
    given = {"market": market, "reward": reward, "horizon": horizon}
    objects: dict[str, Any] = {name: part for name, part in given.items() if isinstance(part, eqx.Module)}
    reader = Reader(describe(SETTINGS))
    reader.layer(scenario, f"twosided/{environment}-v0")
    reader.layer({n: p for n, p in given.items() if p is not None and n not in objects}, "scenario")
    settings = build(reader.settings("scenario"))
    if competitors is not None:
        several = [competitors] if isinstance(competitors, str) else competitors
        objects["competitors"] = tuple(chain.from_iterable(map(_makers, several)))
    return dataclasses.replace(settings, **objects).scenario


def _makers(given: Policy | str | dict[str, Any]) -> tuple[Policy, ...]:
    """One competitor; none for the word "none"."""
    return (
        (given,)
        if isinstance(given, Policy)
        else build(read(SETTINGS, {"competitors": given}, "scenario")).competitors
    )


def _check_one_learner(scenario: Scenario) -> None:
    only = "1 in a Gymnasium environment (PettingZoo's is for several)"
    check("learners", scenario.learners, only, scenario.learners == 1)


def _register() -> None:
    """Register every id with Gymnasium."""
    for environment in ENVIRONMENTS:
        gymnasium.register(
            id=f"twosided/{environment}-v0",
            entry_point=f"{__name__}:make_env",
            vector_entry_point=f"{__name__}:make_vector_env",
            kwargs={"environment": environment},
        )


_register()
