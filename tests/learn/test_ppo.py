"""PPO on probe environments, with several learners, and the effect of each hyperparameter."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import probes
from support.probes import ACTIONS, HORIZON, VALUES, advance, entry, init, stack, with_gamma
from support.toys import Seen, Toy

from twosided.core.evaluation import evaluate
from twosided.core.records import find
from twosided.core.rollout import rollout
from twosided.core.scenario import Scenario
from twosided.learn.networks import features
from twosided.learn.ppo import PPO

pytestmark = pytest.mark.extended

LEARNER = PPO(
    total_timesteps=163_840,
    num_envs=32,
    num_steps=16,
    num_epochs=4,
    num_minibatches=4,
    hidden_sizes=(32,),
    learning_rate=5e-3,
    initial_std=0.5,
    gae_lambda=0.9,
    normalize_rewards=False,  # a constant reward has a standard deviation of 0
)

# The same with the finite actions -2, -1, ..., 4.
LISTED = {
    "constant goal": (Toy(sharpness=1.0, goal=2.2, lifetime=1.0, space="list"), (2.0, 2.0)),
    "goal by the coin": (Toy(sharpness=1.0, goal=1.0, tilt=2.2, lifetime=1.0, space="list"), (-1.0, 3.0)),
    "delayed effect": (
        Toy(sharpness=1.0, goal=1.7, delayed=1.0, lifetime=2.0, space="list"),
        (2.0, 2.0),
    ),
}


@eqx.filter_jit
def evaluate_critics(scenarios, learners, states):
    """Return the observations of the next steps while exploring, and the critic's values."""

    def one(scenario, learner, state):
        policy = learner.policy(scenario, state, explore=True)

        def record(observation, policy_state, step):
            return observation

        _, observations = rollout(scenario, policy, state.carry, jax.random.key(1), HORIZON, record)
        agent = state.agents
        scale = jnp.sqrt(agent.return_normalizer.variance) if learner.normalize_rewards else 1.0

        def value(observation):
            return scale * agent.networks.critic(agent.observation_normalizer(features(observation)))

        return observations, jax.vmap(jax.vmap(value))(observations)

    return eqx.filter_vmap(one)(scenarios, learners, states)


Trained = partial(probes.Trained, evaluate_critics)


@pytest.fixture(scope="module")
def clipped():
    """Learners with a clipped Gaussian, on all probe environments."""
    names = [*VALUES, *ACTIONS]
    toys = [case[0] for case in (*VALUES.values(), *ACTIONS.values())]
    learners = [with_gamma(case[1], LEARNER) for case in VALUES.values()] + [with_gamma(0.9, LEARNER)] * len(
        ACTIONS
    )
    return Trained(names, toys, learners)


@pytest.mark.parametrize("name", VALUES)
def test_critic_finds_known_values(clipped, name):
    _, _, expected, ages = VALUES[name]
    # The largest error of five seeds is 0.009 of 3.4; treating truncation as termination costs 0.8 to 4.
    assert clipped.value_error(name, expected, ages) < 0.03


@pytest.mark.parametrize("name", ACTIONS)
def test_policy_finds_known_actions(clipped, name):
    # The box is 6 wide; the largest error of five seeds is 0.015.
    np.testing.assert_allclose(clipped.actions(name), ACTIONS[name][1], atol=0.03)


@pytest.fixture(scope="module")
def squashed():
    """Learners with a squashed Gaussian, normalised rewards and clipped values."""
    # The bound on the standard deviation does not fall. The largest error of five seeds with a delayed effect is then
    # 0.022, and 0.033 with a falling bound.
    changes = {"squash": True, "normalize_rewards": True, "vf_clip": 0.2, "final_std": None}
    learner = PPO(**{**vars(LEARNER), **changes})
    names = [*ACTIONS, "five rewards"]
    toys = [case[0] for case in ACTIONS.values()] + [VALUES["five rewards"][0]]
    return Trained(names, toys, [with_gamma(0.9, learner)] * len(ACTIONS) + [with_gamma(0.8, learner)])


@pytest.mark.parametrize("name", ACTIONS)
def test_squashed_policy_finds_known_actions(squashed, name):
    np.testing.assert_allclose(squashed.actions(name), ACTIONS[name][1], atol=0.03)


def test_critic_finds_known_values_with_normalized_rewards_and_vf_clip(squashed):
    _, _, expected, ages = VALUES["five rewards"]
    # The largest error of five seeds is 0.017 of 3.4.
    assert squashed.value_error("five rewards", expected, ages) < 0.05


@pytest.fixture(scope="module")
def listed():
    """Learners with a categorical distribution and normalised rewards."""
    learner = PPO(**{**vars(LEARNER), "total_timesteps": 80_000, "normalize_rewards": True})
    return Trained(LISTED, [case[0] for case in LISTED.values()], [learner] * len(LISTED))


