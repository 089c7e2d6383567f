"""PettingZoo adapter: PettingZoo's own tests, and agreement of every agent with its seat in the scenario."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("pettingzoo")
from pettingzoo.test import parallel_api_test, parallel_seed_test

from twosided.adapters.gymnasium import ScenarioEnv
from twosided.adapters.pettingzoo import ScenarioParallelEnv, parallel_env
from twosided.core.errors import Refusal
from twosided.core.scenario import Scenario
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter
from twosided.learn.networks import features
from twosided.rewards import ExcessPnL

pytestmark = pytest.mark.extended

THREE = DealerMarket(num_makers=3)


def acted(env, actions):
    return env.step(dict(zip(env.agents, np.float32(actions), strict=True)))


@pytest.mark.filterwarnings("error")
def test_environment_passes_pettingzoo_tests(capsys):
    parallel_api_test(parallel_env(THREE, horizon=20), num_cycles=50)
    parallel_seed_test(lambda: parallel_env(THREE, horizon=20), num_cycles=50)


def test_every_seat_of_a_market_is_an_agent():
    env = parallel_env(THREE)
    assert env.possible_agents == ["maker_0", "maker_1", "maker_2"]
    for agent in env.possible_agents:
        assert (
            env.action_space(agent)
            == ScenarioEnv(Scenario(DealerMarket(), (PersistentQuoter(),))).action_space
        )
        assert env.observation_space(agent).shape == (17,)
    # Spaces have separate generators; agents with one space would draw the same samples.
    assert env.action_space("maker_0") is not env.action_space("maker_1")


def test_agents_match_their_seats_step_by_step():
    """Two learners and a competitor in the last seat."""
    scenario = Scenario(THREE, (PersistentQuoter(epsilon_buy=-0.2),), ExcessPnL(), horizon=3, learners=2)
    env = ScenarioParallelEnv(scenario, block=8)
    assert env.possible_agents == ["maker_0", "maker_1"]
    observed, infos = env.reset(seed=4)
    assert infos == {"maker_0": {}, "maker_1": {}}
    shocks = jax.tree.map(lambda leaf: leaf[:, 0], env._simulation.shocks)
    state, expected = scenario.reset(at(shocks, 0))
    step = jax.jit(scenario.step)
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 2, 3)).clip([-1, -1, 0])
    for i, action in enumerate(actions, start=1):
        for seat, agent in enumerate(env.agents):
            own = jax.tree.map(lambda leaf, seat=seat: leaf[seat], expected)
            np.testing.assert_allclose(observed[agent], features(own), rtol=1e-5, atol=1e-6)
        agents = list(env.agents)
        observed, rewards, terminated, truncated, infos = acted(env, action)
        joint = type(THREE.action_space.low)(*jnp.float32(action).T)
        state, expected_step = step(state, joint, at(shocks, i))
        expected = expected_step.observation
        assert set(agents) == set(rewards) == set(infos)
        for seat, agent in enumerate(agents):
            assert rewards[agent] == pytest.approx(float(expected_step.reward[seat]), rel=1e-5, abs=1e-6)
            for part in ("spread", "hedge", "inventory", "fees", "total"):
                earned = float(getattr(expected_step.transition.pnl, part)[seat])
                assert infos[agent][f"pnl_{part}"] == pytest.approx(earned, rel=1e-5, abs=1e-5)
        assert terminated == dict.fromkeys(agents, False)
        assert truncated == dict.fromkeys(agents, i == 3)
    assert env.agents == []
    assert env.step({}) == ({}, {}, {}, {}, {})


def test_one_learner_matches_the_gymnasium_environment():
    scenario = Scenario(DealerMarket(), (PersistentQuoter(),), horizon=9)
    env, alone = ScenarioParallelEnv(scenario), ScenarioEnv(scenario)
    np.testing.assert_array_equal(env.reset(seed=1)[0]["maker_0"], alone.reset(seed=1)[0])
    action = np.float32([0.1, -0.1, 0.5])
    observation, reward, *_, info = (out["maker_0"] for out in acted(env, [action]))
    expected = alone.step(action)
    np.testing.assert_array_equal(observation, expected[0])
    assert (reward, info) == (expected[1], expected[4])


def test_results_are_reproducible_from_the_seed_and_continue_without_one():
    env = parallel_env(THREE, horizon=2)

    def episode(seed):
        start = env.reset(seed=seed)[0]
        return np.array(
            [list(start.values())] + [list(acted(env, np.zeros((3, 3)))[0].values()) for _ in "12"]
        )

    first, continued, again, other = episode(5), episode(None), episode(5), episode(6)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, continued)
    assert not np.array_equal(first, other)


def test_figure_shows_the_episode():
    env = parallel_env(THREE, horizon=4, render_mode="figure")
    env.reset(seed=0)
    infos = [acted(env, np.zeros((3, 3)))[-1]["maker_0"] for _ in range(3)]
    lines = {drawn.name: drawn.y for drawn in env.render().data}
    np.testing.assert_allclose(lines["total"], np.cumsum([info["pnl_total"] for info in infos]), rtol=1e-4)
    assert {"competitor 1’s bid", "competitor 2’s bid"} <= lines.keys()
    assert parallel_env(THREE).render() is None


def test_invalid_agents_actions_and_render_modes_raise():
    env = parallel_env(THREE)
    env.reset(seed=0)
    with pytest.raises(
        ValueError, match=r"actions must be those of \['maker_0', .*\], but got those of \['maker_1'\]"
    ):
        env.step({"maker_1": np.zeros(3)})
    with pytest.raises(ValueError, match="action must be finite"):
        acted(env, np.full((3, 3), np.nan))
    with pytest.raises(Refusal, match=r"render_mode must be one of .* but got 'human'"):
        parallel_env(THREE, render_mode="human")


def at(shocks, i):
    return jax.tree.map(lambda leaf: leaf[i], shocks)
