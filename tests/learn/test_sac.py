"""SAC on probe environments, equations by hand, resuming, memory, and control with an exact optimum."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from support import probes
from support.probes import ACTIONS, HORIZON, VALUES, advance, init, with_gamma
from support.toys import Move, Seen, Toy

from twosided.core import store
from twosided.core.market import Market
from twosided.core.numeric import Scalar
from twosided.core.policy import Policy
from twosided.core.rollout import rollout, start
from twosided.core.scenario import Scenario
from twosided.core.spaces import Box
from twosided.core.transition import PnL, Quotes, Transition
from twosided.learn.networks import features
from twosided.learn.sac import SAC, soft_target
from twosided.learn.train import Progress, state_shapes, train

pytestmark = [pytest.mark.extended, pytest.mark.optimised]

LEARNER = SAC(
    total_timesteps=24_000,
    num_envs=16,
    gradient_steps=4,
    batch_size=64,
    learning_starts=512,
    hidden_sizes=(32,),
    activation="tanh",
    actor_lr=3e-3,
    critic_lr=5e-3,
    tau=0.02,
    ent_coef=0.0,
    normalize_rewards=False,  # a constant reward has a standard deviation of 0
)


@eqx.filter_jit
def evaluate_critics(scenarios, learners, states):
    """Return the observations of the next steps while exploring, and both critics' values of the actions."""

    def one(scenario, learner, state):
        policy, agent = learner.policy(scenario, state, explore=True), state.agents
        scale = jnp.sqrt(agent.return_normalizer.variance) if learner.normalize_rewards else 1.0

        def value(observation, policy_state, step):
            # The action box is [-2, 4], with its centre at 1.
            x = jnp.append(agent.observation_normalizer(features(observation)), (step.action.x[0] - 1) / 3)
            return observation, scale * jnp.stack([critic(x)[0] for critic in agent.critics.params])

        return rollout(scenario, policy, state.carry, jax.random.key(1), HORIZON, value)[1]

    return eqx.filter_vmap(one)(scenarios, learners, states)


Trained = partial(probes.Trained, evaluate_critics)


def changed(**changes):
    return SAC(**{**vars(LEARNER), **changes})


@pytest.fixture(scope="module")
def fixed():
    """Learners with a fixed temperature: 0 for known values, which then have no entropy term, 0.1 for known actions."""
    names = [*VALUES, *ACTIONS]
    toys = [case[0] for case in (*VALUES.values(), *ACTIONS.values())]
    warm = eqx.tree_at(lambda x: x.ent_coef, LEARNER, 0.1)
    learners = [with_gamma(case[1], LEARNER) for case in VALUES.values()] + [with_gamma(0.9, warm)] * len(
        ACTIONS
    )
    return Trained(names, toys, learners)


@pytest.mark.parametrize("name", VALUES)
def test_critics_find_known_values(fixed, name):
    _, _, expected, ages = VALUES[name]
    # Treating truncation as termination costs 0.8 to 4.
    assert fixed.value_error(name, expected, ages) < 0.03


@pytest.mark.parametrize("name", ACTIONS)
def test_policy_finds_known_actions(fixed, name):
    # The box is 6 wide; the largest error of four seeds is 0.27.
    np.testing.assert_allclose(fixed.actions(name), ACTIONS[name][1], atol=0.3)


@pytest.fixture(scope="module")
def tuned():
    """Learners with automatic temperature tuning for two targets of the entropy, and with normalised rewards, layer
    normalisation and clipped gradients."""
    learner = changed(
        ent_coef="auto",
        target_entropy=-2.0,
        ent_coef_lr=3e-3,
        normalize_rewards=True,
        layer_norm=True,
        max_grad_norm=10.0,
    )
    wide = eqx.tree_at(lambda x: x.target_entropy, learner, -0.5)
    toys = [case[0] for case in ACTIONS.values()]
    return Trained(
        [*ACTIONS, "wide"], [*toys, toys[1]], [with_gamma(0.9, learner)] * 4 + [with_gamma(0.9, wide)]
    )


