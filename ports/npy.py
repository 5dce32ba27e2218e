"""The `.npy` dictionaries of arrays in which Caffe's networks are handed on.

Such a file is a pickle inside an array of one object. It is read by the closed list of
`pickled`, not by NumPy, which would execute it.
"""

import math
import re
import struct
from typing import Any

import numpy as np

from .pickled import Name, read_pickle, shown

MAGIC = b"\x93NUMPY"
# The whole header: an array without axes that holds one Python object.
HEADER = re.compile(
    rb"\{'descr': '\|?O8?', 'fortran_order': (?:False|True), 'shape': \(\), ?\}\s*"
)
NUMBERS = ("f2", "f4", "f8")
LONGEST_NAME = 200  # of a layer; it is written once for each of its arrays


def read_npy_dictionary(data: memoryview) -> dict[str, np.ndarray]:
    """The arrays of a dictionary `{layer: [weights, biases]}`, named `layer/weights`.

    `{layer: {"weights": ..., "biases": ...}}`, which converters also write, is the same.

    Raises:
        ValueError: not such a file, torn, damaged, or with anything but arrays of floating-
            point numbers in it.
    """
    if len(data) < 12:
        raise ValueError("the .npy file is torn")
    version, size = data[6], struct.calcsize("<H" if data[6] == 1 else "<I")
    if version not in (1, 2, 3) or len(data) < 8 + size:
        raise ValueError("the .npy file is torn or of an unknown version")
    start = 8 + size + int.from_bytes(data[8 : 8 + size], "little")
    if not HEADER.fullmatch(data[8 + size : start]):
        raise ValueError("the .npy file holds no dictionary of layers")
    found, stop = read_pickle(data, start, _calls(len(data)), frozenset({"numpy.ndarray"}))
    if stop != len(data):
        raise ValueError(f"{len(data) - stop} bytes follow the dictionary")
    layers = found.held if isinstance(found, _Array) else None
    if not isinstance(layers, dict) or not layers:
        raise ValueError("the .npy file holds no dictionary of layers")
    arrays = {}
    for layer, parts in layers.items():
        if isinstance(parts, list | tuple) and len(parts) == 2:
            parts = dict(zip(("weights", "biases"), parts, strict=True))
        if not isinstance(parts, dict):
            raise ValueError(f"{shown(layer)} has no pair of weights and biases")
        for part, value in parts.items():
            if not all(isinstance(x, str) and len(x) <= LONGEST_NAME for x in (layer, part)):
                raise ValueError("a layer or its part has no name, or a very long one")
            name = f"{layer}/{part}"
            if not isinstance(value, _Array) or value.array is None:
                raise ValueError(f"{shown(name)} is no array of numbers")
            if name in arrays:
                raise ValueError(f"{shown(name)} is there twice")
            arrays[name] = value.array
    if sum(array.nbytes for array in arrays.values()) > len(data):
        raise ValueError("the arrays have more numbers together than the file has")
    return arrays


class _Array:
    """An array on its way: the pickle makes it empty and then gives its contents."""

    array: np.ndarray | None = None
    held: Any = None  # the object of an array of objects

    def __init__(self, kind, *_):
        if not isinstance(kind, Name):
            raise ValueError("an array is not described as NumPy does")

    def set_state(self, state):
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array is not described as NumPy does")
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
            raise ValueError("an array is not described as NumPy does")
        if len(shape) > 8 or any(type(n) is not int or n < 0 for n in shape):
            raise ValueError("an array has an impossible shape")
        if dtype.code in ("O", "O8"):
            if shape != () or not isinstance(content, list) or len(content) != 1:
                raise ValueError("an array holds objects instead of numbers")
            self.held = content[0]
            return
        if isinstance(content, str):  # short, and written by Python 2
            content = content.encode("latin-1")
        numbers = np.dtype(dtype.order + dtype.code)
        if not isinstance(content, bytes | memoryview):
            raise ValueError("an array has no contents")
        if len(content) != math.prod(shape) * numbers.itemsize:
            raise ValueError(f"an array of shape {str(shape)[:80]} has {len(content)} bytes")
        order = "F" if fortran is True else "C"
        self.array = np.ndarray(shape, numbers, content if content else bytes(8), order=order)


class _Dtype:
    """What an array's numbers are."""

    order = "<"

    def __init__(self, code, *_):
        if not isinstance(code, str) or code not in (*NUMBERS, "O", "O8"):
            raise ValueError("an array has a dtype other than float16, float32 or float64")
        self.code = code

    def set_state(self, state):
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|"):
            raise ValueError("an array is not described as NumPy does")
        self.order = state[1].replace("|", "<")


def _calls(n_bytes):
    """What a file of this many bytes may call."""
    left = n_bytes

    def encode(text, encoding):
        """How the oldest protocols write bytes: as text to be encoded, each text once."""
        nonlocal left
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise ValueError("an array's contents are not written as NumPy does")
        left -= len(text)
        if left < 0:
            raise ValueError("the arrays have more numbers together than the file has")
        return text.encode("latin-1")

    return {
        "numpy.core.multiarray._reconstruct": _Array,
        "numpy._core.multiarray._reconstruct": _Array,
        "numpy.dtype": _Dtype,
        "_codecs.encode": encode,
    }
