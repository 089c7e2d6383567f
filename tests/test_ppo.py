"""PPO on tiny markets whose values and best actions are known by hand, and what its parameters promise."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import Seen, Toy

from twosided.learn.ppo import PPO
from twosided.markets.base import Scenario, rollout
from twosided.policies.neural import features
from twosided.types import as_arrays

HORIZON = 8
COINS = (-1.0, 1.0)

LEARNER = PPO(
    steps=160_000,
    paths=32,
    rollout_steps=16,
    epochs=4,
    minibatches=4,
    hidden=(32,),
    learning_rate=5e-3,
    initial_std=0.5,
    decay=0.9,
    normalise_rewards=False,  # a constant reward has no deviation to divide by
)


@eqx.filter_jit
def begin(scenarios, learners, keys):
    return eqx.filter_vmap(lambda s, l, k: l.begin(s, k))(scenarios, learners, keys)


@eqx.filter_jit
def advance(scenarios, learners, states, iterations):
    return eqx.filter_vmap(lambda s, l, x: l.train_chunk(s, x, iterations))(scenarios, learners, states)


def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(as_arrays, trees))


def entry(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def learn(toys, learners, seed=0):
    """Train one learner on each of the toys, side by side in one program; their last states and metrics."""
    scenarios = stack([Scenario(toy, (), horizon=HORIZON) for toy in toys])
    learners = stack(learners)
    states = begin(scenarios, learners, jax.random.split(jax.random.key(seed), len(toys)))
    states, metrics = advance(scenarios, learners, states, jnp.asarray(LEARNER.iterations))
    return scenarios, learners, states, metrics


def seen(age, coin, last):
    return Seen(*(jnp.float32(x) for x in (age, coin, last)))


def value(state, observation):
    return float(state.networks.critic(state.observations(features(observation)))[0])


def best_number(scenario, learner, state, observation):
    action, _ = learner.policy(scenario, state).act(None, None, observation)
    return float(action.x)


# Values that are known: (market, discount, V(age, coin), ages).
VALUES = {
    "a reward, once": (Toy(income=1.0, lifetime=1.0), 0.9, lambda age, coin: 1.0, [0]),
    "what the coin said": (Toy(coin_income=1.0, lifetime=1.0), 0.9, lambda age, coin: coin, [0]),
    "a bonus in two steps": (Toy(bonus=1.0, lifetime=2.0), 0.5, lambda age, coin: 0.5 ** (1 - age), [0, 1]),
    # For ever, though the horizon cuts every episode at 8 steps: 1 / (1 - γ). A maker that saw its age would
    # have to guess what an age that it never acts at is worth.
    "a reward for ever": (Toy(income=1.0, shows_age=0.0), 0.8, lambda age, coin: 5.0, [0]),
    # Five times and no more: 1 + γ + ... + γ^(4 - age).
    "a reward five times": (
        Toy(income=1.0, lifetime=5.0),
        0.8,
        lambda age, coin: (1 - 0.8 ** (5 - age)) / (1 - 0.8),
        range(5),
    ),
}
# Best actions that are known: (market, number for each coin).
BANDITS = {
    "one best number": (Toy(sharpness=1.0, goal=2.2, lifetime=1.0), (2.2, 2.2)),
    "by the coin": (Toy(sharpness=1.0, goal=1.0, tilt=1.5, lifetime=1.0), (-0.5, 2.5)),
    "judged a step later": (Toy(sharpness=1.0, goal=1.7, delayed=1.0, lifetime=2.0), (1.7, 1.7)),
    "beyond the edge": (Toy(sharpness=0.2, goal=6.0, lifetime=1.0), (4.0, 4.0)),
}


@pytest.fixture(scope="module")
def trained():
    """A learner for each market of both lists, all in one program."""
    toys = [case[0] for case in (*VALUES.values(), *BANDITS.values())]
    discounts = [case[1] for case in VALUES.values()] + [0.9] * len(BANDITS)
    learners = [eqx.tree_at(lambda l: l.discount, LEARNER, discount) for discount in discounts]
    return learn(toys, learners)


@eqx.filter_jit
def valued(scenarios, learners, states):
    """Observations of the next steps, as the policy explores, and the values that its critic gives them."""

    def one(scenario, learner, state):
        policy = learner.policy(scenario, state, explore=True)
        key, record = jax.random.key(1), lambda seen, memory, step: seen
        _, seen = rollout(scenario, policy, state.carry, key, HORIZON, record)
        critic = lambda x: state.networks.critic(state.observations(features(x)))[0]  # noqa: E731
        return seen, jax.vmap(jax.vmap(critic))(seen)

    return eqx.filter_vmap(one)(scenarios, learners, states)


@pytest.mark.parametrize("name", VALUES)
def test_known_values(trained, name):
    _, _, expected, ages = VALUES[name]
    seen, values = entry(valued(*trained[:3]), list(VALUES).index(name))
    assert set(np.unique(seen.age)) == set(ages)
    assert set(np.unique(seen.coin)) == {-1.0, 1.0}
    known = np.vectorize(expected)(np.asarray(seen.age), np.asarray(seen.coin))
    print(name, np.abs(values - np.array(known)).max())


@pytest.mark.parametrize("name", BANDITS)
def test_known_best_actions(trained, name):
    i = len(VALUES) + list(BANDITS).index(name)
    scenario, learner, state = (entry(part, i) for part in trained[:3])
    for coin, expected in zip(COINS, BANDITS[name][1], strict=True):
        print(name, coin, best_number(scenario, learner, state, seen(0, coin, 0.0)), expected)
