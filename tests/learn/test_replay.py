"""The ring: what it holds, that draws from it are uniform, and that a loop changes it where it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from twosided.learn.replay import Replay

ROW = {"x": jnp.zeros(2), "last": jnp.asarray(False)}


def rows(*numbers):
    """Rows that can be told apart."""
    x = jnp.asarray(numbers, float)
    return {"x": jnp.stack([x, -x], 1), "last": x > 2}


def held(replay):
    return np.asarray(replay.rows["x"][:, 0]).tolist()


def test_a_ring_by_hand():
    replay = Replay.empty(5, ROW)
    assert (replay.capacity, int(replay.size)) == (5, 0)
    replay = replay.add(rows(1, 2, 3))
    assert (held(replay), int(replay.next), int(replay.size)) == ([1, 2, 3, 0, 0], 3, 3)
    # The oldest give way, round the corner.
    replay = replay.add(rows(4, 5, 6))
    assert (held(replay), int(replay.next), int(replay.size)) == ([6, 2, 3, 4, 5], 1, 5)
    replay = replay.add(rows(7, 8, 9, 10, 11))
    assert (held(replay), int(replay.next), int(replay.size)) == ([11, 7, 8, 9, 10], 1, 5)
    np.testing.assert_array_equal(replay.rows["x"][:, 1], [-11, -7, -8, -9, -10])
    assert replay.rows["last"].dtype == bool and replay.rows["last"].all()


def test_draws_are_whole_rows_that_were_written_each_as_likely():
    replay, draws = Replay.empty(50, ROW).add(rows(*range(1, 21))), 20_000
    drawn = replay.sample(jax.random.key(0), draws)
    np.testing.assert_array_equal(drawn["x"][:, 0], -drawn["x"][:, 1])
    np.testing.assert_array_equal(drawn["last"], drawn["x"][:, 0] > 2)
    counts = np.bincount(np.asarray(drawn["x"][:, 0], int), minlength=22)
    assert counts[0] == counts[21] == 0
    # One seed in 1,000 has a smaller p-value.
    assert stats.chisquare(counts[1:21]).pvalue > 1e-3
    # Independent: a draw says nothing of the next.
    pairs = np.histogram2d(*(np.asarray(drawn["x"][i::2, 0]) for i in (0, 1)), bins=[[0.5, 10.5, 20.5]] * 2)[
        0
    ]
    assert stats.chi2_contingency(pairs).pvalue > 1e-3


def test_rings_side_by_side_are_rings_alone():
    alone = [Replay.empty(5, ROW).add(rows(*range(n))) for n in (1, 2, 4)]
    more = [rows(10, 11, 12), rows(20, 21, 22), rows(30, 31, 32)]
    stacked, new = (jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) for trees in (alone, more))
    keys = jax.random.split(jax.random.key(1), 3)
    after = jax.vmap(Replay.add)(stacked, new)
    drawn = jax.vmap(lambda replay, key: replay.sample(key, 7))(after, keys)
    for i in range(3):
        expected = alone[i].add(more[i])
        one = jax.tree.map(lambda leaf, i=i: leaf[i], (after, drawn))
        for a, b in zip(
            jax.tree.leaves(one), jax.tree.leaves((expected, expected.sample(keys[i], 7))), strict=True
        ):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("seeds", [None, 3])
@pytest.mark.parametrize(("count", "draws"), [(1, 1), (3, 4)])
def test_a_loop_changes_the_ring_where_it_is(seeds, count, draws):
    # A copy of the ring anywhere in the program would be 24 MB a seed of room beside what is given to it.
    def live(replay, key, steps):
        def step(_, carry):
            replay, key, total = carry
            key, here = jax.random.split(key)
            replay = replay.add({"x": jnp.full((count, 2), total), "last": jnp.ones(count, bool)})

            def learn(total, k):
                return total + replay.sample(k, 5)["x"].mean(), None

            return replay, key, jax.lax.scan(learn, total, jax.random.split(here, draws))[0]

        return jax.lax.fori_loop(0, steps, step, (replay, key, jnp.zeros(())))

    mapped = live if seeds is None else lambda r, k, n: jax.vmap(lambda r, k: live(r, k, n))(r, k)
    replay, key = Replay.empty(2_666_667, ROW), jax.random.key(0)
    if seeds:
        replay = jax.tree.map(lambda leaf: jnp.stack([leaf] * seeds), replay)
        key = jax.random.split(key, seeds)
    program = jax.jit(mapped, donate_argnums=0).lower(replay, key, 10).compile()
    analysis = program.memory_analysis()
    assert analysis.argument_size_in_bytes > 24e6 * (seeds or 1)
    assert analysis.temp_size_in_bytes < 1e5
    assert (np.asarray(program(replay, key, 10)[0].size) == 10 * count).all()


def test_more_than_it_holds_is_refused():
    with pytest.raises(AssertionError, match="more rows than the ring holds"):
        Replay.empty(2, ROW).add(rows(1, 2, 3))
