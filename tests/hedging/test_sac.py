"""SAC in the hedging market: it learns the optimal hedge, uses a signal and ignores noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.probes import advance, init, stack

from twosided.core.scenario import Scenario
from twosided.hedging.market import HedgingMarket, HedgingObservation
from twosided.hedging.rewards import PositionPenalty
from twosided.learn.sac import SAC

pytestmark = [pytest.mark.extended, pytest.mark.optimised]

LEARNER = SAC(
    total_timesteps=64_000,
    num_envs=32,
    gradient_steps=4,
    buffer_size=16_384,
    batch_size=128,
    learning_starts=1024,
    hidden_sizes=(32, 32),
    gamma=0.9,
    actor_lr=3e-3,
    critic_lr=3e-3,
    ent_coef_lr=3e-3,
    tau=0.02,
)
CASES = {"the paper's penalty": (3.0, 0.0, 3), "noise": (1e-3, 0.0, 4), "a signal": (1e-3, 0.9, 1)}
"""Weight of the penalty, correlation of the signal, number of learners. At small weights single learners differ by some
units, so the mean of several is tested."""
LEARNERS = [name for name, (_, _, number) in CASES.items() for _ in range(number)]


@pytest.fixture(scope="module")
def hedges():
    """Return a function that gives the mean hedge of the learners of a case at positions and signals."""
    scenarios = [
        Scenario(
            HedgingMarket(signal_correlation=correlation),
            (),
            PositionPenalty(weight=weight, discount=0.9),
            128,
        )
        for weight, correlation, _ in map(CASES.__getitem__, LEARNERS)
    ]
    scenarios, learners = stack(scenarios), stack([LEARNER] * len(LEARNERS))
    states = init(scenarios, learners, jax.random.split(jax.random.key(0), len(LEARNERS)))
    states, _ = advance(scenarios, learners, states, jnp.asarray(LEARNER.iterations))

    def hedge_at(scenario, state, position, signal):
        observation = HedgingObservation(inventory=position, signal=jnp.stack([0.0 * signal, signal]))
        return LEARNER.policy(scenario, state).act(None, None, observation)[0].hedge

    grid = jax.jit(jax.vmap(jax.vmap(hedge_at, (None, None, 0, 0)), (0, 0, None, None)))

    def hedge(name, positions, signals):
        positions, signals = np.broadcast_arrays(np.asarray(positions, float), np.asarray(signals, float))
        values = np.asarray(grid(scenarios, states, jnp.asarray(positions), jnp.asarray(signals)))
        return values[[learner == name for learner in LEARNERS]].mean(0)

    return hedge


def test_sac_hedges_as_much_as_possible_if_the_penalty_dominates(hedges):
    q = np.array([-80.0, -64, -16, 0, 16, 64, 80])
    np.testing.assert_allclose(hedges("the paper's penalty", q, 0.0), -np.clip(q, -32, 32), atol=6.0)


def test_sac_uses_an_informative_signal_and_ignores_noise(hedges):
    # With a correlation of 0.9 buying a unit costs 0.1 and earns 0.6 per standard deviation of the signal.
    signals = np.linspace(-2, 2, 9)
    for position in (0.0, 15.0):
        informed, noise = (hedges(name, position, signals) for name in ("a signal", "noise"))
        assert informed[-1] - informed[0] > 50
        assert np.ptp(noise) < 15
        assert abs(np.polyfit(signals, noise, 1)[0]) < 3


def test_sac_leaves_small_positions_unhedged_if_pnl_dominates(hedges):
    # The optimum by dynamic programming hedges nothing within 13 units, and as much as possible beyond 45.
    noise = hedges("noise", [-80.0, -10, 0, 10, 80.0], 0.0)
    assert abs(noise[1] - noise[3]) < 10 and abs(noise[2]) < 10
    assert noise[-1] < -14 and noise[0] > 5
