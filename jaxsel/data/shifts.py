"""Images moved by some pixels."""

import numpy as np
from jaxtyping import Shaped


def shifted(
    images: Shaped[np.ndarray, "images height width channels"], right: int, down: int
) -> Shaped[np.ndarray, "images height width channels"]:
    """The same images, moved; what comes in at the edge repeats the pixels there.

    Args:
        images: stored or preprocessed.
        right: pixels; to the left below 0.
        down: pixels; up below 0.

    Raises:
        ValueError: a shift by the whole image or more.

    >>> shifted(np.arange(3).reshape(1, 1, 3, 1), 1, 0).ravel().tolist()
    [0, 0, 1]
    """
    _, height, width, _ = images.shape
    if abs(right) >= width or abs(down) >= height:
        raise ValueError(
            f"a shift by {right} and {down} pixels leaves nothing of images of {height}x{width}"
        )
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return images[:, rows[:, None], columns]
