"""Wilcoxon's tests: whether values lean to one side of zero, or one sample is the larger."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Float

from .finite import finite


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
    values = finite(values)
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
    first, second = finite(first), finite(second)
    both = np.concatenate([first, second])
    if not len(first) or not len(second) or np.ptp(both) == 0:
        return RankSum(np.nan, np.nan)
    test = scipy.stats.mannwhitneyu(first, second, method="asymptotic", use_continuity=False)
    # scipy gives U and P but not z: U less its mean, over its standard deviation with ties.
    u, p = test.statistic, float(test.pvalue)
    n, m = len(first), len(second)
    ties = np.unique(both, return_counts=True)[1].astype(np.float64)
    variance = n * m / 12 * (n + m + 1 - (ties**3 - ties).sum() / ((n + m) * (n + m - 1)))
    return RankSum(float((u - n * m / 2) / np.sqrt(variance)), p)


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
