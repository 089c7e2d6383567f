"""Poisson counts of normals: against the exact quantiles, in and between the two ways of computing them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from twosided.prices.poisson import SUMMED, poisson_from_normal

Z = np.linspace(-5.5, 5.5, 400_001)
WEIGHTS = stats.norm.pdf(Z) / stats.norm.pdf(Z).sum()
counts = jax.jit(
    lambda rate: poisson_from_normal(jnp.full(Z.shape, rate, jnp.float32), jnp.asarray(Z, jnp.float32))
)


@pytest.mark.parametrize(
    ("rate", "share"),
    [
        (0.01, 1e-6),
        (0.7, 2e-6),
        (3.0, 4e-6),
        (9.9, 2e-5),
        (10.1, 6e-4),
        (30.0, 2e-4),
        (100.0, 3e-5),
        (400.0, 3e-5),
    ],
)
def test_counts_are_the_exact_quantiles(rate, share):
    found, exact = np.asarray(counts(rate), float), stats.poisson.ppf(stats.norm.cdf(Z), rate)
    wrong = found != exact
    assert WEIGHTS @ wrong < share
    assert np.abs(found - exact)[np.abs(Z) < 5].max() <= 1
    # What is off hardly moves the moments.
    assert WEIGHTS @ found == pytest.approx(rate, rel=1e-5, abs=1e-5)
    assert WEIGHTS @ (found - rate) ** 2 == pytest.approx(rate, rel=5e-4)


def test_no_rate_is_no_count_and_a_larger_rate_never_a_smaller_one():
    assert (np.asarray(counts(0.0)) == 0).all()
    rates = np.linspace(0.0, 3 * SUMMED, 301)
    found = np.asarray(jax.vmap(lambda rate: poisson_from_normal(rate, jnp.asarray(1.3)))(jnp.asarray(rates)))
    assert (np.diff(found) >= 0).all()
    assert found[-1] == stats.poisson.ppf(stats.norm.cdf(1.3), rates[-1])
