"""Leave out the images that cannot be decoded, and say which they were."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .dataset import Dataset
from .encoded import EncodedImages, decode, n_processors

STEP = 500  # images between two reports of progress


def without_corrupt(
    dataset: Dataset, progress: Callable[[int, int], None] | None = None
) -> tuple[Dataset, tuple[str, ...]]:
    """The images that can be decoded, and the names of the others.

    Every encoded image is decoded once, on all processors, before the work begins: what
    follows has a fixed number of images. Images in memory are as they are.

    Args:
        dataset: any.
        progress: called with the images that were looked at, and their number.

    Returns:
        The data set without those images, and their names in its order.

    Raises:
        ValueError: no image can be decoded.
        OSError: an image cannot be read at all.

    >>> images = EncodedImages(lambda i: b"torn", "image {}".format, np.arange(2))
    >>> without_corrupt(Dataset(images, np.zeros(2, int), ("cat",)))
    Traceback (most recent call last):
    ...
    ValueError: none of the 2 images can be decoded: image 0, image 1
    """
    images = dataset.images
    if not isinstance(images, EncodedImages):
        return dataset, ()
    numbers = [int(number) for number in images.indices]

    def whole(number: int) -> bool:
        try:
            decode(images.read(number), images.name(number), images.mode)
        except ValueError:
            return False
        return True

    good = np.zeros(len(images), bool)
    with ThreadPoolExecutor(n_processors()) as pool:
        # Part by part: an error need not wait for all the images after it.
        for start in range(0, len(images), STEP):
            rows = slice(start, start + STEP)
            good[rows] = list(pool.map(whole, numbers[rows]))
            if progress is not None:
                progress(min(rows.stop, len(images)), len(images))
    corrupt = tuple(images.name(numbers[row]) for row in np.flatnonzero(~good))
    if not good.any():
        few = ", ".join(corrupt[:3]) + (", ..." if len(corrupt) > 3 else "")
        raise ValueError(f"none of the {len(good):,} images can be decoded: {few}")
    return (dataset.take(np.flatnonzero(good)) if corrupt else dataset), corrupt
