"""Images and labels from a NumPy `.npz` file."""

import io
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np

from .dataset import Dataset, Preprocess

BEST_COMPRESSION = 1032  # bytes out of one, at most, by the deflate algorithm
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


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of a `.npz` file; nothing in it is ever executed.

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
        with open(path, "rb") as stream, ZipFile(stream) as archive:
            _refuse_false_sizes(archive)
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except DAMAGE as error:
        raise ValueError(f"{path} cannot be read as .npz: it is torn or damaged") from error
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read as .npz: {str(error)[:300]}") from error


def _refuse_false_sizes(archive: ZipFile) -> None:
    """Refuse arrays that say to be larger than they are: NumPy would make room for them."""
    if len(set(archive.namelist())) < len(archive.namelist()):
        raise ValueError("it has two arrays of one name")
    for entry in archive.infolist():
        name = ascii(entry.filename)[:50]
        if entry.file_size > BEST_COMPRESSION * entry.compress_size + 1024:
            raise ValueError(f"{name} says to be larger than it can be")
        with archive.open(entry) as member:
            start = member.read(8)
            if start[:6] != b"\x93NUMPY" or (start[6], start[7]) not in _HEADERS:
                raise ValueError(f"{name} is no array")
            member = io.BytesIO(start + member.read(2**16))
        shape, _, dtype = _HEADERS[np.lib.format.read_magic(member)](member)
        if dtype.hasobject:
            continue  # NumPy refuses it
        if math.prod(shape) * dtype.itemsize != entry.file_size - member.tell():
            raise ValueError(f"{name} has not the size that its shape needs")


# What the libraries underneath raise where bytes are not what they should be.
DAMAGE = (
    *(BadZipFile, EOFError, NotImplementedError, OSError, SyntaxError, TokenError),
    zlib.error,
)
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}


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
