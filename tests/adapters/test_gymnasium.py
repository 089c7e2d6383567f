"""Gymnasium adapter: Gymnasium's own checks, and agreement with the scenario step by step."""

import importlib
import shutil
import subprocess
import sys

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import plotly.graph_objects as go
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from twosided.adapters import gymnasium as adapter
from twosided.adapters.gymnasium import ENVIRONMENTS, ScenarioEnv, ScenarioVectorEnv, scenario_of
from twosided.core.errors import Refusal
from twosided.core.market import Market
from twosided.core.numeric import as_arrays
from twosided.core.policy import Policy
from twosided.core.reward import TotalPnL
from twosided.core.scenario import Scenario
from twosided.core.spaces import Box, Discrete
from twosided.core.transition import PARTS, PnL, Quotes, Transition
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter
from twosided.learn.networks import features
from twosided.prices import GeometricBrownian
from twosided.rewards import ExcessPnL
from twosided.runs.settings import TrainSettings
from twosided.settings import choices

pytestmark = [
    pytest.mark.extended,
    pytest.mark.filterwarnings(
        "ignore:.*observation space m.*imum value is.*infinity",
        "ignore:.*does not have a spec|.*having a spec",
    ),
]

CHROMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Walk(Market):
    """Two makers move by their actions; spread PnL is the place, and the market terminates if seat 0 is beyond 2.5."""

    num_makers: int = eqx.field(static=True, default=2)
    finite: bool = eqx.field(static=True, default=False)

    @property
    def action_space(self):
        return Discrete(jnp.array([-1.0, 0.0, 1.0])) if self.finite else Box(low=-1.0, high=1.0)

    def shocks(self, key, shape):
        return jax.random.uniform(key, shape)

    def reset(self, shock):
        place = jnp.zeros(2)
        return place, self._observe(place, shock)

    def step(self, state, action, shock):
        place, nothing = state + action, jnp.zeros(2)
        pnl = PnL(spread=place, hedge=-2 * place, inventory=4 * place, fees=-8 * place)
        ends = place[0] > 2.5
        quotes = Quotes(*[nothing] * 4)
        return place, Transition(self._observe(place, shock), pnl, quotes, *[nothing] * 5, terminated=ends)

    def _observe(self, place, shock):
        return {"draw": jnp.broadcast_to(shock, 2), "other": place[::-1], "place": place}


DRAW, OTHER, PLACE = range(3)
"""Positions in the observation vector: the leaves of a dict are in the order of their names."""


class StepCounter(Policy):
    """Plays the number of its steps over all episodes."""

    def shocks(self, key, shape):
        return None

    def init(self):
        return jnp.zeros(())

    def act(self, shock, state, observation):
        return state + 1, state + 1


def walk(finite=False, horizon=4):
    return Scenario(Walk(finite=finite), (StepCounter(),), horizon=horizon)


def dealer(horizon=5):
    return Scenario(DealerMarket(), (RandomQuoter(),), TotalPnL(expected_inventory=False), horizon)


@pytest.mark.parametrize("scenario", [dealer(), walk(), walk(finite=True)], ids=["dealer", "box", "finite"])
def test_environment_passes_gymnasium_checks(scenario):
    check_env(ScenarioEnv(scenario))


def test_environment_by_name_passes_gymnasium_checks():
    env = gymnasium.make("twosided/Dealer-v0", horizon=5, render_mode="figure").unwrapped
    check_env(env, skip_render_check=True)  # rendering pixels starts a browser


def test_spaces_match_the_scenario():
    env = ScenarioEnv(dealer())
    assert env.action_space == gymnasium.spaces.Box(
        np.float32([-1, -1, 0]), np.float32([1, 1, 1]), dtype=np.float32
    )
    assert env.observation_space.shape == (17,)
    vector = ScenarioVectorEnv(walk(finite=True), 3)
    assert vector.single_action_space == gymnasium.spaces.Discrete(3)
    assert vector.action_space == gymnasium.spaces.MultiDiscrete([3, 3, 3])
    assert vector.observation_space.shape == (3, 3)


