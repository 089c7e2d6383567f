"""Neural policies: normalisation, distributions against SciPy, actions, exploration, joint policies, networks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from support.toys import Move, Seen

from twosided.core.numeric import as_arrays
from twosided.core.spaces import Box, Discrete
from twosided.dealer.market import DealerAction, DealerMarket
from twosided.learn.networks import (
    Categorical,
    DiagonalGaussian,
    Explorer,
    JointPolicy,
    NeuralPolicy,
    Normalizer,
    UniformExplorer,
    action_size,
    features,
    mlp,
)

pytestmark = pytest.mark.extended

SEEN = Seen(age=jnp.float32(2.0), coin=jnp.float32(-1.0), last=jnp.float32(0.5))
QUOTES = Box(low=DealerAction(-1.0, -0.5, 0.0), high=DealerAction(1.0, 2.0, 1.0))
LIST = Discrete(Move(jnp.array([-2.0, 0.0, 1.0, 5.0])))


def policy_over(space, log_std=0.0, scale=1.0, seed=0, **options):
    size = action_size(space)
    network = mlp(3, size, (8,), "tanh", scale, jax.random.key(seed))
    std = jnp.full(size if isinstance(space, Box) else 0, log_std)
    return NeuralPolicy(network, std, Normalizer.identity(3), space, **options)


def sample_actions(policy, draws, seed=1):
    """Return actions drawn repeatedly for one observation."""
    shocks = policy.shocks(jax.random.key(seed), (draws,))
    if shocks is None:
        return policy.act(None, policy.init(), SEEN)[0]
    return jax.jit(jax.vmap(lambda shock: policy.act(shock, policy.init(), SEEN)[0]))(shocks)


# Normalisation.


@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(0, 2**31))
def test_merged_batches_have_the_mean_and_variance_of_all_data(sizes, seed):
    rows = np.random.default_rng(seed).normal([0.0, 100.0, -3.0], [1.0, 0.5, 20.0], (sum(sizes), 3))
    with jax.enable_x64(True):
        merged = Normalizer.empty(3)
        for batch in np.split(rows, np.cumsum(sizes)[:-1]):
            merged = merged.update(jnp.asarray(batch))
    np.testing.assert_allclose(merged.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(merged.variance, rows.var(0), rtol=1e-10, atol=1e-12)
    assert float(merged.count) == len(rows)


def test_limited_count_forgets_old_data():
    # With a limit of 100, a batch of 100 has the weight of all data before it: after ten, 2^-10 of the first is left.
    normalizer = Normalizer.empty(1).update(jnp.full((1000, 1), 1024.0)).limit_count(100)
    for _ in range(10):
        normalizer = normalizer.update(jnp.zeros((100, 1))).limit_count(100)
    assert float(normalizer.mean[0]) == pytest.approx(1.0, rel=1e-5)
    assert float(normalizer.count) == 100


def test_normalizer_without_data_returns_zeros_and_the_identity_its_argument():
    x = jnp.array([-3.0, 0.0, 0.25])
    np.testing.assert_array_equal(Normalizer.empty(3)(x), 0 * x)
    np.testing.assert_array_equal(Normalizer.identity(3)(x), x)


@pytest.mark.parametrize("unit", [1e-8, 1e-4, 1.0, 1e4])
def test_normalized_values_do_not_depend_on_the_unit(unit):
    rows = unit * np.random.default_rng(0).normal(3.0, 0.5, (4096, 1))
    normalizer = Normalizer.empty(1).update(jnp.float32(rows[:2048])).update(jnp.float32(rows[2048:]))
    scaled = np.asarray(jax.vmap(normalizer)(jnp.float32(rows)), float)
    assert scaled.mean() == pytest.approx(0.0, abs=1e-4)
    assert scaled.std() == pytest.approx(1.0, abs=1e-4)


def test_constant_is_normalized_to_zero():
    constants = jnp.float32([100.0, 0.1, 0.0, -1e-4])
    normalizer = Normalizer.empty(4)
    for _ in range(100):
        normalizer = normalizer.update(jnp.tile(constants, (512, 1)))
    np.testing.assert_allclose(normalizer(constants), 0.0, atol=0.1)


def test_outliers_are_clipped():
    normalizer = Normalizer(jnp.array([1.0]), jnp.array([4.0]), jnp.array(10.0))
    np.testing.assert_allclose(normalizer(jnp.array([4.0])), [1.5], rtol=1e-6)
    assert normalizer(jnp.array([1e6])) == 10.0
    assert normalizer(jnp.array([-1e6]), limit=3.0) == -3.0


# Distributions.


def test_gaussian_equals_scipy():
    mean, log_std, u = np.array([0.5, -1.0, 3.0]), np.array([-1.0, 0.0, 0.7]), np.array([0.1, 0.2, 0.3])
    with jax.enable_x64(True):
        gaussian = DiagonalGaussian(*map(jnp.asarray, (mean, log_std)))
        log_prob, entropy = float(gaussian.log_prob(jnp.asarray(u))), float(gaussian.entropy())
        sample, mode = gaussian.sample(jnp.asarray(u)), gaussian.mode()
    distribution = stats.multivariate_normal(mean, np.diag(np.exp(2 * log_std)))
    assert log_prob == pytest.approx(distribution.logpdf(u), rel=1e-12)
    assert entropy == pytest.approx(distribution.entropy(), rel=1e-12)
    np.testing.assert_allclose(sample, mean + np.exp(log_std) * u, rtol=1e-12)
    np.testing.assert_array_equal(mode, mean)


def test_log_prob_of_tanh_by_change_of_variables_and_quadrature():
    with jax.enable_x64(True):
        gaussian = DiagonalGaussian(jnp.array([0.5, -1.0]), jnp.array([-1.0, 0.3]))
        u = jnp.array([0.7, -2.0])
        _, determinant = np.linalg.slogdet(jax.jacobian(jnp.tanh)(u))
        assert float(gaussian.log_prob_of_tanh(u)) == pytest.approx(
            float(gaussian.log_prob(u) - determinant), rel=1e-12
        )
        one = DiagonalGaussian(jnp.array([0.5]), jnp.array([-0.2]))

        def density(a):
            return float(jnp.exp(one.log_prob_of_tanh(jnp.arctanh(jnp.array([a])))))

        assert integrate.quad(density, -1 + 1e-12, 1 - 1e-12)[0] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("u", [-40.0, -12.0, 9.0, 30.0])
def test_log_prob_of_tanh_is_accurate_where_tanh_rounds_to_1(u):
    gaussian = DiagonalGaussian(jnp.array([u]), jnp.array([0.0]))
    # 1 - tanh² u = 4 / (e^|u| + e^-|u|)², which is 4 e^-2|u| with a relative error of 1e-7.
    expected = -0.5 * np.log(2 * np.pi) - np.log(4) + 2 * abs(u)
    value, slope = jax.value_and_grad(gaussian.log_prob_of_tanh)(jnp.array([u]))
    assert float(value) == pytest.approx(expected, rel=1e-6)
    assert float(slope[0]) == pytest.approx(2 * np.sign(u), rel=1e-6)


def test_categorical_equals_scipy():
    logits = np.array([0.5, -1.0, 3.0, 2.0])
    p = np.exp(logits) / np.exp(logits).sum()
    with jax.enable_x64(True):
        categorical = Categorical(jnp.asarray(logits))
        log_probs = [float(categorical.log_prob(jnp.asarray(float(i)))) for i in range(4)]
        entropy, mode = float(categorical.entropy()), float(categorical.mode())
    np.testing.assert_allclose(log_probs, np.log(p), rtol=1e-12)
    assert entropy == pytest.approx(stats.entropy(p), rel=1e-12)
    assert mode == 2.0


def test_gumbel_shocks_sample_the_categorical():
    logits, draws = jnp.array([0.5, -1.0, 3.0, 2.0]), 50_000
    noise = jax.random.gumbel(jax.random.key(0), (draws, 4))
    sampled = np.asarray(jax.vmap(Categorical(logits).sample)(noise)).astype(int)
    expected = draws * np.asarray(jax.nn.softmax(logits), float)
    # One seed in 1,000 has a smaller p-value.
    assert stats.chisquare(np.bincount(sampled), expected * draws / expected.sum()).pvalue > 1e-3


# Actions.


def test_unit_box_maps_to_the_action_box():
    policy = policy_over(QUOTES)
    for u, expected in [
        ([-1.0, -1.0, -1.0], (-1.0, -0.5, 0.0)),
        ([1.0, 1.0, 1.0], (1.0, 2.0, 1.0)),
        ([0.0, 0.2, -0.5], (0.0, 1.0, 0.25)),
        ([-7.0, 5.0, 1.5], (-1.0, 2.0, 1.0)),
    ]:
        action = policy.action(jnp.array(u))
        actual = action.epsilon_buy, action.epsilon_sell, action.hedge_fraction
        np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_squash_maps_by_tanh():
    policy, u = policy_over(QUOTES, squash=True), np.array([-3.0, 0.3, 9.0])
    action = policy.action(jnp.asarray(u))
    unit = (np.tanh(u) + 1) / 2
    actual = action.epsilon_buy, action.epsilon_sell, action.hedge_fraction
    np.testing.assert_allclose(actual, [-1 + 2 * unit[0], -0.5 + 2.5 * unit[1], unit[2]], rtol=1e-5)


def test_index_maps_to_its_action():
    policy = policy_over(LIST)
    assert [float(policy.action(jnp.float32(i)).x) for i in range(4)] == [-2.0, 0.0, 1.0, 5.0]


@pytest.mark.parametrize("space", [QUOTES, LIST], ids=["box", "list"])
def test_mode_needs_no_shocks(space):
    policy = policy_over(space)
    assert policy.shocks(jax.random.key(0), (5,)) is None
    action = sample_actions(policy, 1)
    best = policy.action(policy.distribution(SEEN).mode())
    for a, b in zip(jax.tree.leaves(action), jax.tree.leaves(best), strict=True):
        np.testing.assert_array_equal(a, b)


def test_exploration_of_a_box_samples_around_the_mode():
    # A standard deviation so small that nothing is clipped: 0.01 in the unit box; 0.01, 0.0125 and 0.005 in actions.
    policy, draws = policy_over(QUOTES, log_std=np.log(1e-2), scale=0.01, explore=True), 20_000
    actions = np.stack(jax.tree.leaves(sample_actions(policy, draws))).astype(float)
    mode = np.stack(jax.tree.leaves(sample_actions(policy_over(QUOTES, scale=0.01), 1)))
    std = 1e-2 * np.array([1.0, 1.25, 0.5])
    assert (np.abs(actions.mean(1) - mode) < 4 * std / np.sqrt(draws) + 1e-6).all()
    assert (np.abs(actions.std(1) / std - 1) < 4 / np.sqrt(2 * draws)).all()
    assert np.abs(np.corrcoef(actions) - np.eye(3)).max() < 4 / np.sqrt(draws)


def test_exploration_of_a_list_samples_its_distribution():
    policy, draws = policy_over(LIST, explore=True), 20_000
    sampled = np.asarray(sample_actions(policy, draws).x)
    p = np.asarray(jax.nn.softmax(policy.distribution(SEEN).logits), float)
    counts = [np.sum(sampled == x) for x in np.asarray(LIST.actions.x)]
    assert stats.chisquare(counts, draws * p / p.sum()).pvalue > 1e-3


@pytest.mark.parametrize("space", [QUOTES, LIST], ids=["box", "list"])
def test_explorer_keeps_its_draw(space):
    policy = policy_over(space, explore=True)
    explorer = Explorer(policy)
    shock = explorer.shocks(jax.random.key(2), ())
    action, draw = explorer.act(shock, explorer.init(), SEEN)
    expected, _ = policy.act(shock, None, SEEN)
    assert jax.tree.leaves(action) == jax.tree.leaves(expected)
    assert jax.tree.leaves(action) == jax.tree.leaves(policy.action(draw.u))
    assert draw.log_prob == policy.distribution(SEEN).log_prob(draw.u)
    # The policy state keeps its shapes and types, as a loop carry must.
    for before, after in zip(jax.tree.leaves(explorer.init()), jax.tree.leaves(draw), strict=True):
        assert (before.shape, before.dtype) == (after.shape, after.dtype)


def test_network_receives_normalized_features():
    policy = policy_over(QUOTES)
    shifted = eqx.tree_at(
        lambda p: p.normalizer, policy, Normalizer(features(SEEN), jnp.ones(3), jnp.asarray(1.0))
    )
    np.testing.assert_allclose(shifted.distribution(SEEN).mean, policy.head(jnp.zeros(3)).mean, rtol=1e-6)
    assert (policy.distribution(SEEN).mean != shifted.distribution(SEEN).mean).any()


def test_std_can_depend_on_the_observation():
    size = action_size(QUOTES)
    network = mlp(3, 2 * size, (8,), "tanh", 1.0, jax.random.key(0))
    policy = NeuralPolicy(network, None, Normalizer.identity(3), QUOTES, squash=True, explore=True)
    output = network(features(SEEN))
    distribution = policy.distribution(SEEN)
    np.testing.assert_array_equal(distribution.mean, output[:size])
    np.testing.assert_array_equal(distribution.log_std, output[size:])
    assert policy.shocks(jax.random.key(1), (5,)).shape == (5, size)
    # It is bounded, so that it is finite for any output of the network.
    far = eqx.tree_at(lambda p: p.network.layers[-1].bias, policy, jnp.array([0.0] * 3 + [-1e9, 0.0, 1e9]))
    np.testing.assert_allclose(far.distribution(SEEN).log_std[jnp.array([0, 2])], [-20.0, 2.0])


def test_uniform_explorer_is_uniform_over_the_box_and_keeps_its_draw():
    explorer, draws = UniformExplorer(policy_over(QUOTES, squash=True)), 5000
    shocks = explorer.shocks(jax.random.key(3), (draws,))
    actions, drawn = jax.vmap(lambda shock: explorer.act(shock, explorer.init(), SEEN))(shocks)
    for name, low, high in [("epsilon_buy", -1, 1), ("epsilon_sell", -0.5, 2), ("hedge_fraction", 0, 1)]:
        # One seed in 1,000 has a smaller p-value.
        uniform = stats.uniform(low, high - low)
        assert stats.kstest(np.asarray(getattr(actions, name)), uniform.cdf).pvalue > 1e-3
    np.testing.assert_allclose(np.tanh(drawn.u)[:, 0], actions.epsilon_buy, atol=1e-6)
    for before, after in zip(jax.tree.leaves(explorer.init()), jax.tree.leaves(drawn), strict=True):
        assert (before.shape, before.dtype) == (after.shape[1:], after.dtype)


# Policies of several learners.

THREE_SEEN = Seen(
    age=jnp.array([2.0, 0.0, 1.0]), coin=jnp.array([-1.0, 1.0, 1.0]), last=jnp.array([0.5, 3.0, -2.0])
)


def joint_policy(policies):
    return JointPolicy(jax.tree.map(lambda *leaves: jnp.stack(leaves), *policies))


def assert_close(tree, other):
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        assert a.shape == jnp.shape(b)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def stacked(trees, axis=0):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *trees)


@pytest.mark.parametrize("space", [QUOTES, LIST], ids=["box", "list"])
def test_joint_policy_acts_as_its_policies_do(space):
    space = as_arrays(space)
    alone = [Explorer(policy_over(space, -float(i), seed=i, explore=True)) for i in range(3)]
    both, key = joint_policy(alone), jax.random.key(5)
    keys = jax.random.split(key, 3)
    # The axes of time and environments come before that of learners.
    shocks = both.shocks(key, (4, 2))
    separate = [policy.shocks(k, (4, 2)) for policy, k in zip(alone, keys, strict=True)]
    np.testing.assert_array_equal(shocks, stacked(separate, axis=2))
    assert len(np.unique(shocks)) == shocks.size
    assert_close(both.init(), stacked([policy.init() for policy in alone]))
    acted = both.act(shocks[1, 0], both.init(), THREE_SEEN)
    seen = [jax.tree.map(lambda leaf, i=i: leaf[i], THREE_SEEN) for i in range(3)]
    assert_close(
        acted, stacked([alone[i].act(separate[i][1, 0], alone[i].init(), seen[i]) for i in range(3)])
    )


def test_joint_policy_of_modes_needs_no_shocks():
    alone = [policy_over(as_arrays(QUOTES), seed=i) for i in range(3)]
    both = joint_policy(alone)
    assert both.shocks(jax.random.key(0), (4, 2)) is None
    assert both.init() is None
    action, state = both.act(None, None, THREE_SEEN)
    seen = [jax.tree.map(lambda leaf, i=i: leaf[i], THREE_SEEN) for i in range(3)]
    assert_close(action, stacked([alone[i].act(None, None, seen[i])[0] for i in range(3)]))
    assert state is None
    # The policies differ, both on different observations and on equal ones.
    same = both.act(None, None, jax.tree.map(lambda leaf: leaf[jnp.zeros(3, int)], THREE_SEEN))[0]
    assert len(np.unique(action.epsilon_buy)) == len(np.unique(same.epsilon_buy)) == 3


def test_joint_policy_separates_into_its_policies():
    alone = [policy_over(as_arrays(QUOTES), seed=i) for i in range(3)]
    both = joint_policy(alone)
    assert both.count == len(both.policies) == 3
    for one, other in zip(both.policies, alone, strict=True):
        assert jax.tree.structure(one) == jax.tree.structure(other)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)


# Networks and features.


def test_features_contain_the_whole_observation():
    np.testing.assert_array_equal(features(SEEN), [2.0, -1.0, 0.5])
    market = DealerMarket()
    seen = jax.tree.map(lambda leaf: leaf[0], market.reset(market.shocks(jax.random.key(0), ()))[1])
    assert features(seen).shape == (7 + market.book.num_levels,)
    assert features({"count": jnp.int32(3), "open": jnp.array([True, False])}).tolist() == [3.0, 1.0, 0.0]


def test_action_size():
    assert (action_size(QUOTES), action_size(LIST)) == (3, 4)


@pytest.mark.parametrize("hidden", [(), (5,), (7, 3)])
def test_mlp_by_hand(hidden):
    network = mlp(4, 2, hidden, "tanh", 0.5, jax.random.key(0))
    assert [layer.weight.shape for layer in network.layers] == list(
        zip([*hidden, 2], [4, *hidden], strict=True)
    )
    x = np.random.default_rng(0).normal(size=4)
    expected = x
    for i, layer in enumerate(network.layers):
        assert not np.asarray(layer.bias).any()
        expected = np.asarray(layer.weight, float) @ expected
        expected = expected if i == len(hidden) else np.tanh(expected)
    np.testing.assert_allclose(network(jnp.float32(x)), expected, rtol=1e-5)


def test_layer_norm_by_hand():
    network = mlp(4, 2, (7, 5), "relu", 0.5, jax.random.key(0), layer_norm=True)
    plain = mlp(4, 2, (7, 5), "relu", 0.5, jax.random.key(0))
    x = expected = np.random.default_rng(0).normal(size=4)
    for i, layer in enumerate(plain.layers):
        expected = np.asarray(layer.weight, float) @ expected
        if i < 2:
            expected = np.maximum((expected - expected.mean()) / expected.std(), 0)
    np.testing.assert_allclose(network(jnp.float32(x)), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "at_minus_1"), [("tanh", np.tanh(-1)), ("relu", 0.0), ("silu", -0.2689414)]
)
def test_activation(activation, at_minus_1):
    network = mlp(1, 1, (1,), activation, 1.0, jax.random.key(0))
    network = eqx.tree_at(
        lambda n: [layer.weight for layer in n.layers], network, [jnp.array([[-1.0]]), jnp.array([[2.0]])]
    )
    np.testing.assert_allclose(network(jnp.array([1.0])), [2 * at_minus_1], rtol=1e-5, atol=1e-7)


def test_initial_weights_keep_the_input_scale_and_scale_the_output_layer():
    x = jax.random.normal(jax.random.key(1), (512, 64))
    network = mlp(64, 256, (), "tanh", 1.0, jax.random.key(0))
    # 64 · 256 weights of variance 1/64: the variance of the outputs is 1, up to √(2 / 16,384) and sampling error.
    assert float(jax.vmap(network)(x).std()) == pytest.approx(1.0, abs=0.05)
    small = mlp(64, 256, (), "tanh", 0.01, jax.random.key(0))
    np.testing.assert_allclose(small.layers[-1].weight, 0.01 * network.layers[-1].weight, rtol=1e-5)
