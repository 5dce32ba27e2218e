"""An array on disk that knows whether it is whole.

It is a folder of two files: `array.npy`, which NumPy opens too, and `manifest`: a line of JSON
that says what is in it, and a line with the SHA-256 of every block of rows.
"""

import hashlib
import json
import mmap
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1
ARRAY, MANIFEST = "array.npy", "manifest"

Progress = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class StoredArray:
    """Rows of an array in a file that is mapped into memory.

    Attributes:
        file: the map; it stays readable when another file takes the place of this one.
        array: all rows.
    """

    file: mmap.mmap
    array: np.ndarray

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        rows = np.array(self.array[which])
        # Pages that were read once would count as memory of this process.
        if hasattr(mmap, "MADV_DONTNEED"):
            self.file.madvise(mmap.MADV_DONTNEED)
        return rows

    @property
    def precision(self) -> np.dtype:
        """What a data set is to hand on: see `Dataset`."""
        return self.array.dtype


def header_of(
    about: Mapping[str, Any], shape: tuple[int, ...], precision: np.dtype
) -> dict[str, Any]:
    """What the manifest of an array says first, but for the size of its blocks."""
    return {"format": FORMAT, **about, "shape": list(shape), "type": precision.str}


def n_bytes(header: Mapping[str, Any]) -> int:
    """Of the numbers."""
    size = int(np.prod(header["shape"], dtype=np.int64))
    return size * np.dtype(header["type"]).itemsize


def digest(rows: np.ndarray) -> bytes:
    """The SHA-256 of rows that lie one after the other."""
    return hashlib.sha256(rows.reshape(-1).view(np.uint8).data).hexdigest().encode()


def read_stored(
    path: Path, header: Mapping[str, Any], progress: Progress | None = None
) -> StoredArray:
    """The array of a folder, after every block of it was checked.

    Args:
        path: the folder.
        header: what its manifest must say.
        progress: called with the number of rows that are right.

    Raises:
        ValueError: something in it is not what was written, or not this.
        OSError: it cannot be read.
    """
    array, block, n_right = checked(path, header, progress)
    n_blocks = -(-len(array) // block)
    if n_right < n_blocks:
        raise ValueError(f"block {n_right + 1} of {n_blocks} is not what was written")
    return array


def checked(
    path: Path, header: Mapping[str, Any], progress: Progress | None = None
) -> tuple[StoredArray, int, int]:
    """An array, the rows in a block of it, and how many blocks from the first on are right.

    Args:
        path: of a folder, maybe unfinished.
        header: as in `read_stored`.
        progress: likewise.
    """
    *lines, _torn = (path / MANIFEST).read_bytes().split(b"\n")
    first, *digests = lines or [b""]
    found = _table(first)
    for name, wanted in header.items():
        if found.get(name) != wanted:
            raise ValueError(f"its manifest says {name} {found.get(name)!r} and not {wanted!r}")
    block = found.get("block")
    if not isinstance(block, int) or block < 1:
        raise ValueError(f"its manifest says that a block has {block!r} rows")
    array, n_right = opened(path / ARRAY, header), 0
    for start in range(0, len(array), block):
        rows = array[start : start + block]
        if digests[n_right : n_right + 1] != [digest(rows)]:
            break
        n_right += 1
        if progress is not None:
            progress(start + len(rows))
    return array, block, n_right


def _table(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        raise ValueError("its manifest cannot be read") from None
    if not isinstance(found, dict):
        raise ValueError("its manifest is none of jaxsel's")
    return found


def opened(path: Path, header: Mapping[str, Any]) -> StoredArray:
    """The array of a file, if it is of the type, the shape and the size that it should be.

    Args:
        path: of the file.
        header: as in `read_stored`.

    Raises:
        ValueError: it is not.
    """
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{path.name} is of another version of NumPy's format")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        if (list(shape), dtype.str, by_columns) != (header["shape"], header["type"], False):
            raise ValueError(f"{path.name} holds {dtype} of shape {shape}")
        size, needed = os.fstat(file.fileno()).st_size, file.tell() + n_bytes(header)
        if size != needed:
            raise ValueError(f"{path.name} has {size:,} bytes and not {needed:,}")
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return StoredArray(pages, np.frombuffer(pages, dtype, -1, file.tell()).reshape(shape))