@pytest.mark.parametrize("name", LISTED)
def test_categorical_policy_finds_known_actions(listed, name):
    assert tuple(listed.actions(name)) == LISTED[name][1]


# Two learners in one market, in which neither affects the other.

PAIRS = stack(
    [
        # An array gives each maker its own goal.
        Scenario(
            Toy(
                sharpness=1.0,
                goal=jnp.array([2.2, goal]),
                tilt=jnp.array([0.0, tilt]),
                lifetime=2.0,
                num_makers=2,
            ),
            (),
            horizon=HORIZON,
            learners=2,
        )
        for goal, tilt in [(1.0, 1.5), (3.0, 0.0)]
    ]
)
PAIR = PPO(**{**vars(LEARNER), "total_timesteps": 100_000, "normalize_rewards": True})


@pytest.fixture(scope="module")
def pairs():
    """Final states of two learners in each of two markets, which differ in the reward of seat 1 alone."""
    keys = jnp.stack([jax.random.key(0)] * 2)
    learners = stack([PAIR] * 2)
    states, metrics = advance(PAIRS, learners, init(PAIRS, learners, keys), jnp.asarray(PAIR.iterations))
    assert all(values.shape == (2,) for values in metrics.values())
    return states


def pair_policy(pairs, market):
    return PAIR.policy(entry(PAIRS, market), entry(pairs, market))


@pytest.mark.parametrize(
    ("market", "expected"), [(0, [[2.2, -0.5], [2.2, 2.5]]), (1, [[2.2, 3.0], [2.2, 3.0]])]
)
def test_each_of_two_learners_finds_its_own_optimal_action(pairs, market, expected):
    policy, zeros = pair_policy(pairs, market), jnp.zeros(2)
    played = [policy.act(None, None, Seen(zeros, zeros + coin, zeros))[0].x for coin in (-1, 1)]
    # The largest error of five seeds is 0.010.
    np.testing.assert_allclose(played, expected, atol=0.03)


def test_learner_does_not_depend_on_the_other_learner(pairs):
    for leaf in jax.tree.leaves(pairs.agents):
        # Leading axes: markets, learners.
        np.testing.assert_array_equal(leaf[0, 0], leaf[1, 0])
    one, other = (entry(entry(pairs.agents.networks, market), 1) for market in (0, 1))
    assert (
        max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True))
        > 0.1
    )


def test_two_learners_differ(pairs):
    for layer in pairs.agents.networks.actor.layers + pairs.agents.networks.critic.layers:
        assert (layer.weight[:, 0] != layer.weight[:, 1]).mean() > 0.99
    # Features: age, coin and the maker's own last action, 0 at the first of two steps and near the goal at the second.
    assert pairs.agents.networks.actor.layers[0].weight.shape == (2, 2, 32, 3)
    np.testing.assert_allclose(
        pairs.agents.observation_normalizer.mean[..., 2], [[1.1, 0.5], [1.1, 1.5]], atol=0.1
    )
    policy, zeros = pair_policy(pairs, 0), jnp.zeros(2)
    seen = Seen(zeros, zeros + 1, zeros)
    action = policy.act(None, None, seen)[0].x
    changed = policy.act(None, None, eqx.tree_at(lambda s: s.last, seen, jnp.array([0.0, 3.0])))[0].x
    assert action[0] == changed[0]
    assert action[1] != changed[1]


def test_joint_policy_equals_separate_policies_in_evaluation(pairs):
    policy, scenario = pair_policy(pairs, 1), entry(PAIRS, 1)
    records = evaluate(scenario, {"pair": policy}, steps=800)
    assert find(records, "pair", "x_mean", 0).value == pytest.approx(2.2, abs=0.03)
    assert find(records, "pair", "x_mean", 1).value == pytest.approx(3.0, abs=0.03)
    for maker in (0, 1):
        assert -0.002 < find(records, "pair", "pnl_total", maker).value < 0
    # The second policy as a competitor of the first.
    first, second = policy.policies
    separate = evaluate(Scenario(scenario.market, (second,), horizon=HORIZON), {"first": first}, steps=800)
    for maker in (0, 1):
        for metric in ("x_mean", "pnl_total"):
            joint = find(records, "pair", metric, maker).value
            assert find(separate, "first", metric, maker).value == pytest.approx(joint, rel=1e-4, abs=1e-6)


# The effect of each hyperparameter: nine learners in one market with one key, in the compiled program of `clipped`.

MARKET = ACTIONS["goal by the coin"][0]


