"""
Use a market as a Gymnasium environment
=======================================

Run an episode of a market with Gymnasium, and many markets at once with a vector environment.
"""

import gymnasium
import numpy as np
import polars as pl

import twosided as ts
from twosided.adapters.gymnasium import ScenarioVectorEnv
from twosided.plots import figure_lines

# %%
# Every market has an id. Parts of the scenario are given as text in the syntax of the command line, or as objects.

env = gymnasium.make(
    "twosided/Dealer-v0", competitors=["random-quoter:low=-0.5,high=0.5"], horizon=100, render_mode="figure"
)
observation, info = env.reset(seed=0)
print(env.observation_space.shape, env.action_space)

# %%
# The action is ε of both sides and the fraction of the inventory to hedge. Here actions are random.

env.action_space.seed(0)
truncated = False
while not truncated:
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
info

# %%
# ``render`` returns the figure of the episode so far.

env.render().show()

# %%
# A vector environment takes a step of many markets in one compiled call. Here makers quote the same ε on both
# sides. The figure shows mean PnL per step over 256 markets and 50 steps, by ε.

scenario = ts.Scenario(ts.DealerMarket(), (ts.RandomQuoter(),))
markets = ScenarioVectorEnv(scenario, num_envs=256)
rows = []
for epsilon in np.linspace(-0.9, 0.9, 7):
    markets.reset(seed=1)
    action = np.tile([epsilon, epsilon, 0.0], (256, 1)).astype(np.float32)
    rewards = np.array([markets.step(action)[1] for _ in range(50)])
    error = rewards.mean(0).std(ddof=1) / np.sqrt(256)
    rows.append({"epsilon": epsilon, "pnl": rewards.mean(), "pnl_error": error, "source": "simulated"})
exact = np.linspace(-1, 1, 101)
frame = pl.concat(
    [
        pl.DataFrame({"epsilon": exact, "pnl": 0.94 * (1 + exact) * (1 - exact) / 2}).with_columns(
            source=pl.lit("exact")
        ),
        pl.DataFrame(rows),
    ],
    how="diagonal",
)
figure_lines(frame, "epsilon", {"pnl": "PnL per step, currency"}, "source", x_title="ε on both sides").show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/gymnasium_environment.png'
