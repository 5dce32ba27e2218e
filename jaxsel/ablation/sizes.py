"""The few sizes that images are padded to, so that few programs are compiled.

They are chosen from the first batch, and reach beyond it in steps of a quarter.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

# By name: `chunk`, how much is done at a time; `bytes` that this takes; what an engine needs
# besides. Numbers and lists only, so that they can be written down.
Sizes = dict[str, Any]

# What is padded is a multiple of this.
STEP = 16


def moving_units(change: np.ndarray, most: int) -> Iterator[tuple[int, np.ndarray]]:
    """Image by image, at most `most` of the units that move."""
    for i, row in enumerate(change):
        found = np.flatnonzero(row)
        for start in range(0, len(found), most):
            yield i, found[start : start + most]


def sizes_for(found: Sequence[int], largest: int, n: int) -> list[int]:
    """Sizes to pad to: what divides the sizes found into `n` parts, and steps beyond."""
    sizes = {_up(size) for size in np.quantile(found or [1], np.arange(1, n + 1) / n)}
    while max(sizes) < largest:
        sizes.add(_up(1.25 * max(sizes)))
    return sorted(sizes)


def _up(n: float, step: int = STEP) -> int:
    """The next multiple of a step, at least one."""
    return max(int(np.ceil(n / step)), 1) * step


def size_for(n: int, sizes: Sequence[int]) -> int:
    """The smallest size that holds n."""
    return next(size for size in sizes if size >= n)


def pad(size: int, index: np.ndarray, *arrays: np.ndarray, fill=(0, 0)):
    """Indices and what belongs to them, filled up to a size."""
    out = [np.full(size, fill[0], np.int32)]
    out += [np.full(size, value, np.float64) for value in fill[1:]]
    for target, source in zip(out, (index, *arrays), strict=True):
        target[: len(source)] = source
    return out
