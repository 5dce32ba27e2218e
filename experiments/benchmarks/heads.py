"""What the ablation benchmark runs on: cached responses, and the dense layers after them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from jaxsel import Dataset, checkpoint, data, forward, models
from jaxsel.data import PREPROCESS

SITE = "site"
Layers = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Head:
    """Responses at a site, labels, and the dense layers from there to the logits."""

    name: str
    dataset: Dataset
    layers: Layers

    @property
    def model(self) -> Any:
        """As jaxsel takes it: the images are the responses."""
        layers = [(jnp.asarray(weight), jnp.asarray(bias)) for weight, bias in self.layers]
        return jax.tree_util.Partial(_logits, layers)

    @property
    def n_units(self) -> int:
        """Units at the site."""
        return len(self.layers[0][0])


@dataclass(frozen=True)
class Responses:
    """Made-up responses, each image's from a stream of its own: nothing is kept."""

    n_images: int
    n_units: int
    share: float  # of the units that respond
    scale: float

    def __len__(self) -> int:
        return self.n_images

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        threshold = scipy.stats.norm.isf(self.share)
        rows = [
            np.random.default_rng([1, i]).standard_normal(self.n_units, np.float32)
            for i in np.arange(self.n_images)[which]
        ]
        return self.scale * np.maximum(np.stack(rows) - np.float32(threshold), 0)


def alexnet_head(site: str, share: float, n_images: int) -> Head:
    """4,096 - 4,096 - 1,000 as after AlexNet's fc6, or 4,096 - 1,000 as after its fc7.

    Args:
        site: fc6 or fc7.
        share: of the units of either that respond to an image.
        n_images: how many; they are made when they are asked for.
    """
    rng = np.random.default_rng(0)
    first, second = (
        (scale * rng.standard_normal((4096, n), np.float32)).astype(np.float32)
        for scale, n in ((0.012, 4096), (0.03, 1000))
    )
    last = (second, np.zeros(1000, np.float32))
    if site == "fc7":
        responses, layers = Responses(n_images, 4096, share, 0.6), [last]
    else:
        responses = Responses(n_images, 4096, share, 3.0)
        spread = (responses[slice(0, 64)] @ first).std()
        bias = np.full(4096, -scipy.stats.norm.isf(share) * spread, np.float32)
        layers = [(first, bias), last]
    labels = [np.argmax(logits + 0.15 * rng.standard_normal(logits.shape), 1) for logits in
              _batches(responses, layers)]  # fmt: skip
    classes = tuple(map(str, range(1000)))
    dataset = Dataset(responses, np.concatenate(labels), classes)
    return Head(f"AlexNet's shape, {site}, {share:.0%} active", dataset, layers)


def trained_heads(weights: Path, source: str, split: str | None, n_images: int) -> list[Head]:
    """Every hidden layer of a trained fully connected network."""
    preprocess = PREPROCESS[checkpoint.read_manifest(weights)["preprocess"]]
    images = data.load(source, split=split, preprocess=preprocess)
    images = images.take(np.arange(min(n_images, len(images))))
    model: Any = models.load(weights)
    layers = [(np.asarray(one.kernel[...]), np.asarray(one.bias[...])) for one in model.layers]
    _, activations = jax.jit(forward)(model, images.inputs(slice(None)))
    heads = []
    for depth, site in enumerate(model.sites):
        responses = np.asarray(activations[site])
        active = (responses > 0).mean()
        dataset = Dataset(responses, images.labels, images.class_names)
        name = f"{weights.name}, {site}, {active:.0%} active"
        heads.append(Head(name, dataset, layers[depth + 1 :]))
    return heads


def remaining_flop(head: Head, n_images: int) -> float:
    """Operations of the products over moving rows and possible columns, per image."""
    if len(head.layers) == 1:
        return 0.0
    (first, bias), (second, _) = head.layers
    total = 0.0
    for h in head.dataset.inputs(slice(0, n_images)):
        moving = np.flatnonzero(h)
        reach = np.max(-h[moving, None] * first[moving], axis=0, initial=0)
        columns = np.sum(h @ first + bias + reach > 0)
        total += 2.0 * len(moving) * columns * second.shape[1]
    return total / n_images


def _logits(layers: Layers, images: jax.Array, tap) -> jax.Array:
    x = tap(SITE, images)
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def _batches(responses: Responses, layers: Sequence) -> Iterator[np.ndarray]:
    for start in range(0, len(responses), 256):
        x = responses[slice(start, start + 256)]
        for weight, bias in layers[:-1]:
            x = np.maximum(x @ weight + bias, 0)
        yield x @ layers[-1][0] + layers[-1][1]
