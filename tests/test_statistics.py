"""Tests, correlations and intervals against scipy, plain loops and simulation."""

import inspect
import itertools
import math
import statistics
from collections import Counter

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.statistics import (
    bonferroni,
    bootstrap_interval,
    rank_sum,
    signed_rank,
    spearman,
)

# Float64 sums of at most some thousand terms, compared relatively.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}

# Halves, so that many are tied and many are 0.
tied = st.lists(st.integers(-5, 5), min_size=1, max_size=25).map(lambda v: np.array(v) / 2)


def samples(max_size):
    """Two short samples with many ties."""
    numbers = st.lists(st.integers(0, 4), min_size=1, max_size=max_size)
    return numbers.map(lambda v: np.array(v, np.float64))


def average_ranks(values):
    """Rank from 1; equal values share the mean of their places."""
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


def normal_p(z):
    """Two-sided P of a standard normal."""
    return math.erfc(abs(z) / math.sqrt(2))


# --- signed rank ---


def signed_rank_loop(values):
    """The formula, with the ranks counted one by one."""
    moved = np.array([v for v in values if v != 0])
    n = len(moved)
    r_plus = sum(r for r, v in zip(average_ranks(np.abs(moved)), moved, strict=True) if v > 0)
    ties = sum(t**3 - t for t in Counter(np.abs(moved).tolist()).values())
    variance = n * (n + 1) * (2 * n + 1) / 24 - ties / 48
    return (r_plus - n * (n + 1) / 4) / math.sqrt(variance)


@given(values=tied.filter(np.any))
@settings(max_examples=80, deadline=None)
def test_signed_rank_matches_loop_with_ties_and_zeros(values):
    test = signed_rank(values)
    z = signed_rank_loop(values)
    np.testing.assert_allclose([test.z, test.p], [z, normal_p(z)], **CLOSE)
    n_zeros = values.tolist().count(0)
    assert (test.n, test.n_zeros) == (len(values) - n_zeros, n_zeros)
    assert test.median == statistics.median(values.tolist())


@pytest.mark.parametrize("lean", [-0.3, 0, 0.3])
def test_signed_rank_has_scipy_s_size_and_the_sign_of_the_lean(lean, rng):
    values = rng.normal(lean, size=200)
    test = signed_rank(values)
    theirs = scipy.stats.wilcoxon(values, method="asymptotic", correction=False)
    np.testing.assert_allclose(abs(test.z), abs(theirs.zstatistic), rtol=1e-12)
    np.testing.assert_allclose(test.p, theirs.pvalue, rtol=1e-12)
    if lean:
        assert np.sign(test.z) == np.sign(lean)


@pytest.mark.parametrize("n, ceiling", [(4096, 55.43), (597, 21.17), (621, 21.59)])
def test_signed_rank_ceiling(n, ceiling):
    """No z can be larger: n(n+1)/4 / sqrt(n(n+1)(2n+1)/24), where all n values are positive."""
    test = signed_rank(np.arange(1.0, n + 1))
    exact = n * (n + 1) / 4 / math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    np.testing.assert_allclose(test.z, exact, rtol=1e-12)
    assert round(test.z, 2) == ceiling


def test_signed_rank_of_one_value_is_one_standard_deviation():
    """R+ is 0 or 1 with equal chance: mean 1/2, standard deviation 1/2."""
    assert signed_rank(np.array([7.0])).z == 1
    assert signed_rank(np.array([-7.0])).z == -1


@given(values=tied.filter(np.any))
@settings(max_examples=40, deadline=None)
def test_signed_rank_turns_with_the_sign_and_ignores_scale_and_order(values):
    z = signed_rank(values).z
    np.testing.assert_allclose(signed_rank(-values).z, -z, **CLOSE)
    np.testing.assert_allclose(signed_rank(1024 * values[::-1]).z, z, **CLOSE)


def test_signed_rank_does_not_ignore_an_offset(rng):
    values = rng.normal(size=50)
    assert signed_rank(values + 1).z > signed_rank(values).z + 1


@pytest.mark.parametrize("values, median", [([], np.nan), ([0.0, 0.0, 0.0], 0.0)], ids=str)
def test_signed_rank_of_nothing_that_moved_is_nan(values, median):
    test = signed_rank(np.array(values, np.float64))
    assert np.isnan([test.z, test.p]).all()
    assert (test.n, test.n_zeros) == (0, len(values))
    np.testing.assert_equal(test.median, median)