@pytest.mark.parametrize("name", ACTIONS)
def test_policy_finds_known_actions_with_automatic_temperature(tuned, name):
    # The largest error of four seeds is 0.042, and 0.1 at the edge of the box, which entropy keeps the mode away from.
    atol = 0.2 if name == "goal outside the box" else 0.1
    np.testing.assert_allclose(tuned.actions(name), ACTIONS[name][1], atol=atol)


def test_automatic_temperature_keeps_the_entropy_at_its_target(tuned):
    # In the last third of the training, where learning rates are a third of the initial ones and less.
    states = init(tuned.scenarios, tuned.learners, jax.random.split(jax.random.key(1), 5))
    states, _ = advance(tuned.scenarios, tuned.learners, states, jnp.asarray(1000))
    _, metrics = advance(tuned.scenarios, tuned.learners, states, jnp.asarray(500))
    np.testing.assert_allclose(metrics["entropy"], [-2, -2, -2, -2, -0.5], atol=0.1)
    # A higher target entropy needs a higher temperature.
    assert metrics["ent_coef"][4] > 3 * metrics["ent_coef"][1]


# Equations by hand.


def test_soft_target_by_hand():
    def target(terminated, log_prob):
        return float(
            soft_target(jnp.float32(2.0), jnp.asarray(terminated), jnp.array([7.0, 5.0]), log_prob, 0.5, 0.1)
        )

    # 2 + 0.5 (min(7, 5) - 0.1 · 3)
    assert target(False, jnp.float32(3.0)) == pytest.approx(4.35)
    assert target(False, jnp.float32(-3.0)) == pytest.approx(4.65)
    # A terminated episode is not bootstrapped.
    assert target(True, jnp.float32(3.0)) == 2.0


TINY = SAC(
    total_timesteps=160,
    num_envs=4,
    num_steps=2,
    gradient_steps=2,
    batch_size=8,
    buffer_size=48,
    learning_starts=20,
    hidden_sizes=(4,),
)
"""Twenty iterations, in which the buffer is overwritten about four times."""
SCENARIO = Scenario(Toy(income=0.5, sharpness=1.0, goal=2.0), (), horizon=8)


def test_warm_up_is_uniform_and_fills_the_buffer():
    learner = SAC(**{**vars(TINY), "learning_starts": 800, "buffer_size": 1000})
    scenario = Scenario(Toy(sharpness=1.0, goal=2.0, lifetime=5.0), (), horizon=4)
    buffer = jax.jit(lambda key: learner.init(scenario, key))(jax.random.key(0)).buffers
    # No more rows are allocated than there are steps.
    assert (buffer.capacity, int(buffer.size)) == (800 + 160, 800)
    rows = jax.tree.map(lambda leaf: np.asarray(leaf)[:800], buffer.rows)
    # Features are age, coin and the last action; the action box is [-2, 4].
    action = 1 + 3 * rows.action[:, 0]
    assert stats.kstest(action, stats.uniform(-2, 6).cdf).pvalue > 1e-3
    np.testing.assert_allclose(rows.reward, -((action - 2) ** 2), atol=1e-5)
    np.testing.assert_allclose(rows.next_observation[:, 0], rows.observation[:, 0] + 1)
    np.testing.assert_allclose(rows.next_observation[:, 2], action, atol=1e-6)
    # The horizon cuts an episode at 4, before the market terminates at 5.
    assert not rows.terminated.any()
    assert rows.next_observation[:, 0].max() == 4


# Chunks, resuming, other seeds, several learners, double precision.


def bits(progress):
    leaves = jax.tree.leaves(progress.states)
    return [
        np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
        for leaf in leaves
    ]


