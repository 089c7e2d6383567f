"""Poisson counts from normals: the sum and the expansion against the exact quantiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from twosided.prices.poisson import MAX_SERIES_RATE, poisson_from_normal

Z = np.linspace(-5.5, 5.5, 400_001)
WEIGHTS = stats.norm.pdf(Z) / stats.norm.pdf(Z).sum()
counts = jax.jit(
    lambda rate: poisson_from_normal(jnp.full(Z.shape, rate, jnp.float32), jnp.asarray(Z, jnp.float32))
)


@pytest.mark.parametrize(
    ("rate", "max_share"),
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
def test_counts_match_exact_quantiles(rate, max_share):
    values, exact = np.asarray(counts(rate), float), stats.poisson.ppf(stats.norm.cdf(Z), rate)
    wrong = values != exact
    assert WEIGHTS @ wrong < max_share
    assert np.abs(values - exact)[np.abs(Z) < 5].max() <= 1
    # The errors have a negligible effect on the moments.
    assert WEIGHTS @ values == pytest.approx(rate, rel=1e-5, abs=1e-5)
    assert WEIGHTS @ (values - rate) ** 2 == pytest.approx(rate, rel=5e-4)


def test_counts_are_zero_at_rate_zero_and_monotone_in_rate():
    assert (np.asarray(counts(0.0)) == 0).all()
    rates = np.linspace(0.0, 3 * MAX_SERIES_RATE, 301)
    values = np.asarray(
        jax.vmap(lambda rate: poisson_from_normal(rate, jnp.asarray(1.3)))(jnp.asarray(rates))
    )
    assert (np.diff(values) >= 0).all()
    assert values[-1] == stats.poisson.ppf(stats.norm.cdf(1.3), rates[-1])
