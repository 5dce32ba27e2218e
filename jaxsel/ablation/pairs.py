"""The file of the loss change of every pair (image, ablation)."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..storing import reserve

FLOAT32 = np.dtype(np.float32).str


@contextmanager
def pair_file(
    path: Path | None, shape: tuple[int, int], kept: Path | None
) -> Iterator[np.ndarray | None]:
    """A memory-mapped array that gets its name when it is complete.

    Args:
        path: of the file; None for none.
        shape: images and ablations.
        kept: where it is written until then, and stays; None for beside its place.

    Yields:
        The array, as it was left if it is there already.

    Raises:
        OSError: there is no room for it.
    """
    if path is None:
        yield None
        return
    path = Path(path)
    beside = path.with_name(f".{path.name}.unfinished")
    file = beside if kept is None else kept
    try:
        if kept is None or not is_whole(kept, shape):
            file.unlink(missing_ok=True)
            try:
                reserve(file, shape, FLOAT32)
            except OSError as error:
                file.unlink(missing_ok=True)
                size = 4 * shape[0] * shape[1]
                raise OSError(
                    error.errno, f"{error.strerror}: {size:,} bytes cannot be kept in {file}"
                ) from error
        array = np.load(file, mmap_mode="r+")
        yield array
        array.flush()
        if file != beside:
            shutil.copyfile(file, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def is_whole(path: Path, shape: tuple[int, int]) -> bool:
    """Whether there is a file of this many pairs."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return array.shape == shape and array.dtype == np.float32
