"""A data set: images, labels, the names of the classes, and how pixels become input."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import DTypeLike

from . import encoded
from .encoded import EncodedImages

Preprocess = Callable[[np.ndarray], np.ndarray]
Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Batch(NamedTuple):
    """A batch of fixed size; the last one is filled up and `where` says what counts."""

    images: Float[np.ndarray, "batch ..."]
    labels: Int[np.ndarray, " batch"]
    where: Bool[np.ndarray, " batch"]
    start: int

    @property
    def n_images(self) -> int:
        """How many images count."""
        return int(self.where.sum())


@dataclass(frozen=True, eq=False)
class Rows:
    """Some images of a source, picked by index, without copying them."""

    source: Any
    indices: Int[np.ndarray, " images"]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        return self.source[self.indices[which]]

    @property
    def precision(self) -> DTypeLike:
        """That of the source."""
        return precision_of(self.source)


def precision_of(source: Any) -> DTypeLike:
    """What the images of a source become as input: float32 unless it says otherwise.

    >>> precision_of(np.zeros((1, 2)))
    <class 'numpy.float32'>
    """
    return getattr(source, "precision", np.float32)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels, and the function that turns stored pixels into input.

    Args:
        images: an array with the image axis first (uint8 `(images, height, width,
            channels)` as a rule), `EncodedImages`, or any source with a length that gives a
            batch for a slice or an array of indices. Input is float32, or what a source
            names as its `precision`: activations that were computed in float64 stay so.
        labels: the class of every image, 0 to `len(class_names) - 1`; kept as int32.
        class_names: one name per class.
        preprocess: turns a batch as stored into what the model expects, on the host;
            None leaves the numbers as they are.

    Raises:
        ValueError: no images, labels and images of different lengths, labels outside the
            classes, NaN or infinite pixels.
        TypeError: labels that are no integers, images that are no numbers.

    >>> import numpy as np
    >>> images = np.zeros((3, 8, 8, 1), np.uint8)
    >>> dataset = Dataset(images, np.array([0, 1, 0]), ("cat", "dog"), lambda x: x / 255)
    >>> [batch.where.tolist() for batch in dataset.batches(2)]
    [[True, True], [True, False]]
    """

    images: Any
    labels: np.ndarray
    class_names: Sequence[str]
    preprocess: Preprocess | None = None

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        if len(self.images) != len(labels):
            raise ValueError(f"{len(self.images)} images but {len(labels)} labels")
        if len(labels) == 0:
            raise ValueError("the data set is empty: it has no images")
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise TypeError(
                "labels must be one integer per image; found "
                f"{labels.dtype} of shape {labels.shape}"
            )
        n_classes = len(self.class_names)
        if labels.min() < 0 or labels.max() >= n_classes:
            raise ValueError(
                f"labels outside the classes: found {labels.min()} to {labels.max()}, "
                f"possible are 0 to {n_classes - 1}"
            )
        if isinstance(self.images, np.ndarray):
            if self.images.dtype.kind not in "biuf":
                raise TypeError(f"images must be numbers; found {self.images.dtype}")
            _refuse_not_finite(self.images, 0)
        object.__setattr__(self, "labels", labels.astype(np.int32))
        object.__setattr__(self, "class_names", tuple(self.class_names))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Int[np.ndarray, " chosen"]) -> "Dataset":
        """The images of these indices, in this order, without copying them."""
        whole = self.images
        rows = whole[indices] if isinstance(whole, EncodedImages) else Rows(whole, indices)
        return replace(self, images=rows, labels=self.labels[indices])

    def inputs(self, which: slice | np.ndarray) -> Float[np.ndarray, "batch ..."]:
        """The model's input for some of the images: preprocessed and finite.

        It is float32, unless the source of the images names another `precision`.
        """
        stored = self.images[which]
        if isinstance(stored, EncodedImages):
            return encoded.inputs(stored, self.preprocess)
        stored = np.asarray(stored)
        with np.errstate(over="ignore"):  # an overflow is infinite: refused below
            images = stored if self.preprocess is None else self.preprocess(stored)
            images = np.asarray(images, precision_of(self.images))
        _refuse_not_finite(images, (which.start or 0) if isinstance(which, slice) else None)
        return images

    def batches(self, batch_size: int, start: int = 0) -> Iterator[Batch]:
        """All images in order, or those from `start` on, in batches of one size.

        Fewer images than `batch_size` make one batch of their own number. The last batch
        repeats its first image up to the full size; `where` leaves the copies out. Encoded
        images are decoded one batch ahead, in the background.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; found {batch_size}")
        size = min(batch_size, len(self))
        parts = [slice(start, start + size) for start in range(start, len(self), size)]
        read = _one_ahead if isinstance(self.images, EncodedImages) else map
        size_of_one = None
        for part, images in zip(parts, read(self.inputs, parts), strict=True):
            size_of_one = size_of_one or images.shape[1:]
            if isinstance(self.images, EncodedImages):
                encoded.refuse_other_size(
                    self.images, part.start, images.shape[1:], 0, size_of_one
                )
            where = np.arange(size) < len(images)
            rows = np.where(where, np.arange(size), 0)
            full = images if where.all() else images[rows]
            yield Batch(full, self.labels[part.start + rows], where, part.start)


def _one_ahead(function: Callable[[Argument], Result], arguments: Iterable[Argument]):
    """Like `map`, but a thread makes the next result while the last one is in use."""
    pool = ThreadPoolExecutor(1)
    try:
        following = None
        for argument in arguments:
            current, following = following, pool.submit(function, argument)
            if current is not None:
                yield current.result()
            del current  # a batch is large
        if following is not None:
            yield following.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _refuse_not_finite(images: np.ndarray, start: int | None) -> None:
    if images.dtype.kind != "f":
        return
    # A sum is NaN or infinite where any pixel is: no copy of the images is made. The rare
    # overflow of a sum of finite pixels is sorted out below.
    with np.errstate(over="ignore", invalid="ignore"):
        sums = images.reshape(len(images), -1).sum(axis=1)
    for row in np.flatnonzero(~np.isfinite(sums)):
        if not np.isfinite(images[row]).all():
            place = "an image" if start is None else f"image {start + row}"
            raise ValueError(f"{place} has pixels that are NaN or infinite")
