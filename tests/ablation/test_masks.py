"""The plain way against float64 brute force, up to the roundings of the loss that it has."""

import numpy as np
import pytest

from jaxsel import Dataset, ablate_by_masks, ablate_units, models
from jaxsel.data import digits
from tests.references import mlp, parameters


@pytest.fixture(scope="module")
def network():
    network = models.build("mlp", n_inputs=40, widths=(12, 9), n_classes=7, seed=2)
    return parameters.with_random_biases(network)


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(5)
    images = 2 * rng.normal(size=(37, 40)).astype(np.float32)
    return Dataset(images, rng.integers(0, 7, 37), tuple("abcdefg"))


def truth(network, dataset, depth, units, replacement=0.0):
    """Loss changes summed over the images of each class, and the size of what is subtracted."""
    layers = parameters.dense_layers(network)
    change, _, _ = mlp.ablate(layers, dataset.images, dataset.labels, depth, units, replacement)
    losses = mlp.losses(mlp.forward(layers, dataset.images)[0], dataset.labels)
    return change.T @ np.eye(7)[dataset.labels], losses.sum()


@pytest.mark.parametrize("replacement", [0.0, 0.75])
@pytest.mark.parametrize("depth, cached", [(0, None), (1, None), (1, "fc1")])
@pytest.mark.parametrize("batch_size, chunk", [(64, 16), (10, 5)])
def test_masks_equal_brute_force(
    network, dataset, depth, cached, replacement, batch_size, chunk
):
    found = ablate_by_masks(
        network, dataset, f"fc{depth + 1}", cached=cached, replacement=replacement,
        batch_size=batch_size, chunk=chunk,
    )  # fmt: skip
    expected, loss = truth(network, dataset, depth, range(len(found)), replacement)
    # Two float32 losses are subtracted: some roundings of the loss, not of the change.
    np.testing.assert_allclose(found, expected, rtol=0, atol=64 * 2.0**-24 * loss)


def test_some_units_in_any_order(network, dataset):
    every = ablate_by_masks(network, dataset, "fc1")
    some = ablate_by_masks(network, dataset, "fc1", units=np.array([7, 2, 2]), chunk=2)
    np.testing.assert_allclose(some, every[[7, 2, 2]], rtol=0, atol=1e-4)


def test_masks_of_a_whole_layer_are_cached_before_it():
    """fc6 from its cached inputs, as in a real network: the convolutions run once."""
    network, images = models.build("alexnet_digits", seed=3), digits().take(np.arange(12))
    found = ablate_by_masks(network, images, "fc6", cached="conv5", units=np.arange(20))
    exact = ablate_units(network, images, "fc6", units=np.arange(20))
    atol = 64 * 2.0**-24 * exact.baseline.loss.sum()
    np.testing.assert_allclose(found, exact.loss_change, rtol=0, atol=atol)


def test_unknown_site_is_refused_with_a_list_of_the_sites(network, dataset):
    with pytest.raises(KeyError, match="unknown site fc9: this network has fc1, fc2"):
        ablate_by_masks(network, dataset, "fc9")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"units": np.array([0, 12])}, "units 0 to 11; found 0 to 12"),
        ({"units": np.array([-1])}, "found -1"),
        ({"cached": "fc2"}, "cached must be fc1 or before it, fc1; found fc2"),
        ({"chunk": 0}, "chunk must be at least 1"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(network, dataset, settings, message):
    with pytest.raises(ValueError, match=message):
        ablate_by_masks(network, dataset, "fc1", **settings)


def test_a_loss_that_is_no_number_is_refused(dataset):
    broken = models.build("mlp", n_inputs=40, widths=(12,), n_classes=7)
    broken.layers[1].bias[...] = np.full(7, np.nan, np.float32)
    with pytest.raises(FloatingPointError, match="at fc1 is NaN"):
        ablate_by_masks(broken, dataset, "fc1")
