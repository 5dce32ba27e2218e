"""Preprocessing against PIL, torch and NumPy operations spelled out, to the last bit."""

import io
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxsel.data import PREPROCESS, decode

MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COLOUR = ("caffe", "cifar10_resnet", "torchvision", "warp", "warp_torchvision")
RESIZED = ("caffe", "torchvision", "warp", "warp_torchvision")
SIDE = {"caffe": 227, "torchvision": 224, "warp": 227, "warp_torchvision": 224}


@pytest.fixture
def image(rng):
    """Noise on a slope: every pixel differs from its neighbours."""
    return noise_on_a_slope(rng, 300, 401)


def noise_on_a_slope(rng, height, width):
    slope = np.linspace(0, 150, height)[:, None, None]
    return (slope + rng.integers(0, 100, (height, width, 3))).astype(np.uint8)


# --- what the networks were trained or evaluated with, for one PIL image ---


def resize(image, width, height):
    return image.resize((width, height), Image.Resampling.BILINEAR)


def centre_crop(image, side):
    left, top = (round((n - side) / 2.0) for n in image.size)  # halves to the even number
    return image.crop((left, top, left + side, top + side))


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)


def normalise(tensor, mean, sd):
    mean, sd = (torch.tensor(x, dtype=torch.float32).view(-1, 1, 1) for x in (mean, sd))
    return tensor.clone().sub_(mean).div_(sd).permute(1, 2, 0).numpy()


def resize_shorter_side(image, side):
    width, height = image.size
    if width <= height:
        return resize(image, side, int(side * height / width))
    return resize(image, int(side * width / height), side)


def torchvision(image):
    """Resize(256), CenterCrop(224), ToTensor() and Normalize(MEAN, SD)."""
    return cifar10_resnet(centre_crop(resize_shorter_side(image, 256), 224))


def cifar10_resnet(image):
    """ToTensor() and Normalize(MEAN, SD)."""
    return normalise(to_tensor(image), MEAN, SD)


def lenet5(image):
    """ToTensor() and Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))."""
    return normalise(to_tensor(image), [0.5] * 3, [0.5] * 3)


def unit_range(image):
    return to_tensor(image).permute(1, 2, 0).numpy()


def minus_caffe_mean(image):
    red, green, blue = (np.array(channel).astype(np.float32) for channel in image.split())
    return np.dstack(
        [
            blue - np.float32(104.00698793),
            green - np.float32(116.66876762),
            red - np.float32(122.67891434),
        ]
    )


def caffe(image):
    return minus_caffe_mean(centre_crop(resize(image, 256, 256), 227))


def warp(image):
    return minus_caffe_mean(resize(image, 227, 227))


def warp_torchvision(image):
    return cifar10_resnet(resize(image, 224, 224))


SPELLED_OUT = {
    "caffe": caffe,
    "cifar10_resnet": cifar10_resnet,
    "lenet5": lenet5,
    "torchvision": torchvision,
    "unit_range": unit_range,
    "warp": warp,
    "warp_torchvision": warp_torchvision,
}
every_spelled_out = pytest.mark.parametrize("name", SPELLED_OUT)


def assert_same(name, pixels):
    (found,) = PREPROCESS[name](pixels[None])
    assert found.dtype == np.float32
    expected = SPELLED_OUT[name](Image.fromarray(pixels))
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


# --- to the last bit ---


@pytest.mark.data
@every_spelled_out
def test_photographs_become_input_to_the_last_bit(data_folder, name):
    with zipfile.ZipFile(data_folder / "imagenet_val/ilsvrc2012_val_10.zip") as archive:
        contents = [archive.read(member) for member in sorted(archive.namelist())]
    assert len(contents) == 10
    for content in contents:
        with Image.open(io.BytesIO(content)) as image:
            expected = SPELLED_OUT[name](image.convert("RGB"))
        np.testing.assert_array_equal(PREPROCESS[name](decode(content)[None])[0], expected)


SIZES = [(1, 1), (1, 60), (60, 1), (2, 3), (33, 500), (224, 224), (227, 227), (256, 256)]


@every_spelled_out
@pytest.mark.parametrize("size", [*SIZES, (300, 401), (401, 300), (700, 900)], ids=str)
def test_images_of_any_shape_become_input_to_the_last_bit(rng, name, size):
    assert_same(name, noise_on_a_slope(rng, *size))


