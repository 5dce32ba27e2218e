"""How stored pixels become a network's input, named by origin.

Each function takes a batch as it is stored and returns float32. A checkpoint's manifest
records the name, so that a network always sees the images it was trained on.
"""

import numpy as np
from jaxtyping import Float, Num


def unit_range(images: Num[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Pixels 0 to 255 become 0 to 1: x / 255.

    >>> unit_range(np.array([0, 255], np.uint8)).tolist()
    [0.0, 1.0]
    """
    return images.astype(np.float32) / np.float32(255)


def sixteenths(images: Num[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Grey levels 0 to 16, as scikit-learn's digits have them, become 0 to 1: x / 16.

    >>> sixteenths(np.array([0, 16], np.uint8)).tolist()
    [0.0, 1.0]
    """
    return images.astype(np.float32) / np.float32(16)


PREPROCESS = {"sixteenths": sixteenths, "unit_range": unit_range}
