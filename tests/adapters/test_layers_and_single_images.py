"""Layers in turn and models of single images: sites, and the order of axes."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxsel import ablate_units, forward
from jaxsel.adapters import in_turn, per_image
from jaxsel.intact import intact_pass
from tests.references import brute_force
from tests.references.foreign_networks import N_CLASSES, sequential, some_images, twin_dataset


@pytest.mark.parametrize("unknown", [3, -1])
def test_unknown_layers_are_refused_in_one_sentence(unknown):
    layers = [jnp.square, jnp.tanh, jnp.negative]
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        in_turn(layers, {1: "tanh", unknown: "other"})
    assert str(refusal.value) == f"there are the layers 0 to 2; found [{unknown}]"


def test_by_default_every_layer_but_the_last_is_a_site():
    model = in_turn(sequential())
    named = list(intact_pass(model, twin_dataset().images)[1])
    assert named == [f"layer{i}" for i in range(6)]


def test_the_last_layer_may_be_a_site():
    model = in_turn([jnp.square, jnp.negative], {1: "out"})
    logits, found = forward(model, jnp.array([[3.0]]))
    assert (logits.tolist(), found["out"].tolist()) == ([[-9.0]], [[-9.0]])


def sums_of_squares(seen=None):
    """A network of single images, channels last, and the same in NumPy."""
    weight = np.random.default_rng(8).normal(size=(5, N_CLASSES)).astype(np.float32)

    def network(image, tap):
        x = tap("squares", jnp.square(image))
        if seen is not None:
            seen.extend((image.shape, x.shape))
        return tap("sums", x.sum((0, 1))) @ jnp.asarray(weight, x.dtype)

    def run(x, tap):
        return tap("sums", tap("squares", x**2).sum((1, 2))) @ np.float64(weight)

    return per_image(network, channels_first=False), run


def test_channels_last_networks_of_single_images():
    """Their taps see (height, width, channels), and so does the outside, with images first."""
    dataset, seen = some_images(np.random.default_rng(8), (3, 4, 5)), []
    model, run = sums_of_squares(seen)
    _, found = intact_pass(model, dataset.images)
    assert set(seen) == {(3, 4, 5)}
    _, by_hand = brute_force.activations(run, dataset.images)
    for site in ("squares", "sums"):
        np.testing.assert_allclose(found[site], by_hand[site], rtol=1e-13)


@pytest.mark.parametrize("engine", ["channel", "generic"])
def test_units_of_channels_last_networks_of_single_images(engine):
    dataset = some_images(np.random.default_rng(8), (3, 4, 5))
    model, run = sums_of_squares()
    effects = ablate_units(model, dataset, "squares", engine=engine)
    masks = np.eye(5, dtype=bool)
    truth = brute_force.ablate(run, dataset.images, dataset.labels, "squares", masks)
    brute_force.assert_exact(effects, truth, dataset.labels)


def test_a_tap_sees_images_first_wherever_they_were():
    """A weight that stands left of the image: `vmap` has the images on the last axis."""
    dataset = some_images(np.random.default_rng(8), (5,), n=4)
    weight = np.random.default_rng(9).normal(size=(N_CLASSES, 5)).astype(np.float32)

    def network(image, tap):
        return tap("product", lax.dot(jnp.asarray(weight, image.dtype), image))

    seen = []

    def tap(site, x):
        seen.append((site, x.shape))
        return 2 * x

    found = per_image(network)(jnp.asarray(dataset.images), tap)
    assert seen == [("product", (4, N_CLASSES))]
    np.testing.assert_allclose(found, 2 * dataset.images @ weight.T, rtol=0, atol=1e-5)


def test_channels_first_networks_see_their_own_order():
    """The image outside is (3, 4, 5): five channels."""
    seen = []

    def network(image, tap):
        seen.append(image.shape)
        x = tap("same", image)
        seen.append(x.shape)
        return x.sum((1, 2))

    images = jnp.asarray(some_images(np.random.default_rng(8), (3, 4, 5)).images)
    logits, found = forward(per_image(network), images)
    assert set(seen) == {(5, 3, 4)}
    np.testing.assert_array_equal(found["same"], images)
    np.testing.assert_allclose(logits, images.sum((1, 2)), rtol=1e-5, atol=1e-5)
