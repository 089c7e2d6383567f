"""Persistent and random market makers: distribution of their actions, and invalid parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter

OBSERVATION = jax.tree.map(
    lambda leaf: leaf[0], DealerMarket().reset(DealerMarket().shocks(jax.random.key(0), ()))[1]
)
"""Observation of one maker; the policies under test use only its dtype."""
DRAWS = 50_000


def sampled_actions(policy):
    shocks = policy.shocks(jax.random.key(1), (DRAWS,))
    action, state = jax.vmap(lambda shock: policy.act(shock, policy.init(), OBSERVATION))(shocks)
    assert state is None
    return {name: np.asarray(value, float) for name, value in vars(action).items()}


def test_persistent_quoter_action_is_constant():
    policy = PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=0.25, hedge=0.75)
    assert policy.shocks(jax.random.key(0), (10,)) is None
    action, state = policy.act(None, policy.init(), OBSERVATION)
    assert (action.epsilon_buy, action.epsilon_sell, action.hedge_fraction) == (-0.5, 0.25, 0.75)
    assert state is None


@pytest.mark.parametrize("x64", [False, True])
def test_persistent_quoter_action_has_dtype_of_observation(x64):
    with jax.enable_x64(x64):
        observation = jax.tree.map(lambda leaf: leaf.astype(float), OBSERVATION)
        action, _ = PersistentQuoter().act(None, None, observation)
    assert {leaf.dtype for leaf in jax.tree.leaves(action)} == {jnp.dtype("float64" if x64 else "float32")}


@pytest.mark.parametrize(
    "policy",
    [
        RandomQuoter(),
        RandomQuoter(low=-0.5, high=0.25, hedge_low=0.1, hedge_high=0.3),
        RandomQuoter(low=0.3, high=0.3),
    ],
)
def test_random_quoter_components_are_uniform_and_uncorrelated(policy):
    drawn = sampled_actions(policy)
    hedges = policy.hedge_low, policy.hedge_high
    ranges = {"epsilon_buy": (policy.low, policy.high), "epsilon_sell": (policy.low, policy.high)}
    for name, (low, high) in {**ranges, "hedge_fraction": hedges}.items():
        x, width = drawn[name], high - low
        assert x.min() >= low - 1e-7 and x.max() <= high + 1e-7
        # Four standard errors of the mean of a uniform, and of its second moment about the middle.
        assert abs(x.mean() - (low + high) / 2) <= 4 * width / np.sqrt(12 * DRAWS) + 1e-7
        squares = (x - (low + high) / 2) ** 2
        assert abs(squares.mean() - width**2 / 12) <= 4 * squares.std() / np.sqrt(DRAWS) + 1e-7
    if policy.low < policy.high:
        assert np.abs(np.corrcoef(list(drawn.values())) - np.eye(3)).max() < 4 / np.sqrt(DRAWS)


def test_symmetric_random_quoter_has_equal_epsilons():
    drawn = sampled_actions(RandomQuoter(low=-0.5, high=0.5, symmetric=True))
    np.testing.assert_array_equal(drawn["epsilon_buy"], drawn["epsilon_sell"])
    assert abs(np.corrcoef(drawn["epsilon_buy"], drawn["hedge_fraction"])[0, 1]) < 4 / np.sqrt(DRAWS)


def test_random_quoter_draws_differ_between_steps_and_paths():
    policy = RandomQuoter()
    shocks = policy.shocks(jax.random.key(0), (20, 30))
    for leaf in jax.tree.leaves(shocks):
        assert leaf.shape == (20, 30)
        assert len(np.unique(leaf)) == 600


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PersistentQuoter(epsilon_buy=1.5), r"epsilon_buy must be in \[-1, 1\], but got 1.5"),
        (lambda: PersistentQuoter(epsilon_sell=-1.1), r"epsilon_sell must be in \[-1, 1\], but got -1.1"),
        (lambda: PersistentQuoter(epsilon_sell=np.nan), r"epsilon_sell must be in \[-1, 1\], but got nan"),
        (lambda: PersistentQuoter(hedge=1.01), r"hedge must be in \[0, 1\], but got 1.01"),
        (lambda: RandomQuoter(low=-2.0), r"low must be in \[-1, 1\], but got -2.0"),
        (lambda: RandomQuoter(high=np.inf), r"high must be in \[-1, 1\], but got inf"),
        (lambda: RandomQuoter(low=0.5, high=0.0), r"high must be at least low \(0.5\), but got 0.0"),
        (lambda: RandomQuoter(hedge_low=-0.1), r"hedge_low must be in \[0, 1\], but got -0.1"),
        (
            lambda: RandomQuoter(hedge_low=0.5, hedge_high=0.4),
            r"hedge_high must be in \[hedge_low, 1\] \(\[0.5, 1\]\), but got 0.4",
        ),
    ],
)
def test_invalid_parameters_are_rejected(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()
