"""Ukita's seven-layer network in the names that Keras gives its arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .layout import AS_IT_IS
from .table import Table, length

CONVS = tuple(f"layer{i}" for i in range(1, 7))


def cnn7_table(arrays: Mapping[str, np.ndarray]) -> Table:
    """`layer1/kernel`, `bn1/gamma`, ..., `fc1/kernel`, `bn7/gamma`, `fc2/kernel`.

    Keras lays its kernels out as Flax does.
    """
    del arrays
    table: Table = {}
    for i, name in enumerate(CONVS):
        table |= _layer(f"convs/{i}", name)
    for i in range(7):
        theirs = f"bn{i + 1}"
        table[f"norms/{i}/scale"] = (f"{theirs}/gamma", AS_IT_IS)
        table[f"norms/{i}/bias"] = (f"{theirs}/beta", AS_IT_IS)
        table[f"norms/{i}/mean"] = (f"{theirs}/moving_mean", AS_IT_IS)
        table[f"norms/{i}/var"] = (f"{theirs}/moving_variance", AS_IT_IS)
    return table | _layer("fc7", "fc1") | _layer("fc8", "fc2")


def cnn7_settings(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Widths of the file's network."""
    return {
        "n_classes": length(arrays, "fc2/bias"),
        "widths": [length(arrays, f"{name}/bias") for name in CONVS],
        "dense_width": length(arrays, "fc1/bias"),
    }


def _layer(ours, theirs) -> Table:
    return {
        f"{ours}/kernel": (f"{theirs}/kernel", AS_IT_IS),
        f"{ours}/bias": (f"{theirs}/bias", AS_IT_IS),
    }
