"""
Train with Stable-Baselines3
============================

Train PPO of Stable-Baselines3 on a market through the Gymnasium adapter, and compare it with the exact optimum.
"""

import numpy as np
import polars as pl
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import twosided as ts
from twosided.adapters.gymnasium import ScenarioEnv, ScenarioVectorEnv, scenario_of
from twosided.plots import figure_learning

torch.set_num_threads(1)

# %%
# Train in sixteen markets, with running normalisation of observations and rewards.

scenario = scenario_of(competitors=["random-quoter:low=0.5,high=1"])
markets = VecNormalize(DummyVecEnv([lambda: ScenarioEnv(scenario)] * 16), gamma=0.5)
model = PPO(
    "MlpPolicy",
    markets,
    learning_rate=2e-3,
    n_steps=64,
    batch_size=64,
    n_epochs=4,
    gamma=0.5,
    gae_lambda=0.5,
    seed=0,
)

# %%
# Evaluate the mode of the policy in a vector environment of 256 markets.


def evaluate(model):
    env = ScenarioVectorEnv(scenario, 256)
    observation, _ = env.reset(seed=1)
    rewards = []
    for _ in range(50):
        action, _ = model.predict(markets.normalize_obs(observation), deterministic=True)
        observation, reward, *_ = env.step(action)
        rewards.append(reward)
    return float(np.mean(rewards))


rows = [{"seed": 0, "timesteps": 0, "eval_pnl": evaluate(model)}]
for _ in range(5):
    model.learn(2048, reset_num_timesteps=False)
    rows.append({"seed": 0, "timesteps": model.num_timesteps, "eval_pnl": evaluate(model)})

# %%
# PnL approaches the supremum.

optimum = ts.optimum(scenario)
figure_learning(pl.DataFrame(rows), optimum=optimum.value).show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/stable_baselines3.png'
