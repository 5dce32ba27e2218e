"""Images and labels from where researchers keep them."""

from pathlib import Path

from .dataset import Batch as Batch
from .dataset import Dataset as Dataset
from .dataset import Preprocess as Preprocess
from .digits import digits as digits
from .npz import npz as npz
from .preprocess import PREPROCESS as PREPROCESS
from .preprocess import sixteenths as sixteenths
from .preprocess import unit_range as unit_range
from .split import stratified as stratified


def load(
    source: str, *, split: str | None = None, preprocess: Preprocess | None = None
) -> Dataset:
    """The data set that a short specification names.

    Args:
        source: `digits`, or `npz:PATH`.
        split: the part of a source that has several, such as `train` or `test`.
        preprocess: instead of the source's own (for `npz` there is none: the numbers as
            they are stored).

    Raises:
        ValueError: an unknown source, or a split of a source that has none.
        FileNotFoundError, KeyError: see `npz`.

    >>> load("digits").class_names[:3]
    ('0', '1', '2')
    """
    kind, _, place = source.partition(":")
    if kind == "npz" and place:
        return npz(Path(place), split, preprocess)
    if source != "digits":
        raise ValueError(f"unknown data source {source!r}: possible are digits, npz:PATH")
    if split is not None:
        raise ValueError(f"digits has no split {split!r}: it is one set of 1,797 images")
    whole = digits()
    return Dataset(
        whole.images, whole.labels, whole.class_names, preprocess or whole.preprocess
    )
