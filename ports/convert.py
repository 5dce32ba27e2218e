"""From the arrays of a file to the arrays of a network, every one exactly once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsel import models

from . import caffe, cifar_nets, keras_nets, mlp, torchvision_nets
from .table import Table

PREFIXES = ("_orig_mod.", "module.", "_orig_mod.")  # compiled, on several devices, or both
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Port:
    """How the files of one network are read.

    Attributes:
        table: from the arrays' names to the network's.
        settings: keyword arguments of the network, from the arrays' shapes.
        preprocess: what the network's images went through, by its name in
            `jaxsel.data.PREPROCESS`; None where that differs from file to file.
        beside: what may be in the file without being part of the network.
    """

    table: Callable[[Arrays], Table]
    settings: Callable[[Arrays], dict[str, Any]]
    preprocess: str | None
    beside: frozenset[str] = frozenset()


PORTS = {
    "alexnet": Port(
        torchvision_nets.alexnet_table, torchvision_nets.alexnet_settings, "torchvision"
    ),
    "alexnet_caffe": Port(caffe.alexnet_table, caffe.alexnet_settings, "caffe"),
    "caffenet": Port(caffe.alexnet_table, caffe.alexnet_settings, "caffe"),
    # The author subtracts the mean training image, which is not in the file.
    "cnn7": Port(keras_nets.cnn7_table, keras_nets.cnn7_settings, None),
    "lenet5": Port(cifar_nets.lenet5_table, cifar_nets.lenet5_settings, "lenet5"),
    "mlp": Port(mlp.mlp_table, mlp.mlp_settings, "unit_range", mlp.BESIDE),
    "vgg16": Port(torchvision_nets.vgg16_table, torchvision_nets.vgg16_settings, "torchvision"),
    "vgg16_cifar": Port(
        cifar_nets.vgg_cifar_table, cifar_nets.vgg_cifar_settings, "cifar10_resnet"
    ),
    "vgg19": Port(torchvision_nets.vgg19_table, torchvision_nets.vgg19_settings, "torchvision"),
} | {
    f"resnet{2 + 6 * n}": Port(
        cifar_nets.resnet_table(n), cifar_nets.resnet_settings, "cifar10_resnet"
    )
    for n in (3, 5, 7, 9)
}


def convert(name: str, arrays: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays of a network from those of a file.

    Args:
        name: which network, one of `PORTS`.
        arrays: what the file holds, by key. Keys that all begin with `module.` or
            `_orig_mod.`, as PyTorch writes them for networks on several devices and compiled
            ones, are taken without it; BatchNorm's `num_batches_tracked` is left out.

    Returns:
        Nested dictionaries for `jaxsel.models.assemble`, in the floating-point dtype of the
        file (half precision as float32); and the network's settings.

    Raises:
        ValueError: arrays that are missing or not known, all of them named; an array of
            another shape than the network needs, or with numbers that are not finite. A
            square kernel that was transposed has the right shape: only what the network
            answers can show it.

    >>> file = {"linears.0.weight": np.zeros((3, 2)), "linears.0.bias": np.zeros(3),
    ...         "linears.1.weight": np.zeros((4, 3)), "linears.1.bias": np.zeros(4)}
    >>> convert("mlp", file)[1]
    {'n_inputs': 2, 'widths': [3], 'n_classes': 4}
    """
    port = PORTS[name]
    arrays = _weights_alone(_without_prefix(arrays), port.beside)
    table = port.table(arrays)
    expected = {key for key, _ in table.values()}
    if arrays.keys() != expected:
        raise ValueError(
            f"the file does not hold the arrays of {name}: "
            f"missing {_listed(expected - arrays.keys())}; "
            f"unknown {_listed(arrays.keys() - expected)}"
        )
    settings = port.settings(arrays)
    shapes = models.shapes(name, settings)
    tree: dict[str, Any] = {}
    for path, (key, layout) in table.items():
        needed = layout.shape_in_file(shapes[path])
        if arrays[key].shape != needed:
            raise ValueError(
                f"{key} has the shape {arrays[key].shape}; the network needs {needed}"
            )
        array = _numbers(arrays[key], key)
        if path.endswith("/var") and (array < 0).any():
            raise ValueError(f"{key} holds variances and has negative numbers")
        _place(tree, path, np.ascontiguousarray(layout.turn(array)))
    return tree, settings


def _without_prefix(arrays: Arrays) -> Arrays:
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in arrays):
            arrays = {key.removeprefix(prefix): array for key, array in arrays.items()}
    return arrays


def _weights_alone(arrays: Arrays, beside: frozenset[str]) -> Arrays:
    """Without what is no part of the network: BatchNorm's counters among it."""
    counters = {
        key.removesuffix("running_mean") + "num_batches_tracked"
        for key in arrays
        if key.endswith("running_mean")
    }
    return {key: a for key, a in arrays.items() if key not in beside and key not in counters}


def _listed(keys: set[str]) -> str:
    """Some names for a message; a file may have put anything into them."""
    names = [ascii(key)[1:-1][:60] for key in sorted(keys)]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(names[:8]) or "none") + more


def _numbers(array: np.ndarray, key: str) -> np.ndarray:
    """The array in float32 or float64, whatever its byte order; finite numbers only."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{key} holds {array.dtype}, no floating-point numbers")
    array = array.astype(np.float64 if array.dtype.itemsize == 8 else np.float32)
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(np.float32, copy=False)).all()
    if not finite:
        raise ValueError(
            f"{key} has numbers that are NaN or infinite, or too large for float32"
        )
    return array


def _place(tree: dict[Any, Any], path: str, array: np.ndarray) -> None:
    """Put an array at its path; a part that is a number is a place in a list."""
    *parents, last = path.split("/")
    for parent in parents:
        tree = tree.setdefault(int(parent) if parent.isdecimal() else parent, {})
    tree[last] = array