def variant(**changes):
    # No bound on the standard deviation, so that other effects on it show.
    constant = {"learning_rate": 1e-3, "learning_rate_end": 1.0, "final_std": None}
    return PPO(**{**vars(LEARNER), **constant, **changes})


VARIANTS = {
    "plain": variant(),
    "falling rate": variant(learning_rate=2e-3, learning_rate_end=0.0),
    "rising rate": variant(learning_rate=0.5e-3, learning_rate_end=3.0),
    "no step": variant(learning_rate=1e-30),
    "large rate": variant(learning_rate=4e-3),
    "entropy bonus": variant(ent_coef=0.1, ent_coef_end=0.1),
    "falling bonus": variant(ent_coef=0.2, ent_coef_end=0.0),
    "rising bonus": variant(ent_coef=0.0, ent_coef_end=0.2),
    "small std": variant(initial_std=0.1),
}


def run_iteration(variants, at=0.5):
    """Return the states before and after one iteration at a point of the training, and its metrics."""
    learners = stack(variants)
    count = len(learners.gamma)
    scenarios = stack([Scenario(MARKET, (), horizon=HORIZON)] * count)
    initial = init(scenarios, learners, jnp.stack([jax.random.key(0)] * count))
    # The first iteration only initializes the scales.
    initial, _ = advance(scenarios, learners, initial, jnp.asarray(1))
    iteration = jnp.full(count, 1 + round(at * (LEARNER.iterations - 1)), jnp.int32)
    before = eqx.tree_at(lambda s: s.iteration, initial, iteration)
    after, metrics = advance(scenarios, learners, before, jnp.asarray(1))
    return before, after, metrics


@pytest.fixture(scope="module")
def experiments():
    """One iteration of each variant in the middle of the training, with common random numbers."""
    outcome = run_iteration(VARIANTS.values())
    return {name: entry(outcome, i) for i, name in enumerate(VARIANTS)}


def distance(state, other):
    """Return the largest difference between two networks' parameters."""
    pairs = zip(jax.tree.leaves(state.agents.networks), jax.tree.leaves(other.agents.networks), strict=True)
    return max(float(jnp.abs(a - b).max()) for a, b in pairs)


def test_probabilities_do_not_change_without_a_step(experiments):
    # With a negligible learning rate, the network, scales and draws of the update are those of the rollout.
    before, after, metrics = experiments["no step"]
    assert distance(before, after) < 1e-25
    assert metrics["approx_kl"] == pytest.approx(0.0, abs=1e-10)
    assert metrics["clip_fraction"] == 0.0
    assert experiments["plain"][2]["approx_kl"] > 0.01


@pytest.mark.parametrize("name", ["falling rate", "rising rate"])
def test_learning_rate_schedule_is_linear(experiments, name):
    _, plain, _ = experiments["plain"]
    before, after, _ = experiments[name]
    # An iteration moves parameters by 0.02; they agree up to the float32 rounding of its many small steps.
    assert distance(before, after) > 0.01
    assert distance(plain, after) < 1e-5


@pytest.mark.parametrize("name", ["falling bonus", "rising bonus"])
def test_ent_coef_schedule_is_linear(experiments, name):
    assert distance(experiments["entropy bonus"][1], experiments[name][1]) < 1e-5
    assert distance(experiments["entropy bonus"][1], experiments["plain"][1]) > 1e-4


def test_entropy_bonus_raises_the_std(experiments):
    assert experiments["entropy bonus"][2]["std"] > experiments["plain"][2]["std"]


def test_learning_rate_ends_at_0():
    before, after, _ = run_iteration(VARIANTS.values(), at=1.0)
    names = list(VARIANTS)
    falling, plain = names.index("falling rate"), names.index("plain")
    assert distance(entry(before, falling), entry(after, falling)) == 0.0
    assert distance(entry(before, plain), entry(after, plain)) > 0.01


def test_metrics_of_the_gaussian_by_hand(experiments):
    _, _, metrics = experiments["no step"]
    assert metrics["std"] == pytest.approx(0.5, rel=1e-6)
    assert metrics["entropy"] == pytest.approx(0.5 * np.log(2 * np.pi * np.e * 0.5**2), rel=1e-5)
    assert experiments["small std"][2]["std"] == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize(
    ("at", "bound"),
    [(0.0, 0.5), (0.25, 0.1495349), (0.5, 0.04472136), (1.0, 0.004)],
)
def test_bound_on_the_std_is_geometric(at, bound):
    # It falls by a factor of 1/125 over the training: √(0.5 · 0.004) halfway.
    learner = PPO(initial_std=0.5, final_std=0.004, total_timesteps=1000 * 4096)
    iteration = jnp.asarray(1 + round(at * (learner.iterations - 1)))
    assert float(jnp.exp(learner._max_log_std(0.004, iteration))) == pytest.approx(bound, rel=1e-5)


