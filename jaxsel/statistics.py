"""The tests, correlations and intervals that the experiments report.

Thin over scipy: what is added is a stated convention for zeros, ties and samples too small
to say anything, which come back as NaN with their count, never as an error half-way
through an analysis.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Float


@dataclass(frozen=True)
class SignedRank:
    """A Wilcoxon signed-rank test against zero.

    Attributes:
        z: standard normal under the null; above 0 where the values lean above 0.
        p: two-sided, from the normal approximation.
        n: values that took part.
        n_zeros: values that are exactly 0, left out.
        median: of all values, zeros included.
    """

    z: float
    p: float
    n: int
    n_zeros: int
    median: float


def signed_rank(values: Float[np.ndarray, " values"]) -> SignedRank:
    r"""Whether values lean to one side of zero (Wilcoxon, normal approximation).

    With $R^+$ the sum of the ranks of the positive values among all $|v| > 0$,
    $z = (R^+ - n(n+1)/4) / \sqrt{n(n+1)(2n+1)/24 - \sum (t^3 - t)/48}$ for groups of $t$
    tied values. No continuity correction. Exact zeros are dropped and counted.

    Args:
        values: one per unit, for example; no NaN.

    Returns:
        The test. z and P are NaN where no value differs from 0.

    Raises:
        ValueError: a value is NaN or infinite.

    Source:
        scipy's `wilcoxon`: its `zstatistic` with `alternative="greater"`, which is that of
        the two-sided test with its direction.

    >>> test = signed_rank(np.array([1.0, 2.0, 3.0, 0.0]))
    >>> round(test.z, 3), test.n, test.n_zeros
    (1.604, 3, 1)
    """
    values = _finite(values)
    moved = values[values != 0]
    median = float(np.median(values)) if len(values) else np.nan
    if not len(moved):
        return SignedRank(np.nan, np.nan, 0, len(values), median)
    settings = {"method": "asymptotic", "correction": False}
    upper: Any = scipy.stats.wilcoxon(moved, alternative="greater", **settings)
    both: Any = scipy.stats.wilcoxon(moved, **settings)
    n_zeros = len(values) - len(moved)
    return SignedRank(float(upper.zstatistic), float(both.pvalue), len(moved), n_zeros, median)


@dataclass(frozen=True)
class RankSum:
    """A Wilcoxon rank-sum test of two samples.

    Attributes:
        z: standard normal under the null; above 0 where the first sample is larger.
        p: two-sided, from the normal approximation.
    """

    z: float
    p: float


def rank_sum(
    first: Float[np.ndarray, " first"], second: Float[np.ndarray, " second"]
) -> RankSum:
    """Whether one sample is larger than another (Wilcoxon rank sum, Mann-Whitney).

    Args:
        first: one sample; no NaN.
        second: the other.

    Returns:
        z and P by the normal approximation with the correction for ties and without one
        for continuity; NaN where a sample is empty or all values are equal.

    Raises:
        ValueError: a value is NaN or infinite.

    Source:
        scipy's `mannwhitneyu(method="asymptotic", use_continuity=False)`.

    >>> rank_sum(np.array([1.0, 2.0]), np.array([3.0, 4.0])).z < 0
    True
    """
    first, second = _finite(first), _finite(second)
    both = np.concatenate([first, second])
    if not len(first) or not len(second) or np.ptp(both) == 0:
        return RankSum(np.nan, np.nan)
    settings = {"method": "asymptotic", "use_continuity": False}
    p = float(scipy.stats.mannwhitneyu(first, second, **settings).pvalue)
    # scipy gives U and P but not z: U less its mean, over its standard deviation with ties.
    u = scipy.stats.mannwhitneyu(first, second, **settings).statistic
    n, m = len(first), len(second)
    ties = np.unique(both, return_counts=True)[1].astype(np.float64)
    variance = n * m / 12 * (n + m + 1 - (ties**3 - ties).sum() / ((n + m) * (n + m - 1)))
    return RankSum(float((u - n * m / 2) / np.sqrt(variance)), p)


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its interval.

    Attributes:
        rho: Spearman's, -1 to 1.
        low: lower end of the interval.
        high: upper end.
        p: two-sided, against no correlation.
        n: pairs that took part.
    """

    rho: float
    low: float
    high: float
    p: float
    n: int