@pytest.mark.parametrize("name", RESIZED)
@pytest.mark.parametrize("size", [(12, 10_000), (10_000, 12)], ids=["wide", "high"])
def test_images_of_extreme_shape_become_input_to_the_last_bit(rng, name, size):
    """To 213,333 x 256 pixels, before the middle is cut out."""
    assert_same(name, noise_on_a_slope(rng, *size))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1)], ids=["wide", "high"])
def test_images_of_one_row_become_input_to_the_last_bit(rng, size):
    """To 2,560,000 x 256 pixels: 2.6 GB."""
    assert_same("torchvision", noise_on_a_slope(rng, *size))


@pytest.mark.parametrize("name", ["caffe", "warp", "warp_torchvision"])
@pytest.mark.parametrize("size", [(1, 65_500), (65_500, 1)], ids=["wide", "high"])
def test_no_image_is_too_narrow_where_the_shape_is_not_kept(rng, name, size):
    assert_same(name, noise_on_a_slope(rng, *size))


@given(
    name=st.sampled_from(sorted(SPELLED_OUT)),
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_any_image_becomes_input_to_the_last_bit(name, height, width, seed):
    if max(height, width) > 40 * min(height, width):  # hundreds of MB
        height = width
    assert_same(name, noise_on_a_slope(np.random.default_rng(seed), height, width))


def stored(image, kind, **settings):
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


# How a picture is converted before it is stored, the format, and its settings.
STORED = {
    "JPEG": ("RGB", "JPEG", {}),
    "grey JPEG": ("L", "JPEG", {}),
    "CMYK JPEG": ("CMYK", "JPEG", {}),
    "grey PNG": ("L", "PNG", {}),
    "grey PNG with alpha": ("LA", "PNG", {}),
    "1-bit PNG": ("1", "PNG", {}),
    "PNG with alpha": ("RGBA", "PNG", {}),
    "palette PNG": ("P", "PNG", {}),
    "palette PNG with a transparent index": ("P", "PNG", {"transparency": 7}),
    "palette PNG with alpha per index": ("P", "PNG", {"transparency": bytes(range(99))}),
}


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # of the plain convert
@pytest.mark.parametrize("kind", STORED)
@every_spelled_out
def test_images_of_any_kind_become_input_to_the_last_bit(image, name, kind):
    mode, form, settings = STORED[kind]
    content = stored(Image.fromarray(image).convert(mode), form, **settings)
    (found,) = PREPROCESS[name](decode(content)[None])
    plain = Image.open(io.BytesIO(content)).convert("RGB")
    np.testing.assert_array_equal(found, SPELLED_OUT[name](plain))


# --- where no image is resized, what is cut out can be counted ---


def grid(height, width):
    """Pixel (y, x) is red y // 256, green y % 256, blue x % 256: no two are the same."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y // 256 * 16 + x // 256, y % 256, x % 256], -1).astype(np.uint8)


@pytest.mark.parametrize(
    "long, corner",
    [(256, 16), (257, 16), (258, 17), (259, 18), (341, 58), (342, 59), (343, 60), (345, 60)],
)
@pytest.mark.parametrize("high", [False, True], ids=["wide", "high"])
def test_the_crop_of_torchvision_starts_at_the_middle_rounded_to_even(long, corner, high):
    """257: (257 - 224) / 2 is 16.5, to 16; 259: 17.5, to 18; the other corner is always 16."""
    pixels = grid(long, 256) if high else grid(256, long)
    top, left = (corner, 16) if high else (16, corner)
    cut = pixels[top : top + 224, left : left + 224]
    expected = PREPROCESS["cifar10_resnet"](cut[None])
    np.testing.assert_array_equal(PREPROCESS["torchvision"](pixels[None]), expected)


@pytest.mark.parametrize(
    "long, resized",
    [(300, 256), (301, 256), (302, 257), (303, 258), (400, 341), (401, 342), (402, 343)],
)
def test_the_longer_side_is_rounded_down(rng, long, resized):
    """302: 256 * 302 / 300 is 257.7, to 257; 401: 342.2; 402: 343.04."""
    pixels = noise_on_a_slope(rng, 300, long)
    whole = np.array(resize(Image.fromarray(pixels), resized, 256))
    left = int(np.rint((resized - 224) / 2))
    expected = PREPROCESS["cifar10_resnet"](whole[None, 16:240, left : left + 224])
    np.testing.assert_array_equal(PREPROCESS["torchvision"](pixels[None]), expected)


def test_the_crop_of_caffe_starts_at_pixel_14():
    """(256 - 227) / 2 is 14.5, to 14."""
    pixels = grid(256, 256)
    red, green, blue = np.moveaxis(pixels[14:241, 14:241].astype(np.float32), -1, 0)
    mean = np.float32([104.00698793, 116.66876762, 122.67891434])
    expected = np.stack([blue, green, red], -1) - mean
    np.testing.assert_array_equal(PREPROCESS["caffe"](pixels[None])[0], expected)


@pytest.mark.parametrize("name, like", [("warp", "caffe"), ("warp_torchvision", "torchvision")])
def test_a_warped_image_is_whole(name, like):
    """At its own size: corners and all, with the numbers of the preprocessing it is like."""
    side = SIDE[name]
    pixels = grid(side, side)
    found = PREPROCESS[name](pixels[None])
    # The same pixels in the middle of a larger image, of which the others cut the middle out.
    larger = np.zeros((1, 256, 256, 3), np.uint8)
    corner = (256 - side) // 2
    larger[0, corner : corner + side, corner : corner + side] = pixels
    np.testing.assert_array_equal(found, PREPROCESS[like](larger))


@pytest.mark.parametrize("size", [(100, 80), (300, 401), (600, 90), (1000, 1200)], ids=str)
def test_resizing_is_bilinear_with_antialiasing(rng, size):
    """As torch's own is, in float: PIL rounds to whole levels after either axis."""
    pixels = noise_on_a_slope(rng, *size)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].double()
    resized = torch.nn.functional.interpolate(
        tensor, (227, 227), mode="bilinear", antialias=True, align_corners=False
    )
    (found,) = PREPROCESS["warp"](pixels[None])
    levels = found[..., ::-1] + np.float32([122.67891434, 116.66876762, 104.00698793])
    # Two roundings of half a level, and a thousandth for PIL's weights of 22 bits.
    np.testing.assert_allclose(levels, resized[0].permute(1, 2, 0).numpy(), atol=1.001, rtol=0)


