"""The 1,797 real handwritten digits that come with scikit-learn: the embedded data set."""

from typing import Any

import numpy as np

from .dataset import Dataset
from .preprocess import sixteenths


def digits() -> Dataset:
    """All 1,797 digits, 8x8 grey levels 0 to 16, shape `(1797, 8, 8, 1)`, classes 0 to 9.

    No download. `split.stratified` divides them.

    Source:
        Test set of the UCI "Optical Recognition of Handwritten Digits" data
        (Alpaydin and Kaynak, 1998), as scikit-learn ships it.

    >>> digits().images.shape
    (1797, 8, 8, 1)
    """
    from sklearn.datasets import load_digits  # two seconds, and only needed here

    bunch: Any = load_digits()
    images = bunch["images"].astype(np.uint8)[..., None]
    names = tuple(str(name) for name in bunch["target_names"])
    return Dataset(images, bunch["target"], names, sixteenths)
