"""A folder of images with a sub-folder for every class."""

from functools import partial
from pathlib import Path

import numpy as np

from .dataset import Dataset, Preprocess
from .encoded import EncodedImages, read_file

# As torchvision's ImageFolder, and .gif; other files are passed over.
SUFFIXES = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip


def folder(
    path: Path, split: str | None = None, preprocess: Preprocess | None = None
) -> Dataset:
    """The images `path/CLASS/FILE`, classes and files in the order of their names.

    Sorted by Unicode code points (as torchvision's `ImageFolder`), so that class 0 is the
    first folder. Hidden files and files that are no images by their names are passed over.

    Args:
        path: the folder.
        split: the images are `path/SPLIT/CLASS/FILE`.
        preprocess: as in `Dataset`; images of different sizes need one.

    Returns:
        The data set; images are decoded when they are asked for.

    Raises:
        FileNotFoundError: no such folder, or no such split.
        ValueError: no class folders, one without images, or numbers as names whose order by
            name is not theirs.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as place:
    ...     for name in ("cat", "dog"):
    ...         (Path(place) / name).mkdir()
    ...         Image.new("RGB", (4, 4)).save(Path(place) / name / "1.png")
    ...     dataset = folder(Path(place))
    ...     dataset.class_names, dataset.inputs(slice(None)).shape
    (('cat', 'dog'), (2, 4, 4, 3))
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    if split is not None:
        path = _part(path, split)
    class_names = _folders(path)
    if not class_names:
        raise ValueError(f"{path} has no class folders: images are read from {path}/CLASS")
    if all(name.isdecimal() for name in class_names):
        _refuse_other_order(path, class_names)
    names: list[str] = []
    labels: list[int] = []
    for label, class_name in enumerate(class_names):
        files = _images(path / class_name)
        if not files:
            inner = _folders(path / class_name)
            hint = f": it has folders; name it as the split {class_name}?" if inner else ""
            raise ValueError(f"the class folder {path / class_name} has no images{hint}")
        names += [f"{class_name}/{file}" for file in files]
        labels += [label] * len(files)
    images = EncodedImages(
        partial(_read, path, names), names.__getitem__, np.arange(len(names))
    )
    return Dataset(images, np.array(labels), class_names, preprocess)


def _refuse_other_order(path: Path, class_names: list[str]) -> None:
    """Class 10 would come before class 2."""
    numbers = [int(name) for name in class_names]
    for name, number, following in zip(class_names, numbers, numbers[1:], strict=False):
        if number > following:
            raise ValueError(
                f"{path} has class folders named by numbers, of which {name} comes before "
                f"{following} by name: name them with leading zeros"
            )


def _part(path: Path, split: str) -> Path:
    """The folder of a split: one of those that are there, never a path of its own."""
    if split not in (splits := _folders(path)):
        raise FileNotFoundError(
            f"{path} has no folder for the split {split!r}: possible are "
            f"{', '.join(splits) or 'none'}"
        )
    return path / split


def _folders(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(path: Path) -> list[str]:
    return sorted(
        p.name
        for p in path.iterdir()
        if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def _read(path: Path, names: list[str], number: int) -> bytes:
    return read_file(path / names[number], names[number])