def spearman(
    x: Float[np.ndarray, " pairs"], y: Float[np.ndarray, " pairs"], *, level: float = 0.95
) -> Correlation:
    r"""Spearman's rank correlation, ties averaged, with an approximate interval.

    The interval is Fisher's, $\tanh(\operatorname{artanh} \rho \pm z\,s)$ with
    $s^2 = (1 + \rho^2/2)/(n - 3)$.

    Args:
        x: one number per unit; no NaN.
        y: the other number of the same units.
        level: of the interval.

    Returns:
        The correlation. All NaN with fewer than three pairs or where x or y is constant;
        the interval alone is NaN with three pairs.

    Raises:
        ValueError: different lengths, or a value that is NaN or infinite.

    Source:
        scipy's `spearmanr`; the standard error is that of Bonett and Wright (2000),
        Psychometrika 65:23.

    >>> round(spearman(np.array([1.0, 2, 3, 4, 5]), np.array([1.0, 2, 3, 5, 4])).rho, 3)
    0.9
    """
    x, y = _finite(x), _finite(y)
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} values but y has {len(y)}")
    n = len(x)
    if n < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(np.nan, np.nan, np.nan, np.nan, n)
    result: Any = scipy.stats.spearmanr(x, y)
    rho = float(np.clip(result.statistic, -1, 1))
    if n == 3:
        return Correlation(rho, np.nan, np.nan, float(result.pvalue), n)
    if abs(rho) == 1:
        return Correlation(rho, rho, rho, float(result.pvalue), n)
    half = scipy.stats.norm.ppf((1 + level) / 2) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(rho) + np.array([-half, half]))
    return Correlation(rho, float(low), float(high), float(result.pvalue), n)


def bootstrap_interval(
    statistic: Callable[..., np.ndarray],
    *samples: Float[np.ndarray, " values"],
    rng: np.random.Generator,
    level: float = 0.95,
    n_resamples: int = 2000,
    batch: int = 200,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic, many resamples at once.

    Args:
        statistic: called as `statistic(*samples, axis=-1)` on arrays with resamples in
            front; `np.median` and `np.mean` fit.
        *samples: paired values: the same draw is taken from each. No NaN.
        rng: draws the resamples.
        level: of the interval.
        n_resamples: how many.
        batch: how many at a time; memory grows with it, the interval does not change.

    Returns:
        Lower and upper end; NaN with fewer than two values.

    Raises:
        ValueError: samples of different lengths, or a value that is NaN or infinite.

    Source:
        Efron and Tibshirani (1993), "An introduction to the bootstrap", chapter 13.

    >>> bootstrap_interval(np.mean, np.ones(5), rng=np.random.default_rng(0))
    (1.0, 1.0)
    """
    columns = [_finite(sample) for sample in samples]
    n = len(columns[0])
    if any(len(column) != n for column in columns):
        raise ValueError(f"samples of different lengths: {[len(c) for c in columns]}")
    if n < 2:
        return np.nan, np.nan
    found = []
    for start in range(0, n_resamples, batch):
        draws = rng.integers(n, size=(min(batch, n_resamples - start), n))
        found.append(statistic(*(column[draws] for column in columns), axis=-1))
    low, high = np.quantile(np.concatenate(found), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bonferroni(
    p: Sequence[float] | Float[np.ndarray, " tests"],
) -> Float[np.ndarray, " tests"]:
    """P values of several tests, each times their number and at most 1.

    Args:
        p: one per test, 0 to 1. NaN (a test that could not be made) stays NaN and does not
            count as a test.

    Returns:
        Corrected P values, 0 to 1 or NaN.

    Raises:
        ValueError: a P outside 0 to 1.

    >>> bonferroni([0.01, 0.4, 0.2]).round(2).tolist()
    [0.03, 1.0, 0.6]
    """
    values = np.asarray(p, np.float64)
    if ((values < 0) | (values > 1)).any():
        raise ValueError("P values must be 0 to 1")
    return np.minimum(values * np.isfinite(values).sum(), 1)


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise ValueError(
            f"{(~np.isfinite(values)).sum()} of {values.size} values are no numbers"
        )
    return values
