"""How well two similarity matrices agree: representational similarity analysis."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.stats
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from .rsm import real, upper_triangle

# Of their size, what similarities differ by that are the same: responses are float32.
SAME = 1e-9
# Of similarities that are ranked, in parts of the largest: two images that are the same may
# have sums that differ by rounding.
DIGITS = 10


def compare(
    first: Real[ArrayLike, "..."],
    second: Real[ArrayLike, "..."],
    how: str = "pearson_squared",
    *,
    missing: str = "refuse",
) -> float:
    r"""How well two similarity matrices of the same images agree.

    Over pairs of images, of which n images have $N = n(n-1)/2$:

    - `pearson`: correlation r, -1 to 1;
    - `pearson_squared`: $r^2$, 0 to 1, the share of variance that a straight line explains;
      the sign is lost;
    - `spearman`: correlation of ranks, ties averaged, -1 to 1; what differs by less than
      1e-10 of the largest value is a tie, as rounding makes such differences;
    - `kendall`: tau-a, (concordant - discordant) / (N(N-1)/2), -1 to 1; ties count as neither,
      so that it is below 1 where there are ties. Preferred for models that predict ties
      (Nili et al. 2014).

    Args:
        first: a matrix, or its upper triangle (`upper_triangle`).
        second: the same of other responses or of judgements, images in the same order.
        how: one of `COMPARISONS`.
        missing: what is done with NaN: `refuse`, or `omit` the pairs where either has it.

    Returns:
        The agreement. A matrix of distances agrees with one of similarities negatively.

    Raises:
        ValueError: matrices of unequal size; not symmetric; NaN, or infinite values; fewer
            than three pairs (two images have one); a matrix that is the same for all pairs.

    Source:
        Kriegeskorte et al. (2008); for tau-a, Nili et al. (2014), PLoS Computational Biology
        10:e1003553.

    >>> first, second = np.array([0.1, 0.5, 0.4]), np.array([0.2, 0.9, 0.3])
    >>> round(compare(first, second, "kendall"), 6), round(compare(first, second), 6)
    (1.0, 0.612254)
    """
    check_comparison(how)
    if missing not in ("refuse", "omit"):
        raise ValueError(f"missing={missing!r}: possible are refuse and omit")
    first, second = triangle(first), triangle(second)
    if len(first) != len(second):
        raise ValueError(
            f"similarities of unequal size: {len(first)} pairs of images and {len(second)}"
        )
    absent = np.isnan(first) | np.isnan(second)
    if absent.any():
        if missing == "refuse":
            raise ValueError(
                f"{absent.sum()} of {len(absent)} pairs of images have no similarity (NaN): "
                "complete the matrix, or say missing='omit'"
            )
        first, second = first[~absent], second[~absent]
    for values in (first, second):
        if not np.isfinite(values).all():
            raise ValueError(f"{np.isinf(values).sum()} similarities are infinite")
    if len(first) < 3:
        raise ValueError(f"{len(first)} pairs of images: agreement needs three or more")
    for values in (first, second):
        if all_alike(values):
            raise ValueError(f"a matrix is {values[0]:g} for all pairs: nothing to agree with")
    return COMPARISONS[how](first, second)


def triangle(matrix: ArrayLike) -> Float[np.ndarray, " pairs"]:
    """The upper triangle of a matrix; of what is one already, itself."""
    matrix = real(matrix)
    return matrix if matrix.ndim == 1 else upper_triangle(matrix)


def all_alike(values: Float[np.ndarray, " pairs"]) -> bool:
    """Whether similarities differ by no more than rounding.

    >>> all_alike(np.array([1.0, 1.0 - 1e-15])), all_alike(np.array([0.0, 1e-15]))
    (True, False)
    """
    return bool(np.ptp(values) <= SAME * np.abs(values).max())


def check_comparison(how: str) -> None:
    """Raise `ValueError` for a comparison that there is not."""
    if how not in COMPARISONS:
        raise ValueError(f"no comparison {how!r}: possible are {', '.join(COMPARISONS)}")


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    both = first @ second / np.sqrt((first @ first) * (second @ second))
    return float(np.clip(both, -1, 1))


def _squared(first: np.ndarray, second: np.ndarray) -> float:
    return _pearson(first, second) ** 2


def ranked(values: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
    """Ranks from 1, equal ones averaged; what differs by rounding is equal.

    >>> ranked(np.array([0.1, 0.3 - 0.2, 1.0])).tolist()
    [1.5, 1.5, 3.0]
    """
    return scipy.stats.rankdata(_rounded(values))


def _rounded(values: np.ndarray) -> np.ndarray:
    """In parts of the largest, to ten digits."""
    largest = np.abs(values).max(initial=0)
    return np.round(values / largest, DIGITS) if largest > 0 else values


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    return _pearson(ranked(first), ranked(second))


def _kendall(first: np.ndarray, second: np.ndarray) -> float:
    """scipy has tau-b, which divides by the pairs that are not tied, in either, instead."""
    first, second = _rounded(first), _rounded(second)
    n_pairs = len(first) * (len(first) - 1) // 2
    untied = [
        n_pairs
        - sum(n * (n - 1) // 2 for n in np.unique(values, return_counts=True)[1].tolist())
        for values in (first, second)
    ]
    tau_b: Any = scipy.stats.kendalltau(first, second)
    return float(tau_b.statistic) * float(np.sqrt(untied[0]) * np.sqrt(untied[1])) / n_pairs


COMPARISONS: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "pearson": _pearson,
    "pearson_squared": _squared,
    "spearman": _spearman,
    "kendall": _kendall,
}
