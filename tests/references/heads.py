"""One or two dense layers after a site: a network, and its ablation by float64 brute force.

The images are what the site sees, so that both start from the same numbers.
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsel import Dataset
from tests.references import mlp


@partial(jax.tree_util.register_dataclass, data_fields=["layers"], meta_fields=["slope"])
@dataclass(frozen=True, eq=False)
class Head:
    """Pairs of weight, `(in, out)`, and bias or None. Negative inputs are scaled by `slope`.

    The weights are leaves of a tree: networks of equal shapes share compiled programs.
    """

    layers: list
    slope: float = 1.0

    def __call__(self, images, tap):
        x = tap("site", jnp.where(images > 0, images, self.slope * images))
        for depth, (weight, bias) in enumerate(self.layers):
            x = (jax.nn.relu(x) if depth else x) @ weight
            x = x if bias is None else x + bias
        return x


def head(*arrays, slope=1.0):
    """Weight, bias, weight, bias ... as a network in float32."""
    narrow = [None if one is None else jnp.asarray(one, jnp.float32) for one in arrays]
    return Head(list(zip(narrow[::2], narrow[1::2], strict=True)), slope)


def random_head(rng, *widths, biased=True, slope=1.0):
    """Normal weights of the usual scale, with normal biases or none."""
    arrays = []
    for n_in, n_out in pairwise(widths):
        arrays.append(np.sqrt(2 / n_in) * rng.normal(size=(n_in, n_out)))
        arrays.append(0.3 * rng.normal(size=n_out) if biased else None)
    return head(*arrays, slope=slope)


def random_data(rng, n_images, n_units, n_classes, *, silent=0.5, negative=False):
    """Responses of about 1, a share of them exactly 0, some negative where asked for."""
    size = (n_images, n_units)
    responses = 2 * rng.normal(size=size)
    responses = responses if negative else np.abs(responses)
    responses = np.where(rng.random(size) < silent, 0, responses)
    return dataset(responses, rng.integers(0, n_classes, n_images), n_classes)


def dataset(responses, labels, n_classes):
    """Responses of the site, one row per image, with their labels."""
    names = tuple(f"class {c}" for c in range(n_classes))
    return Dataset(np.asarray(responses, np.float32), np.asarray(labels), names)


class Truth(NamedTuple):
    """Of every pair `(image, unit)`, but for the rank before, which is the image's own."""

    change: np.ndarray  # of the loss
    size: np.ndarray  # of what a change can be rounded to: more where it cancels
    rounding: np.ndarray  # how far the change may be off itself
    unchanged: np.ndarray  # no logit moves
    before: np.ndarray  # rank of the label
    after: np.ndarray


def ablate(network, data, units, replacement=0.0):
    """Brute force: the responses edited, the layers run again, the losses subtracted."""
    layers = [
        (np.float64(w), np.zeros(w.shape[1]) if b is None else np.float64(b))
        for w, b in network.layers
    ]
    images, labels = np.float64(data.inputs(slice(None))), data.labels
    responses = np.where(images > 0, images, network.slope * images)
    logits, _ = mlp.forward(layers, responses)
    before = mlp.losses(logits, labels)
    known_to, wrong = rounding(layers, responses, before), -np.expm1(-before)
    pairs = []
    for unit, value in zip(
        units, np.broadcast_to(np.float64(replacement), len(units)), strict=True
    ):
        ablated = responses.copy()
        ablated[:, unit] = value
        new, _ = mlp.forward(layers, ablated)
        loss, unchanged = mlp.losses(new, labels), (new == logits).all(1)
        off = np.where(unchanged, 0, known_to + rounding(layers, ablated, loss))
        # What the logits' changes come to in the loss unless they cancel there.
        by_logits = np.abs(new - logits).max(1) * np.maximum(-np.expm1(-loss), wrong)
        size = np.maximum(np.abs(loss - before), by_logits)
        pairs.append((loss - before, size, off, unchanged, mlp.ranks(new, labels)))
    change, size, off, unchanged, after = (np.stack(one, 1) for one in zip(*pairs, strict=True))
    return Truth(change, size, off, unchanged, mlp.ranks(logits, labels), after)


def rounding(layers, responses, loss):
    """What float64 leaves open in each loss.

    A logit is known to some 8 half units in the last place of the sum of its absolute terms,
    the loss to twice that times the probability of the other classes and to 8 of its own.
    """
    terms = np.abs(responses)
    for weight, bias in layers:
        terms = terms @ np.abs(weight) + np.abs(bias)
    return 2.0**-50 * (2 * terms.max(1) * -np.expm1(-loss) + loss)
