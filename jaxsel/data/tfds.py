"""Data sets that tensorflow-datasets prepared, read without TensorFlow."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import Dataset, Preprocess
from .encoded import EncodedImages

NAME = re.compile(r"(\w+)(?:/(\w[\w.-]*))?(?::(\d+\.\d+\.\d+))?", re.ASCII)
VERSION = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
STEP = 1000  # records read at once for their labels


def tfds(
    name: str,
    split: str | None = None,
    preprocess: Preprocess | None = None,
    *,
    data_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Images and labels of a data set that tensorflow-datasets prepared.

    TensorFlow is not needed where the data were prepared as array_record; `prepare_cifar10`
    makes such data without it. Images are decoded by PIL and not, as tensorflow-datasets
    does, by whatever is installed.

    Args:
        name: `cifar10`, `NAME/CONFIG`, `NAME:1.2.3`; by default the newest version there is.
        split: `train`, `test`, ...; may be left out where there is only one.
        preprocess: as in `Dataset`.
        data_dir: the folder of tensorflow-datasets; by default `TFDS_DATA_DIR`, or
            `~/tensorflow_datasets`.
        progress: called with the records whose labels are read, and their number.

    Returns:
        The data set, in the order of its records; all of them are read once for the labels.

    Raises:
        FileNotFoundError: not prepared there; the message says how to.
        ValueError: a split that is not there, data prepared in another format, damaged, or
            without exactly one image and one label per record.
    """
    import tensorflow_datasets as library  # half a second, and only needed here

    root = default_data_dir() if data_dir is None else Path(data_dir)
    path = prepared(name, root)
    _refuse_other_formats(path, name)
    with _damage_named(path):
        builder = library.builder_from_directory(path)
    features: Any = builder.info.features
    split = _split(name, list(builder.info.splits), split)
    image, label = _keys(name, features, library.features)
    decoders = {image: library.decode.SkipDecoding()}
    with _damage_named(path):
        _refuse_other_lengths(builder.info.splits[split], features[label])
        source = builder.as_data_source(split, decoders=decoders)  # pyright: ignore
    labels = np.empty(len(source), np.int64)
    for start in range(0, len(source), STEP):
        rows = range(start, min(start + STEP, len(source)))
        with _damage_named(path):
            labels[start : rows.stop] = _labels(source.__getitems__(list(rows)), image, label)
        if progress is not None:
            progress(rows.stop, len(source))
    images = EncodedImages(
        partial(_read, source, image),
        f"{name} {split} {{}}".format,
        np.arange(len(source)),
        "L" if features[image].shape[-1] == 1 else "RGB",
    )
    return Dataset(images, labels, features[label].names, preprocess)


def default_data_dir() -> Path:
    """Where tensorflow-datasets keeps its data unless it is told otherwise."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def prepared(name: str, data_dir: Path) -> Path:
    """The folder of a prepared data set, of its newest version unless the name says which.

    Raises:
        ValueError: a name that is none.
        FileNotFoundError: it is not there; the message says how to prepare it.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise ValueError(
            f"{name!r} names no data set: possible are NAME, NAME/CONFIG and NAME:1.2.3"
        )
    base, config, version = match.groups()
    folder = data_dir / base / (config or "")
    versions = [v for v in _versions(folder) if version in (None, v.name)]
    if versions:
        return max(versions, key=lambda v: [int(part) for part in v.name.split(".")])
    if configs := [] if config else [c for c in _folders(folder) if _versions(c)]:
        raise FileNotFoundError(
            f"{name} is prepared in several ways: possible are "
            + ", ".join(f"tfds:{base}/{c.name}" for c in configs)
        )
    if base == "cifar10":
        how = (
            "python -m experiments.prepare cifar10 does it, from cifar-10-binary.tar.gz and "
            "without TensorFlow"
        )
    else:
        how = (
            f"where TensorFlow is installed, tensorflow_datasets.builder({name!r}, "
            "file_format='array_record').download_and_prepare() does it"
        )
    there = ", ".join(v.name for v in _versions(folder))
    found = f" (there is {there})" if there else ""
    raise FileNotFoundError(
        f"{name} is not prepared in {data_dir}{found}: {how}; TFDS_DATA_DIR names another "
        "folder"
    )


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []


def _versions(path: Path) -> list[Path]:
    return [
        p
        for p in _folders(path)
        if VERSION.fullmatch(p.name) and (p / "dataset_info.json").is_file()
    ]


def _refuse_other_formats(path: Path, name: str) -> None:
    file = path / "dataset_info.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8")).get("fileFormat", "tfrecord")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if found != "array_record":
        raise ValueError(
            f"{path} is prepared as {found}, which needs TensorFlow: where it is installed, "
            f"tensorflow_datasets.builder({name!r}, data_dir='ANOTHER FOLDER', "
            "file_format='array_record').download_and_prepare() prepares what is read here"
        )


def _split(name: str, splits: list[str], split: str | None) -> str:
    if split is None and len(splits) == 1:
        return splits[0]
    if split not in splits:
        asked = "needs a split" if split is None else f"has no split {split!r}"
        raise ValueError(f"tfds:{name} {asked}: possible are {', '.join(splits) or 'none'}")
    return split


def _keys(name: str, features: Any, kinds: Any) -> tuple[str, str]:
    """The names of the image and of its label among the features."""
    if not isinstance(features, kinds.FeaturesDict):
        raise ValueError(f"tfds:{name} has no named features: an image and a label are needed")
    images = [key for key, kind in features.items() if isinstance(kind, kinds.Image)]
    labels = [key for key, kind in features.items() if isinstance(kind, kinds.ClassLabel)]
    if len(images) != 1 or len(labels) != 1:
        raise ValueError(
            f"tfds:{name} has not one image and one label per record: its features are "
            f"{', '.join(features)}"
        )
    return images[0], labels[0]


def _refuse_other_lengths(split: Any, label: Any) -> None:
    """The files must hold what `dataset_info.json` says, and every class have a name."""
    from array_record.python.array_record_module import ArrayRecordReader

    found = [ArrayRecordReader(str(file)).num_records() for file in split.filepaths]
    if found != split.shard_lengths:
        raise ValueError(f"its files hold {found} records instead of {split.shard_lengths}")
    if label.num_classes != len(label.names):
        raise ValueError(f"{len(label.names)} names for {label.num_classes} classes")


def _labels(records: list[dict[str, Any]], image: str, label: str) -> list[int]:
    if not all(isinstance(record[image], bytes) for record in records):
        raise ValueError("a record has no image")
    return [int(record[label]) for record in records]


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # tensorflow-datasets raises nearly anything on damaged files
        raise ValueError(f"{path} is damaged: {error}") from error


def _read(source: Any, key: str, number: int) -> bytes:
    return source[number][key]
