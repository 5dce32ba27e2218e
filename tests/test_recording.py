"""Recording against float64 loops over the images."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jaxsel import Dataset, forward, models, record, unit_responses
from jaxsel.intact import intact_pass
from jaxsel.sites import masked, replaced
from tests.references import mlp, parameters

CLASSES = ("a", "b", "c")


def two_layers(images, tap):
    """A plain function with two sites; the second has a map of 2 x 2 for each unit."""
    x = tap("flat", images.reshape(len(images), -1))
    x = tap("map", jnp.maximum(x.reshape(-1, 2, 2, 3), 0))
    return x.mean((1, 2))


@pytest.fixture
def dataset(rng):
    """Eleven images: no batch size in use divides them. Class b is empty."""
    images = rng.normal(size=(11, 12)).astype(np.float32)
    return Dataset(images, rng.choice([0, 2], 11), CLASSES)


@pytest.fixture(scope="module")
def network():
    network = models.build("mlp", n_inputs=12, widths=(6, 4), n_classes=3, seed=3)
    return parameters.with_random_biases(network)


# --- forward ----------------------------------------------------------------------------


def test_sites_come_back_in_the_order_of_the_network(dataset):
    logits, activations = forward(two_layers, jnp.asarray(dataset.images))
    assert list(activations) == ["flat", "map"]
    np.testing.assert_allclose(logits, unit_responses(activations["map"]), rtol=1e-6)


def test_sites_come_back_in_the_order_asked_for(dataset):
    _, activations = forward(two_layers, jnp.asarray(dataset.images), sites=("map", "flat"))
    assert list(activations) == ["map", "flat"]


def test_only_its_default_sites_come_back_from_a_network_that_names_some(dataset):
    def model(images, tap):
        return two_layers(images, tap)

    model.sites = ("map",)
    assert list(forward(model, jnp.asarray(dataset.images))[1]) == ["map"]


@pytest.mark.parametrize(
    "run",
    [
        lambda data: forward(two_layers, jnp.asarray(data.images), sites=("fc9", "map")),
        lambda data: record(two_layers, data, ("fc9", "map")),
    ],
    ids=["forward", "record"],
)
def test_unknown_site_is_refused_with_a_list_of_the_sites(dataset, run):
    with pytest.raises(KeyError, match="unknown site fc9: this network has flat, map"):
        run(dataset)


def test_a_site_named_twice_is_refused():
    with pytest.raises(ValueError, match="'fc1' twice"):
        forward(lambda images, tap: tap("fc1", tap("fc1", images)), jnp.ones((1, 2)))


def test_masked_units_respond_zero_and_the_rest_as_before(dataset):
    images = jnp.asarray(dataset.images)
    keep = jnp.array([True, False, True])
    _, before = forward(two_layers, images)
    logits, after = forward(two_layers, images, masked({"map": keep}))
    np.testing.assert_array_equal(after["flat"], before["flat"])
    np.testing.assert_array_equal(after["map"], np.where(keep, before["map"], 0))
    np.testing.assert_array_equal(logits[:, 1], np.zeros(len(images)))


def test_replaced_activation_cuts_the_network_there(dataset):
    images = jnp.asarray(dataset.images)
    given = jnp.arange(11.0 * 12).reshape(11, 2, 2, 3)
    logits, after = forward(two_layers, 100 * images, replaced("map", given))
    np.testing.assert_array_equal(after["map"], given)
    np.testing.assert_allclose(logits, np.asarray(given).mean((1, 2)), rtol=1e-6)


def test_a_map_may_respond_by_its_largest_number_or_its_middle(rng):
    activation = rng.normal(size=(3, 4, 5, 2)).astype(np.float32)
    images = Dataset(activation, np.zeros(3, int), ("a",))
    for reduce, expected in (
        ("max", activation.max(axis=(1, 2))),
        ("centre", activation[:, 2, 2]),
    ):
        np.testing.assert_array_equal(unit_responses(activation, reduce), expected)
        np.testing.assert_array_equal(unit_responses(expected, reduce), expected)

        def model(images, tap):
            return tap("map", images).mean((1, 2))

        found = record(model, images, reduce=reduce, keep_responses=True)["map"]
        np.testing.assert_array_equal(found.per_image, expected)
        np.testing.assert_allclose(found.sums, expected.sum(axis=0, dtype=np.float64))
    for refusing in (
        lambda: unit_responses(activation, "sum"),
        lambda: record(model, images, reduce="sum"),
    ):
        with pytest.raises(ValueError, match="reduce must be mean, max, centre; found 'sum'"):
            refusing()


@pytest.mark.parametrize("shape", [(5, 3), (5, 2, 2, 3), (5, 4, 3)])
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_response_of_a_unit_is_the_mean_over_its_map(rng, shape, kind):
    activation = rng.normal(size=shape).astype(np.float32)
    expected = [
        [np.mean(image[..., unit], dtype=np.float64) for unit in range(3)]
        for image in activation
    ]
    # Four float32 numbers near 1.
    np.testing.assert_allclose(unit_responses(kind(activation)), expected, atol=3e-7)


# --- record -----------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4, 10, 11, 100])
def test_sums_equal_a_loop_over_the_images(dataset, network, batch_size):
    responses = record(network, dataset, batch_size=batch_size, keep_responses=True)
    _, hidden = mlp.forward(parameters.dense_layers(network), dataset.images)
    assert list(responses) == ["fc1", "fc2"]
    for found, expected in zip(responses.values(), hidden, strict=True):
        class_sums = np.zeros((3, expected.shape[1]))
        for response, label in zip(expected, dataset.labels, strict=True):
            class_sums[label] += response
        close = {"rtol": 1e-12, "atol": 1e-12}  # float64 sums of 11 numbers near 1
        np.testing.assert_allclose(found.class_sums, class_sums, **close)
        np.testing.assert_allclose(found.sums, expected.sum(0), **close)
        np.testing.assert_allclose(found.sum_of_squares, (expected**2).sum(0), **close)
        np.testing.assert_array_equal(found.zeros, (expected == 0).sum(0))
        np.testing.assert_array_equal(found.best_image, expected.argmax(0))
        np.testing.assert_array_equal(
            found.class_counts, [(dataset.labels == c).sum() for c in range(3)]
        )
        np.testing.assert_array_equal(found.labels, dataset.labels)
        np.testing.assert_allclose(
            found.standard_deviation, expected.std(0, ddof=1), rtol=1e-9, atol=1e-9
        )
        np.testing.assert_array_equal(found.class_means[1], np.zeros(expected.shape[1]))
        np.testing.assert_allclose(
            found.class_means[2], expected[dataset.labels == 2].mean(0), **close
        )
        assert found.per_image.dtype == np.float32
        np.testing.assert_allclose(found.per_image, expected, rtol=2**-24, atol=1e-12)


def test_responses_are_kept_only_when_asked_for(dataset):
    assert record(two_layers, dataset)["flat"].per_image is None


def test_a_single_image_has_no_standard_deviation(dataset):
    found = record(two_layers, dataset.take(np.array([3])), ("map",))["map"]
    np.testing.assert_array_equal(found.standard_deviation, [np.nan] * 3)


def test_sites_are_recorded_in_the_order_asked_for(dataset):
    assert list(record(two_layers, dataset, ("map", "flat"))) == ["map", "flat"]


@pytest.mark.parametrize("batch_size", [1, 2, 6])
def test_best_image_is_the_first_of_equals(batch_size):
    """Unit 0 ties between images 1 and 4, unit 1 is silent, unit 2 is always negative."""
    responses = np.array(
        [[1, 0, -3], [7, 0, -2], [2, 0, -2], [0, 0, -5], [7, 0, -9], [1, 0, -4]]
    )
    dataset = Dataset(responses.astype(np.float32), np.zeros(6, int), ("a",))
    found = record(lambda images, tap: tap("all", images), dataset, batch_size=batch_size)
    np.testing.assert_array_equal(found["all"].best_image, [1, 0, 1])


def test_progress_counts_images_without_the_padding(dataset):
    done = []
    record(two_layers, dataset, batch_size=4, progress=done.append)
    assert done == [4, 8, 11]


@pytest.mark.parametrize("batch_size", [2, 11])
def test_a_response_that_is_no_number_is_refused_with_its_image(batch_size):
    images = np.ones((11, 2), np.float32)
    images[7, 1] = -1
    dataset = Dataset(images, np.zeros(11, int), ("a",))
    with pytest.raises(ValueError, match="image 7 is NaN"):
        record(lambda images, tap: tap("log", jnp.log(images)), dataset, batch_size=batch_size)


class Lazy:
    """Images made when they are asked for, 16 KB each."""

    def __init__(self, n_images):
        self.n_images = n_images

    def __len__(self):
        return self.n_images

    def __getitem__(self, which):
        index = np.arange(self.n_images)[which]
        return (
            np.full((len(index), 64, 64, 1), 0.5, np.float32) * (index % 7)[:, None, None, None]
        )


def test_memory_does_not_grow_with_the_number_of_images():
    def model(images, tap):
        return tap("corner", images[:, :4, :4, 0].reshape(len(images), -1))

    def peak(n_images):
        dataset = Dataset(Lazy(n_images), np.arange(n_images) % 3, CLASSES)
        tracemalloc.start()
        record(model, dataset, batch_size=32)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(64)  # compiles
    few = peak(64)
    assert few > 32 * 64 * 64 * 4  # a batch is seen at all
    # 20 times the images are 20 MB; their labels are 10 KB. On a busy machine, batches wait.
    assert peak(20 * 64) < few + 4 * 32 * 64 * 64 * 4


# --- intact_pass ------------------------------------------------------------------------


def test_intact_pass_of_a_network_is_float64(dataset, network):
    logits, activations = intact_pass(network, dataset.images)
    expected, hidden = mlp.forward(parameters.dense_layers(network), dataset.images)
    assert {a.dtype for a in (logits, *activations.values())} == {np.dtype(np.float64)}
    np.testing.assert_allclose(logits, expected, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(activations["fc2"], hidden[1], rtol=1e-13, atol=1e-13)


def test_float64_stays_inside(dataset, network):
    """Neither the network nor what the user computes next becomes float64."""
    intact_pass(network, dataset.images)
    assert {a.dtype for a in jax.tree.leaves(nnx.state(network))} == {np.dtype(np.float32)}
    assert jnp.ones(1).dtype == np.float32


def test_a_network_with_float32_arrays_of_its_own_runs_in_float32(rng):
    """A convolution refuses operands of two precisions: float64 images, float32 kernel."""
    kernel = jnp.asarray(rng.normal(size=(2, 2, 1, 3)), jnp.float32)
    images = rng.normal(size=(2, 4, 4, 1)).astype(np.float32)

    def model(images, tap):
        x = lax.conv_general_dilated(
            images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return tap("conv", x).mean((1, 2))

    logits, activations = intact_pass(model, images)
    expected = np.zeros((2, 3, 3, 3))
    for row in range(3):
        for column in range(3):
            patch = images[:, row : row + 2, column : column + 2].astype(np.float64)
            expected[:, row, column] = np.einsum("nabi,abio->no", patch, np.float64(kernel))
    assert logits.dtype == activations["conv"].dtype == np.float32
    np.testing.assert_allclose(activations["conv"], expected, atol=1e-6)  # 4 products near 1
    dataset = Dataset(images, np.array([0, 2]), CLASSES)
    found = record(model, dataset)["conv"].sums
    np.testing.assert_allclose(found, expected.mean((1, 2)).sum(0), atol=1e-6)
