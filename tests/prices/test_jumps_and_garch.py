"""Jumps and clustering: moments in closed form against quadrature and sampling, and the limits without either."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from twosided.prices import Garch, GeometricBrownian, MertonJumps, PriceState
from twosided.prices.garch import GarchState
from twosided.prices.merton import JumpShock

MERTON = MertonJumps(
    initial=50.0, drift=0.4, volatility=0.3, jump_rate=2.0, jump_mean=-0.1, jump_deviation=0.2, time_step=0.25
)
GARCH = Garch(initial=50.0, drift=0.4, volatility=0.6, reaction=0.2, persistence=0.7, time_step=0.25)
# E f(Z) by a fine midpoint rule, which bears the kink of min(x, 0).
Z = (np.arange(40_000) + 0.5) / 2_500 - 8.0
DENSITY = np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi) / 2_500


def test_merton_moments_are_those_of_its_steps():
    mid, rate = 80.0, 0.5
    with jax.enable_x64(True):
        state = PriceState(jnp.asarray(mid, float))
        change = MERTON.change(state)
        found = np.zeros(3)
        for number in range(14):
            # A normal that the law's quantiles take to this number; given it, diffusion and size are one normal.
            law = stats.poisson(rate)
            normal = stats.norm.ppf((law.cdf(number) + law.cdf(number - 1)) / 2)
            deviation = np.sqrt(0.3**2 * 0.25 + number * 0.2**2)
            share = np.sqrt(0.3**2 * 0.25) / deviation
            shock = JumpShock(
                share * jnp.asarray(Z), jnp.full(Z.shape, normal), np.sqrt(1 - share**2) * jnp.asarray(Z)
            )
            moved = np.asarray(jax.vmap(lambda s: MERTON.step(state, s).mid)(shock)) - mid
            moments = [DENSITY @ f for f in (moved, moved**2, np.minimum(moved, 0.0))]
            found += law.pmf(number) * np.array(moments)
    np.testing.assert_allclose(
        found, [float(x) for x in (change.mean, change.square, change.fall)], rtol=2e-6
    )
    assert found[0] == pytest.approx(mid * np.expm1(0.1), rel=1e-6)


def test_without_jumps_merton_is_geometric_brownian_motion():
    calm = MertonJumps(initial=50.0, drift=0.4, volatility=0.6, jump_rate=0.0, time_step=0.25)
    plain, state = GeometricBrownian(50.0, 0.4, 0.6, 0.25), PriceState(jnp.asarray(80.0))
    z = jnp.linspace(-3.0, 3.0, 13)
    jumps = jax.vmap(lambda x: calm.step(state, JumpShock(x, x, x)).mid)(z)
    np.testing.assert_allclose(jumps, jax.vmap(lambda x: plain.step(state, x).mid)(z), rtol=1e-6)
    for a, b in zip(*(jax.tree.leaves(p.change(state)) for p in (calm, plain)), strict=True):
        assert float(a) == pytest.approx(float(b), rel=1e-6)


def test_garch_is_log_normal_given_its_variance():
    with jax.enable_x64(True):
        state = GarchState(jnp.asarray(80.0, float), jnp.asarray(0.04, float))
        change = GARCH.change(state)
        after = jax.vmap(lambda z: GARCH.step(state, z))(jnp.asarray(Z))
    moved, variance = np.asarray(after.mid) - 80.0, np.asarray(after.variance)
    found = [DENSITY @ f for f in (moved, moved**2, np.minimum(moved, 0.0))]
    np.testing.assert_allclose(
        found, [float(x) for x in (change.mean, change.square, change.fall)], rtol=1e-6
    )
    # h' = (1 - a - b) σ² Δ + (a Z² + b) h
    assert DENSITY @ variance == pytest.approx(0.1 * 0.09 + 0.9 * 0.04, rel=1e-8)
    assert DENSITY @ (variance - DENSITY @ variance) ** 2 == pytest.approx(2 * (0.2 * 0.04) ** 2, rel=1e-6)


def test_garch_that_forgets_everything_is_geometric_brownian_motion():
    calm = Garch(initial=50.0, drift=0.4, volatility=0.6, reaction=0.0, persistence=0.0, time_step=0.25)
    plain = GeometricBrownian(50.0, 0.4, 0.6, 0.25)
    state, other = calm.reset(jnp.float32(0.0)), plain.reset(jnp.float32(0.0))
    for shock in (0.3, -1.2, 2.0):
        state, other = calm.step(state, jnp.float32(shock)), plain.step(other, jnp.float32(shock))
        assert float(state.mid) == pytest.approx(float(other.mid), rel=1e-6)
        assert float(state.variance) == pytest.approx(0.09, rel=1e-6)


@pytest.mark.parametrize("process", [MertonJumps(), Garch()], ids=["merton", "garch"])
def test_paths_without_drift_are_martingales_that_depart_from_normal(process):
    steps, paths = 64, 20_000

    @jax.jit
    def returns(key):
        shocks = process.shocks(key, (steps, paths))
        start = jax.vmap(process.reset)(jax.tree.map(lambda leaf: leaf[0], shocks))

        def one(state, shock):
            after = jax.vmap(process.step)(state, shock)
            return after, jnp.log(after.mid / state.mid)

        return jax.lax.scan(one, start, shocks)[1]

    moves = np.asarray(returns(jax.random.key(1)), float)
    last = 100 * np.exp(moves.sum(0))
    assert abs(last.mean() - 100) < 4 * last.std() / np.sqrt(paths)
    variance = (0.15**2 + (5 * 0.03**2 if isinstance(process, MertonJumps) else 0)) / 512
    square = moves**2
    by_path = square.mean(0)
    assert abs(by_path.mean() - variance) < 4 * by_path.std() / np.sqrt(paths)
    # Fat tails: kurtosis above 3 by far more than its error of about √(24 / n).
    assert (moves**4).mean() / square.mean() ** 2 > 3.1
    memory = np.corrcoef(square[:-1].ravel(), square[1:].ravel())[0, 1]
    clusters = isinstance(process, Garch)
    assert memory > 0.05 if clusters else abs(memory) < 5 / np.sqrt(square[1:].size)


@pytest.mark.parametrize("process", [MERTON, GARCH, GeometricBrownian()], ids=["merton", "garch", "brownian"])
def test_a_signal_is_correlated_with_the_innovation(process):
    shocks = process.shocks(jax.random.key(0), (40_000,))
    signal = jax.random.normal(jax.random.key(1), (40_000,))
    known = process.correlated(shocks, signal, 0.6)
    own = [getattr(s, "diffusion", s) for s in (shocks, known)]
    np.testing.assert_allclose(own[1], 0.6 * signal + 0.8 * own[0], rtol=1e-5, atol=1e-6)
    assert abs(np.std(own[1]) - 1) < 4 / np.sqrt(2 * 40_000)


@pytest.mark.parametrize(
    ("process", "arguments", "sentence"),
    [
        (
            MertonJumps,
            {"jump_rate": 600.0},
            r"jump_rate must be from 0 to one jump a step \(1 / time_step\), but got 600",
        ),
        (MertonJumps, {"jump_deviation": -1.0}, "jump_deviation must be at least 0 and finite, but got -1"),
        (MertonJumps, {"jump_mean": np.nan}, "jump_mean must be finite, but got nan"),
        (Garch, {"reaction": 1.0}, r"reaction must be in \[0, 1\), but got 1"),
        (
            Garch,
            {"reaction": 0.5, "persistence": 0.5},
            r"persistence must be at least 0 and below 1 - reaction \(0.5\)",
        ),
    ],
)
def test_bad_input(process, arguments, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        process(**arguments)
