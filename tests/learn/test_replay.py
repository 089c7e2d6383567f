"""Replay buffer: its contents, uniform sampling, and updates in place inside a compiled loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from twosided.learn.replay import ReplayBuffer

ROW = {"x": jnp.zeros(2), "last": jnp.asarray(False)}


def rows(*numbers):
    """Distinguishable rows."""
    x = jnp.asarray(numbers, float)
    return {"x": jnp.stack([x, -x], 1), "last": x > 2}


def held(buffer):
    return np.asarray(buffer.rows["x"][:, 0]).tolist()


def test_contents_by_hand():
    buffer = ReplayBuffer.empty(5, ROW)
    assert (buffer.capacity, int(buffer.size)) == (5, 0)
    buffer = buffer.add(rows(1, 2, 3))
    assert (held(buffer), int(buffer.next), int(buffer.size)) == ([1, 2, 3, 0, 0], 3, 3)
    # The oldest rows are overwritten, past the end of the buffer.
    buffer = buffer.add(rows(4, 5, 6))
    assert (held(buffer), int(buffer.next), int(buffer.size)) == ([6, 2, 3, 4, 5], 1, 5)
    buffer = buffer.add(rows(7, 8, 9, 10, 11))
    assert (held(buffer), int(buffer.next), int(buffer.size)) == ([11, 7, 8, 9, 10], 1, 5)
    np.testing.assert_array_equal(buffer.rows["x"][:, 1], [-11, -7, -8, -9, -10])
    assert buffer.rows["last"].dtype == bool and buffer.rows["last"].all()


def test_sample_is_uniform_over_written_rows():
    buffer, draws = ReplayBuffer.empty(50, ROW).add(rows(*range(1, 21))), 20_000
    drawn = buffer.sample(jax.random.key(0), draws)
    np.testing.assert_array_equal(drawn["x"][:, 0], -drawn["x"][:, 1])
    np.testing.assert_array_equal(drawn["last"], drawn["x"][:, 0] > 2)
    counts = np.bincount(np.asarray(drawn["x"][:, 0], int), minlength=22)
    assert counts[0] == counts[21] == 0
    # One seed in 1,000 has a smaller p-value.
    assert stats.chisquare(counts[1:21]).pvalue > 1e-3
    # Consecutive draws are independent.
    pairs = np.histogram2d(*(np.asarray(drawn["x"][i::2, 0]) for i in (0, 1)), bins=[[0.5, 10.5, 20.5]] * 2)[
        0
    ]
    assert stats.chi2_contingency(pairs).pvalue > 1e-3


def test_mapped_buffers_equal_separate_ones():
    alone = [ReplayBuffer.empty(5, ROW).add(rows(*range(n))) for n in (1, 2, 4)]
    more = [rows(10, 11, 12), rows(20, 21, 22), rows(30, 31, 32)]
    stacked, new = (jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) for trees in (alone, more))
    keys = jax.random.split(jax.random.key(1), 3)
    after = jax.vmap(ReplayBuffer.add)(stacked, new)
    drawn = jax.vmap(lambda buffer, key: buffer.sample(key, 7))(after, keys)
    for i in range(3):
        expected = alone[i].add(more[i])
        one = jax.tree.map(lambda leaf, i=i: leaf[i], (after, drawn))
        for a, b in zip(
            jax.tree.leaves(one), jax.tree.leaves((expected, expected.sample(keys[i], 7))), strict=True
        ):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("seeds", [None, 3])
@pytest.mark.parametrize(("count", "draws"), [(1, 1), (3, 4)])
def test_loop_updates_the_buffer_in_place(seeds, count, draws):
    # A copy of the buffer anywhere in the program would need 24 MB of temporary memory per seed.
    def run(buffer, key, steps):
        def step(_, carry):
            buffer, key, total = carry
            key, key_step = jax.random.split(key)
            buffer = buffer.add({"x": jnp.full((count, 2), total), "last": jnp.ones(count, bool)})

            def learn(total, k):
                return total + buffer.sample(k, 5)["x"].mean(), None

            return buffer, key, jax.lax.scan(learn, total, jax.random.split(key_step, draws))[0]

        return jax.lax.fori_loop(0, steps, step, (buffer, key, jnp.zeros(())))

    mapped = run if seeds is None else lambda r, k, n: jax.vmap(lambda r, k: run(r, k, n))(r, k)
    buffer, key = ReplayBuffer.empty(2_666_667, ROW), jax.random.key(0)
    if seeds:
        buffer = jax.tree.map(lambda leaf: jnp.stack([leaf] * seeds), buffer)
        key = jax.random.split(key, seeds)
    program = jax.jit(mapped, donate_argnums=0).lower(buffer, key, 10).compile()
    analysis = program.memory_analysis()
    assert analysis.argument_size_in_bytes > 24e6 * (seeds or 1)
    assert analysis.temp_size_in_bytes < 1e5
    assert (np.asarray(program(buffer, key, 10)[0].size) == 10 * count).all()


def test_more_rows_than_the_capacity_are_rejected():
    with pytest.raises(AssertionError, match="more rows than the buffer holds"):
        ReplayBuffer.empty(2, ROW).add(rows(1, 2, 3))
