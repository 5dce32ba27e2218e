"""The weights of an ONNX model: its initialisers. Needs the `onnx` package (an extra)."""

import math

import numpy as np

from .pickled import shown


def read_onnx(data: memoryview) -> dict[str, np.ndarray]:
    """The floating-point initialisers of an ONNX model by name.

    Integers are left out: they are shapes, not weights. The graph itself is not read.

    Raises:
        ValueError: the package is missing; a torn or damaged file; numbers in another file.
    """
    try:
        import google.protobuf.message
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        raise ValueError(
            "reading ONNX needs the package onnx: pip install 'jaxsel[onnx]'"
        ) from error
    try:
        graph = onnx.ModelProto.FromString(bytes(data)).graph
    except google.protobuf.message.DecodeError as error:
        raise ValueError(f"the file is no ONNX model, or is torn: {error}") from error
    kinds: dict[int, int] = {
        onnx.TensorProto.FLOAT: 4,
        onnx.TensorProto.DOUBLE: 8,
        onnx.TensorProto.FLOAT16: 2,
    }
    arrays = {}
    for tensor in graph.initializer:
        if tensor.data_type not in kinds:
            continue
        if not isinstance(tensor.name, str):
            raise ValueError("a tensor's name is no text")
        name = tensor.name[:50]
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.HasField("segment"):
            raise ValueError(f"{shown(name)} keeps its numbers in another file or in parts")
        if tensor.name in arrays:
            raise ValueError(f"{shown(name)} is there twice")
        if len(tensor.dims) > 8 or any(not 0 <= n < 2**60 for n in tensor.dims):
            raise ValueError(f"{shown(name)} has an impossible shape")
        size = math.prod(tensor.dims)
        held = len(tensor.raw_data) / kinds[tensor.data_type] or max(
            len(tensor.float_data), len(tensor.double_data), len(tensor.int32_data)
        )
        if size != held:
            raise ValueError(f"{shown(name)} has {held:g} numbers, not those of its shape")
        if any(not 0 <= n < 2**16 for n in tensor.int32_data):
            raise ValueError(f"{shown(name)} has numbers that are no float16")
        arrays[tensor.name] = onnx.numpy_helper.to_array(tensor)
    if not arrays:
        raise ValueError("the ONNX model has no weights in it")
    return arrays
