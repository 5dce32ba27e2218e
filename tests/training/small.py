"""A network with BatchNorm in every kind of place, and images that it learns in no time."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsel.data import Dataset
from jaxsel.models.batch_norm import BatchNorm

CLASSES = tuple("abcd")


class Small(nnx.Module):
    """Two convolutions and a dense layer, four classes; its ReLU may be leaky."""

    sites = ("conv1", "conv2", "fc")

    def __init__(self, *, rngs):
        self.slope = 0.0
        self.conv1 = nnx.Conv(2, 4, (3, 3), use_bias=False, rngs=rngs)
        self.bn1 = BatchNorm(4, momentum=0.9, epsilon=1e-5, rngs=rngs)
        # A bias before BatchNorm would have a gradient of 0, and only roundings to compare.
        self.conv2 = nnx.Conv(4, 6, (3, 3), strides=2, padding=1, use_bias=False, rngs=rngs)
        self.bn2 = BatchNorm(6, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.fc = nnx.Linear(6, 5, rngs=rngs)
        self.head = nnx.Linear(5, len(CLASSES), rngs=rngs)

    def __call__(self, images, tap):
        def rectified(x):
            # Only a slope that training gives is an array.
            is_relu = isinstance(self.slope, float)
            return nnx.relu(x) if is_relu else nnx.leaky_relu(x, self.slope)

        x = tap("conv1", rectified(self.bn1(self.conv1(images))))
        x = tap("conv2", rectified(self.bn2(self.conv2(x))))
        x = tap("fc", nnx.relu(self.fc(x.mean(axis=(1, 2)))))
        return self.head(x)


def small(seed, dtype=np.float32):
    network = Small(rngs=nnx.Rngs(seed))
    nnx.update(network, jax.tree.map(lambda x: x.astype(dtype), nnx.state(network)))
    return network


class Source:
    """Images of any precision."""

    def __init__(self, images):
        self.images, self.precision = images, images.dtype

    def __len__(self):
        return len(self.images)

    def __getitem__(self, which):
        return self.images[which]


def dataset(n, seed=0, dtype=np.float32):
    """Images whose brightness says the class; labels sorted in the first half.

    Read in order, a batch is unevenly spread: its first images are all of one class.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CLASSES), n)
    labels[: n // 2] = np.sort(labels[: n // 2])
    images = rng.normal(size=(n, 6, 6, 2)) + labels[:, None, None, None] * jnp.array([1, -0.5])
    return Dataset(Source(np.asarray(images, dtype)), labels, CLASSES)


def bytes_of(n, seed=0):
    """The same as pixels."""
    images = dataset(n, seed)
    pixels = np.clip(np.asarray(images.images[:]) * 20 + 100, 0, 255).astype(np.uint8)
    return Dataset(pixels, images.labels, CLASSES, lambda x: x.astype(np.float32) / 100 - 1)


def furthest(found, expected):
    """The largest difference of any array, relative to its largest entry."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return max(
        float(np.abs(np.asarray(a) - np.asarray(b)).max() / max(np.abs(b).max(), 1e-30))
        for a, b in pairs
        if np.size(a)
    )
