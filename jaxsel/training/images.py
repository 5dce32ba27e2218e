"""Training images on the device: their order, how they are cut, and pixels as input.

Everything random follows from a replica's seed, the epoch and the number of the step, so that
a run can go on from any epoch, on any number of devices, with the same images.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer, Shaped, UInt8

from ..data.dataset import Dataset
from ..data.encoded import EncodedImages

# One stream for each thing that is drawn.
ORDER, CROPS = 1, 2
# Images that are decoded at a time, to float32 before they are bytes again.
DECODED = 1000


class OnDevice(NamedTuple):
    """A data set on the device.

    Attributes:
        images: `(images, height, width, channels)`, uint8 as stored, or as the network takes
            them where they are no whole pixels.
        labels: of the images.
        pixels: what each of 256 values becomes as input, `(256, channels)`; None where
            `images` are input already.
    """

    images: Any
    labels: Any
    pixels: Any

    def inputs(self, stored: Shaped[Array, "batch ..."]) -> Float[Array, "batch ..."]:
        """What the network takes, to the bit what `Dataset.inputs` gives."""
        if self.pixels is None:
            return stored
        return self.pixels[stored, jnp.arange(stored.shape[-1])]


def for_device(dataset: Dataset) -> OnDevice:
    """A data set as the training step takes it, ready for one copy from host to device.

    Pixels stay bytes, four times smaller than input, and what preprocessing makes of each of
    the 256 values is looked up. Preprocessing that looks at more than one pixel at a time, such
    as resizing, is done beforehand, on the host, and so is that of other types.

    Args:
        dataset: images of one size.

    >>> from ..data import digits
    >>> found = jax.tree.map(jnp.asarray, for_device(digits().take(np.arange(3))))
    >>> found.images.dtype, found.inputs(found.images).dtype
    (dtype('uint8'), dtype('float32'))
    """
    stored = as_stored(dataset)
    labels = dataset.labels
    if stored.dtype == np.uint8 and stored.ndim == 4:
        table = lookup(dataset.preprocess, stored)
        if table is not None:
            return OnDevice(stored, labels, table)
    return OnDevice(dataset.inputs(slice(0, len(dataset))), labels, None)


def as_stored(dataset: Dataset) -> Shaped[np.ndarray, "images ..."]:
    """All images as they are stored; encoded ones decoded, to bytes."""
    if not isinstance(dataset.images, EncodedImages):
        return np.asarray(dataset.images[slice(0, len(dataset))])
    decoded = replace(dataset, preprocess=None)
    parts = [slice(i, i + DECODED) for i in range(0, len(dataset), DECODED)]
    return np.concatenate([decoded.inputs(part).astype(np.uint8) for part in parts])


def lookup(
    preprocess: Callable[[np.ndarray], np.ndarray] | None,
    stored: UInt8[np.ndarray, "images height width channels"],
) -> Float[np.ndarray, "values channels"] | None:
    """What each pixel value becomes by channel; None if there is no such table."""
    if preprocess is None:
        return None
    # Only the values that occur: some preprocessing refuses others.
    values = np.unique(stored)
    grey = np.broadcast_to(values[:, None, None, None], (len(values), 1, 1, stored.shape[-1]))
    try:
        made = preprocess(grey)
    except ValueError:
        return None
    if made.shape != grey.shape:
        return None
    table = np.zeros((256, stored.shape[-1]), np.float32)
    table[values] = made[:, 0, 0]
    # It may still be another function for some images, such as one of their largest pixel.
    channels = np.arange(stored.shape[-1])
    for start in range(0, len(stored), DECODED):
        part = stored[start : start + DECODED]
        if not np.array_equal(table[part, channels], preprocess(part)):
            return None
    return table


def order(seed: Integer[Array, ""] | int, epoch: Int[Array, ""] | int, n_images: int):
    """The order of the training images in an epoch, `(images,)`."""
    return jax.random.permutation(_key(seed, ORDER, epoch), n_images)


def windows(
    seed: Integer[Array, ""] | int,
    epoch: Int[Array, ""],
    step: Int[Array, ""],
    n_images: int,
    augment: str,
    padding: int,
) -> tuple[Int[Array, "batch 2"], Bool[Array, " batch"]]:
    """Where each image of a step is cut, and whether it is turned."""
    for_crop, for_flip = jax.random.split(jax.random.fold_in(_key(seed, CROPS, epoch), step))
    corners = jnp.full((n_images, 2), padding)
    if augment in ("crop", "crop_flip"):
        corners = jax.random.randint(for_crop, (n_images, 2), 0, 2 * padding + 1)
    flipped = jnp.zeros(n_images, bool)
    if augment in ("flip", "crop_flip"):
        flipped = jax.random.bernoulli(for_flip, 0.5, (n_images,))
    return corners, flipped


def cut(
    images: Shaped[Array, "batch height width channels"],
    corners: Int[Array, "batch 2"],
    flipped: Bool[Array, " batch"],
    padding: int,
) -> Shaped[Array, "batch height width channels"]:
    """Windows of the images' own size, over images with 0 around them; turned or not.

    Args:
        images: as stored: 0 is black.
        corners: row and column where the window begins, 0 to 2 x `padding`.
        flipped: whether left and right are exchanged.
        padding: pixels around the image.

    >>> image = jnp.arange(1, 5, dtype=jnp.uint8).reshape(1, 2, 2, 1)
    >>> cut(image, jnp.array([[0, 1]]), jnp.array([True]), 1)[0, :, :, 0].tolist()
    [[0, 0], [2, 1]]
    """
    _, height, width, channels = images.shape
    around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(images, around)

    def one(image, corner, is_flipped):
        window = lax.dynamic_slice(image, (*corner, 0), (height, width, channels))
        return jnp.where(is_flipped, window[:, ::-1], window)

    return jax.vmap(one)(padded, corners, flipped)


def _key(seed, stream, epoch):
    # Named: another default generator would draw other numbers, and others under vmap.
    key = jax.random.key(seed, impl="threefry2x32")
    return jax.random.fold_in(jax.random.fold_in(key, stream), epoch)
