"""PettingZoo adapter: every learning seat of a scenario is an agent, and all act at once.

    parallel_env(DealerMarket(num_makers=3))      every seat of a market is an agent: maker_0, maker_1, maker_2
    ScenarioParallelEnv(scenario)                 the learners of any scenario, competitors in its other seats

Observations, actions and seeds are as in the Gymnasium adapter (`twosided.adapters.gymnasium`). An agent's info holds
its PnL of the step by part, in currency: pnl_spread, pnl_hedge, pnl_inventory, pnl_fees, pnl_total. All agents of an
episode end together: truncated by the scenario's horizon, or terminated by the market.
"""

from typing import Any

import numpy as np

try:
    from gymnasium import spaces
    from gymnasium.utils.seeding import np_random
    from pettingzoo import ParallelEnv
except ModuleNotFoundError as error:
    sentence = (
        "the PettingZoo adapter needs the extra pettingzoo; "
        "install it with pip install '.[pettingzoo]' in the checkout"
    )
    raise ModuleNotFoundError(sentence, name=error.name) from error

from twosided.adapters.episode import RENDERING, Episode
from twosided.adapters.simulation import Simulation, action_space, checked, observation_space
from twosided.core.market import Market
from twosided.core.reward import Reward, TotalPnL
from twosided.core.scenario import Scenario
from twosided.core.transition import PARTS


class ScenarioParallelEnv(ParallelEnv[str, np.ndarray, Any]):
    """One market, seen from its learners' seats."""

    metadata = {"name": "twosided_v0", "is_parallelizable": True} | RENDERING

    def __init__(self, scenario: Scenario, block: int = 256, render_mode: str | None = None):
        """`block` is the number of steps for which random inputs are drawn at a time."""
        self._simulation = Simulation(scenario, 1, block, "never", traces=render_mode is not None)
        self._episode = Episode(render_mode, self._simulation)
        self.render_mode = render_mode
        self.possible_agents = [f"maker_{i}" for i in range(scenario.learners)]
        self.agents: list[str] = []
        # One space per agent, because a space samples from a generator of its own.
        self.observation_spaces = {agent: observation_space(scenario) for agent in self.possible_agents}
        self.action_spaces = {agent: action_space(scenario) for agent in self.possible_agents}
        self._generator: np.random.Generator | None = None

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None):
        if seed is not None or self._generator is None:
            self._generator, _ = np_random(seed)
        self.agents = list(self.possible_agents)
        self._episode.begin()
        observation = self._simulation.reset(self._generator, fresh=seed is not None)[0]
        return self._by_agent(observation), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]):
        """Return observations, rewards, terminations, truncations and infos, by agent. Raises ValueError for
        wrong agents."""
        if self.agents and actions.keys() != set(self.agents):
            raise ValueError(f"actions must be those of {self.agents}, but got those of {list(actions)}")
        if not self.agents:
            return {}, {}, {}, {}, {}
        joint = np.stack([checked(actions[agent], self.action_spaces[agent]) for agent in self.agents])
        outcome = self._simulation.step(joint[None])
        self._episode.add(outcome.traced)
        parts = [f"pnl_{part}" for part in PARTS]
        out = (
            self._by_agent(outcome.observation[0]),
            self._by_agent(outcome.reward[0].tolist()),
            dict.fromkeys(self.agents, bool(outcome.terminated[0])),
            dict.fromkeys(self.agents, bool(outcome.truncated[0])),
            self._by_agent([dict(zip(parts, own, strict=True)) for own in outcome.pnl[:, 0].T.tolist()]),
        )
        if outcome.terminated[0] or outcome.truncated[0]:
            self.agents = []
        return out

    def render(self) -> Any:
        """Return the figure of the episode so far, for the first agent: a plotly figure, or its pixels."""
        return self._episode.render()

    def _by_agent(self, values: Any) -> dict[str, Any]:
        return dict(zip(self.agents, values, strict=True))


def parallel_env(
    market: Market,
    reward: Reward = TotalPnL(),
    horizon: int = 200,
    block: int = 256,
    render_mode: str | None = None,
) -> ScenarioParallelEnv:
    """Return a market in which every seat is an agent."""
    scenario = Scenario(market, (), reward, horizon, learners=market.num_makers)
    return ScenarioParallelEnv(scenario, block, render_mode)
