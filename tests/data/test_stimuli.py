"""Gratings and bars against formulas of their own, pixel by pixel."""

import cmath
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.data import PREPROCESS, bar, grating, gratings, of_brightness, shifted, shuffled

ROUNDING = 1e-6  # a pixel is float32, with an error of half a unit in the 24th bit


def grating_loop(orientation, frequency, phase, height, width, contrast=1.0, background=0.5):
    """Every pixel from a wave in the complex plane: x to the right, y up."""
    side = min(height, width)
    normal = cmath.exp(1j * math.radians(orientation + 90))  # across the stripes
    image = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            place = complex(column - (width - 1) / 2, (height - 1) / 2 - row) / side
            turns = frequency * (place.real * normal.real + place.imag * normal.imag)
            wave = cmath.exp(1j * (2 * math.pi * turns + math.radians(phase)))
            image[row, column] = background + contrast / 2 * wave.real
    return image


@given(
    orientation=st.floats(-360, 360),
    frequency=st.floats(0, 4),
    phase=st.floats(-360, 360),
    height=st.sampled_from([8, 9, 12]),
    width=st.sampled_from([8, 9, 13]),
    contrast=st.floats(-1, 1),
)
@settings(max_examples=40, deadline=None)
def test_gratings_are_waves(orientation, frequency, phase, height, width, contrast):
    found = grating(orientation, frequency, phase, image=(height, width, 1), contrast=contrast)
    expected = grating_loop(orientation, frequency, phase, height, width, contrast)
    np.testing.assert_allclose(found[..., 0], expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("side", [8, 9])
def test_stripes_lie_as_the_orientation_says(side):
    """0 degrees: rows alike, bright above the middle; 90: columns, bright left of it."""
    level, upright = grating([0, 90], 1, -90, image=(side, side, 1))[..., 0]
    assert np.ptp(level, axis=1).max() < ROUNDING
    assert np.ptp(upright, axis=0).max() < ROUNDING
    assert level[: side // 2].min() > 0.5 > level[-(side // 2) :].max()
    assert upright[:, : side // 2].min() > 0.5 > upright[:, -(side // 2) :].max()
    rising = grating(45, 1, image=(side, side, 1))[..., 0]
    assert np.ptp(np.diag(rising[:, ::-1])) < ROUNDING  # from the lower left to the upper right


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("orientation", [0, 20, 90, 163])
def test_a_rotated_grating_is_that_of_the_rotated_orientation(side, orientation):
    found = grating(orientation, 3, 70, image=(side, side, 1))
    turned = grating(orientation + 90, 3, 70, image=(side, side, 1))
    np.testing.assert_allclose(np.rot90(found), turned, rtol=0, atol=ROUNDING)
    of_bar = bar(orientation, image=(side, side, 1), width=0.2, length=0.7)
    turned_bar = bar(orientation + 90, image=(side, side, 1), width=0.2, length=0.7)
    np.testing.assert_allclose(np.rot90(of_bar), turned_bar, rtol=0, atol=ROUNDING)


def bar_loop(orientation, side, width, length, position):
    """How far inside the four edges every pixel is, in pixels, half a pixel to both sides."""
    angle = math.radians(orientation)
    image = np.zeros((side, side))
    for row in range(side):
        for column in range(side):
            x = column - (side - 1) / 2 - position[0] * side
            y = (side - 1) / 2 - row - position[1] * side
            along = x * math.cos(angle) + y * math.sin(angle)
            across = -x * math.sin(angle) + y * math.cos(angle)
            covered = [
                min(max(extent * side / 2 - abs(at) + 0.5, 0), 1)
                for extent, at in ((length, along), (width, across))
            ]
            image[row, column] = 0.5 + covered[0] * covered[1] / 2
    return image


@pytest.mark.parametrize("side", [16, 17])
@pytest.mark.parametrize("orientation", [0, 33, 90, 140])
def test_bars_are_rectangles(side, orientation):
    found = bar(orientation, image=(side, side, 1), width=0.2, length=0.5, position=(0.1, -0.2))
    expected = bar_loop(orientation, side, 0.2, 0.5, (0.1, -0.2))
    np.testing.assert_allclose(found[..., 0], expected, rtol=0, atol=ROUNDING)


def test_a_bar_has_its_area():
    """Edges one pixel wide neither add to it nor take from it, but at the corners."""
    covered = 2 * (bar(27, image=(200, 200, 1), width=0.2, length=0.6) - 0.5).sum()
    assert covered == pytest.approx(0.12 * 200**2, rel=0.002)


def test_a_grating_in_a_circle_is_grey_outside():
    image = grating(30, 4, image=(33, 33, 3), diameter=0.5, position=(0.1, 0.2))
    whole = grating(30, 4, image=(33, 33, 3), position=(0.1, 0.2))
    y, x = np.mgrid[16:-17:-1, -16:17] / 33
    distance = np.hypot(x - 0.1, y - 0.2)
    np.testing.assert_array_equal(image[distance > 0.25 + 0.5 / 33], 0.5)
    inside = distance < 0.25 - 0.5 / 33
    np.testing.assert_allclose(image[inside], whole[inside], rtol=0, atol=ROUNDING)


def test_colours_are_added_to_the_background():
    red_green = grating(0, 2, image=(8, 8, 3), colour=(1, -0.5, 0), contrast=0.8)
    grey = grating(0, 2, image=(8, 8, 1))[..., 0] - 0.5
    for channel, share in enumerate((0.8, -0.4, 0)):
        np.testing.assert_allclose(
            red_green[..., channel], 0.5 + share * grey, rtol=0, atol=ROUNDING
        )


def test_frequencies_above_nyquist_are_said():
    bright_and_dark = grating(0, 4, 90, image=(8, 9, 1))[:, 0, 0]
    np.testing.assert_allclose(bright_and_dark, np.tile([1, 0], 4), atol=1e-6)
    np.testing.assert_allclose(grating(0, 4, 0, image=(8, 9, 1)), 0.5, atol=1e-6)
    with pytest.warns(UserWarning, match="4.5 cycles .* images of 8x9 pixels show 4 at most"):
        grating(0, 4.5, image=(8, 9, 1))
    with pytest.warns(UserWarning, match="9 cycles"):
        gratings([0, 90], [2, 9], [0], image=(8, 8, 1))


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ({"image": (8, 8)}, "height, width and channels"),
        ({"image": (0, 8, 1)}, "height, width and channels"),
        ({"image": (8, 8, 1), "background": 0.8}, "0.338 to 1.26"),
        ({"image": (8, 8, 1), "contrast": 1.5}, "take less contrast"),
        ({"image": (8, 8, 4)}, "4 channels needs as many colours"),
    ],
)
def test_impossible_images_are_refused(asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        grating(0, [1, 2], np.array([[0], [180]]), **asked)


def test_angles_and_frequencies_are_broadcast():
    images = grating(np.array([[0], [90]]), [1, 2, 3], image=(8, 8, 1))
    assert images.shape == (2, 3, 8, 8, 1)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images[1, 2], grating(90, 3, image=(8, 8, 1)))


def test_shuffled_images_keep_their_colours(rng):
    images = rng.uniform(size=(3, 5, 6, 2))
    mixed = shuffled(images, rng)
    for image, other in zip(images, mixed, strict=True):
        pixels, others = (x.reshape(-1, 2) for x in (image, other))
        assert sorted(map(tuple, pixels)) == sorted(map(tuple, others))
        assert not np.array_equal(image, other)


def test_a_data_set_has_every_combination_in_order():
    dataset = gratings([0, 45, 90], [1, 2], [0, 90], image=(8, 8, 1))
    assert dataset.class_names == ("0", "45", "90")
    images = dataset.inputs(slice(None)).reshape(*dataset.images.shape, 8, 8, 1)
    np.testing.assert_array_equal(images[2, 1, 0], grating(90, 2, 0, image=(8, 8, 1)))
    np.testing.assert_array_equal(images[1, 0, 1], grating(45, 1, 90, image=(8, 8, 1)))
    assert dataset.labels.reshape(3, 4).tolist() == [[0] * 4, [1] * 4, [2] * 4]


def test_shuffled_controls_do_not_depend_on_batches():
    control = gratings([0, 90], [1, 2], [0, 90], image=(8, 8, 1), shuffle=3)
    plain = gratings([0, 90], [1, 2], [0, 90], image=(8, 8, 1))
    whole = control.inputs(slice(None))
    parts = np.concatenate([control.inputs(slice(i, i + 3)) for i in (0, 3, 6)])
    np.testing.assert_array_equal(whole, parts)
    assert not np.array_equal(whole[0], whole[1])
    for mixed, image in zip(whole, plain.inputs(slice(None)), strict=True):
        np.testing.assert_array_equal(np.sort(mixed.ravel()), np.sort(image.ravel()))
    other = gratings([0, 90], [1, 2], [0, 90], image=(8, 8, 1), shuffle=4)
    assert not np.array_equal(whole, other.inputs(slice(None)))


@pytest.mark.parametrize("name", sorted(PREPROCESS))
def test_networks_see_drawn_pixels_as_stored_ones(name, rng):
    """At whole pixels a drawn image goes through as the stored one does."""
    white, channels = (16, 1) if name == "sixteenths" else (255, 3)
    preprocess = PREPROCESS[name]
    seen = of_brightness(preprocess, (5, 6, channels), white)
    stored = rng.integers(0, white + 1, (2, 5, 6, channels)).astype(np.uint8)
    expected = getattr(preprocess, "scale", preprocess)(stored)
    # Pixels of Caffe's are up to 255: float32 has a few units in the fifth digit there.
    np.testing.assert_allclose(seen(stored / white), expected, rtol=1e-6, atol=4e-5)


def test_no_stripes_are_drawn_of_what_is_no_number_and_no_bar_of_less_than_nothing(rng):
    for asked in ((np.nan, 1, 0), (0, np.inf, 0), (0, 1, [0, np.nan])):
        with pytest.raises(ValueError, match="must be finite"):
            grating(*asked, image=(8, 8, 1))
    with pytest.raises(ValueError, match="diameter is a length, 0 or more"):
        grating(0, 1, image=(8, 8, 1), diameter=-0.5)
    with pytest.raises(ValueError, match="width is a length, 0 or more"):
        bar(0, image=(8, 8, 1), width=-1.0, length=0.5)
    with pytest.raises(ValueError, match="must be finite"):
        bar(np.nan, image=(8, 8, 1), width=1.0, length=0.5)
    assert shuffled(np.zeros((0, 8, 8, 1)), rng).shape == (0, 8, 8, 1)


def test_one_orientation_alone_is_a_list_and_none_is_refused():
    assert gratings(30, 2, 0, image=(8, 8, 1)).images.shape == (1, 1, 1)
    with pytest.raises(ValueError, match=r"phases are a list, one at least.*\(0,\)"):
        gratings([0, 90], 2, [], image=(8, 8, 1))
    with pytest.raises(ValueError, match=r"orientations are a list.*\(1, 2\)"):
        gratings(np.array([[0, 90]]), 2, 0, image=(8, 8, 1))


def test_preprocessing_that_is_not_linear_is_refused():
    with pytest.raises(ValueError, match="not linear"):
        of_brightness(lambda x: (x / 255.0) ** 2, (4, 4, 3))
    for at_once in (
        lambda x: x / 255.0 - (x / 255.0).mean(axis=(1, 2, 3), keepdims=True),
        lambda x: x[:, :, ::-1] / 255.0,
        lambda x: (x + np.roll(x, 1, axis=1)) / 510.0,
    ):
        with pytest.raises(ValueError, match="not linear in each pixel by itself"):
            of_brightness(at_once, (4, 4, 3))
    with pytest.raises(ValueError, match="name the size that the network sees"):
        of_brightness(lambda x: x[:, :2], (4, 4, 3))


@pytest.mark.parametrize("right, down", [(0, 0), (2, 0), (-1, 3), (-4, -2)])
def test_shifted_images_are_padded_and_cut(right, down, rng):
    images = rng.uniform(size=(2, 6, 7, 3))
    padded = np.pad(images, ((0, 0), (5, 5), (5, 5), (0, 0)), mode="edge")
    expected = padded[:, 5 - down : 11 - down, 5 - right : 12 - right]
    np.testing.assert_array_equal(shifted(images, right, down), expected)


def test_a_shift_by_the_whole_image_is_refused(rng):
    with pytest.raises(ValueError, match="leaves nothing"):
        shifted(rng.uniform(size=(1, 4, 8, 1)), 0, -4)