def test_signed_rank_median_includes_zeros():
    assert signed_rank(np.array([0.0, 0.0, 0.0, 4.0, 6.0])).median == 0
    assert signed_rank(np.array([0.0, 2.0, 4.0, 6.0])).median == 3


# --- rank sum ---


@given(first=samples(4), second=samples(4))
@settings(max_examples=80, deadline=None)
def test_rank_sum_matches_the_moments_over_all_divisions(first, second):
    """Mean and variance of U are those over every way to divide the same numbers."""
    both = np.concatenate([first, second])

    def u(chosen):
        own, other = both[list(chosen)], np.delete(both, list(chosen))
        return sum((a > b) + (a == b) / 2 for a in own for b in other)

    all_u = [u(chosen) for chosen in itertools.combinations(range(len(both)), len(first))]
    test = rank_sum(first, second)
    if np.ptp(both) == 0:
        assert np.isnan([test.z, test.p]).all()
        return
    z = (u(range(len(first))) - np.mean(all_u)) / np.std(all_u)
    np.testing.assert_allclose([test.z, test.p], [z, normal_p(z)], **CLOSE)


@pytest.mark.parametrize("n, m", [(20, 20), (5, 100), (1, 3)])
def test_rank_sum_matches_scipy_without_ties(n, m, rng):
    first, second = rng.normal(0.5, size=n), rng.normal(size=m)
    test, theirs = rank_sum(first, second), scipy.stats.ranksums(first, second)
    np.testing.assert_allclose([test.z, test.p], [theirs.statistic, theirs.pvalue], **CLOSE)


def test_rank_sum_matches_scipy_s_p_with_ties(rng):
    first, second = (rng.integers(low, 6, 40).astype(np.float64) for low in (0, 1))
    theirs = scipy.stats.mannwhitneyu(first, second, method="asymptotic", use_continuity=False)
    test = rank_sum(first, second)
    np.testing.assert_allclose(test.p, theirs.pvalue, rtol=1e-12)
    np.testing.assert_allclose(abs(test.z), scipy.stats.norm.isf(test.p / 2), rtol=1e-9)
    assert test.z < 0


@given(first=samples(10), second=samples(10))
@settings(max_examples=40, deadline=None)
def test_rank_sum_turns_when_the_samples_swap(first, second):
    swapped = rank_sum(second, first)
    np.testing.assert_allclose(rank_sum(first, second).z, -swapped.z, **CLOSE)


@pytest.mark.parametrize(
    "first, second",
    [([], [1.0]), ([1.0], []), ([], []), ([2.0, 2.0], [2.0])],
    ids=["no first", "no second", "none", "constant"],
)
def test_rank_sum_of_samples_that_say_nothing_is_nan(first, second):
    test = rank_sum(np.array(first, np.float64), np.array(second, np.float64))
    assert np.isnan([test.z, test.p]).all()


# --- Spearman ---


def spearman_loop(x, y):
    """Pearson's correlation of average ranks, by its definition."""
    a, b = (average_ranks(v) - (len(v) + 1) / 2 for v in (x, y))
    return (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())


@given(pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=25))
@settings(max_examples=80, deadline=None)
def test_spearman_matches_loop_with_ties(pairs):
    x, y = np.array(pairs, np.float64).T.copy()
    found = spearman(x, y)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert np.isnan([found.rho, found.low, found.high, found.p]).all()
        return
    np.testing.assert_allclose(found.rho, spearman_loop(x, y), **CLOSE)
    assert -1 <= found.low <= found.rho <= found.high <= 1
    assert found.n == len(pairs)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_spearman_matches_scipy_and_its_interval_the_formula(level, rng):
    x = rng.normal(size=60)
    y = x + rng.normal(size=60)
    found, theirs = spearman(x, y, level=level), scipy.stats.spearmanr(x, y)
    np.testing.assert_allclose(
        [found.rho, found.p], [theirs.statistic, theirs.pvalue], rtol=1e-9
    )
    rho = spearman_loop(x, y)
    half = scipy.stats.norm.isf((1 - level) / 2) * math.sqrt((1 + rho**2 / 2) / 57)
    ends = [math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)]
    np.testing.assert_allclose([found.low, found.high], ends, rtol=1e-9)


