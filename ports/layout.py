"""Array layouts: PyTorch to Flax."""

import numpy as np
from jaxtyping import Float


def dense_kernel(weight: Float[np.ndarray, "out in"]) -> Float[np.ndarray, "in out"]:
    """The weight of PyTorch's `Linear` as the kernel of Flax's.

    >>> dense_kernel(np.zeros((3, 2))).shape
    (2, 3)
    """
    return weight.T
