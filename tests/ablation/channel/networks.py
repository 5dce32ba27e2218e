"""A small network of convolutions, its images, and its effects by brute force."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jaxsel import Dataset
from tests.references import brute_force

N_CLASSES = 7  # more than five: or else nothing enters or leaves the top five
NAMES = tuple("abcdefg")


def numbers(*shape, seed=0):
    """Weights that keep the size of what they are multiplied with."""
    scale = np.sqrt(2 / max(np.prod(shape[:-1]), 1))
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def conv(x, kernel, stride=1, padding="SAME", **settings):
    """Channels last; kernels (..., in, out)."""
    places = "HW"[: x.ndim - 2]
    layout = (f"N{places}C", f"{places}IO", f"N{places}C")
    strides = (stride,) * len(places)
    kernel = jnp.asarray(kernel, x.dtype)
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=layout, **settings
    )


def head(x, seed=9):
    """The mean over places, and one dense layer."""
    x = x.reshape(len(x), -1, x.shape[-1]).mean(1)
    return x @ jnp.asarray(numbers(x.shape[-1], N_CLASSES, seed=seed), x.dtype)


class Small(nnx.Module):
    """Two convolutions with leaky ReLU, each with a site, five and four channels wide.

    The biases at the end keep logits apart where nothing responds.
    """

    sites = ("first", "second")

    def __init__(self, seed=0, slope=0.0):
        self.slope = slope
        self.first = nnx.Param(jnp.asarray(numbers(3, 3, 2, 5, seed=seed)))
        self.bias = nnx.Param(jnp.asarray(np.float32([-0.3, -0.2, -0.1, -0.2, -0.3])))
        self.second = nnx.Param(jnp.asarray(numbers(3, 3, 5, 4, seed=seed + 1)))
        self.out = nnx.Param(jnp.asarray(3 * numbers(4, N_CLASSES, seed=seed + 2)))
        self.last = nnx.Param(jnp.asarray(numbers(N_CLASSES, seed=seed + 3)))

    def __call__(self, images, tap):
        x = conv(images, self.first[...]) + self.bias[...].astype(images.dtype)
        x = tap("first", jax.nn.leaky_relu(x, self.slope))
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
        x = tap("second", jax.nn.leaky_relu(conv(x, self.second[...]), self.slope))
        return x.mean((1, 2)) @ self.out[...].astype(x.dtype) + self.last[...].astype(x.dtype)


def some_images(n, *shape, seed=3):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, *shape)).astype(np.float32)
    return Dataset(images, rng.integers(0, N_CLASSES, n), NAMES)


def truth_of(model, dataset, site, masks=None, values=0.0):
    """Brute force with these masks, by default of every unit."""
    run, images = brute_force.of_jax(model), dataset.inputs(slice(None))
    if masks is None:
        masks = np.eye(brute_force.activations(run, images)[1][site].shape[-1], dtype=bool)
    return brute_force.ablate(run, images, dataset.labels, site, masks, values)


def mean_responses(model, dataset, site):
    run = brute_force.of_jax(model)
    return brute_force.means(brute_force.activations(run, dataset.inputs(slice(None)))[1][site])


def assert_alike(found, expected, truth):
    """Pairs differ by roundings at most: 1e-6 of the largest change of a logit of theirs.

    Half of what `brute_force.assert_exact` allows: these networks are shallow.
    """
    difference = np.abs(np.asarray(found, np.float64) - expected)
    print(f"differ by {(difference / truth.largest.clip(1e-30)).max():.1e}")
    assert (difference <= 1e-6 * truth.largest).all()


def _dense(weights, images, tap):
    one, two, three, bias = (w.astype(images.dtype) for w in weights)
    x = tap("vector", jax.nn.relu(images.reshape(len(images), -1) @ one))
    return jax.nn.gelu(x @ two) @ three + bias


# A vector of eight, and two dense layers with something between that is no ReLU.
dense = jax.tree_util.Partial(
    _dense,
    [jnp.asarray(numbers(*shape)) for shape in ((60, 8), (8, 6), (6, N_CLASSES), (N_CLASSES,))],
)


def mean_and_logits(images, tap):
    return head(tap("site", jax.nn.relu(conv(images, numbers(3, 3, 2, 4)))))