def test_resume_from_a_checkpoint_is_bit_identical(tmp_path):
    _, whole = train(SCENARIO, TINY, seeds=2, chunks=2)
    assert (whole.iteration, whole.states.buffers.size.tolist()) == (20, [48, 48])
    path = tmp_path / "checkpoint"
    train(
        SCENARIO,
        TINY,
        seeds=2,
        chunks=2,
        after_chunk=lambda p: store.write_checkpoint(path, p.states, {"iteration": p.iteration}) or True,
    )
    states = store.read_checkpoint(path, state_shapes(SCENARIO, TINY, seed=0, seeds=2))
    stopped = Progress(store.read_header(path)["iteration"], TINY.iterations, states, {})
    assert stopped.iteration == 10
    policies, resumed = train(SCENARIO, TINY, seeds=2, chunks=2, resume=stopped)
    for a, b in zip(bits(resumed), bits(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    # A chunk returns the types that it received, so the next chunk is not compiled again.
    initial = jax.eval_shape(jax.vmap(lambda key: TINY.init(SCENARIO, key)), whole.states.key)
    for a, b in zip(jax.tree.leaves(initial), jax.tree.leaves(whole.states), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, jax.typeof(b).weak_type)
    # A seed does not depend on the seeds beside it, and no two are equal.
    beside, _ = train(SCENARIO, TINY, seeds=3, chunks=2)
    for a, b in zip(jax.tree.leaves(policies), jax.tree.leaves(beside[:2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    first, *others = (policy.network.layers[0].weight for policy in beside)
    assert all(float(jnp.abs(first - other).max()) > 0.01 for other in others)


def test_each_of_two_learners_finds_its_own_optimal_action():
    market = Toy(sharpness=1.0, goal=jnp.array([2.2, 0.0]), num_makers=2, lifetime=1.0)
    learner = changed(ent_coef=0.1)
    policies, last = train(Scenario(market, (), horizon=HORIZON, learners=2), learner, chunks=1)
    zeros = jnp.zeros(2)
    played = policies[0].act(None, None, Seen(zeros, zeros + 1, zeros))[0].x
    np.testing.assert_allclose(played, [2.2, 0.0], atol=0.1)
    # Each has its own buffer of its own actions.
    actions = last.states.buffers.rows.action[0]
    assert (actions[0] != actions[1]).all(-1).mean() > 0.99


def test_training_updates_the_buffer_in_place():
    # A copy of the buffer anywhere in the program would need 33 MB of temporary memory. XLA is most likely to copy with
    # one row at a time and one draw.
    learner = SAC(
        **{
            **vars(TINY),
            "num_envs": 1,
            "num_steps": 1,
            "gradient_steps": 1,
            "total_timesteps": 10**6,
            "buffer_size": 10**6,
        }
    )
    state = jax.eval_shape(lambda key: learner.init(SCENARIO, key), jax.random.key(0))
    program = jax.jit(lambda state: learner.train_chunk(SCENARIO, state, jnp.asarray(10)), donate_argnums=0)
    analysis = program.lower(state).compile().memory_analysis()
    assert analysis.argument_size_in_bytes > 33e6
    assert analysis.temp_size_in_bytes < 1e6


def test_double_precision():
    with jax.enable_x64(True):
        state = jax.jit(lambda key: TINY.init(SCENARIO, key))(jax.random.key(0))
        state, metrics = jax.jit(lambda s: TINY.train_chunk(SCENARIO, s, jnp.asarray(3)))(state)
        for leaf in jax.tree.leaves((state, metrics)):
            if jnp.issubdtype(leaf.dtype, jnp.floating):
                assert leaf.dtype == jnp.float64
                assert np.isfinite(leaf).all()


# Control with an exact optimum: linear-quadratic control of an inventory.


class Held(eqx.Module):
    """Observation of a maker."""

    inventory: Any


class Warehouse(Market):
    """Market x' = x + u + ε with ε standard normal and reward -(x² + u²). By Riccati's equation, u = -K x is optimal,

    P = 1 + γ P - (γ P)² / (1 + γ P),  K = γ P / (1 + γ P),  and its value is -P x² plus a constant.
    """

    num_makers: int = eqx.field(static=True, default=1)

    @property
    def action_space(self):
        return Box(low=Move(jnp.asarray(-4.0)), high=Move(jnp.asarray(4.0)))

    def shocks(self, key, shape):
        return jax.random.normal(key, shape)

    def reset(self, shock):
        x = 2 * shock * jnp.ones(self.num_makers)
        return x, Held(x)

    def step(self, state, action, shock):
        after, zero = state + action.x + shock, jnp.zeros(self.num_makers)
        pay = -(jnp.square(state) + jnp.square(action.x))
        no = jnp.asarray(False)
        quotes = Quotes(zero, zero, zero, zero)
        pnl = PnL(pay, zero, zero, zero)
        return after, Transition(Held(after), pnl, quotes, state, zero, after, zero, zero, no)


class Proportional(Policy):
    """Policy u = -K x."""

    gain: Scalar

    def shocks(self, key, shape):
        return None

    def init(self):
        return None

    def act(self, shock, state, observation):
        return Move(-self.gain * observation.inventory), None


def test_linear_quadratic_control():
    scenario, gamma, steps = Scenario(Warehouse(), (), horizon=50), 0.9, 60
    p = 1.0
    for _ in range(1000):
        p = 1 + gamma * p - (gamma * p) ** 2 / (1 + gamma * p)
    gain = gamma * p / (1 + gamma * p)

    @eqx.filter_jit
    def cost(policy):
        """Return the discounted cost of every path over steps after which the discount is 0.2%."""
        carry = start(scenario, policy, jax.random.key(5), 4000)
        _, paid = rollout(scenario, policy, carry, jax.random.key(6), steps, lambda o, m, step: step.reward)
        return -(paid * gamma ** jnp.arange(steps)[:, None]).sum(0)

    best = np.asarray(cost(Proportional(gain)), float)
    # E[P x² + γ P / (1 - γ)] with x of variance 4; the reset by the horizon at step 50 changes it by 0.005.
    exact = 4 * p + gamma * p / (1 - gamma)
    assert abs(best.mean() - exact) < 4 * best.std() / np.sqrt(len(best)) + 0.01 * exact

    learner = SAC(
        total_timesteps=40_000,
        gradient_steps=2,
        batch_size=128,
        buffer_size=5000,
        hidden_sizes=(32, 32),
        gamma=gamma,
        actor_lr=1e-3,
        critic_lr=1e-3,
        ent_coef_lr=1e-3,
    )
    policies, _ = train(scenario, learner, seeds=3, chunks=1)
    ratios = [float(np.mean(np.asarray(cost(policy))) / best.mean()) for policy in policies]
    assert min(ratios) > 0.999
    # Six seeds: 1.0021 to 1.0164.
    assert np.mean(ratios) < 1.02
    assert max(ratios) < 1.03


# Errors.


def test_finite_actions_are_rejected():
    with pytest.raises(
        ValueError, match=r"^learner needs a market with continuous actions; ppo also takes a finite list"
    ):
        TINY.init(Scenario(Toy(space="list"), (), horizon=8), jax.random.key(0))


def test_iterations_cover_total_timesteps():
    assert (TINY.steps_per_iteration, TINY.iterations) == (8, 20)
    assert SAC(**{**vars(TINY), "total_timesteps": 161}).iterations == 21


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total_timesteps": 0}, "total_timesteps must be at least 1, but got 0"),
        ({"gradient_steps": 0}, "gradient_steps must be at least 1, but got 0"),
        ({"hidden_sizes": (32, 0)}, r"hidden_sizes must be sizes of at least 1, but got \(32, 0\)"),
        (
            {"buffer_size": 19},
            "buffer_size must be at least 20, the steps of a rollout or of learning_starts, but got 19",
        ),
        ({"critic_lr": 0.0}, "critic_lr must be positive and finite, but got 0.0"),
        ({"ent_coef_lr": np.inf}, "ent_coef_lr must be positive and finite, but got inf"),
        ({"initial_ent_coef": 0.0}, "initial_ent_coef must be positive and finite, but got 0.0"),
        ({"lr_end": -1.0}, "lr_end must be at least 0 and finite, but got -1.0"),
        ({"gamma": 1.0}, r"gamma must be in \[0, 1\), but got 1.0"),
        ({"tau": 0.0}, r"tau must be in \(0, 1\], but got 0.0"),
        ({"ent_coef": -0.1}, 'ent_coef must be at least 0 and finite, or "auto", but got -0.1'),
        (
            {"ent_coef": "automatic"},
            "ent_coef must be at least 0 and finite, or \"auto\", but got 'automatic'",
        ),
        ({"target_entropy": np.nan}, "target_entropy must be finite, but got nan"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be positive and finite, but got 0.0"),
    ],
)
def test_invalid_hyperparameters_are_rejected(unchecked_types, changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        SAC(**{**vars(TINY), **changes})
