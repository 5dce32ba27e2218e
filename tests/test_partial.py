"""Partial rank correlations: against the inverse of the correlations, and by simulation."""

import inspect

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from jaxsel.statistics import partial_spearman, spearman


def by_inverse(*columns):
    """From the inverse of the matrix of rank correlations: another way to the same number."""
    inverse = np.linalg.inv(np.corrcoef([scipy.stats.rankdata(c) for c in columns]))
    return -inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])


@pytest.mark.parametrize("k", [1, 2, 4])
def test_equals_the_inverse_of_the_correlations(k, rng):
    columns = np.round(rng.normal(size=(k + 2, 60)) + rng.normal(size=60), 1)  # with ties
    found = partial_spearman(*columns)
    np.testing.assert_allclose(found.rho, by_inverse(*columns), rtol=1e-10)
    # The test of a Pearson correlation of as many pairs as there are degrees of freedom + 2.
    distribution = scipy.stats.beta((58 - k) / 2, (58 - k) / 2, loc=-1, scale=2)
    np.testing.assert_allclose(found.p, 2 * distribution.sf(abs(found.rho)), rtol=1e-8)


@given(st.integers(3, 30), st.integers(0, 2**32))
def test_with_nothing_held_constant_it_is_spearmans(n, seed):
    x, y = np.random.default_rng(seed).integers(0, 6, (2, n)).astype(np.float64)
    found, plain = partial_spearman(x, y), spearman(x, y)
    for name in ("rho", "low", "high", "p"):
        # At the ends, 1 - rho^2 loses digits.
        np.testing.assert_allclose(getattr(found, name), getattr(plain, name), atol=1e-6)


def test_a_common_cause_is_taken_off(rng):
    """Ranks of x and y both follow z, and nothing else."""
    z = rng.normal(size=3000)
    x, y = z + 0.5 * rng.normal(size=3000), -z + 0.5 * rng.normal(size=3000)
    assert spearman(x, y).rho < -0.7
    assert partial_spearman(x, y, z).low < 0.05
    assert abs(partial_spearman(x, y, z).rho) < 0.1


def test_the_interval_holds_the_truth_as_often_as_it_says(rng):
    """Independent of each other, both dependent on two others: 0 is inside 95 times of 100."""
    inside = 0
    for _ in range(400):
        others = rng.normal(size=(2, 50))
        x, y = others.sum(axis=0) + rng.normal(size=(2, 50))
        found = partial_spearman(np.argsort(np.argsort(x)) * 1.0, y, *others)
        inside += found.low <= 0 <= found.high
    # Ranks are no straight lines of ranks, so that a little is left; four standard errors of
    # 0.011 below.
    assert inside / 400 > 0.9


def test_what_follows_from_the_others_has_no_correlation_left(rng):
    x, y = rng.normal(size=(2, 20))
    assert np.isnan(partial_spearman(x, y, x).rho)
    assert np.isnan(partial_spearman(x, y, np.exp(y)).p)
    assert np.isnan(partial_spearman(np.ones(20), y, x).rho)


def test_too_few_pairs_are_nan_with_their_count():
    found = partial_spearman(*np.eye(4)[:, :3])
    assert (found.n, np.isnan(found.rho)) == (3, True)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"different lengths: \[3, 3, 2\]"):
        # The run-time check of shapes, which only tests make, would come first.
        inspect.unwrap(partial_spearman)(np.arange(3.0), np.arange(3.0), np.arange(2.0))