def test_environment_matches_the_scenario_step_by_step():
    scenario = dealer(horizon=1000)
    env = ScenarioEnv(scenario, block=8)
    env.action_space.seed(0)
    observed, _ = env.reset(seed=3)
    shocks = jax.tree.map(lambda leaf: leaf[:, 0], env._simulation.shocks)
    state, expected = eqx.filter_jit(scenario.reset)(_at(shocks, 0))
    np.testing.assert_allclose(observed, features(expected), rtol=1e-5, atol=1e-6)
    for i in range(1, 8):
        action = env.action_space.sample()
        observed, reward, terminated, truncated, info = env.step(action)
        state, step = eqx.filter_jit(scenario.step)(state, _dealer_action(action), _at(shocks, i))
        np.testing.assert_allclose(observed, features(step.observation), rtol=1e-5, atol=1e-6)
        pnl = step.transition.pnl
        for part in ("spread", "hedge", "inventory", "fees", "total"):
            np.testing.assert_allclose(info[f"pnl_{part}"], getattr(pnl, part)[0], rtol=1e-5, atol=1e-5)
        assert reward == pytest.approx(info["pnl_total"], rel=1e-6)
        assert not (terminated or truncated)


def test_termination_and_truncation_are_distinguished():
    env = ScenarioEnv(walk(horizon=4))
    env.reset(seed=0)
    ends = [env.step(np.float32([1.0]))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (True, False)]
    env.reset()
    ends = [env.step(np.float32([0.5]))[2:4] for _ in range(4)]
    assert ends == [(False, False)] * 3 + [(False, True)]
    # Termination at the horizon is not a truncation.
    env.reset()
    ends = [env.step(np.float32([0.7]))[2:4] for _ in range(4)]
    assert ends[-1] == (True, False)


def test_vector_environment_restarts_in_the_same_step_with_final_observations():
    env = ScenarioVectorEnv(walk(horizon=4), 3, block=3)
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    env.reset(seed=0)
    actions = np.float32([[1.0], [0.5], [0.7]])
    places, finals, ended = [], [], []
    for _ in range(6):
        observation, _, terminated, truncated, info = env.step(actions)
        places.append(observation[:, PLACE])
        ended.append(np.where(terminated, "terminated", np.where(truncated, "truncated", "")).tolist())
        finals.append([None if f is None else float(f[PLACE]) for f in info.get("final_obs", [None] * 3)])
        np.testing.assert_array_equal(info.get("_final_obs", np.zeros(3, bool)), terminated | truncated)
        np.testing.assert_allclose(info["pnl_total"], -5 * info["pnl_spread"], rtol=1e-6)
    np.testing.assert_allclose(
        places,
        [[1, 0.5, 0.7], [2, 1, 1.4], [0, 1.5, 2.1], [1, 0, 0], [2, 0.5, 0.7], [0, 1, 1.4]],
        rtol=1e-6,
    )
    first_four = [["", "", ""], ["", "", ""], ["terminated", "", ""], ["", "truncated", "terminated"]]
    assert ended == [*first_four, ["", "", ""], ["terminated", "", ""]]
    assert finals[2] == [3.0, None, None]
    assert finals[3][0] is None
    assert finals[3][1:] == pytest.approx([2.0, 2.8])


def test_new_episode_starts_from_the_shock_of_the_last_step():
    env = ScenarioVectorEnv(walk(horizon=2), 2)
    env.reset(seed=0)
    env.step(np.zeros((2, 1), np.float32))
    observation, *_, info = env.step(np.zeros((2, 1), np.float32))
    np.testing.assert_array_equal(observation[:, DRAW], [final[DRAW] for final in info["final_obs"]])
    single = ScenarioEnv(walk(horizon=2))
    single.reset(seed=0)
    single.step(np.float32([0]))
    last = single.step(np.float32([0]))[0]
    assert single.reset()[0][DRAW] == last[DRAW]


def test_policy_states_outlive_episodes_and_restart_with_a_seed():
    env = ScenarioEnv(walk(horizon=2))
    env.reset(seed=0)
    other = [env.step(np.float32([0]))[0][OTHER] for _ in range(2)]
    env.reset()
    other += [env.step(np.float32([0]))[0][OTHER] for _ in range(2)]
    env.reset(seed=0)
    other += [env.step(np.float32([0]))[0][OTHER]]
    # The competitor moves by 1, 2 | 3, 4 | 1, from 0 at each start.
    assert other == [1, 3, 3, 7, 1]


