"""Intervals from resampled values."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from .finite import finite


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
    columns = [finite(sample) for sample in samples]
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
