"""Stable-Baselines3 and RLlib improve in the Gymnasium environments; optional, with the extras `sb3` and `rllib`."""

import numpy as np
import pytest

from twosided.adapters.gymnasium import ScenarioEnv, ScenarioVectorEnv, scenario_of
from twosided.dealer.exact.total_pnl import total_pnl_optimum

pytestmark = pytest.mark.extended

# Competitors quote so wide that an untrained maker, which quotes near the exchange's spread, earns two thirds of the
# optimum. It must learn to quote wider and not to hedge.
COMPETITORS = ["random-quoter:low=0.5,high=1"]
IGNORE_WARNINGS = pytest.mark.filterwarnings("ignore")  # the libraries raise many warnings


def assert_better(before, after):
    """Check an increase of at least ten standard errors, and of a quarter of the shortfall from the optimum."""
    error = np.hypot(*[np.std(means, ddof=1) / np.sqrt(len(means)) for means in (before, after)])
    gained, best = (
        np.mean(after) - np.mean(before),
        total_pnl_optimum(scenario_of(competitors=COMPETITORS)).value,
    )
    assert gained > 10 * error
    assert gained > 0.25 * (best - np.mean(before))


@IGNORE_WARNINGS
def test_stable_baselines3_improves():
    sb3 = pytest.importorskip("stable_baselines3")
    import torch
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    torch.set_num_threads(1)
    scenario = scenario_of(competitors=COMPETITORS)
    markets = VecNormalize(DummyVecEnv([lambda: ScenarioEnv(scenario)] * 16), gamma=0.5)
    model = sb3.PPO(
        "MlpPolicy",
        markets,
        learning_rate=2e-3,
        n_steps=64,
        batch_size=64,
        n_epochs=4,
        gamma=0.5,
        gae_lambda=0.5,
        device="cpu",
        seed=0,
    )

    def earned():
        """Return the mean reward per step of the policy's mode, for each market."""
        env = ScenarioVectorEnv(scenario, 256)
        observation, _ = env.reset(seed=1)
        rewards = []
        for _ in range(50):
            action, _ = model.predict(markets.normalize_obs(observation), deterministic=True)
            observation, reward, *_ = env.step(action)
            rewards.append(reward)
        return np.mean(rewards, axis=0)

    before = earned()
    model.learn(10 * 1024)
    assert_better(before, earned())


@IGNORE_WARNINGS
def test_rllib_improves(monkeypatch):
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.rllib")
    import torch
    from gymnasium.vector import AutoresetMode
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.connectors.env_to_module import MeanStdFilter

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    torch.set_num_threads(1)
    config = (
        PPOConfig()
        .environment(
            "twosided.adapters.gymnasium:twosided/Dealer-v0",
            env_config={"competitors": COMPETITORS, "horizon": 50, "autoreset_mode": AutoresetMode.NEXT_STEP},
        )
        # Everything runs in this process, but ray starts its own processes too.
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=32,
            gym_env_vectorize_mode="vector_entry_point",
            env_to_module_connector=lambda env, spaces, device: MeanStdFilter(),
        )
        .learners(num_learners=0)
        .training(gamma=0.5, lambda_=0.5, lr=1e-3, train_batch_size_per_learner=2048, minibatch_size=256)
        .training(num_epochs=4, use_kl_loss=False, clip_param=0.2)
        .debugging(seed=0, log_level="ERROR")
    )
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
    )
    try:
        algorithm = config.build_algo()

        def earned():
            """Return the mean reward per step of the policy's mode, for each episode."""
            episodes = algorithm.env_runner.sample(num_episodes=128, explore=False)
            return [np.mean(episode.get_rewards()) for episode in episodes if episode.is_done]

        before = earned()
        for _ in range(8):
            algorithm.train()
        assert_better(before, earned())
        algorithm.stop()
    finally:
        ray.shutdown()
