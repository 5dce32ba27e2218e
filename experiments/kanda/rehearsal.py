"""A network of the right shape with random weights, and made-up images: the cost of a real run.

So every line of a run can be tried, and timed, before the weights and the images are there.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsel import forward, models
from jaxsel.data import Dataset

N_CLASSES = 20
ACTIVE = 0.15  # of all responses
N_TUNED = 16  # images that the weights are tuned on
SIDE = {"alexnet": 224, "alexnet_caffe": 227, "vgg19": 224}
N_OUTPUTS = 1000
LIFT = 1e3  # more than any sum of inputs with a mean square of 1


def rehearsed(preset: str, n_images: int, seed: int) -> tuple[Any, Dataset, dict[str, Any]]:
    """Network, images and how they came about.

    Args:
        preset: the network's name.
        n_images: how many images.
        seed: of weights and images.
    """
    if preset not in SIDE:
        raise ValueError(f"--rehearse is for {', '.join(SIDE)}; found {preset}")
    images = made_up(n_images, SIDE[preset], seed)
    model = models.build(preset, seed=seed)
    tune(model, jnp.asarray(images.inputs(slice(0, N_TUNED))))
    facts = {
        "network": preset,
        "preprocess": "none",
        "images": {"test": n_images},
        "introduction": (
            f"This is a rehearsal: the network {preset} has random weights, with which "
            f"{100 * ACTIVE:.0f} % of all responses are above 0, and the {n_images:,} images "
            "are made up. No number here says anything about vision."
        ),
    }
    return model, images, facts


def made_up(n: int, side: int, seed: int) -> Dataset:
    """Images of some classes, each a pattern of its own under noise."""
    rng = np.random.default_rng([seed, 2])
    patterns = rng.normal(size=(N_CLASSES, side, side, 3)).astype(np.float32)
    labels = np.arange(n) % N_CLASSES
    noise = rng.normal(size=(n, side, side, 3)).astype(np.float32)
    names = tuple(map(str, range(N_OUTPUTS)))
    return Dataset((patterns[labels] + noise) / np.sqrt(2), labels, names)


def tune(model: Any, images: jax.Array) -> None:
    """Set biases and scales, site by site, so that few responses are above 0.

    What is above the bound of a unit's 15 % largest responses stays, with a mean square of 1:
    the layer's weights and bias, named as its site, are changed in place.
    """
    names = getattr(model, "conv_sites", ())  # where they are in a list
    convolutions = dict(zip(names, getattr(model, "convs", ()), strict=True))
    for site in model.sites:
        layer = convolutions.get(site) or getattr(model, site)
        layer.bias[...] += LIFT  # every ReLU lets everything through
        _, activations = jax.jit(lambda x, site=site: forward(model, x, sites=(site,)))(images)
        before = np.asarray(activations[site], np.float64).reshape(-1, layer.bias.shape[0])
        bound = np.quantile(before, 1 - ACTIVE, axis=0)
        left = np.square(np.maximum(before - bound, 0)).mean(axis=0)
        scale = 1 / np.sqrt(np.where(left > 0, left, 1))
        layer.bias[...] = jnp.asarray((np.asarray(layer.bias[...]) - bound) * scale, np.float32)
        layer.kernel[...] = jnp.asarray(np.asarray(layer.kernel[...]) * scale, np.float32)