def test_random_draws_do_not_repeat_over_blocks():
    env = ScenarioVectorEnv(walk(), 5, block=3)
    seen = [env.reset(seed=0)[0][:, DRAW]]
    for _ in range(20):
        observation, *_, info = env.step(np.zeros((5, 1), np.float32))
        done = info.get("_final_obs", np.zeros(5, bool))
        seen.append(np.where(done, np.nan, observation[:, DRAW]))
    seen = np.array(seen)[~np.isnan(seen).any(1)]
    assert seen.size == 5 * 16
    assert np.unique(seen).size == seen.size


def test_results_are_reproducible_from_the_seed():
    env = ScenarioVectorEnv(dealer(horizon=3), 4, block=4)
    actions = np.random.default_rng(0).uniform(0, 1, (10, 4, 3)).astype(np.float32)

    def trajectory(seed):
        first, _ = env.reset(seed=seed)
        return np.array([first] + [env.step(action)[0] for action in actions])

    np.testing.assert_array_equal(trajectory(7), trajectory(7))
    assert not np.array_equal(trajectory(7), trajectory(8))
    fresh, other = ScenarioVectorEnv(dealer(horizon=3), 4), ScenarioVectorEnv(dealer(horizon=3), 4)
    assert not np.array_equal(fresh.reset()[0], other.reset()[0])


@pytest.mark.parametrize(
    "env", [ScenarioEnv(dealer()), ScenarioVectorEnv(dealer(), 2)], ids=["one market", "many"]
)
def test_returned_observations_are_copies(env):
    action = env.action_space.low
    env.reset(seed=0)
    expected = env.step(action)[0].copy(), env.step(action)[0].copy()
    first, _ = env.reset(seed=0)
    first[:] = 0
    for expected_observation in expected:
        observation = env.step(action)[0]
        np.testing.assert_array_equal(observation, expected_observation)
        observation[:] = 0


def test_vector_environment_restarts_in_the_next_step():
    env = ScenarioVectorEnv(walk(horizon=4), 3, autoreset_mode=AutoresetMode.NEXT_STEP)
    env.reset(seed=0)
    actions = np.float32([[1.0], [0.5], [0.7]])
    places, rewards, ended = [], [], []
    for _ in range(6):
        observation, reward, terminated, truncated, info = env.step(actions)
        assert "final_obs" not in info
        np.testing.assert_allclose(reward, -9 * info["pnl_spread"], rtol=1e-6)
        places.append(observation[:, PLACE])
        rewards.append(reward / -9)
        ended.append((terminated | truncated).tolist())
    np.testing.assert_allclose(
        places,
        [[1, 0.5, 0.7], [2, 1, 1.4], [3, 1.5, 2.1], [0, 2, 2.8], [1, 0, 0], [2, 0.5, 0.7]],
        rtol=1e-6,
    )
    # The step of a restart has a reward of 0 and no end, independent of the action.
    np.testing.assert_allclose(rewards, places, rtol=1e-6)
    assert ended == [[False] * 3, [False] * 3, [True, False, False], [False, True, True], *[[False] * 3] * 2]
    # The competitor moves by 1, 2, 3, ..., but not in a step that restarts.
    assert env.step(actions)[0][:, OTHER].tolist() == [4 + 5 + 6, 5 + 6, 5 + 6]


def test_gymnasium_wrappers_are_compatible():
    env = RecordEpisodeStatistics(ScenarioVectorEnv(walk(horizon=4), 2))
    env.reset(seed=0)
    for _ in range(4):
        *_, info = env.step(np.float32([[0.5], [0.0]]))
    np.testing.assert_array_equal(info["episode"]["l"], [4, 4])
    # The reward is total PnL with the expectation of inventory PnL, which is 0 here: (1 - 2 - 8) · place.
    np.testing.assert_allclose(info["episode"]["r"], [-9 * (0.5 + 1 + 1.5 + 2), 0], rtol=1e-6)


def test_importing_the_adapter_registers_every_market():
    named = "import gymnasium; gymnasium.make('twosided.adapters.gymnasium:twosided/Dealer-v0')"
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", named], check=True)
    gymnasium.register_envs(adapter)
    ids = {name for name in gymnasium.registry if name.startswith("twosided/")}
    assert ids == {f"twosided/{name}-v0" for name in ENVIRONMENTS}


