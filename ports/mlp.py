"""Fully connected networks kept as `.npz` with PyTorch's names.

Keys are `linears.{0,1,...}.{weight,bias}`, weights `(out, in)`. Other arrays in the file
must be known not to be weights: `train_targets` and `unit_sd` are what an experiment kept
beside them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .layout import dense_kernel

BESIDE = {"train_targets", "unit_sd"}


def convert(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Flax parameters and the settings of the network that they fit.

    Args:
        arrays: what the file holds, by key.

    Returns:
        Nested dictionaries of float32 arrays, and keyword arguments of `models.MLP`.

    Raises:
        ValueError: a key too many or too few, or shapes that do not follow each other.

    >>> file = {"linears.0.weight": np.zeros((3, 2)), "linears.0.bias": np.zeros(3),
    ...         "linears.1.weight": np.zeros((4, 3)), "linears.1.bias": np.zeros(4)}
    >>> convert(file)[1]
    {'n_inputs': 2, 'widths': [3], 'n_classes': 4}
    """
    weights = {key: array for key, array in arrays.items() if key not in BESIDE}
    n_layers = (sum(key.startswith("linears.") for key in weights) + 1) // 2
    expected = {
        f"linears.{depth}.{kind}" for depth in range(n_layers) for kind in ("weight", "bias")
    }
    if not expected or weights.keys() != expected:
        raise ValueError(
            f"the keys must be linears.0.weight, linears.0.bias, linears.1.weight, ...: "
            f"missing {sorted(expected - weights.keys()) or 'none'}, "
            f"unknown {sorted(weights.keys() - expected) or 'none'}"
        )
    if n_layers < 2:
        raise ValueError("the network has no hidden layer: there are no units to analyse")
    layers, widths = {}, []
    for depth in range(n_layers):
        weight, bias = weights[f"linears.{depth}.weight"], weights[f"linears.{depth}.bias"]
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or weight.size == 0:
            raise ValueError(
                f"linears.{depth} has a weight of shape {weight.shape} and a bias of shape "
                f"{bias.shape}; possible are (out, in) and (out,)"
            )
        if widths and weight.shape[1] != widths[-1]:
            raise ValueError(
                f"linears.{depth} takes {weight.shape[1]} inputs, but the layer before it "
                f"has {widths[-1]} units"
            )
        if not all(a.dtype.kind == "f" and np.isfinite(a).all() for a in (weight, bias)):
            raise ValueError(f"linears.{depth} has parameters that are NaN or no numbers")
        widths.append(weight.shape[0])
        layers[depth] = {
            "kernel": dense_kernel(weight).astype(np.float32),
            "bias": bias.astype(np.float32),
        }
    settings = {
        "n_inputs": weights["linears.0.weight"].shape[1],
        "widths": widths[:-1],
        "n_classes": widths[-1],
    }
    return {"layers": layers}, settings
