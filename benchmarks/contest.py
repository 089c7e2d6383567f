"""What the benchmarks of training share: contestants in processes of their own, and the markets that all train on."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def contest(
    script: str, contestants: Sequence[str], repeats: int, *options: str
) -> dict[str, list[dict[str, float]]]:
    """What each contestant measures, in turn (A B A B ...): the last line, JSON, that the script prints when it is run
    with the options of this process, those given, and --contestant."""
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name in contestants:
            words = [sys.executable, script, *sys.argv[1:], *options, "--contestant", name]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            measured[name].append(json.loads(done.stdout.splitlines()[-1]))
    return measured


MARKETS = ("dealer", "hedging")


def scenario(market: str = "dealer") -> Any:
    """The dealer market against a maker that quotes the exchange's spread, or the market of one that hedges alone."""
    from twosided import DealerMarket, PersistentQuoter, Scenario
    from twosided.hedging.market import HedgingMarket
    from twosided.hedging.rewards import PositionPenalty

    if market == "hedging":
        return Scenario(HedgingMarket(), (), PositionPenalty(), horizon=512)
    return Scenario(DealerMarket(), (PersistentQuoter(),))


def one_call(markets: int, seed: int, market: str = "dealer") -> Any:
    """`ScenarioVectorEnv` as stable-baselines3 takes many environments."""
    from stable_baselines3.common.vec_env import VecEnv

    from twosided.adapters.gymnasium import ScenarioVectorEnv

    class OneCall(VecEnv):
        def __init__(self) -> None:
            self.env = ScenarioVectorEnv(scenario(market), markets)
            super().__init__(markets, self.env.single_observation_space, self.env.single_action_space)

        def reset(self):
            return self.env.reset(seed=seed)[0]

        def step_async(self, actions):
            self.actions = actions

        def step_wait(self):
            observation, reward, terminated, truncated, info = self.env.step(self.actions)
            done = terminated | truncated
            infos: list[dict[str, Any]] = [{} for _ in range(markets)]
            for i in done.nonzero()[0]:
                infos[i] = {
                    "terminal_observation": info["final_obs"][i],
                    "TimeLimit.truncated": bool(truncated[i]),
                }
            return observation, reward, done, infos

        def close(self):
            self.env.close()

        def get_attr(self, attr_name, indices=None):
            return [getattr(self.env, attr_name, None)] * markets

        def set_attr(self, attr_name, value, indices=None):
            raise NotImplementedError

        def env_method(self, method_name, *method_args, indices=None, **method_kwargs):
            raise NotImplementedError

        def env_is_wrapped(self, wrapper_class, indices=None):
            return [False] * markets

    return OneCall()
