"""torchvision's AlexNet, VGG16 and VGG19."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxsel.models.vgg import VGG16, VGG19

from .layout import CONV, DENSE, flattened
from .table import Table, layer, length

ALEXNET_CONVS = {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10}


def alexnet_table(arrays: Mapping[str, np.ndarray]) -> Table:
    """AlexNet: convolutions are `features.N`, dense layers `classifier.N`."""
    del arrays
    table = {}
    for name, place in ALEXNET_CONVS.items():
        table |= layer(name, f"features.{place}", CONV)
    table |= layer("fc6", "classifier.1", flattened(6))
    table |= layer("fc7", "classifier.4", DENSE)
    return table | layer("fc8", "classifier.6", DENSE)


def alexnet_settings(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Widths of the file's AlexNet."""
    return {
        "n_classes": length(arrays, "classifier.6.bias"),
        "widths": [length(arrays, f"features.{n}.bias") for n in ALEXNET_CONVS.values()],
        "dense_widths": [length(arrays, f"classifier.{n}.bias") for n in (1, 4)],
    }


def vgg_places(convs_per_block: tuple[int, ...], layers_per_conv: int) -> list[int]:
    """Places of a VGG's convolutions in torchvision's `features`.

    Args:
        convs_per_block: as in `jaxsel.models.VGG`.
        layers_per_conv: 2 for convolution and ReLU, 3 with BatchNorm between them.

    >>> vgg_places((2, 1), 2)
    [0, 2, 5]
    """
    places, place = [], 0
    for n in convs_per_block:
        places += range(place, place + n * layers_per_conv, layers_per_conv)
        place += n * layers_per_conv + 1  # the pool
    return places


def vgg16_table(arrays: Mapping[str, np.ndarray]) -> Table:
    """VGG16: convolutions are `features.N`, dense layers `classifier.N`."""
    del arrays
    return _vgg_table(VGG16)


def vgg19_table(arrays: Mapping[str, np.ndarray]) -> Table:
    """VGG19: as VGG16."""
    del arrays
    return _vgg_table(VGG19)


def vgg16_settings(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Widths of the file's VGG16."""
    return _vgg_settings(arrays, VGG16)


def vgg19_settings(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Widths of the file's VGG19."""
    return _vgg_settings(arrays, VGG19)


def _vgg_table(convs_per_block):
    table = {}
    for i, place in enumerate(vgg_places(convs_per_block, 2)):
        table |= layer(f"convs/{i}", f"features.{place}", CONV)
    table |= layer("fc6", "classifier.0", flattened(7))
    table |= layer("fc7", "classifier.3", DENSE)
    return table | layer("fc8", "classifier.6", DENSE)


def _vgg_settings(arrays, convs_per_block):
    places = vgg_places(convs_per_block, 2)
    ends = [sum(convs_per_block[: block + 1]) - 1 for block in range(len(convs_per_block))]
    return {
        "n_classes": length(arrays, "classifier.6.bias"),
        "widths": [length(arrays, f"features.{places[end]}.bias") for end in ends],
        "dense_widths": [length(arrays, f"classifier.{n}.bias") for n in (0, 3)],
    }
