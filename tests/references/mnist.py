"""The trained MNIST networks of the data folder, for jaxsel and for float64 loops.

784-512-512-10 ReLU networks from a replication of Morcos et al. (2018); the name says which
fraction of their training labels was shuffled.
"""

import jax.numpy as jnp
import numpy as np

from jaxsel import Dataset
from jaxsel.data import unit_range
from jaxsel.models import build

FRACTIONS = ("0.0", "0.2", "1.0")
CLASSES = tuple("0123456789")


def images(data_folder, split):
    """The images of a split with their true labels."""
    with np.load(data_folder / "mnist" / "mnist.npz") as file:
        return Dataset(file[f"{split}_images"], file[f"{split}_labels"], CLASSES, unit_range)


def training_images(data_folder, fraction):
    """All training images with the labels that this network was trained on."""
    with np.load(data_folder / "mnist_mlp" / f"shuff{fraction}.npz") as file:
        targets = file["train_targets"]
    return Dataset(images(data_folder, "train").images, targets, CLASSES, unit_range)


def layers(data_folder, fraction):
    """Pairs of weight, `(in, out)`, and bias: what `mlp.forward` takes."""
    with np.load(data_folder / "mnist_mlp" / f"shuff{fraction}.npz") as file:
        return [(file[f"linears.{i}.weight"].T, file[f"linears.{i}.bias"]) for i in range(3)]


def network(data_folder, fraction):
    """The same as jaxsel's network."""
    model = build("mlp")
    for layer, (weight, bias) in zip(model.layers, layers(data_folder, fraction), strict=True):
        layer.kernel[...] = jnp.asarray(weight)
        layer.bias[...] = jnp.asarray(bias)
    return model
