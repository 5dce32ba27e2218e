"""Training images: bytes on the device, orders from a key, windows cut out of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsel import data
from jaxsel.data import PREPROCESS, Dataset
from jaxsel.training.images import cut, for_device, order, windows

COLOURED = ("unit_range", "lenet5", "cifar10_resnet")


@pytest.mark.parametrize("name", COLOURED)
def test_pixels_become_to_the_bit_what_preprocessing_makes_of_them(rng, name):
    images = rng.integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    dataset = Dataset(images, np.zeros(5, int), ("a",), PREPROCESS[name])
    stored = jax.tree.map(jnp.asarray, for_device(dataset))
    assert stored.images.dtype == np.uint8
    np.testing.assert_array_equal(
        jax.jit(type(stored).inputs)(stored, stored.images), dataset.inputs(slice(0, 5))
    )


def test_preprocessing_that_refuses_some_values_still_has_its_table():
    """Grey levels above 16 are none of the digits'."""
    stored = jax.tree.map(jnp.asarray, for_device(data.digits()))
    assert stored.images.dtype == np.uint8
    expected = data.digits().inputs(slice(0, 9))
    np.testing.assert_array_equal(stored.inputs(stored.images[:9]), expected)


def test_preprocessing_that_depends_on_an_image_is_noticed_wherever_that_is(rng):
    """The first 1,000 images look as if every pixel were by itself."""
    images = rng.integers(0, 200, (1100, 4, 4, 1), dtype=np.uint8)
    images[1050] //= 2

    def less_in_the_dark(x):
        is_dark = (x.max(axis=(1, 2, 3), keepdims=True) < 100) & (np.ptp(x) > 0)
        return np.float32(x) - is_dark * (x.std(axis=(1, 2, 3), keepdims=True) > 0)

    stored = for_device(Dataset(images, np.zeros(1100, int), ("a",), less_in_the_dark))
    assert stored.pixels is None
    np.testing.assert_array_equal(stored.images, less_in_the_dark(images))


@pytest.mark.parametrize(
    "preprocess", [lambda x: x - x.mean(axis=(1, 2), keepdims=True), PREPROCESS["torchvision"]]
)
def test_preprocessing_that_looks_at_many_pixels_is_done_beforehand(rng, preprocess):
    images = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    dataset = Dataset(images, np.zeros(3, int), ("a",), preprocess)
    stored = for_device(dataset)
    assert stored.pixels is None
    np.testing.assert_array_equal(stored.images, dataset.inputs(slice(0, 3)))


def test_encoded_images_become_the_same_bytes(tmp_path, rng):
    from PIL import Image

    pixels = rng.integers(0, 256, (4, 5, 5, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "ab"[i % 2] / f"{i}.png")
    dataset = data.load(f"folder:{tmp_path}", preprocess=PREPROCESS["unit_range"])
    np.testing.assert_array_equal(for_device(dataset).images, pixels[[0, 2, 1, 3]])


def test_an_epoch_has_every_image_once_and_every_epoch_and_seed_its_own_order():
    orders = [np.asarray(order(seed, epoch, 50)) for seed in (0, 1) for epoch in (0, 1)]
    for one in orders:
        assert sorted(one) == list(range(50))
    assert len({one.tobytes() for one in orders}) == 4


def test_the_order_of_a_replica_does_not_depend_on_who_is_beside_it():
    seeds = jnp.arange(4, dtype=jnp.uint32)
    together = jax.vmap(lambda seed: order(seed, 3, 20))(seeds)
    alone = [order(seed, 3, 20) for seed in seeds]
    np.testing.assert_array_equal(together, alone)


def window(image, corner, flipped, padding):
    """The definition, of one image."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    row, column = corner
    part = padded[row : row + image.shape[0], column : column + image.shape[1]]
    return part[:, ::-1] if flipped else part


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_windows_are_cut_as_defined(rng, padding):
    images = rng.integers(1, 256, (30, 5, 7, 3), dtype=np.uint8)
    corners, flipped = (
        np.asarray(x) for x in windows(0, jnp.int32(2), jnp.int32(1), 30, "crop_flip", padding)
    )
    expected = [window(*one, padding) for one in zip(images, corners, flipped, strict=True)]
    found = cut(jnp.asarray(images), jnp.asarray(corners), jnp.asarray(flipped), padding)
    np.testing.assert_array_equal(found, expected)


def test_windows_are_spread_evenly_over_all_places():
    """4,000 draws of 25 corners and of a coin: within five standard deviations of a count."""
    corners, flipped = windows(0, jnp.int32(0), jnp.int32(0), 4000, "crop_flip", 2)
    counts = np.bincount(np.asarray(corners) @ [5, 1], minlength=25)
    assert len(counts) == 25
    assert np.abs(counts - 160).max() < 5 * np.sqrt(4000 * 0.04 * 0.96)
    assert abs(int(flipped.sum()) - 2000) < 5 * np.sqrt(1000)


@pytest.mark.parametrize("augment, moves, turns", [
    ("none", False, False),
    ("crop", True, False),
    ("flip", False, True),
    ("crop_flip", True, True),
])  # fmt: skip
def test_only_what_is_asked_for_is_drawn(augment, moves, turns):
    corners, flipped = windows(0, jnp.int32(0), jnp.int32(0), 50, augment, 4)
    assert bool((corners != 4).any()) == moves
    assert bool(flipped.any()) == turns
