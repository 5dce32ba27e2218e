"""The first-order estimate: gradient times change, in closed form and in the limit."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsel import Dataset, ablate_units, first_order, models
from jaxsel.ablation import first_orders
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


@pytest.mark.parametrize("replacement", [0.0, 0.5, "per unit"])
@pytest.mark.parametrize("batch_size", [256, 8])
def test_before_the_logits_it_is_the_weights_times_probability_less_label(
    network, dataset, replacement, batch_size
):
    layers = parameters.dense_layers(network)
    logits, hidden = mlp.forward(layers, dataset.images)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    value = np.linspace(-1, 1, 9) if replacement == "per unit" else replacement
    gradient = (p - np.eye(7)[dataset.labels]) @ layers[2][0].astype(np.float64).T
    expected = (gradient * (value - hidden[1])).T @ np.eye(7)[dataset.labels]
    found = first_order(network, dataset, "fc2", replacement=value, batch_size=batch_size)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("site", ["fc1", "fc2"])
def test_small_changes_are_what_ablation_finds(network, dataset, site):
    """One image, whose responses move by a thousandth: the loss is linear so close by."""
    one = dataset.take(np.array([3]))
    hidden = mlp.forward(parameters.dense_layers(network), one.inputs(slice(None)))[1]
    nearly = 0.999 * hidden[int(site[-1]) - 1][0]
    exact = ablate_units(network, one, site, replacement=nearly).total()
    found = first_order(network, one, site, replacement=nearly).sum(axis=1)
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-3 * np.abs(exact).max())


def test_feature_maps_count_with_all_their_places():
    network, images = models.build("alexnet_digits", seed=3), digits().take(np.arange(12))
    estimate = first_order(network, images, "conv5").sum(axis=1)
    exact = ablate_units(network, images, "conv5").total()
    rank = [np.argsort(np.argsort(x)) for x in (estimate, exact)]
    assert np.corrcoef(*rank)[0, 1] > 0.7


def test_silent_units_are_exactly_zero():
    dataset = Dataset(np.array([[1, 0]], np.float32), np.array([0]), ("a", "b"))
    found = first_order(lambda images, tap: tap("in", images), dataset, "in")
    np.testing.assert_array_equal(found[1], [0, 0])
    assert found[0, 0] > 0


def test_progress_counts_images_once(network, dataset):
    done = []
    first_order(network, dataset, "fc1", batch_size=10, progress=done.append)
    assert done == [10, 20, 30, 37]


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"site": "fc9"}, KeyError, "unknown site fc9"),
        ({"replacement": np.zeros(3)}, ValueError, r"12 here; found shape \(3,\)"),
    ],
)
def test_settings_that_do_not_fit_are_refused(network, dataset, settings, error, message):
    with pytest.raises(error, match=message):
        first_order(network, dataset, **({"site": "fc1"} | settings))


def test_an_estimate_that_is_no_number_is_refused():
    dataset = Dataset(np.array([[1, 4]], np.float32), np.array([0]), ("a", "b"))

    def model(images, tap):
        return jnp.sqrt(tap("in", images) - 1)  # an infinite slope at 1

    with pytest.raises(FloatingPointError, match="at in is NaN or infinite"):
        first_order(model, dataset, "in")


def test_a_network_in_bfloat16_is_refused():
    dataset = Dataset(np.ones((2, 3), np.float32), np.arange(2), tuple("abc"))
    with pytest.raises(ValueError, match="is bfloat16"):
        first_order(lambda im, tap: tap("in", im.astype(jnp.bfloat16)), dataset, "in")


def test_several_sites_at_once_are_each_alone():
    model = models.build("lenet5", seed=1)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 32, 32, 3)).astype(np.float32)
    dataset = Dataset(images, np.arange(6) % 3, tuple("0123456789"))
    values = {"conv1": 0.1, "conv2": np.linspace(0, 1, 16).astype(np.float32), "fc1": 0.0}
    together = first_orders(model, dataset, values, batch_size=4)
    for site, value in values.items():
        alone = first_order(model, dataset, site, replacement=value)
        # The same float32 sums, in another program.
        np.testing.assert_allclose(together[site], alone, rtol=1e-4, atol=1e-6)
