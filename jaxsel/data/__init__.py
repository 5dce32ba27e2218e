"""Images and labels from where researchers keep them."""

from collections.abc import Callable
from pathlib import Path

from .cifar10 import prepare_cifar10 as prepare_cifar10
from .corrupt import without_corrupt as without_corrupt
from .dataset import Batch as Batch
from .dataset import Dataset as Dataset
from .dataset import Preprocess as Preprocess
from .digits import digits as digits
from .encoded import EncodedImages as EncodedImages
from .encoded import decode as decode
from .folder import folder as folder
from .gratings import Gratings as Gratings
from .gratings import gratings as gratings
from .imagenet import imagenet_classes as imagenet_classes
from .imagenet import imagenet_val as imagenet_val
from .npz import npz as npz
from .preprocess import PREPROCESS as PREPROCESS
from .preprocess import of_brightness as of_brightness
from .preprocess import sixteenths as sixteenths
from .preprocess import unit_range as unit_range
from .shifts import shifted as shifted
from .split import stratified as stratified
from .stimuli import bar as bar
from .stimuli import grating as grating
from .stimuli import shuffled as shuffled
from .tfds import default_data_dir as default_data_dir
from .tfds import tfds as tfds

SOURCES = ("digits", "npz:PATH", "folder:PATH", "tfds:NAME", "imagenet-val:PATH")


def load(
    source: str,
    *,
    split: str | None = None,
    preprocess: Preprocess | None = None,
    labels: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """The data set that a short specification names.

    | source | images |
    |---|---|
    | `digits` | 1,797 handwritten digits inside scikit-learn, see `digits` |
    | `npz:PATH` | arrays of a NumPy file, in memory, see `npz` |
    | `folder:PATH` | `PATH/CLASS/FILE`, with a split `PATH/SPLIT/CLASS/FILE`, see `folder` |
    | `tfds:NAME` | prepared by tensorflow-datasets, see `tfds` |
    | `imagenet-val:PATH` | ILSVRC-2012's validation images, tar or folder, see `imagenet_val` |

    The last three are decoded when they are asked for: memory does not grow with their number.

    Args:
        source: one of these.
        split: the part of a source that has several, such as `train` or `test`.
        preprocess: instead of the source's own (only `digits` has one: the others give the
            numbers as they are stored). Images of different sizes need one.
        labels: the label list of `imagenet-val`, instead of the published one.
        progress: called with the records that were looked through and their number, where
            that takes time.

    Raises:
        ValueError: an unknown source, or a split or label list of a source that has none.
        FileNotFoundError, KeyError: see the sources.

    >>> load("digits").class_names[:3]
    ('0', '1', '2')
    """
    kind, _, place = source.partition(":")
    kinds = [known.partition(":")[0] for known in SOURCES]
    if kind not in kinds or bool(place) == (kind == "digits"):
        raise ValueError(f"unknown data source {source!r}: possible are {', '.join(SOURCES)}")
    if labels is not None and kind != "imagenet-val":
        raise ValueError(f"a label list goes with imagenet-val:PATH, not with {source}")
    if split is not None and kind in ("digits", "imagenet-val"):
        raise ValueError(f"{kind} has no split {split!r}: it is one set of images")
    path = Path(place).expanduser()  # after the colon, no shell does it
    if kind == "npz":
        return npz(path, split, preprocess)
    if kind == "folder":
        return folder(path, split, preprocess)
    if kind == "tfds":
        return tfds(place, split, preprocess, progress=progress)
    if kind == "imagenet-val":
        return imagenet_val(path, labels, preprocess, progress)
    whole = digits()
    return Dataset(
        whole.images, whole.labels, whole.class_names, preprocess or whole.preprocess
    )
