"""Probe environments for learners with networks: toy markets whose values and optimal actions are known by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from support.toys import Seen, Toy
from twosided.core.numeric import as_arrays
from twosided.core.scenario import Scenario

HORIZON = 8

# Known values: (market, gamma, V(age, coin), ages).
VALUES = {
    "single reward": (Toy(income=1.0, lifetime=1.0), 0.9, lambda age, coin: 1.0, [0]),
    "reward by the coin": (Toy(coin_income=1.0, lifetime=1.0), 0.9, lambda age, coin: coin, [0]),
    "bonus after two steps": (Toy(bonus=1.0, lifetime=2.0), 0.5, lambda age, coin: 0.5 ** (1 - age), [0, 1]),
    # 1 / (1 - γ), although the horizon cuts every episode at 8 steps. The age is hidden, because the network would
    # have to extrapolate to the age of the last observation, at which the policy never acts.
    "perpetual reward": (Toy(income=1.0, shows_age=0.0), 0.8, lambda age, coin: 5.0, [0]),
    # 1 + γ + ... + γ^(4 - age).
    "five rewards": (
        Toy(income=1.0, lifetime=5.0),
        0.8,
        lambda age, coin: (1 - 0.8 ** (5 - age)) / (1 - 0.8),
        [0, 1, 2, 3, 4],
    ),
}
# Known optimal actions: (market, actions for a coin of -1 and of 1).
ACTIONS = {
    "constant goal": (Toy(sharpness=1.0, goal=2.2, lifetime=1.0), (2.2, 2.2)),
    "goal by the coin": (Toy(sharpness=1.0, goal=1.0, tilt=1.5, lifetime=1.0), (-0.5, 2.5)),
    "delayed effect": (Toy(sharpness=1.0, goal=1.7, delayed=1.0, lifetime=2.0), (1.7, 1.7)),
    "goal outside the box": (Toy(sharpness=0.2, goal=6.0, lifetime=1.0), (4.0, 4.0)),
}


# Several learners, each on its own market, are stacked and mapped in one compiled program.


def stack(trees):
    """Stack the numeric leaves of trees of one structure; other leaves must be equal."""

    def stacked(first, *others):
        return first if isinstance(first, str) else jnp.stack([first, *others])

    return jax.tree.map(stacked, *map(as_arrays, trees))


def entry(tree, i):
    """Return entry i of a stacked tree."""
    return jax.tree.map(lambda leaf: leaf[i], tree)


@eqx.filter_jit
def init(scenarios, learners, keys):
    return eqx.filter_vmap(lambda scenario, learner, key: learner.init(scenario, key))(
        scenarios, learners, keys
    )


@eqx.filter_jit
def advance(scenarios, learners, states, iterations):
    def one(scenario, learner, state):
        return learner.train_chunk(scenario, state, iterations)

    return eqx.filter_vmap(one)(scenarios, learners, states)


class Trained:
    """Trained learners by name.

    `evaluate_critics(scenarios, learners, states)` returns the observations of the next steps and each critic's values.
    """

    def __init__(self, evaluate_critics, names, toys, learners, seed=0):
        self.evaluate_critics = evaluate_critics
        self.names = list(names)
        self.scenarios = stack([Scenario(toy, (), horizon=HORIZON) for toy in toys])
        self.learners = stack(learners)
        keys = jax.random.split(jax.random.key(seed), len(self.names))
        states = init(self.scenarios, self.learners, keys)
        iterations = jnp.asarray(learners[0].iterations)
        self.states, self.metrics = advance(self.scenarios, self.learners, states, iterations)

    def value_error(self, name, expected, ages):
        """Return the largest error of the critics on visited observations, which cover every age and coin."""
        evaluated = self.evaluate_critics(self.scenarios, self.learners, self.states)
        observations, values = entry(evaluated, self.names.index(name))
        assert set(np.unique(observations.age)) == set(ages)
        assert set(np.unique(observations.coin)) == {-1.0, 1.0}
        known = np.vectorize(expected, otypes=[float])(
            np.asarray(observations.age), np.asarray(observations.coin)
        )
        return np.abs(values - known[..., None]).max()

    def actions(self, name):
        """Return the actions of the policy at the start of an episode, for a coin of -1 and of 1."""
        i = self.names.index(name)
        scenario, learner, state = (entry(part, i) for part in (self.scenarios, self.learners, self.states))
        policy = learner.policy(scenario, state)
        zero = jnp.zeros(())
        return [float(policy.act(None, None, Seen(zero, zero + coin, zero))[0].x) for coin in (-1, 1)]


def with_gamma(gamma, learner):
    return eqx.tree_at(lambda x: x.gamma, learner, gamma)
