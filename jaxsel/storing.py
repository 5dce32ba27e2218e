"""Write an array to disk block by block, over as many runs as it takes.

Until it is finished it stands beside its place, under a hidden name. A process that is killed
leaves it there, and the next one goes on after the last block that is whole. Where the system
can lock files, a run leaves alone what another one is still writing, and does its own.
"""

import errno
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .locks import locked
from .stored import (
    ARRAY,
    MANIFEST,
    Progress,
    StoredArray,
    checked,
    digest,
    header_of,
    n_bytes,
    read_stored,
)

# The blocks from a row on, which is the first of one.
Blocks = Callable[[int], Iterable[np.ndarray]]


def stored_array(
    path: Path,
    about: Mapping[str, Any],
    shape: tuple[int, ...],
    precision: np.dtype,
    block: int,
    blocks: Blocks,
    progress: Progress | None = None,
) -> StoredArray:
    """The array at a path: checked, or else made there.

    Args:
        path: of a folder that is this array's alone.
        about: what tells it from every other array; JSON that goes into the manifest.
        shape: of the array, the rows first.
        precision: of its numbers.
        block: rows that are made at a time.
        blocks: makes them, in order, given the row to begin with.
        progress: called with the number of rows that are known to be right.

    Raises:
        OSError: it cannot be written, as on a full disk. After any error nothing is left of
            it; after an interrupt what was done is kept, as it is when the process is killed.

    Warns:
        UserWarning: what was there is not this, or not whole, and is made again.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     settings = Path(folder) / "ones", {}, (2, 3), np.dtype(float), 1
    ...     made = stored_array(*settings, lambda row: [np.ones((1, 3))] * (2 - row))
    ...     again = stored_array(*settings, lambda row: [])
    >>> again[1:].tolist()
    [[1.0, 1.0, 1.0]]
    """
    path, header = Path(path).absolute(), header_of(about, shape, precision)
    if os.path.lexists(path):
        try:
            return read_stored(path, header, progress)
        except (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            warnings.warn(f"{path} is made again: {error}", stacklevel=3)
            _remove(path)
    own = header | {"block": block}
    work, manifest, n_right = _begun(path, own, progress)
    with manifest:
        try:
            _fill(work, manifest, own, n_right * block, blocks, progress)
        except Exception:  # an interrupt is no error: what is done then is kept
            _remove(work)
            raise
        if os.name == "nt":
            manifest.close()  # Windows renames nothing that is open
        _put(work, path)
    for left, lock in _left_behind(path):
        with lock:
            _remove(left)
    return read_stored(path, header)


def _begun(
    path: Path, header: Mapping[str, Any], progress: Progress | None
) -> tuple[Path, BinaryIO, int]:
    """A folder to go on in; its manifest, locked; how many blocks are there and right."""
    first = json.dumps(header).encode() + b"\n"
    for work, manifest in _left_behind(path):
        try:
            _, _, n_right = checked(work, header, progress)
        except (ValueError, FileNotFoundError):
            with manifest:
                _remove(work)
            continue
        # A line for each, and nothing torn after them.
        lines = (work / MANIFEST).read_bytes().splitlines(keepends=True)
        manifest.truncate(sum(map(len, lines[: 1 + n_right])))
        return work, manifest, n_right
    while True:
        with _told(path, header):
            path.parent.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
        with _told(path, header, work):
            work.chmod(0o755)  # mkdtemp makes it private
            (work / MANIFEST).touch()
            manifest = locked(work / MANIFEST, without_locks=True)
            if manifest is None:  # a run that looks for what is left was faster
                continue
            try:
                reserve(work / ARRAY, header["shape"], header["type"])
                _write(manifest, first)
            except OSError:
                manifest.close()
                raise
            return work, manifest, 0


def reserve(path: Path, shape: Sequence[int], precision: str) -> None:
    """A `.npy` file in its full size: a disk that is too small is met now, not hours later.

    Nor is it met by writing through a map of the file, which would end the process.

    Args:
        path: of the file, which is not there yet.
        shape: of the array.
        precision: of its numbers, as NumPy writes it: `<f4`.

    Raises:
        OSError: there is no room for it, or there is a file already.
    """
    with path.open("xb") as file:
        about = {"descr": precision, "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(file, about)
        start = file.tell()
        size = n_bytes({"shape": shape, "type": precision})
        file.truncate(start + size)
        if hasattr(os, "posix_fallocate") and size:
            try:
                os.posix_fallocate(file.fileno(), start, size)
            except OSError as error:
                # Some file systems cannot reserve: there a full disk is met on the way.
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise


def _fill(
    work: Path,
    manifest: BinaryIO,
    header: Mapping[str, Any],
    row: int,
    blocks: Blocks,
    progress: Progress | None,
) -> None:
    """Write the blocks from a row on, and after each its digest."""
    n_rows, size = header["shape"][0], n_bytes(header)
    if row == n_rows:
        return
    # Not through the map: on a full disk that would end the process.
    with (work / ARRAY).open("r+b", buffering=0) as file:
        start = os.fstat(file.fileno()).st_size - size
        for rows in blocks(row):
            rows = np.ascontiguousarray(rows, header["type"])
            with _told(work, header):
                file.seek(start + row * (size // n_rows))
                _write(file, rows.reshape(-1).view(np.uint8).data)
                manifest.seek(0, os.SEEK_END)
                _write(manifest, digest(rows) + b"\n")
            row += len(rows)
            if progress is not None:
                progress(row)


def _put(work: Path, path: Path) -> None:
    """Give a finished folder its name, unless another run was first."""
    try:
        work.rename(path)
    except OSError:
        if not path.exists():
            raise
        _remove(work)


def _write(file: BinaryIO, content: bytes | memoryview) -> None:
    """All of it: a file without a buffer may take less at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


@contextmanager
def _told(path: Path, header: Mapping[str, Any], work: Path | None = None) -> Iterator[None]:
    """An error of the disk in one sentence; what was written is removed."""
    try:
        yield
    except OSError as error:
        if work is not None:
            _remove(work)
        raise OSError(
            error.errno,
            f"{error.strerror}: {n_bytes(header):,} bytes cannot be kept in {path.parent}",
        ) from error


def _prefix(path: Path) -> str:
    return f".{path.name}.unfinished-"


def _left_behind(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Unfinished folders that nobody is writing, and their manifests, locked."""
    if not path.parent.is_dir():
        return
    for work in sorted(path.parent.iterdir()):
        if work.name.startswith(_prefix(path)):
            manifest = locked(work / MANIFEST, without_locks=False)
            if manifest is not None:
                yield work, manifest


def _remove(path: Path) -> None:
    """A folder, its large file first: what is left of it can be found and removed as well."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    with suppress(OSError):
        (path / ARRAY).unlink()
    shutil.rmtree(path, ignore_errors=True)
