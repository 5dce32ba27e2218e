"""The 50,000 validation images of ILSVRC-2012, straight from the tar or its folder."""

import importlib.util
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int

from .dataset import Dataset, Preprocess
from .encoded import EncodedImages, read_file, refuse_large
from .tar import members

IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG", re.ASCII)
SYNSET = re.compile(r"n\d{8}", re.ASCII)
# tensorflow-datasets ships both lists: synsets in class order, and one per validation image.
CLASSES, LABELS = "labels.txt", "validation_labels.txt"
LONGEST_LIST = 2**24  # bytes; the published one has 500,000
STEP = 1000  # members between two reports of progress


def imagenet_val(
    path: Path,
    labels: Path | None = None,
    preprocess: Preprocess | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """The validation images of ILSVRC-2012 (Russakovsky et al., 2015), in their numbers' order.

    Nothing is unpacked: the tar is read once for the places of its members, some seconds for
    50,000, and the images are read from there.

    Args:
        path: `ILSVRC2012_img_val.tar`, or the folder of `ILSVRC2012_val_00000001.JPEG` and so
            on. (Where the images were sorted into 1,000 folders by synset, see `folder`.)
        labels: a text file with the synset (`n01751748`) of image i in line i; by default the
            published one, for all 50,000 images.
        preprocess: as in `Dataset`; the images are of different sizes and need one.
        progress: called with the members of the tar that were found, and their number.

    Returns:
        The data set; its 1,000 classes are the synsets in sorted order, as all published
        networks have them.

    Raises:
        FileNotFoundError: no such tar, folder or list.
        ValueError: a damaged or compressed tar, a member that is no validation image, a list
            that is not as long as there are images, or has something else than the synsets.

    >>> len(imagenet_classes()), imagenet_classes()[:2]
    (1000, ('n01440764', 'n01443537'))
    """
    path = Path(path)
    if not (path.is_file() or path.is_dir()):
        raise FileNotFoundError(f"there is no tar or folder {path}")
    targets = _targets(_published(LABELS) if labels is None else Path(labels))
    n = len(targets)
    if path.is_dir():
        _places(path, _files(path), n)
        read = partial(_read_file, path)
    else:
        read = partial(_read_member, path, _places(path, _members(path, n, progress), n))
    images = EncodedImages(read, _name, np.arange(n))
    return Dataset(images, targets, imagenet_classes(), preprocess)


def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 synsets of ILSVRC-2012 in class order, which is sorted."""
    return tuple(_published(CLASSES).read_text().split())


def _published(name: str) -> Path:
    """A list that tensorflow-datasets ships, found without importing it."""
    spec = importlib.util.find_spec("tensorflow_datasets")
    places = [] if spec is None else spec.submodule_search_locations or []
    for place in places:
        if (file := Path(place) / "datasets/imagenet2012" / name).is_file():
            return file
    raise FileNotFoundError(
        f"tensorflow-datasets does not have its imagenet2012/{name}: version 4.9.10 has it"
    )


def _targets(path: Path) -> Int[np.ndarray, " images"]:
    """Class of every image from a list of synsets."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no label list {path}")
    if path.stat().st_size > LONGEST_LIST:
        raise ValueError(f"{path} is no label list: it has {path.stat().st_size:,} bytes")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    index = {synset: label for label, synset in enumerate(imagenet_classes())}
    for number, line in enumerate(lines, 1):
        if line not in index:
            wanted = "one of the 1,000 classes" if SYNSET.fullmatch(line) else "a synset"
            raise ValueError(
                f"line {number} of the label list {path} is {line[:40]!r}, not {wanted}: "
                "line i has the synset of image i, such as n01751748, and nothing else"
            )
    return np.array([index[line] for line in lines], np.int32)


def _files(path: Path) -> Iterator[tuple[int, int, int]]:
    for file in path.iterdir():
        if match := IMAGE.fullmatch(file.name):
            yield int(match[1]), 0, 0


def _members(
    path: Path, total: int, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[int, int, int]]:
    """Number, first byte and size of every image in a tar."""
    end, done = path.stat().st_size, 0
    with open(path, "rb") as stream:
        for member in members(stream, path):
            if member.isdir():
                continue
            number = _number(path, member)
            if member.offset_data + member.size > end:
                raise ValueError(f"{path} is cut off within {member.name}")
            yield number, member.offset_data, member.size
            done += 1
            if progress is not None and done % STEP == 0:
                progress(done, total)


def _number(path: Path, member: tarfile.TarInfo) -> int:
    match = IMAGE.fullmatch(member.name.rpartition("/")[2])
    if match is None or not member.isreg() or member.issparse():
        raise ValueError(
            f"{path} has a member {member.name[-60:]!r} that is no validation image: possible "
            "are files ILSVRC2012_val_00000001.JPEG and so on"
        )
    return int(match[1])


def _places(
    path: Path, found: Iterable[tuple[int, int, int]], n_labels: int
) -> Int[np.ndarray, "images 2"]:
    """First byte and size of every image; there must be one for every label."""
    places = np.full((n_labels, 2), -1)
    n_found = 0
    for number, start, size in found:
        n_found += 1
        if 1 <= number <= n_labels:
            if places[number - 1, 0] >= 0:
                raise ValueError(f"{path} has {_name(number - 1)} twice")
            places[number - 1] = start, size
    if n_found != n_labels:
        raise ValueError(
            f"{path} has {n_found:,} validation images, but the label list {n_labels:,} lines"
        )
    if (missing := np.flatnonzero(places[:, 0] < 0)).size:
        raise ValueError(f"{path} has no {_name(int(missing[0]))}, of {n_labels:,} images")
    return places


def _name(index: int) -> str:
    return f"ILSVRC2012_val_{index + 1:08}.JPEG"


def _read_file(path: Path, index: int) -> bytes:
    return read_file(path / _name(index), _name(index))


def _read_member(path: Path, places: Int[np.ndarray, "images 2"], index: int) -> bytes:
    start, size = places[index].tolist()
    refuse_large(size, _name(index))
    with open(path, "rb") as stream:
        stream.seek(start)
        return stream.read(size)
