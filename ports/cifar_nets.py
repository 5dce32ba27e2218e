"""Networks for CIFAR in PyTorch's names: ResNet20 to 56, VGG16 with BatchNorm, LeNet5."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxsel.models.vgg import VGG16

from .layout import CONV, DENSE, flattened
from .table import Table, batch_norm, layer, length
from .torchvision_nets import vgg_places


def resnet_table(blocks_per_stage: int) -> Callable[[Mapping[str, np.ndarray]], Table]:
    """The table of a residual network as akamaster/pytorch_resnet_cifar10 names its arrays."""

    def table(arrays: Mapping[str, np.ndarray]) -> Table:
        del arrays
        found: Table = {"conv1/kernel": ("conv1.weight", CONV)} | batch_norm("bn1", "bn1")
        for stage, i in itertools.product(range(3), range(blocks_per_stage)):
            ours, theirs = f"blocks/{stage * blocks_per_stage + i}", f"layer{stage + 1}.{i}"
            for n in (1, 2):
                found[f"{ours}/conv{n}/kernel"] = (f"{theirs}.conv{n}.weight", CONV)
                found |= batch_norm(f"{ours}/bn{n}", f"{theirs}.bn{n}")
        return found | layer("fc", "linear", DENSE)

    return table


def resnet_settings(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Widths of the file's residual network."""
    return {
        "n_classes": length(arrays, "linear.bias"),
        "widths": [length(arrays, f"layer{stage}.0.bn2.weight") for stage in (1, 2, 3)],
    }


def vgg_cifar_table(arrays: Mapping[str, np.ndarray]) -> Table:
    """VGG16 with BatchNorm: `features.N` as torchvision's `vgg16_bn`, then dense layers.

    The dense layers are `classifier`, if there is one, or `classifier.N` in the order of N:
    the numbers differ with the dropout layers in between.
    """
    table = {}
    for i, place in enumerate(vgg_places(VGG16, 3)):
        table |= layer(f"convs/{i}", f"features.{place}", CONV)
        table |= batch_norm(f"norms/{i}", f"features.{place + 1}")
    for i, name in enumerate(_dense_layers(arrays)):
        table |= layer(f"dense/{i}", name, DENSE)
    return table


def vgg_cifar_settings(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Widths of the file's VGG16."""
    places = vgg_places(VGG16, 3)
    ends = [sum(VGG16[: block + 1]) - 1 for block in range(len(VGG16))]
    *hidden, n_classes = [length(arrays, f"{name}.bias") for name in _dense_layers(arrays)]
    return {
        "n_classes": n_classes,
        "widths": [length(arrays, f"features.{places[end]}.bias") for end in ends],
        "dense_widths": hidden,
    }


def _dense_layers(arrays):
    numbers = sorted(
        int(parts[1])
        for parts in (key.split(".") for key in arrays)
        if len(parts) == 3 and parts[0] == "classifier" and parts[1].isdecimal()
        if parts[2] == "weight"
    )
    return [f"classifier.{n}" for n in numbers] or ["classifier"]


def lenet5_table(arrays: Mapping[str, np.ndarray]) -> Table:
    """LeNet5 as in PyTorch's tutorial: conv1, conv2, fc1, fc2, fc3."""
    del arrays
    return (
        layer("conv1", "conv1", CONV)
        | layer("conv2", "conv2", CONV)
        | layer("fc1", "fc1", flattened(5))
        | layer("fc2", "fc2", DENSE)
        | layer("fc3", "fc3", DENSE)
    )


def lenet5_settings(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Channels and classes of the file's LeNet5."""
    shape = arrays["conv1.weight"].shape
    return {
        # Colour unless the kernel is one that only grey images can have made.
        "n_channels": 1 if len(shape) == 4 and shape[1] == 1 else 3,
        "n_classes": length(arrays, "fc3.bias"),
    }
