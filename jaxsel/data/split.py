"""Divide a data set at random, every class in the same proportion."""

from collections.abc import Sequence

import numpy as np

from .dataset import Dataset


def stratified(dataset: Dataset, fractions: Sequence[float], seed: int) -> list[Dataset]:
    """Disjoint random parts that together are the whole, stratified by class.

    Args:
        dataset: what to divide.
        fractions: size of each part; they add up to 1.
        seed: of the division; the same seed gives the same parts.

    Returns:
        The parts, their images in the order of the whole.

    Raises:
        ValueError: fractions that do not add up to 1, or classes too small to divide.

    >>> from .digits import digits
    >>> [len(part) for part in stratified(digits(), (0.6, 0.15, 0.25), seed=0)]
    [1078, 270, 449]
    """
    if not np.isclose(sum(fractions), 1):
        raise ValueError(f"the fractions must add up to 1; found {list(fractions)}")
    from sklearn.model_selection import train_test_split  # two seconds

    bounds = np.round(np.cumsum(fractions) * len(dataset)).astype(int)
    sizes = np.diff(bounds, prepend=0)
    parts, rest = [], np.arange(len(dataset))
    for size in sizes[:-1]:
        part, rest = train_test_split(
            rest, train_size=int(size), random_state=seed, stratify=dataset.labels[rest]
        )
        parts.append(np.sort(part))
    return [dataset.take(part) for part in [*parts, np.sort(rest)]]