# --- levels ---

LEVELS = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("unit_range", lambda x: x / 255),
        ("lenet5", lambda x: (x / 255 - 0.5) / 0.5),
        ("cifar10_resnet", lambda x: (x / 255 - MEAN) / SD),
    ],
)
def test_every_level_is_scaled_as_the_networks_were_trained(name, expected):
    """In float64, from the published numbers."""
    pixels = np.repeat(LEVELS, 3).reshape(1, 16, 16, 3)
    found = PREPROCESS[name](pixels)
    assert found.dtype == np.float32
    # float32: some roundings of numbers up to 3.
    np.testing.assert_allclose(found, expected(pixels.astype(float)), rtol=0, atol=1e-6)


def test_sixteenths_are_exact():
    """Whole numbers divided by a power of two."""
    levels = np.arange(17, dtype=np.uint8)
    found = PREPROCESS["sixteenths"](levels)
    assert found.dtype == np.float32
    assert found.tolist() == [level / 16 for level in range(17)]


def test_black_and_white_are_the_ends_of_the_ranges():
    ends = np.array([0, 255], np.uint8)
    assert PREPROCESS["unit_range"](ends).tolist() == [0, 1]
    assert PREPROCESS["lenet5"](ends).tolist() == [-1, 1]
    assert PREPROCESS["sixteenths"](np.array([0, 16])).tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("name", ["unit_range", "lenet5", "sixteenths"])
def test_whole_numbers_of_any_type_are_pixels(name, dtype):
    pixels = np.arange(17).reshape(1, 17, 1, 1)
    found = PREPROCESS[name](pixels.astype(dtype))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, PREPROCESS[name](pixels.astype(np.uint8)))


# --- batches ---


@pytest.mark.parametrize("name", PREPROCESS)
def test_a_batch_is_its_images_one_by_one(rng, name):
    pixels = rng.integers(0, 17, (3, 40, 30, 3)).astype(np.uint8)
    apart = np.concatenate([PREPROCESS[name](image[None]) for image in pixels])
    np.testing.assert_array_equal(PREPROCESS[name](pixels), apart)


