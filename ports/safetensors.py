"""The safetensors format: a table in JSON, then the numbers."""

import json
import math

import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike

from .pickled import shown

DTYPES: dict[str, DTypeLike] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": jnp.bfloat16,
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
LONGEST_TABLE = 500_000  # bytes; a tensor takes about a hundred


def read_safetensors(data: memoryview) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, as views of its bytes.

    Raises:
        ValueError: a torn or damaged file; tensors that overlap, leave gaps, or reach beyond
            the end.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(len(data) - 8, LONGEST_TABLE):
        raise ValueError("the file is torn, or no safetensors file")
    try:
        table = json.loads(bytes(data[8 : 8 + size]), object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("the table of tensors is nested too deeply") from error
    if not isinstance(table, dict):
        raise ValueError("the file has no table of tensors")
    table.pop("__metadata__", None)
    numbers = data[8 + size :]
    arrays, ends = {}, []
    for key, entry in table.items():
        dtype, shape, (start, stop) = _entry(key, entry)
        if start > stop or stop > len(numbers):
            raise ValueError(f"{shown(key)} reaches beyond the end of the file")
        if stop - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{shown(key)} has {stop - start} bytes, not those of its shape")
        content = numbers[start:stop] if stop > start else bytes(8)
        arrays[key] = np.ndarray(shape, dtype, content)
        ends.append((start, stop))
    position = 0
    for start, stop in sorted(ends):
        if start != position:
            raise ValueError("the tensors overlap, or there are gaps between them")
        position = stop
    if position != len(numbers):
        raise ValueError(f"{len(numbers) - position} bytes follow the last tensor")
    return arrays


def _entry(key, entry):
    """Dtype, shape and place of one tensor, all of them checked."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{shown(key)} is not described as safetensors does")
    name, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(name, str) or name not in DTYPES:
        raise ValueError(f"{shown(key)} has the dtype {str(name)[:20]}, which is not supported")
    for values in (shape, place):
        if not isinstance(values, list) or len(values) > 8:
            raise ValueError(f"{shown(key)} is not described as safetensors does")
        if any(type(n) is not int or n < 0 for n in values):
            raise ValueError(f"{shown(key)} has an impossible shape or place")
    if len(place) != 2:
        raise ValueError(f"{shown(key)} is not described as safetensors does")
    return np.dtype(DTYPES[name]), tuple(shape), place


def _once(pairs):
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("the table of tensors has a key twice")
    return table