def test_importing_twosided_imports_neither_gymnasium_nor_jax():
    program = """
import sys
before = list(sys.meta_path)
import twosided
assert not {"gymnasium", "jax", "numpy"} & sys.modules.keys()
assert sys.meta_path == before
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_every_concrete_market_has_an_id():
    markets = {type(scenario_of(name).market).__name__ for name in ENVIRONMENTS}
    assert markets == {part.name for part in choices("twosided.core.market:Market")}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_id_steps(environment):
    env = gymnasium.make(f"twosided/{environment}-v0", block=4)
    observation, _ = env.reset(seed=0)
    env.action_space.seed(0)
    following, reward, *_, info = env.step(env.action_space.sample())
    assert observation.shape == following.shape == env.observation_space.shape
    assert np.isfinite(following).all() and np.isfinite(reward)
    assert set(info) == {f"pnl_{part}" for part in PARTS}


@pytest.mark.parametrize(
    "parts",
    [
        {
            "market": DealerMarket(price=GeometricBrownian(volatility=0.01)),
            "competitors": (RandomQuoter(low=-0.5, high=0.5), PersistentQuoter()),
            "reward": ExcessPnL(),
            "horizon": 7,
        },
        {
            "market": {"price": {"kind": "geometric-brownian", "volatility": 0.01}},
            "competitors": ["random-quoter:low=-0.5,high=0.5", PersistentQuoter()],
            "reward": "excess-pnl",
            "horizon": 7,
        },
    ],
    ids=["parts", "strings"],
)
def test_scenario_is_given_as_on_the_command_line(parts):
    market = DealerMarket(num_makers=3, price=GeometricBrownian(volatility=0.01))
    expected = Scenario(
        market, (RandomQuoter(low=-0.5, high=0.5), PersistentQuoter()), ExcessPnL(), horizon=7
    )
    env = gymnasium.make("twosided/Dealer-v0", **parts)
    assert eqx.tree_equal(env.unwrapped._simulation.scenario, as_arrays(expected))
    assert eqx.tree_equal(scenario_of(**parts), expected)


def test_omitted_parts_have_defaults():
    assert eqx.tree_equal(scenario_of(), TrainSettings().scenario)
    assert eqx.tree_equal(scenario_of(competitors="none"), TrainSettings(competitors=()).scenario)
    assert len(scenario_of(competitors="random-quoter").competitors) == 1


@pytest.mark.parametrize(
    "parts, message",
    [
        (
            {"competitors": ["randm-quoter"]},
            r"competitors\[0\] takes .* but got 'randm-quoter'; did you mean random-quoter\?",
        ),
        (
            {"competitors": [PersistentQuoter(), "random-quoter:lo=1"]},
            r"random-quoter has no parameter 'lo'; did you mean low\?",
        ),
        ({"horizon": "ten"}, "horizon takes a whole number, but got 'ten'"),
        ({"horizon": 0}, "horizon must be from 1 to 1000000, but got 0"),
        (
            {"render_mode": "human"},
            r"render_mode must be one of \['figure', 'rgb_array'\] or None, but got 'human'",
        ),
    ],
)
def test_invalid_parts_raise(unchecked_types, parts, message):
    with pytest.raises(Refusal, match=message):
        gymnasium.make("twosided/Dealer-v0", **parts)


def test_vector_environment_by_name_matches_the_class():
    words = {"competitors": ["random-quoter"], "horizon": 5}
    named = gymnasium.make_vec("twosided/Dealer-v0", num_envs=2, **words)
    assert isinstance(named, ScenarioVectorEnv)
    direct = ScenarioVectorEnv(scenario_of(**words), 2)
    np.testing.assert_array_equal(named.reset(seed=5)[0], direct.reset(seed=5)[0])
    action = named.action_space.low
    np.testing.assert_array_equal(named.step(action)[0], direct.step(action)[0])
    single = gymnasium.make_vec("twosided/Dealer-v0", num_envs=2, vectorization_mode="sync", **words)
    assert single.reset(seed=5)[0].shape == (2, 17)


def test_figure_shows_the_episode_so_far():
    env = gymnasium.make("twosided/Dealer-v0", horizon=6, render_mode="figure")
    env.action_space.seed(0)
    env.reset(seed=0)
    assert all(not len(drawn.y) for drawn in env.render().data)
    infos = [env.step(env.action_space.sample())[-1] for _ in range(4)]
    lines = {drawn.name: drawn.y for drawn in env.render().data}
    for part in ("spread", "hedge", "inventory", "total"):
        # Two lines are named inventory, the position and then its PnL; the dict keeps the last one.
        np.testing.assert_allclose(lines[part], np.cumsum([info[f"pnl_{part}"] for info in infos]), rtol=1e-4)
    assert {"midprice", "bid", "ask", "competitor’s bid", "bought", "sold"} <= lines.keys()
    env.reset()
    env.step(env.action_space.sample())
    assert {len(drawn.y) for drawn in env.render().data} == {1}
    assert ScenarioEnv(dealer()).render() is None


def test_figure_is_that_of_the_market():
    env = gymnasium.make("twosided/Hedging-v0", horizon=3, render_mode="figure")
    env.action_space.seed(0)
    env.reset(seed=0)
    assert {"charged", "paid", "net"} <= {drawn.name for drawn in env.render().data}
    infos = [env.step(env.action_space.sample())[-1] for _ in range(3)]
    lines = {drawn.name: drawn.y for drawn in env.render().data}
    np.testing.assert_allclose(lines["total"], np.cumsum([info["pnl_total"] for info in infos]), rtol=1e-4)


def test_rendering_pixels_without_a_browser_raises(monkeypatch):
    def no_browser(*args, **kwargs):
        raise RuntimeError("Kaleido v1 and later requires Chrome\nto be installed.")

    env = ScenarioEnv(dealer(), render_mode="rgb_array")
    env.reset(seed=0)
    monkeypatch.setattr(go.Figure, "to_image", no_browser)
    with pytest.raises(Refusal, match=r'needs the extra "png" .* requires Chrome to be installed\.\)$'):
        env.render()


@pytest.mark.skipif(not any(map(shutil.which, CHROMES)), reason="needs Chrome or Chromium")
def test_rendered_pixels_show_the_figure():
    env = ScenarioEnv(dealer(), render_mode="rgb_array")
    env.reset(seed=0)
    env.step(env.action_space.low)
    image = env.render()
    assert image.shape == (1000, 800, 3)
    assert image.dtype == np.uint8
    # Mostly white, with dark pixels in each of the five panels.
    assert (image == 255).all(-1).mean() > 0.7
    assert all((panel < 200).any() for panel in np.array_split(image, 5))


@pytest.mark.parametrize(
    "action, message",
    [
        (np.zeros(2), r"action must be of shape \(3,\), but got \(2,\)"),
        ([0.0, np.nan, 0.0], r"action must be finite, but got \[0.0, nan, 0.0\]"),
    ],
)
def test_invalid_actions_raise(action, message):
    env = ScenarioEnv(dealer())
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)


def test_invalid_indices_sizes_and_order_of_calls_raise():
    env = ScenarioEnv(walk(finite=True))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action must be one of Discrete\(3\), but got 3"):
        env.step(3)
    with pytest.raises(ValueError, match="num_envs must be at least 1, but got 0"):
        ScenarioVectorEnv(walk(), 0)
    with pytest.raises(ValueError, match="block must be at least 1, but got 0"):
        ScenarioEnv(walk(), block=0)
    with pytest.raises(ValueError, match=r"autoreset_mode must be one of .*, but got AutoresetMode.DISABLED"):
        ScenarioVectorEnv(walk(), 2, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match=r"learners must be 1 in a Gymnasium environment .*, but got 2"):
        ScenarioEnv(Scenario(DealerMarket(), (), learners=2))


def _at(shocks, i):
    return jax.tree.map(lambda leaf: leaf[i], shocks)


def _dealer_action(action):
    return type(DealerMarket().action_space.low)(*map(jnp.float32, action))


@pytest.mark.parametrize(("name", "extra"), [("gymnasium", "gym"), ("pettingzoo", "pettingzoo")])
def test_import_without_the_library_names_the_extra(monkeypatch, name, extra):
    monkeypatch.delitem(sys.modules, f"twosided.adapters.{name}", raising=False)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=rf"needs the extra {extra}.*pip install '\.\[{extra}\]'"):
        importlib.import_module(f"twosided.adapters.{name}")
