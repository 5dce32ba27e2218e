"""Files of weights, whatever wrote them: arrays by name, and nothing is ever executed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxsel.data.npz import read_arrays

from .npy import MAGIC, read_npy_dictionary
from .onnx import read_onnx
from .pth import LEGACY_START, read_legacy, read_zip
from .safetensors import read_safetensors

MOST_COMPRESSION = 64  # bytes out of one in a .npz file; weights have far less
LONGEST_MESSAGE = 300  # characters
FORMATS = ".pth, .pt, .th (zip or legacy), .safetensors, .npz, .npy (a dictionary), .onnx"


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of weights, as it names and lays them out.

    The format is told by the first bytes or, where they say nothing, by the suffix
    (`.npz`, `.safetensors`, `.onnx`).

    Args:
        path: a `.pth`, `.pt` or `.th` of PyTorch's that holds a state_dict (by itself or under
            `state_dict`, `model_state_dict`, `model` or `net`), a `.safetensors` or `.npz`
            file, a `.npy` dictionary of layers, or an ONNX model.

    Returns:
        Arrays by name; most are read-only views of the file's bytes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is torn, damaged, of another format, or carries anything but
            arrays.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(Path(folder) / "two.npz", a=np.ones(2), b=np.zeros((1, 3)))
    ...     {key: array.shape for key, array in read(Path(folder) / "two.npz").items()}
    {'a': (2,), 'b': (1, 3)}
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix == ".npz":
        return read_arrays(path, most_compression=MOST_COMPRESSION)
    data = memoryview(path.read_bytes())
    try:
        return _reader(data, path.suffix)(data)
    except ValueError as error:
        # A damaged file may have put anything into the names that the message mentions.
        said = "".join(c if c.isprintable() else "?" for c in str(error))[:LONGEST_MESSAGE]
        raise ValueError(f"{path} cannot be read: {said}") from error


def _reader(data: memoryview, suffix: str) -> Callable[[memoryview], dict[str, np.ndarray]]:
    if data[:2] == b"PK":
        return read_zip
    if data[: len(LEGACY_START)] == LEGACY_START:
        return read_legacy
    if data[:6] == MAGIC:
        return read_npy_dictionary
    if suffix == ".safetensors":
        return read_safetensors
    if suffix == ".onnx":
        return read_onnx
    if b"ustar" in bytes(data[:512]):
        raise ValueError(
            "it is a tar file, as PyTorch wrote before 2017: load and save it once with PyTorch"
        )
    if not len(data):
        raise ValueError("it is empty")
    raise ValueError(f"it is of no format that is known here: possible are {FORMATS}")