def test_std_is_within_the_bound_after_an_iteration():
    # With a negligible learning rate, only the bound changes it.
    learner = variant(vf_clip=1e9, learning_rate=1e-30, initial_std=0.5, final_std=0.004)
    _, after, metrics = run_iteration([learner])
    assert metrics["std"][0] == pytest.approx(0.5, rel=1e-5)
    assert metrics["approx_kl"][0] < 1e-3
    bound = learner._max_log_std(0.004, after.iteration[0])
    assert bound < jnp.log(0.1)
    np.testing.assert_allclose(after.agents.networks.log_std[0], bound, rtol=1e-5)


def value_moves(before, after):
    """Return the mean change of the values of the next observations, in the previous scales."""

    def value(state):
        networks, scales = state.agents.networks, entry(before, 0).agents.observation_normalizer
        return jax.vmap(lambda x: networks.critic(scales(features(x)))[0])(entry(before, 0).carry.observation)

    return float(jnp.abs(value(entry(after, 0)) - value(entry(before, 0))).mean())


def test_vf_clip_limits_value_updates_and_a_wide_one_has_no_effect(experiments):
    before, wide, _ = run_iteration([variant(vf_clip=1e9)])
    assert distance(entry(wide, 0), experiments["plain"][1]) < 1e-5
    _, narrow, _ = run_iteration([variant(vf_clip=0.01)])
    # Clipping stops the gradient and not the optimizer's momentum: 0.05 against 0.15.
    assert value_moves(before, narrow) < 0.5 * value_moves(before, wide)
    # A mapped learning rate has the effect of a separate one.
    _, fast, _ = run_iteration([variant(vf_clip=1e9, learning_rate=4e-3)])
    assert distance(entry(fast, 0), experiments["large rate"][1]) < 1e-4


def test_key_determines_the_result():
    outcomes = []
    for seed in (0, 0, 1):
        scenario, learner = stack([Scenario(MARKET, (), horizon=HORIZON)]), stack([variant(vf_clip=1e9)])
        state = init(scenario, learner, jax.random.split(jax.random.key(seed), 1))
        outcomes.append(entry(advance(scenario, learner, state, jnp.asarray(3))[0], 0))
    assert distance(outcomes[0], outcomes[1]) == 0.0
    assert distance(outcomes[0], outcomes[2]) > 0.1


def test_episodes_start_at_all_times_of_the_horizon():
    learner, scenario = stack([variant(vf_clip=1e9)]), stack([Scenario(MARKET, (), horizon=HORIZON)])
    state = init(scenario, learner, jax.random.split(jax.random.key(0), 1))
    assert set(np.unique(state.carry.state.time)) == set(range(HORIZON))


def test_iterations_cover_total_timesteps():
    # One more iteration initializes the scales.
    assert (LEARNER.steps_per_iteration, LEARNER.iterations) == (512, 1 + 320)
    assert variant(total_timesteps=513).iterations == 1 + 2
    assert variant(total_timesteps=1).iterations == 1 + 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total_timesteps": 0}, "total_timesteps must be at least 1, but got 0"),
        ({"hidden_sizes": (32, 0)}, r"hidden_sizes must be sizes of at least 1, but got \(32, 0\)"),
        (
            {"num_minibatches": 3},
            r"num_minibatches must be a divisor of num_envs times num_steps \(512\), but got 3",
        ),
        ({"learning_rate": 0.0}, "learning_rate must be positive and finite, but got 0.0"),
        ({"learning_rate": np.inf}, "learning_rate must be positive and finite, but got inf"),
        ({"learning_rate_end": -1.0}, "learning_rate_end must be at least 0 and finite, but got -1.0"),
        ({"gamma": 1.0}, r"gamma must be in \[0, 1\), but got 1.0"),
        ({"gae_lambda": 1.5}, r"gae_lambda must be in \[0, 1\], but got 1.5"),
        ({"clip_eps": -0.2}, "clip_eps must be positive and finite, but got -0.2"),
        ({"vf_clip": 0.0}, "vf_clip must be positive and finite, but got 0.0"),
        ({"ent_coef": np.nan}, "ent_coef must be at least 0 and finite, but got nan"),
        ({"initial_std": 0.0}, "initial_std must be positive and finite, but got 0.0"),
        ({"final_std": 0.0}, r"final_std must be positive and at most initial_std \(0.5\), but got 0.0"),
        ({"final_std": 0.7}, r"final_std must be positive and at most initial_std \(0.5\), but got 0.7"),
    ],
)
def test_invalid_hyperparameters_are_rejected(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        variant(**changes)
