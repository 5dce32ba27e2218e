"""Preprocessing against PIL and NumPy operations spelled out, pixel for pixel."""

import numpy as np
import pytest
from PIL import Image

from jaxsel.data import PREPROCESS


@pytest.fixture
def image(rng):
    """Noise on a slope: every pixel differs from its neighbours."""
    slope = np.linspace(0, 150, 300)[:, None, None]
    return (slope + rng.integers(0, 100, (300, 401, 3))).astype(np.uint8)


def normalised(pixels):
    """In float64, from the published numbers."""
    return (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]


def test_torchvision_is_a_resize_to_256_and_the_middle_224(image):
    """300 x 401: the longer side is floor(256 * 401 / 300) = 342, the corner (16, 59)."""
    resized = Image.fromarray(image).resize((342, 256), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized.crop((59, 16, 59 + 224, 16 + 224)))
    found = PREPROCESS["torchvision"](image[None])[0]
    # float32: some roundings of numbers up to 3.
    np.testing.assert_allclose(found, normalised(pixels), rtol=0, atol=1e-6)


def test_torchvision_takes_tall_images_as_it_takes_wide_ones(image):
    """Turned by a quarter, up to the corner's rounding: 341 and 342 columns."""
    tall = image[:, :400].transpose(1, 0, 2)
    resized = Image.fromarray(tall).resize((256, 341), Image.Resampling.BILINEAR)
    # (341 - 224) / 2 = 58.5 is rounded to the even 58.
    pixels = np.asarray(resized.crop((16, 58, 16 + 224, 58 + 224)))
    found = PREPROCESS["torchvision"](tall[None])[0]
    np.testing.assert_allclose(found, normalised(pixels), rtol=0, atol=1e-6)


def test_caffe_is_blue_green_red_minus_the_mean_at_227(image):
    resized = Image.fromarray(image).resize((256, 256), Image.Resampling.BILINEAR)
    # (256 - 227) / 2 = 14.5 is rounded to the even 14.
    red, green, blue = np.moveaxis(np.asarray(resized.crop((14, 14, 241, 241))), -1, 0)
    mean = [104.00698793, 116.66876762, 122.67891434]
    found = PREPROCESS["caffe"](image[None])[0]
    assert found.shape == (227, 227, 3)
    # float32: a rounding of numbers up to 255.
    np.testing.assert_allclose(found, np.stack([blue, green, red], -1) - mean, atol=2e-5)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("unit_range", lambda x: x / 255),
        ("sixteenths", lambda x: x / 16),
        ("lenet5", lambda x: (x / 255 - 0.5) / 0.5),
        ("cifar10_resnet", normalised),
    ],
)
def test_numbers_are_scaled_as_the_networks_were_trained(rng, name, expected):
    pixels = rng.integers(0, 17, (2, 32, 32, 3)).astype(np.uint8)
    found = PREPROCESS[name](pixels)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(pixels.astype(float)), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", PREPROCESS)
def test_a_batch_is_its_images_one_by_one(rng, name):
    pixels = rng.integers(0, 17, (3, 40, 30, 3)).astype(np.uint8)
    apart = np.concatenate([PREPROCESS[name](image[None]) for image in pixels])
    np.testing.assert_array_equal(PREPROCESS[name](pixels), apart)


@pytest.mark.parametrize("name", ["caffe", "cifar10_resnet", "torchvision"])
@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 28, 28), np.uint8), np.zeros((2, 9, 9, 1), np.uint8), np.zeros((2, 9, 9, 3))],
    ids=["grey", "one channel", "float"],
)
def test_images_without_colours_or_pixels_are_refused(name, images):
    with pytest.raises(ValueError, match="takes colour images, uint8"):
        PREPROCESS[name](images)
