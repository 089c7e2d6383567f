"""Probe environments for every learner with networks: toy markets whose values and best numbers are known by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from support.toys import Seen, Toy
from twosided.core.numeric import as_arrays
from twosided.core.scenario import Scenario

HORIZON = 8

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
        [0, 1, 2, 3, 4],
    ),
}
# Best numbers that are known: (market, for a coin of -1 and of 1).
NUMBERS = {
    "one best number": (Toy(sharpness=1.0, goal=2.2, lifetime=1.0), (2.2, 2.2)),
    "by the coin": (Toy(sharpness=1.0, goal=1.0, tilt=1.5, lifetime=1.0), (-0.5, 2.5)),
    "judged a step later": (Toy(sharpness=1.0, goal=1.7, delayed=1.0, lifetime=2.0), (1.7, 1.7)),
    "beyond the edge": (Toy(sharpness=0.2, goal=6.0, lifetime=1.0), (4.0, 4.0)),
}


# Any number of learners on as many markets of one structure, side by side in one program.


def stack(trees):
    def stacked(first, *others):
        return first if isinstance(first, str) else jnp.stack([first, *others])

    return jax.tree.map(stacked, *map(as_arrays, trees))


def entry(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


@eqx.filter_jit
def begin(scenarios, learners, keys):
    return eqx.filter_vmap(lambda scenario, learner, key: learner.begin(scenario, key))(
        scenarios, learners, keys
    )


@eqx.filter_jit
def advance(scenarios, learners, states, iterations):
    def one(scenario, learner, state):
        return learner.train_chunk(scenario, state, iterations)

    return eqx.filter_vmap(one)(scenarios, learners, states)


class Trained:
    """Learners at the end of their training, by name.

    `valued(scenarios, learners, states)` gives what is observed on the next steps, and each critic's value of it.
    """

    def __init__(self, valued, names, toys, learners, seed=0):
        self.valued = valued
        self.names = list(names)
        self.scenarios = stack([Scenario(toy, (), horizon=HORIZON) for toy in toys])
        self.learners = stack(learners)
        keys = jax.random.split(jax.random.key(seed), len(self.names))
        states = begin(self.scenarios, self.learners, keys)
        iterations = jnp.asarray(learners[0].iterations)
        self.states, self.metrics = advance(self.scenarios, self.learners, states, iterations)

    def known_value(self, name, expected, ages):
        """The largest error of the critics where the policy goes; every age and coin is seen there."""
        seen, values = entry(self.valued(self.scenarios, self.learners, self.states), self.names.index(name))
        assert set(np.unique(seen.age)) == set(ages)
        assert set(np.unique(seen.coin)) == {-1.0, 1.0}
        known = np.vectorize(expected, otypes=[float])(np.asarray(seen.age), np.asarray(seen.coin))
        return np.abs(values - known[..., None]).max()

    def best_numbers(self, name):
        """What the policy plays at the start of an episode, for a coin of -1 and of 1."""
        i = self.names.index(name)
        scenario, learner, state = (entry(part, i) for part in (self.scenarios, self.learners, self.states))
        policy = learner.policy(scenario, state)
        zero = jnp.zeros(())
        return [float(policy.act(None, None, Seen(zero, zero + coin, zero))[0].x) for coin in (-1, 1)]


def discounted(gamma, learner):
    return eqx.tree_at(lambda x: x.gamma, learner, gamma)
