"""Images and labels from a NumPy `.npz` file."""

import io
import math
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipExtFile, ZipFile, is_zipfile

import numpy as np

from .dataset import Dataset, Preprocess

BEST_COMPRESSION = 1032  # bytes out of one, at most, by the deflate algorithm
MOST_ARRAYS = 20_000  # each costs some hundred bytes of memory
# The headers that NumPy writes; its own reader takes more, and parses Python for it.
HEADER = re.compile(
    r"\{'descr': '([<>|]?[?biufcSUVO]\d{0,9})', 'fortran_order': (?:False|True), "
    r"'shape': \(((?:\d{1,18},?(?: \d{1,18},?)*)?)\), ?\}\s*"
)
LONGEST_HEADER = 2**14  # bytes
LARGEST_LABEL = 100_000  # beyond it, a label is more likely a mistake than a class


def npz(path: Path, split: str | None = None, preprocess: Preprocess | None = None) -> Dataset:
    """The data set of a `.npz` file with keys `images` and `labels`.

    Args:
        path: the file. Keys are `images`, `labels`; with a split `{split}_images`,
            `{split}_labels`. An optional `class_names` names the classes; without it they
            are 0 to the largest label of any split in the file.
        split: which part of a file that holds several.
        preprocess: as in `Dataset`.

    Returns:
        The data set; its images are all in memory.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no readable `.npz` file, or not a data set (see `Dataset`).
        KeyError: the keys are not there; the message lists what is.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "two.npz"
    ...     np.savez(file, test_images=np.zeros((2, 4)), test_labels=np.array([0, 1]))
    ...     len(npz(file, "test"))
    2
    """
    arrays = read_arrays(path)
    prefix = "" if split is None else f"{split}_"
    wanted = (f"{prefix}images", f"{prefix}labels")
    if missing := [key for key in wanted if key not in arrays]:
        splits = sorted(
            key.removesuffix("_images") for key in arrays if key.endswith("_images")
        )
        hint = f"; possible splits are {', '.join(splits)}" if splits else ""
        raise KeyError(
            f"{path} has no {' and no '.join(missing)}: its keys are "
            f"{', '.join(sorted(arrays)) or 'none'}{hint}"
        )
    images, labels = (arrays[key] for key in wanted)
    if images.ndim < 2 or labels.ndim != 1:
        raise ValueError(
            f"{path}: images must have the shape (images, ...) and labels (images,); found "
            f"{images.shape} and {labels.shape}"
        )
    return Dataset(images, labels, _class_names(arrays), preprocess)


def read_arrays(
    path: Path, *, most_compression: int = BEST_COMPRESSION
) -> dict[str, np.ndarray]:
    """Every array of a `.npz` file; nothing in it is ever executed.

    Args:
        path: the file.
        most_compression: refuse a file whose arrays are more than so many times larger.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a `.npz` file, torn, or with objects instead of numbers.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if not is_zipfile(path):
        raise ValueError(f"{path} is no .npz file, or is torn")
    try:
        # The stream is ours to close: NumPy leaves it open when the archive is refused.
        with open(path, "rb") as stream:
            _refuse_many_members(stream)
            with ZipFile(stream) as archive:
                most = most_compression * Path(path).stat().st_size + 2**20
                _refuse_false_sizes(archive, Path(path).stat().st_size, most)
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (EOFError, BadZipFile, struct.error, zlib.error) as error:
        raise ValueError(f"{path} cannot be read as .npz: it is torn or damaged") from error
    except (ValueError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read as .npz: {error}") from error


def _refuse_many_members(stream: BinaryIO) -> None:
    # The list of members is at the end; so many short entries fit into its last megabytes.
    stream.seek(-min(2**23, stream.seek(0, io.SEEK_END)), io.SEEK_END)
    if len(re.findall(b"PK\x01\x02", stream.read())) > MOST_ARRAYS:
        raise ValueError(f"it has more than {MOST_ARRAYS:,} arrays")


def _refuse_false_sizes(archive: ZipFile, n_bytes: int, most_bytes: int) -> None:
    """Refuse arrays that say to be larger than they are: NumPy would make room for them."""
    entries = archive.infolist()
    if len({entry.filename.removesuffix(".npy") for entry in entries}) < len(entries):
        raise ValueError("it has two arrays of one name")
    if sum(entry.compress_size for entry in entries) > n_bytes:
        raise ValueError("its arrays overlap, or reach beyond its end")
    if sum(entry.file_size for entry in entries) > most_bytes:
        raise ValueError("its arrays say to be larger than they can be")
    for entry in entries:
        name = ascii(entry.filename[:25])
        if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed in a way that NumPy does not use")
        with archive.open(entry) as member:
            dtype, shape, size = _described(member, name)  # pyright: ignore[reportArgumentType]
        if dtype.hasobject:
            continue  # NumPy refuses it, and says why
        if math.prod(shape) * dtype.itemsize != entry.file_size - size:
            raise ValueError(f"{name} has not the size that its shape needs")
        if max(shape, default=0) >= 2**60:
            raise ValueError(f"{name} has an impossible shape")


def _described(member: ZipExtFile, name: str) -> tuple[np.dtype, list[int], int]:
    """Dtype and shape that an array's header says, and the bytes before its numbers."""
    start = member.read(12)
    if len(start) < 12 or start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
        raise ValueError(f"{name} is no array, or of an unknown version")
    begin = 10 if start[6] == 1 else 12  # the header's length has two or four bytes
    size = begin + int.from_bytes(start[8:begin], "little")
    content = start + member.read(min(max(size - 12, 0), LONGEST_HEADER))
    header = HEADER.fullmatch(content[begin:size].decode("latin-1"))
    if header is None:
        raise ValueError(f"{name} has a header that NumPy does not write")
    try:
        dtype = np.dtype(header[1])
    except TypeError as error:
        raise ValueError(f"{name} has an unknown dtype") from error
    return dtype, [int(n) for n in re.findall(r"\d+", header[2])], size


def _class_names(arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    if "class_names" in arrays:
        return tuple(str(name) for name in arrays["class_names"].ravel())
    labels = [a for key, a in arrays.items() if key == "labels" or key.endswith("_labels")]
    largest = max((int(a.max()) for a in labels if a.size and a.dtype.kind in "iu"), default=0)
    if largest > LARGEST_LABEL:
        raise ValueError(
            f"the largest label is {largest}: with more than {LARGEST_LABEL:,} classes the "
            "file must name them (class_names)"
        )
    return tuple(str(label) for label in range(max(largest, 0) + 1))