def test_spearman_of_a_hand_computed_case():
    """1 - 6 * sum of d**2 / (n (n**2 - 1)) with d = 0, 0, 1, -1, 0."""
    found = spearman(np.arange(5.0), np.array([0.0, 1, 3, 2, 4]))
    np.testing.assert_allclose(found.rho, 1 - 6 * 2 / (5 * 24), rtol=1e-12)


def test_spearman_sees_the_order_only(rng):
    x, y = rng.normal(size=(2, 40))
    found = spearman(x, y)
    np.testing.assert_allclose(spearman(np.exp(x), y**3).rho, found.rho, **CLOSE)
    np.testing.assert_allclose(spearman(-x, y).rho, -found.rho, **CLOSE)
    np.testing.assert_allclose(spearman(y, x).rho, found.rho, **CLOSE)
    assert abs(spearman(x**2, y).rho - found.rho) > 1e-3


@pytest.mark.parametrize("n", [3, 4, 50])
@pytest.mark.parametrize("sign", [1, -1])
def test_spearman_of_the_same_order_is_one(n, sign):
    found = spearman(np.arange(float(n)), sign * np.arange(float(n)) ** 3)
    np.testing.assert_allclose(found.rho, sign, rtol=1e-12)
    interval = [found.low, found.high]
    np.testing.assert_allclose(interval, [np.nan] * 2 if n == 3 else [sign] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    "x, y",
    [
        ([], []),
        ([1], [2]),
        ([1, 2], [1, 2]),
        ([1, 1, 1, 1], [1, 2, 3, 4]),
        ([1, 2, 3], [5] * 3),
    ],
    ids=["empty", "one pair", "two pairs", "x constant", "y constant"],
)
def test_spearman_of_too_little_is_nan_with_its_count(x, y):
    found = spearman(np.array(x, np.float64), np.array(y, np.float64))
    assert np.isnan([found.rho, found.low, found.high, found.p]).all()
    assert found.n == len(x)


def within_binomial_bounds(covered, expected):
    """Whether so many of all sets are covered, but for 1 chance in 1,000."""
    low, high = scipy.stats.binom.interval(0.999, len(covered), expected)
    return low <= sum(covered) <= high


@pytest.mark.parametrize("rho", [0, 0.4, 0.8])
def test_spearman_interval_covers_the_truth_as_often_as_it_says(rho, rng):
    """Of two normals with correlation r, Spearman's is 6/pi asin(r/2)."""
    truth = 6 / math.pi * math.asin(rho / 2)
    covered = []
    for _ in range(400):
        x, noise = rng.normal(size=(2, 60))
        found = spearman(x, rho * x + math.sqrt(1 - rho**2) * noise)
        covered.append(found.low <= truth <= found.high)
    assert within_binomial_bounds(covered, 0.95)


# --- bootstrap ---


def correlation(x, y, axis):
    x, y = (v - v.mean(axis=axis, keepdims=True) for v in (x, y))
    return (x * y).sum(axis) / np.sqrt((x * x).sum(axis) * (y * y).sum(axis))


@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_bootstrap_agrees_with_scipy_s_percentile_interval(statistic, rng):
    values = rng.gamma(2.0, size=80)
    n = 8000
    ours = bootstrap_interval(statistic, values, rng=np.random.default_rng(1), n_resamples=n)
    theirs = scipy.stats.bootstrap(
        (values,), statistic, method="percentile", n_resamples=n, rng=np.random.default_rng(2)
    )
    # Either end is known to sqrt(.025 * .975 / n) / density = .03 standard errors; both
    # are, and a median's resamples lie on a grid: a quarter of a standard error.
    np.testing.assert_allclose(
        ours, theirs.confidence_interval, rtol=0, atol=theirs.standard_error / 4
    )


def test_bootstrap_of_a_mean_is_the_normal_interval(rng):
    values = rng.normal(size=400)
    found = bootstrap_interval(
        np.mean, values, rng=np.random.default_rng(1), n_resamples=8000, level=0.9
    )
    error = values.std() / 20
    # 5 Monte Carlo errors of either end: 5 * sqrt(.05 * .95 / 8000) / .103 standard errors.
    np.testing.assert_allclose(
        found, values.mean() + error * np.array([-1.645, 1.645]), rtol=0, atol=0.12 * error
    )


