"""Rank correlations, plain and with other variables held constant."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Float

from .finite import finite

# Of the sum of squares of ranks: what is left below this is roundings of ranks that follow.
ROUNDING = 1e-20


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
    x, y = finite(x), finite(y)
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} values but y has {len(y)}")
    n = len(x)
    if n < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(np.nan, np.nan, np.nan, np.nan, n)
    result: Any = scipy.stats.spearmanr(x, y)
    rho = float(np.clip(result.statistic, -1, 1))
    return Correlation(rho, *_fisher(rho, n - 3, level), float(result.pvalue), n)


def partial_spearman(
    x: Float[np.ndarray, " pairs"],
    y: Float[np.ndarray, " pairs"],
    *given: Float[np.ndarray, " pairs"],
    level: float = 0.95,
) -> Correlation:
    r"""Spearman's correlation of two variables, with others held constant.

    The correlation of what is left of the ranks of x and of y when straight lines through the
    ranks of the others are taken off. With $k$ others, $t = \rho \sqrt{(n-2-k)/(1-\rho^2)}$
    is tested with $n - 2 - k$ degrees of freedom, and the interval is that of `spearman` with
    $n - 3 - k$ instead of $n - 3$.

    Args:
        x: one number per unit; no NaN.
        y: the other number of the same units.
        *given: what is held constant, such as each unit's mean response.
        level: of the interval.

    Returns:
        The correlation. All NaN with fewer than $k + 3$ pairs, or where the ranks of x or of y
        follow from those of the others; the interval alone is NaN with $k + 3$ pairs.

    Raises:
        ValueError: different lengths, or a value that is NaN or infinite.

    Source:
        Kendall (1942), Biometrika 32:277, for ranks; the degrees of freedom are Fisher's
        (1924), Metron 3:329.

    >>> x, y, z = np.array([[2.0, 1, 4, 3, 6, 5], [1, 2, 3, 4, 6, 5], [1, 2, 3, 4, 5, 6]])
    >>> round(partial_spearman(x, y, z).rho, 2), round(partial_spearman(x, y).rho, 2)
    (0.56, 0.89)
    """
    columns = [finite(column) for column in (x, y, *given)]
    n, k = len(columns[0]), len(given)
    if any(len(column) != n for column in columns):
        raise ValueError(f"columns of different lengths: {[len(c) for c in columns]}")
    nothing = Correlation(np.nan, np.nan, np.nan, np.nan, n)
    if n < k + 3:
        return nothing
    ranks = np.stack([scipy.stats.rankdata(column) for column in columns], axis=1)
    ranks -= ranks.mean(axis=0)
    pair, others = ranks[:, :2], ranks[:, 2:]
    left = pair - others @ np.linalg.lstsq(others, pair, rcond=None)[0]
    size, whole = np.square(left).sum(axis=0), np.square(pair).sum(axis=0)
    if (size <= ROUNDING * whole).any():
        return nothing
    rho = float(np.clip(left[:, 0] @ left[:, 1] / np.sqrt(size.prod()), -1, 1))
    return of_rho(rho, n, k, level=level)


def of_rho(rho: float, n: int, k: int = 0, *, level: float = 0.95) -> Correlation:
    """The interval and the test of a rank correlation that is known.

    Args:
        rho: the correlation; NaN for none.
        n: pairs.
        k: variables that were held constant.
        level: of the interval.

    Returns:
        As `spearman` or, with variables held constant, `partial_spearman` would say.

    >>> known = spearman(np.array([1.0, 2, 3, 4, 5]), np.array([1.0, 2, 3, 5, 4]))
    >>> of_rho(known.rho, 5) == known
    True
    """
    freedom = n - 2 - k
    if np.isnan(rho) or freedom < 1:
        return Correlation(np.nan, np.nan, np.nan, np.nan, n)
    t = np.inf if abs(rho) == 1 else abs(rho) * np.sqrt(freedom / (1 - rho**2))
    p = float(2 * scipy.stats.t.sf(t, freedom))
    return Correlation(rho, *_fisher(rho, n - 3 - k, level), p, n)


def _fisher(rho: float, freedom: int, level: float) -> tuple[float, float]:
    """The interval of a rank correlation."""
    if freedom == 0:
        return np.nan, np.nan
    if abs(rho) == 1:
        return rho, rho
    half = scipy.stats.norm.ppf((1 + level) / 2) * np.sqrt((1 + rho**2 / 2) / freedom)
    low, high = np.tanh(np.arctanh(rho) + np.array([-half, half]))
    return float(low), float(high)
