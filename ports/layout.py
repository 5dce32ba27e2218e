"""Array layouts: PyTorch, Caffe and Keras to Flax."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Shape = tuple[int, ...]


class Layout(NamedTuple):
    """How an array of a file is turned into Flax's, and the shape it has in the file."""

    turn: Callable[[np.ndarray], np.ndarray]
    shape_in_file: Callable[[Shape], Shape]


def as_it_is(array: np.ndarray) -> np.ndarray:
    """The array unchanged: vectors, and kernels that are Flax's already."""
    return array


def dense_kernel(weight: Float[np.ndarray, "out in"]) -> Float[np.ndarray, "in out"]:
    """The weight of PyTorch's `Linear` as the kernel of Flax's.

    >>> dense_kernel(np.zeros((3, 2))).shape
    (2, 3)
    """
    return weight.T


def conv_kernel(
    weight: Float[np.ndarray, "out in height width"],
) -> Float[np.ndarray, "height width in out"]:
    """The weight of a convolution in PyTorch, Caffe or ONNX as the kernel of Flax's.

    With groups, `in` is the channels of one group on both sides.

    >>> conv_kernel(np.zeros((64, 3, 11, 7))).shape
    (11, 7, 3, 64)
    """
    return weight.transpose(2, 3, 1, 0)


def dense_after_flatten(
    weight: Float[np.ndarray, "out in"], side: int
) -> Float[np.ndarray, "in out"]:
    """The first dense kernel after maps of `side` x `side` were flattened.

    PyTorch and Caffe flatten channels, height, width; Flax height, width, channels: the rows
    must be permuted, not only transposed. Without that the shape is right all the same.

    Args:
        weight: columns in the order channels, height, width.
        side: height and width of the maps.

    >>> dense_after_flatten(np.arange(8.0).reshape(1, 8), 2)[:, 0].tolist()
    [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]
    """
    n_out, n_in = weight.shape
    maps = weight.reshape(n_out, -1, side, side)
    return maps.transpose(2, 3, 1, 0).reshape(n_in, n_out)


def _same(shape: Shape) -> Shape:
    return shape


def _reversed(shape: Shape) -> Shape:
    return shape[::-1]


def _out_in_height_width(shape: Shape) -> Shape:
    height, width, n_in, n_out = shape
    return n_out, n_in, height, width


AS_IT_IS = Layout(as_it_is, _same)
DENSE = Layout(dense_kernel, _reversed)
CONV = Layout(conv_kernel, _out_in_height_width)


def flattened(side: int) -> Layout:
    """The layout of the first dense layer after maps of `side` x `side`."""
    return Layout(partial(dense_after_flatten, side=side), _reversed)
