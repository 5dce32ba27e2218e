"""What the units of a network did on a whole data set.

Images stream through in batches. Sums are float64, and memory does not grow with the number
of images unless the responses themselves are asked for (4 bytes x images x units).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int

from .data.dataset import Dataset
from .forward import REDUCTIONS
from .forward import forward as forward
from .forward import unit_responses as unit_responses
from .intact import intact_pass, named_sites, traceable
from .sites import Model

# One function each, so that a program is compiled once.
READERS = {name: partial(unit_responses, reduce=name) for name in REDUCTIONS}


@dataclass(frozen=True)
class UnitResponses:
    """What the units of one site did on a set of images: float64 sums over the images.

    Attributes:
        labels: class of every image.
        class_counts: images per class.
        class_sums: responses summed over the images of each class.
        sum_of_squares: squared responses summed over all images.
        zeros: images to which the response was exactly 0.
        best_image: the image with the largest response, the first of equals.
        per_image: the responses themselves, if they were asked for.
    """

    labels: Int[np.ndarray, " images"]
    class_counts: Int[np.ndarray, " classes"]
    class_sums: Float[np.ndarray, "classes units"]
    sum_of_squares: Float[np.ndarray, " units"]
    zeros: Int[np.ndarray, " units"]
    best_image: Int[np.ndarray, " units"]
    per_image: Float[np.ndarray, "images units"] | None = None

    @property
    def class_means(self) -> Float[np.ndarray, "classes units"]:
        """Mean response to the images of each class; 0 for a class without images."""
        return self.class_sums / np.maximum(self.class_counts, 1)[:, None]

    @property
    def sums(self) -> Float[np.ndarray, " units"]:
        """Responses summed over all images."""
        return self.class_sums.sum(axis=0)

    @property
    def standard_deviation(self) -> Float[np.ndarray, " units"]:
        """Unbiased standard deviation over the images; NaN for a single image."""
        n = len(self.labels)
        if n < 2:
            return np.full(self.zeros.shape, np.nan)
        return np.sqrt(np.maximum(self.sum_of_squares - self.sums**2 / n, 0) / (n - 1))


def record(
    model: Model,
    dataset: Dataset,
    sites: Sequence[str] | None = None,
    *,
    reduce: str = "mean",
    keep_responses: bool = False,
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
) -> dict[str, UnitResponses]:
    """One streaming pass over the images: what every unit of every site responded.

    The pass and its sums are float64, responses are kept as float32. Images go through in
    batches of one fixed size; the padding of the last one does not count.

    Args:
        model: called as `model(images, tap)`.
        dataset: images and labels.
        sites: which to record; by default the network's own `sites`.
        reduce: what the response of a feature map is, as in `unit_responses`.
        keep_responses: also keep the response of every unit to every image, 4 bytes each.
        batch_size: images at a time; changes the last bits at most.
        progress: called with the number of images done after every batch.

    Returns:
        One record per site, in the order asked for.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: another name of a reduction, a response that is NaN or infinite.

    >>> import numpy as np
    >>> dataset = Dataset(np.eye(2, dtype=np.float32), np.array([0, 1]), ("cat", "dog"))
    >>> record(lambda images, tap: tap("all", images), dataset)["all"].class_means.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if reduce not in READERS:
        raise ValueError(f"reduce must be {', '.join(READERS)}; found {reduce!r}")
    sums: dict[str, _Sums] = {}
    sites, network = named_sites(model, sites), traceable(model)
    for batch in dataset.batches(batch_size):
        _, responses = intact_pass(network, batch.images, sites, read=READERS[reduce])
        for site, padded in responses.items():
            values = np.asarray(padded)[batch.where]
            if site not in sums:
                sums[site] = _Sums(dataset, values.shape[1], keep_responses)
            sums[site].add(values, batch.labels[batch.where], batch.start)
        if progress is not None:
            progress(batch.start + batch.n_images)
    return {site: sums[site].finish() for site in sums}


class _Sums:
    """The running sums of one site, on the host."""

    def __init__(self, dataset: Dataset, n_units: int, keep_responses: bool):
        n_classes = len(dataset.class_names)
        self.labels = dataset.labels
        self.class_counts = np.bincount(dataset.labels, minlength=n_classes)
        self.class_sums = np.zeros((n_classes, n_units))
        self.sum_of_squares = np.zeros(n_units)
        self.zeros = np.zeros(n_units, np.int64)
        self.largest = np.full(n_units, -np.inf, np.float32)
        self.best_image = np.zeros(n_units, np.int64)
        self.per_image = (
            np.empty((len(dataset), n_units), np.float32) if keep_responses else None
        )

    def add(self, values: np.ndarray, labels: np.ndarray, start: int) -> None:
        """Count in the responses to the images from `start` on."""
        if not np.isfinite(values).all():
            row = start + int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise ValueError(f"a unit's response to image {row} is NaN or infinite")
        exact = values.astype(np.float64)
        values = values.astype(np.float32)  # as ablation sees them, zeros included
        order = np.argsort(labels, kind="stable")
        present, first = np.unique(labels[order], return_index=True)
        self.class_sums[present] += np.add.reduceat(exact[order], first, axis=0)
        self.sum_of_squares += np.square(exact).sum(axis=0)
        self.zeros += (values == 0).sum(axis=0)
        best = values.argmax(axis=0)
        largest = values.max(axis=0)
        self.best_image = np.where(largest > self.largest, start + best, self.best_image)
        self.largest = np.maximum(largest, self.largest)
        if self.per_image is not None:
            self.per_image[start : start + len(values)] = values

    def finish(self) -> UnitResponses:
        """The sums as a record."""
        return UnitResponses(
            self.labels,
            self.class_counts,
            self.class_sums,
            self.sum_of_squares,
            self.zeros,
            self.best_image,
            self.per_image,
        )
