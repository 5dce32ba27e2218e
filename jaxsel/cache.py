"""The activations at a site, computed once and kept on disk for every later analysis.

They are kept under a key made of what computes them: the network up to the site with the bits
of its weights, the stored images, and their preprocessing. So activations of another network,
or of images that have changed since, are never taken for these.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from . import fingerprint
from .data.dataset import Dataset
from .forward import forward
from .intact import intact_activations, intact_jaxpr, traceable
from .mixing import mixes_images
from .sites import Activation, Model, Tap
from .storing import stored_array
from .suffix import Suffix, starting_at


def cached(
    model: Model,
    dataset: Dataset,
    site: str,
    folder: Path,
    *,
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
) -> tuple[Suffix, Dataset]:
    """The network from a site on, and a data set of the activations there, from disk.

    Every analysis runs on the two as it does on the network and its images, and gives the
    same, without computing what comes before the site. Where it runs the intact network in
    float64, as `ablate_units`, `record` and `evaluate` do, that is to the last bits of
    float64; `first_order` and the masks of `ablate_groups`, which are float32 throughout,
    give the same to the roundings of float32.

    Activations are kept in the precision of the intact pass: 8 bytes each as a rule. On disk,
    each block of them has a SHA-256. All are checked before anything is read: some seconds
    per GB. What is torn, changed or of something else is made again, and a warning says why.
    A run that was killed is gone on with. Memory does not grow with the number of images.

    Args:
        model: called as `model(images, tap)`, in evaluation mode.
        dataset: images and labels. All stored images are read for the key.
        site: where; everything that reaches the logits must pass through it.
        folder: for any number of such activations, of any networks and images. Nothing in
            it is ever removed but what is damaged.
        batch_size: images at a time, when activations are computed.
        progress: called with the number of images whose activations are known to be right.

    Returns:
        What `starting_at` gives, and the activations with the labels and the names of the
        classes.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: the logits depend on the images by a way around the site, what is at the
            site depends on other images of the batch, or is NaN or infinite.
        OSError: the activations cannot be written, as on a full disk. None are left then.

    Warns:
        UserWarning: what was there is made again, and why.

    >>> import tempfile
    >>> model = lambda images, tap: tap("plus one", tap("double", 2 * images) + 1)
    >>> dataset = Dataset(np.eye(2, dtype=np.float32), np.array([0, 1]), ("cat", "dog"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rest, activations = cached(model, dataset, "double", Path(folder))
    >>> activations.inputs(slice(None)).tolist(), rest.sites
    ([[2.0, 0.0], [0.0, 2.0]], ('double', 'plus one'))
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; found {batch_size}")
    image_shape = dataset.inputs(slice(0, 1)).shape[1:]
    rest, network = starting_at(model, site, image_shape), traceable(model)

    def before(images: Activation, tap: Tap) -> Activation:
        return forward(network, images, tap, sites=(site,))[1][site]

    if mixes_images(before, image_shape):
        raise ValueError(
            f"what {site} makes of an image depends on the others of its batch, as with "
            "BatchNorm in training mode: put the network into evaluation mode"
        )
    (activation,) = intact_jaxpr(network, image_shape, site).out_avals
    # What is shorter than float32 is kept as float32: NumPy's files know no bfloat16.
    precision = np.promote_types(np.float32, activation.dtype)
    about = {
        "site": site,
        "network": fingerprint.of_network(network, image_shape, site),
        "images": fingerprint.of_images(dataset),
    }

    def blocks(start: int) -> Iterator[np.ndarray]:
        for batch in dataset.batches(batch_size, start):
            found = intact_activations(network, batch.images, (site,))[site]
            values = np.asarray(found)[batch.where].astype(precision)
            finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
            if not finite.all():
                row = batch.start + int(np.flatnonzero(~finite)[0])
                raise ValueError(f"the activation of image {row} at {site} is NaN or infinite")
            yield values

    name = re.sub(r"[^\w.-]", "_", site)
    stored = stored_array(
        Path(folder) / f"{name}-{fingerprint.of(about)[:32]}",
        about,
        (len(dataset), *activation.shape[1:]),
        precision,
        min(batch_size, len(dataset)),
        blocks,
        progress,
    )
    return rest, Dataset(stored, dataset.labels, dataset.class_names)
