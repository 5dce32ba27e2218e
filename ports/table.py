"""Tables that say which array of a file becomes which array of a network."""

from collections.abc import Mapping

import numpy as np

from .layout import AS_IT_IS, Layout

# Path in the network, such as `conv1/kernel`: key in the file, and how to turn its array.
Table = dict[str, tuple[str, Layout]]


def layer(ours: str, theirs: str, kernel: Layout) -> Table:
    """Kernel and bias of one layer in PyTorch's names.

    >>> from .layout import DENSE
    >>> sorted(key for key, _ in layer("fc8", "classifier.6", DENSE).values())
    ['classifier.6.bias', 'classifier.6.weight']
    """
    return {
        f"{ours}/kernel": (f"{theirs}.weight", kernel),
        f"{ours}/bias": (f"{theirs}.bias", AS_IT_IS),
    }


def batch_norm(ours: str, theirs: str) -> Table:
    """Gains, biases and running statistics of one BatchNorm in PyTorch's names.

    Flax and PyTorch both normalise by the running variance as it was stored.
    """
    return {
        f"{ours}/scale": (f"{theirs}.weight", AS_IT_IS),
        f"{ours}/bias": (f"{theirs}.bias", AS_IT_IS),
        f"{ours}/mean": (f"{theirs}.running_mean", AS_IT_IS),
        f"{ours}/var": (f"{theirs}.running_var", AS_IT_IS),
    }


def length(arrays: Mapping[str, np.ndarray], key: str) -> int:
    """Units of a layer, from its bias or gain: unlike a kernel, no layout can confuse it.

    Raises:
        ValueError: no vector, or an empty one.
    """
    shape = arrays[key].shape
    if len(shape) != 1 or shape[0] == 0:
        raise ValueError(f"{key} has the shape {shape}; possible is (units,)")
    return shape[0]
