"""The file of the loss change of every pair (image, ablation)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import numpy as np

from ..storing import reserve

FLOAT32 = np.dtype(np.float32).str


@contextmanager
def unfinished(path: Path, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """A memory-mapped array in a file that gets its name when it is complete.

    Args:
        path: of the file.
        shape: images and ablations.

    Yields:
        The array.

    Raises:
        OSError: there is no room for it.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.unfinished-{uuid4().hex}")
    try:
        with _told(beside, shape):
            reserve(beside, shape, FLOAT32)
        array = np.load(beside, mmap_mode="r+")
        yield array
        array.flush()
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def kept_pairs(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The memory-mapped array of a file that stays: what is there, or a new one.

    Every run that writes to it writes the same numbers.

    Args:
        path: of the file.
        shape: images and ablations.

    Raises:
        OSError: there is no room for it.
    """
    if not is_whole(path, shape):
        path.unlink(missing_ok=True)
        beside = path.with_name(f".{path.name}.unfinished-{uuid4().hex}")
        try:
            with _told(beside, shape):
                reserve(beside, shape, FLOAT32)
            # Another run may have been faster: both must write to the same file.
            with suppress(FileExistsError):
                os.link(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r+")


def is_whole(path: Path, shape: tuple[int, int]) -> bool:
    """Whether there is a file of this many pairs."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return array.shape == shape and array.dtype == np.float32


@contextmanager
def _told(path: Path, shape: tuple[int, int]) -> Iterator[None]:
    """An error of the disk in one sentence."""
    try:
        yield
    except OSError as error:
        size = 4 * shape[0] * shape[1]
        raise OSError(
            error.errno, f"{error.strerror}: {size:,} bytes cannot be kept in {path.parent}"
        ) from error
