"""Caffe's AlexNet and CaffeNet, as ONNX model or as `.npy` dictionary, and how they differ."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .layout import AS_IT_IS, CONV, DENSE, flattened
from .table import Table, length

CONVS = ("conv1", "conv2", "conv3", "conv4", "conv5")
DENSES = ("fc6", "fc7", "fc8")


def alexnet_table(arrays: Mapping[str, np.ndarray]) -> Table:
    """`conv1_w_0` (ONNX, Caffe's layout) or `conv1/weights` (`.npy`, TensorFlow's layout).

    The `.npy` dictionary was made for TensorFlow: its kernels have Flax's axes already, and
    the rows of fc6 the order height, width, channels.
    """
    table: Table = {}
    if any(key.endswith("/weights") for key in arrays):
        for name in (*CONVS, *DENSES):
            table[f"{name}/kernel"] = (f"{name}/weights", AS_IT_IS)
            table[f"{name}/bias"] = (f"{name}/biases", AS_IT_IS)
        return table
    for name in (*CONVS, *DENSES):
        kernel = CONV if name in CONVS else flattened(6) if name == "fc6" else DENSE
        table[f"{name}/kernel"] = (f"{name}_w_0", kernel)
        table[f"{name}/bias"] = (f"{name}_b_0", AS_IT_IS)
    return table


def alexnet_settings(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Widths of the file's AlexNet."""
    form = "{}/biases" if "fc8/biases" in arrays else "{}_b_0"
    widths = {name: length(arrays, form.format(name)) for name in (*CONVS, *DENSES)}
    return {
        "n_classes": widths["fc8"],
        "widths": [widths[name] for name in CONVS],
        "dense_widths": [widths["fc6"], widths["fc7"]],
    }