def test_bootstrap_draws_pairs_together(rng):
    """Of two equal samples every paired draw has the difference 0."""
    values = rng.normal(size=30)

    def difference(x, y, axis):
        return (x - y).mean(axis=axis)

    interval = bootstrap_interval(difference, values, values.copy(), rng=rng)
    assert interval == (0, 0)
    assert bootstrap_interval(difference, values, values[::-1].copy(), rng=rng) != (0, 0)


@given(batch=st.integers(1, 120), n=st.integers(2, 9))
@settings(max_examples=30, deadline=None)
def test_bootstrap_does_not_depend_on_the_batch(batch, n):
    values = np.arange(n) ** 2.0
    whole, batched = (
        bootstrap_interval(
            np.median, values, rng=np.random.default_rng(5), n_resamples=100, batch=size
        )
        for size in (100, batch)
    )
    assert batched == whole


def test_bootstrap_depends_on_the_seed_only(rng):
    x, y = rng.normal(size=(2, 25))
    first, again, other = (
        bootstrap_interval(correlation, x, y, rng=np.random.default_rng(seed), n_resamples=200)
        for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize("n", [0, 1])
def test_bootstrap_of_fewer_than_two_values_is_nan(n, rng):
    assert np.isnan(bootstrap_interval(np.mean, np.ones(n), rng=rng)).all()


def test_bootstrap_interval_covers_the_truth_as_often_as_theory_says():
    """The mean of normals is covered with P(|t| < 1.96 sqrt((n-1)/n)), a bit below 95 %."""
    n = 40
    expected = 1 - 2 * scipy.stats.t.sf(1.96 * math.sqrt((n - 1) / n), n - 1)
    covered = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        low, high = bootstrap_interval(np.mean, rng.normal(3, 2, n), rng=rng, n_resamples=1000)
        covered.append(low <= 3 <= high)
    assert within_binomial_bounds(covered, expected)


# --- Bonferroni ---


@pytest.mark.parametrize(
    "p, expected",
    [
        ([0.01, 0.4, 0.2], [0.03, 1, 0.6]),
        ([0.2], [0.2]),
        ([0.01, np.nan, 0.02], [0.02, np.nan, 0.04]),
        ([np.nan], [np.nan]),
        ([0.0, 1.0], [0, 1]),
        ([], []),
    ],
    ids=str,
)
def test_bonferroni_multiplies_by_the_tests_that_were_made(p, expected):
    np.testing.assert_allclose(bonferroni(p), expected, rtol=1e-15)
    np.testing.assert_allclose(bonferroni(np.array(p, np.float64)), expected, rtol=1e-15)


@pytest.mark.parametrize("p", [[-0.01], [0.5, 1.01], [np.nan, 2.0], [np.inf]], ids=str)
def test_bonferroni_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match="must be 0 to 1"):
        bonferroni(p)


# --- what all refuse ---

GOOD = np.arange(4.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize(
    "analysis",
    [
        signed_rank,
        lambda v: rank_sum(v, GOOD),
        lambda v: rank_sum(GOOD, v),
        lambda v: spearman(v, GOOD),
        lambda v: spearman(GOOD, v),
        lambda v: bootstrap_interval(correlation, GOOD, v, rng=np.random.default_rng(0)),
    ],
    ids=["signed rank", "rank sum 1", "rank sum 2", "spearman x", "spearman y", "bootstrap"],
)
def test_values_that_are_no_numbers_are_refused_with_their_count(analysis, bad):
    with pytest.raises(ValueError, match="1 of 4 values are no numbers"):
        analysis(np.array([1, 2, bad, 4]))


# The run-time check of shapes, which only tests make, would come first: it is unwrapped.
@pytest.mark.parametrize(
    "analysis, found",
    [
        (lambda *xy: inspect.unwrap(spearman)(*xy), "x has 4 values but y has 5"),
        (
            lambda *xy: inspect.unwrap(bootstrap_interval)(
                correlation, *xy, rng=np.random.default_rng(0)
            ),
            r"different lengths: \[4, 5\]",
        ),
    ],
    ids=["spearman", "bootstrap"],
)
def test_pairs_of_different_lengths_are_refused(analysis, found):
    with pytest.raises(ValueError, match=found):
        analysis(np.arange(4.0), np.arange(5.0))
