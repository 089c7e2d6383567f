"""Distributions: probabilities against hand-computed values, samples and each other; invalid input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twosided.dealer.distributions import Empirical, Mixture, PointMass, Uniform

MIXTURE = Mixture(
    [Uniform(-1.0, 1.0), PointMass(0.5), Mixture([PointMass(0.5), Uniform(0.0, 1.0)], [1, 3])], [2, 1, 1]
)
"""0.5 Uniform[-1, 1] + 0.3125 δ(0.5) + 0.1875 Uniform[0, 1]."""


def test_mixture_matches_hand_computed_values():
    x = np.array([-2.0, -1.0, 0.0, 0.5, 0.75, 1.0, 3.0])
    below = np.array([0.0, 0.0, 0.25, 0.375 + 0.09375, 0.4375 + 0.3125 + 0.140625, 1.0, 1.0])
    at = np.where(x == 0.5, 0.3125, 0.0)
    np.testing.assert_allclose(MIXTURE.cdf_left(x), below, rtol=1e-14)
    np.testing.assert_allclose(MIXTURE.mass(x), at, rtol=1e-14)
    np.testing.assert_allclose(MIXTURE.cdf(x), below + at, rtol=1e-14)
    np.testing.assert_allclose(MIXTURE.survival(x), 1 - below - at, atol=1e-15)
    np.testing.assert_allclose(MIXTURE.density([-2.0, -0.5, 0.25, 2.0]), [0.0, 0.25, 0.4375, 0.0], rtol=1e-14)
    assert MIXTURE.mean == pytest.approx(0.3125 * 0.5 + 0.1875 * 0.5, rel=1e-14)
    assert MIXTURE.support == (-1.0, 1.0)
    np.testing.assert_array_equal(MIXTURE.breakpoints, [-1.0, 0.0, 0.5, 1.0])


def test_tail_probabilities_beyond_the_support_are_exactly_zero():
    distribution = Empirical(np.linspace(-0.3, 0.7, 1000), weights=np.random.default_rng(0).random(1000))
    assert distribution.survival(0.7) == 0.0
    assert distribution.cdf_left(-0.3) == 0.0


def test_empirical_cdf_matches_sample_frequencies():
    samples = np.random.default_rng(1).integers(0, 7, 500) / 4
    distribution, x = Empirical(samples), np.linspace(-0.5, 2.0, 41)
    np.testing.assert_allclose(distribution.cdf(x), [(samples <= at).mean() for at in x], atol=1e-14)
    np.testing.assert_allclose(distribution.cdf_left(x), [(samples < at).mean() for at in x], atol=1e-14)
    weighted = Empirical([0.0, 1.0, 1.0, 5.0], weights=[1, 2, 1, 0])
    np.testing.assert_array_equal(weighted.atoms, ([0.0, 1.0], [0.25, 0.75]))


@given(
    low=st.floats(-2, 1),
    width=st.floats(1e-3, 2),
    value=st.floats(-2, 2),
    share=st.floats(0, 1),
    x=st.floats(-3, 3),
)
def test_cdf_mass_and_survival_are_consistent(low, width, value, share, x):
    distribution = Mixture([Uniform(low, low + width), PointMass(value)], [share, 1 - share])
    at = np.array([x, value, low])
    np.testing.assert_allclose(
        distribution.cdf(at) - distribution.cdf_left(at), distribution.mass(at), atol=1e-14
    )
    np.testing.assert_allclose(distribution.cdf(at) + distribution.survival(at), 1.0, atol=1e-14)


def test_samples_follow_the_distribution():
    # Massart: P[sup |F_n - F| > 1.95 / √n] <= 1e-3, for any distribution; the seed is fixed.
    draws = np.sort(MIXTURE.sample(np.random.default_rng(2), 40_000))
    x = np.linspace(-1.1, 1.1, 2201)
    empirical = np.searchsorted(draws, x, "right") / draws.size
    assert np.abs(empirical - MIXTURE.cdf(x)).max() < 1.95 / np.sqrt(draws.size)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Uniform(0.5, 0.5), r"high must be finite and above low \(0.5; .*\), but got 0.5"),
        (lambda: Uniform(0.0, np.inf), "high must be finite and above low .* but got inf"),
        (lambda: Uniform(np.nan, 1.0), "low must be finite, but got nan"),
        (lambda: PointMass(np.inf), "value must be finite, but got inf"),
        (lambda: Mixture([], []), "components must be one or more distributions, but got 0"),
        (
            lambda: Mixture([PointMass(0.0)], [0.5, 0.5]),
            r"weights must be one per component \(1\), but got 2",
        ),
        (
            lambda: Mixture([PointMass(0.0)], [-1.0]),
            r"weights must be finite and at least 0, but got \[-1.0\]",
        ),
        (
            lambda: Mixture([PointMass(0.0)], [0.0]),
            "weights must be numbers with a positive sum, but got 0.0",
        ),
        (lambda: Empirical([]), "samples must be one or more values, but got 0"),
        (lambda: Empirical([0.0, np.nan]), r"samples must be finite, but got \[nan\]"),
        (lambda: Empirical([0.0, 1.0], [1.0]), r"weights must be one per sample \(2\), but got 1"),
    ],
)
def test_invalid_parameters_are_rejected(build, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        build()
