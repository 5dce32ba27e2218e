"""Norms of outgoing weights against the kernels themselves."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsel import Dataset, models
from jaxsel.outgoing import outgoing_norm


def of(model: Any, side, site, depth=3):
    images = np.zeros((2, side, side, depth), np.float32)
    return outgoing_norm(model, Dataset(images, np.zeros(2, int), ("a", "b")), site)


def norm(kernel, unit_axis):
    """Of the weights of every input, over all other axes."""
    kernel = np.moveaxis(np.asarray(kernel[...], np.float64), unit_axis, 0)
    return np.sqrt(np.square(kernel).reshape(len(kernel), -1).sum(axis=1))


# Kernels are float32, squared and summed in float64; the gain is a float32 derivative.
CLOSE = 1e-5


def test_a_dense_layer_and_a_convolution_are_read_off_their_kernels():
    model: Any = models.build("lenet5")
    np.testing.assert_allclose(of(model, 32, "fc2"), norm(model.fc3.kernel, 0), rtol=CLOSE)
    np.testing.assert_allclose(of(model, 32, "conv1"), norm(model.conv2.kernel, 2), rtol=CLOSE)


def test_a_map_that_is_flattened_has_the_weights_of_all_its_places():
    model: Any = models.build("lenet5")
    kernel = np.asarray(model.fc1.kernel[...])
    by_unit = np.square(kernel.astype(np.float64)).reshape(5 * 5, 16, -1).sum(axis=(0, 2))
    found = of(model, 32, "conv2")
    np.testing.assert_allclose(np.sort(found), np.sort(np.sqrt(by_unit)), rtol=CLOSE)
    np.testing.assert_allclose(found, np.sqrt(by_unit), rtol=CLOSE)


def test_groups_and_response_normalisation_stand_in_no_ones_way():
    shape = {"widths": (8, 12, 8, 8, 4), "dense_widths": (6, 6), "n_classes": 3}
    model: Any = models.build("alexnet_caffe", **shape)
    kernel = np.asarray(model.conv2.kernel[...], np.float64)  # two groups of 4 inputs
    halves = np.split(kernel, 2, axis=3)
    by_unit = np.concatenate([np.square(half).sum(axis=(0, 1, 3)) for half in halves])
    np.testing.assert_allclose(of(model, 227, "conv1"), np.sqrt(by_unit), rtol=CLOSE)


def test_a_batchnorm_in_between_scales_the_weights():
    model: Any = models.build("cnn7", n_classes=3)
    layer, kernel = model.norms[0], model.convs[1].kernel
    layer.scale[...] = jnp.linspace(0.5, 2, 32)
    scale = np.asarray(layer.scale[...]) / np.sqrt(np.asarray(layer.var[...]) + layer.epsilon)
    np.testing.assert_allclose(of(model, 32, "conv1"), norm(kernel, 2) * scale, rtol=CLOSE)


def test_a_residual_network_has_the_weights_of_the_next_block_only():
    model: Any = models.build("resnet20")
    for site, kernel, axis in (
        ("block1_conv2", model.blocks[1].conv1.kernel, 2),
        ("block4_conv1", model.blocks[3].conv2.kernel, 2),
        ("block9_conv2", model.fc.kernel, 0),
    ):
        np.testing.assert_allclose(of(model, 32, site), norm(kernel, axis), rtol=CLOSE)


def test_weights_may_stand_on_the_left():
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = Dataset(np.ones((1, 3), np.float32), np.zeros(1, int), ("a", "b"))

    def model(images, tap):
        return (weights @ tap("in", images).T).T

    expected = np.sqrt(np.square(weights).sum(axis=0))
    np.testing.assert_allclose(outgoing_norm(model, data, "in"), expected, rtol=CLOSE)


def test_what_nothing_follows_has_no_weights_and_mixtures_are_refused():
    data = Dataset(np.ones((1, 3), np.float32), np.zeros(1, int), ("a", "b"))
    weights = jnp.ones((3, 2))

    def unused(images, tap):
        tap("in", images)
        return images @ weights

    assert outgoing_norm(unused, data, "in").tolist() == [0, 0, 0]

    for by in (1, 2):

        def mixed(images, tap, by=by):
            x = tap("in", jnp.tile(images, 2))
            return (x + jnp.roll(x, by, axis=1)) @ jnp.ones((6, 2))

        with pytest.raises(ValueError, match="mixed before they meet weights"):
            outgoing_norm(mixed, data, "in")

    def multiplied(images, tap):
        x = tap("in", images)
        return (x @ x.T) @ weights[:1]

    with pytest.raises(ValueError, match="multiplied with each other"):
        outgoing_norm(multiplied, data, "in")
