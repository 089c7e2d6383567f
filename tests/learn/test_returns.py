"""Advantages and discounted returns against plain loops, and their limiting cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twosided.learn.returns import discounted_returns, generalized_advantages

LENGTH = 12


def experience_of(seed, ends=0.2):
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


def loop(rewards, values, next_values, terminated, truncated, gamma, gae_lambda):
    """A_t = Σ_l (γλ)^l δ_{t+l} up to the end of the episode, term by term."""
    out = []
    for t in range(LENGTH):
        total, weight = 0.0, 1.0
        for k in range(t, LENGTH):
            next_value = 0.0 if terminated[k] else next_values[k]
            total += weight * (rewards[k] + gamma * next_value - values[k])
            weight *= gamma * gae_lambda
            if terminated[k] or truncated[k]:
                break
        out.append(total)
    return out


@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.2, 0.6]), st.floats(0, 0.999), st.floats(0, 1))
def test_advantages_equal_a_plain_loop(seed, ends, gamma, gae_lambda):
    experience = experience_of(seed, ends)
    actual = advantages(*experience, gamma, gae_lambda)
    np.testing.assert_allclose(actual, loop(*experience, gamma, gae_lambda), rtol=1e-12, atol=1e-12)


def test_gae_lambda_0_gives_one_step_errors():
    rewards, values, next_values, terminated, truncated = experience_of(1)
    expected = rewards + 0.9 * np.where(terminated, 0, next_values) - values
    actual = advantages(rewards, values, next_values, terminated, truncated, 0.9, 0.0)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_gae_lambda_1_gives_the_return_less_the_value():
    # One episode with consistent values, V(s'_t) = V(s_{t+1}), so the errors telescope.
    rewards, values, next_values, *_ = experience_of(2)
    next_values[:-1] = values[1:]
    never, at_the_end = np.zeros(LENGTH, bool), np.arange(LENGTH) == LENGTH - 1
    for terminated, truncated, last in [(at_the_end, never, 0.0), (never, at_the_end, next_values[-1])]:
        returns = [
            sum(0.9 ** (k - t) * rewards[k] for k in range(t, LENGTH)) + 0.9 ** (LENGTH - t) * last
            for t in range(LENGTH)
        ]
        actual = advantages(rewards, values, next_values, terminated, truncated, 0.9, 1.0)
        np.testing.assert_allclose(actual, returns - values, rtol=1e-11, atol=1e-12)


def test_truncation_is_bootstrapped_and_termination_is_not():
    # A perpetual reward of 1 is worth 10 at γ = 0.9. With these values every error is 0 at a truncation, and the
    # expected future rewards are lost at a termination.
    ones, tens = np.ones(LENGTH), np.full(LENGTH, 10.0)
    ends, never = np.arange(LENGTH) % 4 == 3, np.zeros(LENGTH, bool)
    cut = advantages(ones, tens, tens, never, ends, 0.9, 0.7)
    np.testing.assert_allclose(cut, 0, atol=1e-12)
    terminal = advantages(ones, tens, tens, ends, never, 0.9, 0.7)
    np.testing.assert_allclose(terminal, [-9 * (0.9 * 0.7) ** (3 - t % 4) for t in range(LENGTH)], rtol=1e-12)


def test_advantages_do_not_depend_on_the_next_episode():
    rewards, values, next_values, *_ = experience_of(3)
    end = np.arange(LENGTH) == 5
    for terminated, truncated in [(end, ~end & False), (~end & False, end)]:
        before = advantages(rewards, values, next_values, terminated, truncated, 0.9, 0.7)
        other = rewards + 100 * (np.arange(LENGTH) > 5)
        after = advantages(other, values, next_values, terminated, truncated, 0.9, 0.7)
        np.testing.assert_array_equal(after[:6], before[:6])
        assert (after[6:] != before[6:]).all()


def test_advantages_can_be_mapped_over_gamma_and_gae_lambda():
    experience = experience_of(4)
    gammas, lambdas = np.array([0.0, 0.5, 0.99]), np.array([0.0, 0.3, 1.0])
    mapped = jax.vmap(generalized_advantages, (None,) * 5 + (0, 0))(
        *map(jnp.asarray, experience), gammas, lambdas
    )
    for row, gamma, gae_lambda in zip(mapped, gammas, lambdas, strict=True):
        np.testing.assert_allclose(row, loop(*experience, gamma, gae_lambda), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("initial", [0.0, 3.0])
def test_discounted_returns_equal_a_plain_loop(initial):
    rewards, _, _, terminated, truncated = experience_of(5)
    done = terminated | truncated
    assert done.sum() >= 2
    total, expected = initial, []
    for reward, last in zip(rewards, done, strict=True):
        total = 0.9 * total + reward
        expected.append(total)
        total = 0.0 if last else total
    with jax.enable_x64(True):
        actual = discounted_returns(jnp.asarray(initial), jnp.asarray(rewards), jnp.asarray(done), 0.9)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
