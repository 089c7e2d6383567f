"""Advantages and returns against plain loops, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twosided.learn.returns import discounted_returns, generalized_advantages

LENGTH = 12


def stretch(seed, ends=0.2):
    """Rewards, values, next values, terminations and truncations of some steps."""
    rng = np.random.default_rng(seed)
    rewards, values, next_values = rng.normal(size=(3, LENGTH))
    terminated = rng.random(LENGTH) < ends
    truncated = (rng.random(LENGTH) < ends) & ~terminated
    return rewards, values, next_values, terminated, truncated


@jax.jit
def advantages_in_float32(*arguments):
    return generalized_advantages(*arguments)


def advantages(*arguments):
    with jax.enable_x64(True):
        return np.asarray(advantages_in_float32(*(jnp.asarray(argument) for argument in arguments)))


def loop(rewards, values, next_values, terminated, truncated, discount, decay):
    """A_t = Σ_l (γλ)^l δ_{t+l} up to the end of the episode, term by term."""
    out = []
    for t in range(LENGTH):
        total, weight = 0.0, 1.0
        for k in range(t, LENGTH):
            following = 0.0 if terminated[k] else next_values[k]
            total += weight * (rewards[k] + discount * following - values[k])
            weight *= discount * decay
            if terminated[k] or truncated[k]:
                break
        out.append(total)
    return out


@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.2, 0.6]), st.floats(0, 0.999), st.floats(0, 1))
def test_advantages_are_those_of_a_loop(seed, ends, discount, decay):
    experience = stretch(seed, ends)
    expected = loop(*experience, discount, decay)
    np.testing.assert_allclose(advantages(*experience, discount, decay), expected, rtol=1e-12, atol=1e-12)


def test_a_decay_of_0_is_the_error_of_one_step():
    rewards, values, next_values, terminated, truncated = stretch(1)
    expected = rewards + 0.9 * np.where(terminated, 0, next_values) - values
    actual = advantages(rewards, values, next_values, terminated, truncated, 0.9, 0.0)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_a_decay_of_1_is_the_whole_return_less_the_value():
    # One episode, values that agree with each other: V(s'_t) is V(s_{t+1}), so they telescope.
    rewards, values, next_values, *_ = stretch(2)
    next_values[:-1] = values[1:]
    never, at_the_end = np.zeros(LENGTH, bool), np.arange(LENGTH) == LENGTH - 1
    for terminated, truncated, last in [(at_the_end, never, 0.0), (never, at_the_end, next_values[-1])]:
        ahead = [
            sum(0.9 ** (k - t) * rewards[k] for k in range(t, LENGTH)) + 0.9 ** (LENGTH - t) * last
            for t in range(LENGTH)
        ]
        actual = advantages(rewards, values, next_values, terminated, truncated, 0.9, 1.0)
        np.testing.assert_allclose(actual, ahead - values, rtol=1e-11, atol=1e-12)


def test_a_truncation_is_bootstrapped_and_a_termination_is_not():
    # A reward of 1 for ever is worth 10 at a discount of 0.9. If that is known, nothing is a surprise where
    # the horizon cuts; where the market ends, what was expected of the future is lost.
    ones, tens = np.ones(LENGTH), np.full(LENGTH, 10.0)
    ends, never = np.arange(LENGTH) % 4 == 3, np.zeros(LENGTH, bool)
    cut = advantages(ones, tens, tens, never, ends, 0.9, 0.7)
    np.testing.assert_allclose(cut, 0, atol=1e-12)
    ended = advantages(ones, tens, tens, ends, never, 0.9, 0.7)
    np.testing.assert_allclose(ended, [-9 * (0.9 * 0.7) ** (3 - t % 4) for t in range(LENGTH)], rtol=1e-12)


def test_nothing_leaks_from_the_next_episode():
    rewards, values, next_values, *_ = stretch(3)
    end = np.arange(LENGTH) == 5
    for terminated, truncated in [(end, ~end & False), (~end & False, end)]:
        before = advantages(rewards, values, next_values, terminated, truncated, 0.9, 0.7)
        other = rewards + 100 * (np.arange(LENGTH) > 5)
        after = advantages(other, values, next_values, terminated, truncated, 0.9, 0.7)
        np.testing.assert_array_equal(after[:6], before[:6])
        assert (after[6:] != before[6:]).all()


def test_advantages_can_be_mapped_over_discount_and_decay():
    experience = stretch(4)
    discounts, decays = np.array([0.0, 0.5, 0.99]), np.array([0.0, 0.3, 1.0])
    mapped = jax.vmap(generalized_advantages, (None,) * 5 + (0, 0))(
        *map(jnp.asarray, experience), discounts, decays
    )
    for row, discount, decay in zip(mapped, discounts, decays, strict=True):
        np.testing.assert_allclose(row, loop(*experience, discount, decay), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("before", [0.0, 3.0])
def test_discounted_returns_are_those_of_a_loop(before):
    rewards, _, _, terminated, truncated = stretch(5)
    done = terminated | truncated
    assert done.sum() >= 2
    total, expected = before, []
    for reward, last in zip(rewards, done, strict=True):
        total = 0.9 * total + reward
        expected.append(total)
        total = 0.0 if last else total
    with jax.enable_x64(True):
        actual = discounted_returns(jnp.asarray(before), jnp.asarray(rewards), jnp.asarray(done), 0.9)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