@pytest.mark.parametrize("name", PREPROCESS)
def test_the_images_given_are_not_changed(rng, name):
    pixels = rng.integers(0, 17, (2, 227, 227, 3)).astype(np.uint8)
    before = pixels.copy()
    PREPROCESS[name](pixels)[...] = 0
    np.testing.assert_array_equal(pixels, before)


# --- what is refused ---


@pytest.mark.parametrize("name", COLOUR)
@pytest.mark.parametrize(
    "images, found",
    [
        (np.zeros((2, 28, 28), np.uint8), r"uint8 of shape \(2, 28, 28\)"),
        (np.zeros((2, 9, 9, 1), np.uint8), r"uint8 of shape \(2, 9, 9, 1\)"),
        (np.zeros((2, 9, 9, 4), np.uint8), r"uint8 of shape \(2, 9, 9, 4\)"),
        (np.zeros((9, 9, 3), np.uint8), r"uint8 of shape \(9, 9, 3\)"),
        (np.zeros((2, 3, 9, 9), np.uint8), r"uint8 of shape \(2, 3, 9, 9\)"),
        (np.zeros((2, 9, 9, 3)), r"float64 of shape \(2, 9, 9, 3\)"),
        (np.full((2, 9, 9, 3), 200, np.float32), "float32 of shape"),
        (np.zeros((2, 9, 9, 3), np.int32), "int32 of shape"),
    ],
    ids=["grey", "one channel", "alpha", "one image", "axes", "float", "float levels", "int32"],
)
def test_images_without_colours_or_pixels_are_refused(name, images, found):
    with pytest.raises(ValueError, match=f"takes colour images, uint8 .*; found {found}"):
        PREPROCESS[name](images)


@pytest.mark.parametrize(
    "name, pixels, message",
    [
        ("unit_range", np.array([0, 256]), "takes numbers 0 to 255; found 0 to 256"),
        ("unit_range", np.array([-1, 9], np.int8), "takes numbers 0 to 255; found -1 to 9"),
        ("unit_range", np.array([2**64 - 1], np.uint64), "found 18446744073709551615"),
        ("lenet5", np.array([0, 256], np.int16), "takes numbers 0 to 255; found 0 to 256"),
        ("sixteenths", np.array([3, 17], np.uint8), "takes numbers 0 to 16; found 3 to 17"),
        ("sixteenths", np.array([-1, 3]), "takes numbers 0 to 16; found -1 to 3"),
    ],
)
def test_numbers_out_of_range_are_refused(name, pixels, message):
    with pytest.raises(ValueError, match=message):
        PREPROCESS[name](pixels)


@pytest.mark.parametrize(
    "name, largest", [("unit_range", 255), ("lenet5", 255), ("sixteenths", 16)]
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_scaled_already_is_not_scaled_again(name, largest, dtype):
    with pytest.raises(
        ValueError, match=f"whole numbers 0 to {largest}; found {dtype.__name__}"
    ):
        PREPROCESS[name](np.linspace(0, 1, 12, dtype=dtype))


@pytest.mark.parametrize(
    "size, message",
    [
        ((1, 65_500), r"image of 65500 x 1 pixels is too narrow: .* have 16,768,000 x 256"),
        ((65_500, 1), r"image of 1 x 65500 pixels is too narrow: .* have 256 x 16,768,000"),
        # 2 ** 30 pixels are the most: 16,384 columns of one pixel.
        ((1, 16_385), r"16385 x 1 pixels is too narrow: .* have 4,194,560 x 256"),
        ((3, 50_000), r"50000 x 3 pixels is too narrow: .* have 4,266,666 x 256"),
    ],
    ids=str,
)
def test_an_image_too_narrow_to_be_resized_is_refused(size, message):
    with pytest.raises(ValueError, match=message):
        PREPROCESS["torchvision"](np.zeros((1, *size, 3), np.uint8))


@pytest.mark.parametrize("name", PREPROCESS)
def test_images_may_lie_in_memory_in_any_order(rng, name):
    """Turned, every second, channels first as PyTorch stores them, read-only."""
    turned = rng.integers(0, 17, (4, 40, 30, 3)).astype(np.uint8)[::2].transpose(0, 2, 1, 3)
    first = rng.integers(0, 17, (2, 3, 32, 32)).astype(np.uint8).transpose(0, 2, 3, 1)
    for view in (turned, first, np.asfortranarray(first)):
        view.flags.writeable = False
        np.testing.assert_array_equal(PREPROCESS[name](view), PREPROCESS[name](view.copy("C")))
