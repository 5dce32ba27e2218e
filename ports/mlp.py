"""Fully connected networks with PyTorch's names `linears.{0,1,...}.{weight,bias}`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .layout import DENSE
from .table import Table, layer, length

# What an experiment kept beside the weights.
BESIDE = frozenset({"train_targets", "unit_sd"})


def mlp_table(arrays: Mapping[str, np.ndarray]) -> Table:
    """As many layers as the file has arrays for; at least one hidden one.

    Raises:
        ValueError: fewer than two layers.
    """
    n_layers = (sum(key.startswith("linears.") for key in arrays) + 1) // 2
    if n_layers == 1:
        raise ValueError("the network has no hidden layer: there are no units to analyse")
    table = {}
    for depth in range(max(n_layers, 2)):
        table |= layer(f"layers/{depth}", f"linears.{depth}", DENSE)
    return table


def mlp_settings(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Widths of the file's network."""
    n_layers = sum(key.startswith("linears.") and key.endswith(".bias") for key in arrays)
    widths = [length(arrays, f"linears.{depth}.bias") for depth in range(n_layers)]
    first = arrays["linears.0.weight"].shape
    return {
        # A weight without inputs is refused for its shape, whatever stands here.
        "n_inputs": max(first[1], 1) if len(first) == 2 else 1,
        "widths": widths[:-1],
        "n_classes": widths[-1],
    }
