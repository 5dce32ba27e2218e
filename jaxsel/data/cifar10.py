"""CIFAR-10 for tensorflow-datasets, prepared without TensorFlow."""

import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ..folders import finished_folder, refuse_taken
from .tar import members

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
VERSION = "3.0.2"  # of tensorflow-datasets' own cifar10, whose features these are
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
FILES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue pixels, row by row
MOST_RECORDS = 10_000  # of one file, as published
MOST_BYTES = 2**28  # of the archive, decompressed; the published one has 184 million
CHUNK = 2**20
STEP = 1000  # images between two reports of progress


def prepare_cifar10(
    archive: Path,
    data_dir: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Turn the published archive into what `tfds:cifar10` reads; TensorFlow is not needed.

    Args:
        archive: `cifar-10-binary.tar.gz` (Krizhevsky, 2009), the version for C programs.
        data_dir: the folder of tensorflow-datasets, which gets a folder `cifar10/3.0.2`,
            complete or not at all.
        progress: called with the images that are prepared, and their number.

    Returns:
        The folder with the prepared images: PNG, in the archive's order, with the features
        of tensorflow-datasets' own `cifar10`.

    Raises:
        FileNotFoundError: no such archive.
        FileExistsError: it is prepared there already.
        ValueError: a damaged archive, or not the binary CIFAR-10.
    """
    path = prepared_folder(data_dir)
    refuse_taken(path)
    records = read_archive(Path(archive))
    with finished_folder(path) as folder:
        _write(records, folder, progress)
    return path


def prepared_folder(data_dir: Path) -> Path:
    """Where the prepared images are."""
    return Path(data_dir) / "cifar10" / VERSION


def read_archive(archive: Path) -> dict[str, UInt8[np.ndarray, "images 3073"]]:
    """The records of `train` and `test`, read in memory: nothing is unpacked to the disk."""
    if not archive.is_file():
        raise FileNotFoundError(f"there is no file {archive}")
    wanted = {name for names in FILES.values() for name in names}
    found: dict[str, np.ndarray] = {}
    total = 0
    with _decompressed(archive) as stream:
        for member in members(stream, archive):
            name = member.name.rpartition("/")[2]
            total += member.size
            if total > MOST_BYTES:
                raise ValueError(f"{archive} is not CIFAR-10: its files are too large")
            if name not in wanted or not member.isreg() or member.issparse():
                continue
            if name in found:
                raise ValueError(f"{archive} has {name} twice")
            content = _read(archive, stream, member.size)
            if len(content) < member.size:
                raise ValueError(f"{archive} is cut off within {name}")
            found[name] = _records(archive, name, content)
        _refuse_bad_checksum(archive, stream)
    if missing := sorted(wanted - found.keys()):
        raise ValueError(
            f"{archive} has no {', '.join(missing)}: CIFAR-10 is prepared from its binary "
            "version, cifar-10-binary.tar.gz"
        )
    return {
        split: np.concatenate([found[name] for name in names]) for split, names in FILES.items()
    }


def _decompressed(archive: Path) -> Any:
    """The tar as a stream, decompressed if it is compressed by gzip, as it is published."""
    with open(archive, "rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(archive) if compressed else open(archive, "rb")


def _read(archive: Path, stream: Any, size: int) -> bytes:
    try:
        return stream.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{archive} is damaged: {error}") from error


def _refuse_bad_checksum(archive: Path, stream: Any) -> None:
    """Read to the end, where gzip compares its checksum."""
    for _ in range(MOST_BYTES // CHUNK):
        if len(_read(archive, stream, CHUNK)) < CHUNK:
            return
    raise ValueError(f"{archive} is not CIFAR-10: it goes on after the last of its files")


def _records(archive: Path, name: str, content: bytes) -> UInt8[np.ndarray, "images 3073"]:
    if len(content) % RECORD or not 0 < len(content) <= MOST_RECORDS * RECORD:
        raise ValueError(
            f"{name} in {archive} has {len(content):,} bytes: possible are 1 to "
            f"{MOST_RECORDS:,} images of {RECORD:,} bytes"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    if (largest := int(records[:, 0].max())) >= len(CLASSES):
        raise ValueError(f"{name} in {archive} has the label {largest}: possible are 0 to 9")
    return records


def _write(
    records: dict[str, np.ndarray],
    folder: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    import tensorflow_datasets as tfds  # half a second, and only needed here
    from tensorflow_datasets.core.dataset_info import DatasetIdentity

    features = tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(32, 32, 3)),
            "label": tfds.features.ClassLabel(names=CLASSES),
        }
    )
    identity = DatasetIdentity(
        name="cifar10",
        version=tfds.core.Version(VERSION),
        data_dir=str(folder),
        module_name=__name__,
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        features=features,
        supervised_keys=("image", "label"),
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    )
    writer = tfds.core.SequentialWriter(
        info, max_examples_per_shard=MOST_RECORDS, file_format="array_record"
    )
    writer.initialize_splits(list(records))
    done, total = 0, sum(map(len, records.values()))
    for split, rows in records.items():
        for start in range(0, len(rows), STEP):
            examples = [
                {
                    "id": f"{split}_{number:05d}",
                    "image": _png(row[1:].reshape(3, 32, 32).transpose(1, 2, 0)),
                    "label": int(row[0]),
                }
                for number, row in enumerate(rows[start : start + STEP], start)
            ]
            writer.add_examples({split: examples})
            done += len(examples)
            if progress is not None:
                progress(done, total)
    writer.close_all()


def _png(pixels: UInt8[np.ndarray, "32 32 3"]) -> io.BytesIO:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    stream.seek(0)
    return stream
