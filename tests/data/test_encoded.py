"""Decoding against PIL's plain convert and against arrays, and everything that is refused."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxsel.data import EncodedImages, decode

# Noise on a slope, 20 x 24: every pixel differs from its neighbours.
_NOISE = np.random.default_rng(0).integers(0, 100, (20, 24, 3))
COLOURS = (np.linspace(0, 150, 20)[:, None, None] + _NOISE).astype(np.uint8)
GREYS = COLOURS[..., 0]
ALPHA = COLOURS[..., 1] // 64 * 64  # 0 among them
PICTURE = Image.fromarray(COLOURS)
TURNED = PICTURE.transpose(Image.Transpose.ROTATE_180)


def stored(image, kind, **settings):
    """The bytes of a file."""
    stream = io.BytesIO()
    image.copy().save(stream, kind, **settings)  # saving leaves traces in an image
    return stream.getvalue()


def several(kind, **settings):
    """A file of two pictures, of which the first counts."""
    return stored(PICTURE, kind, save_all=True, append_images=[TURNED.copy()], **settings)


def coloured(mode, kind, **settings):
    return stored(PICTURE.convert(mode), kind, **settings)


KINDS = {
    "JPEG": coloured("RGB", "JPEG"),
    "progressive JPEG": coloured("RGB", "JPEG", progressive=True, quality=95),
    "grey JPEG": coloured("L", "JPEG"),
    "CMYK JPEG": coloured("CMYK", "JPEG"),
    "JPEG of several": several("MPO"),
    "PNG": coloured("RGB", "PNG"),
    "PNG with a transparent colour": coloured("RGB", "PNG", transparency=(0, 50, 99)),
    "grey PNG": coloured("L", "PNG"),
    "grey PNG with a transparent grey": coloured("L", "PNG", transparency=40),
    "grey PNG with alpha": coloured("LA", "PNG"),
    "1-bit PNG": coloured("1", "PNG"),
    "PNG with alpha": coloured("RGBA", "PNG"),
    "palette PNG": coloured("P", "PNG"),
    "palette PNG with a transparent index": coloured("P", "PNG", transparency=7),
    "palette PNG with alpha per index": coloured("P", "PNG", transparency=bytes(range(99))),
    "PNG of several": several("PNG"),
    "BMP": coloured("RGB", "BMP"),
    "palette BMP": coloured("P", "BMP"),
    "1-bit BMP": coloured("1", "BMP"),
    "BMP with alpha": coloured("RGBA", "BMP"),
    "PPM": coloured("RGB", "PPM"),
    "PGM": coloured("L", "PPM"),
    "PBM": coloured("1", "PPM"),
    "PPM in text": b"P3\n# made by hand\n2 1\n255\n1 2 3 40 50 60\n",
    "TIFF": coloured("RGB", "TIFF"),
    "LZW TIFF": coloured("RGB", "TIFF", compression="tiff_lzw"),
    "JPEG in TIFF": coloured("RGB", "TIFF", compression="jpeg"),
    "grey TIFF": coloured("L", "TIFF"),
    "1-bit TIFF": coloured("1", "TIFF", compression="group4"),
    "palette TIFF": coloured("P", "TIFF"),
    "CMYK TIFF": coloured("CMYK", "TIFF"),
    "YCbCr TIFF": coloured("YCbCr", "TIFF"),
    "Lab TIFF": coloured("LAB", "TIFF"),
    "TIFF with alpha": coloured("RGBA", "TIFF"),
    "TIFF of several": several("TIFF"),
    "WEBP": coloured("RGB", "WEBP"),
    "lossless WEBP with alpha": coloured("RGBA", "WEBP", lossless=True),
    "WEBP of several": several("WEBP"),
    "GIF": coloured("P", "GIF"),
    "GIF with a transparent index": coloured("P", "GIF", transparency=7),
    "grey GIF": coloured("L", "GIF"),
    "GIF of several": several("GIF"),
}
every_kind = pytest.mark.parametrize("content", KINDS.values(), ids=KINDS)


def plain(content, mode="RGB"):
    """What torchvision's loader does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Palette images with Transparency")
        return np.array(Image.open(io.BytesIO(content)).convert(mode))


# --- the pixels ---


@every_kind
def test_pixels_are_those_of_the_plain_convert(content):
    found = decode(content)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, plain(content))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "Lab TIFF"])
def test_one_channel_is_that_of_the_plain_convert(kind):
    """PIL has no way from Lab to grey."""
    content = KINDS[kind]
    found = decode(content, mode="L")
    assert found.dtype == np.uint8
    assert found.ndim == 3
    np.testing.assert_array_equal(found[..., 0], plain(content, "L"))


@every_kind
def test_no_image_ends_in_a_warning(content):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decode(content)
    assert not caught


THREE = np.array([[9, 99, 199], [250, 150, 50]], np.uint8)
INDICES = np.arange(30).reshape(5, 6).astype(np.uint8)
PALETTE = np.random.default_rng(1).integers(0, 256, (30, 3)).astype(np.uint8)


def of_palette(**settings):
    image = Image.fromarray(INDICES, "P")
    image.putpalette(PALETTE.tobytes())
    return stored(image, "PNG", **settings)


@pytest.mark.parametrize(
    "content, expected",
    [
        (stored(PICTURE, "PNG"), COLOURS),
        (stored(PICTURE, "WEBP", lossless=True), COLOURS),
        (stored(Image.fromarray(GREYS), "PNG"), np.stack([GREYS] * 3, -1)),
        (
            stored(Image.fromarray(np.dstack([GREYS, ALPHA]), "LA"), "PNG"),
            np.stack([GREYS] * 3, -1),
        ),
        (stored(Image.fromarray(np.dstack([COLOURS, ALPHA]), "RGBA"), "PNG"), COLOURS),
        (
            stored(Image.fromarray(GREYS > 80), "PNG"),
            np.stack([(GREYS > 80) * 255] * 3, -1),
        ),
        (of_palette(), PALETTE[INDICES]),
        (of_palette(transparency=7), PALETTE[INDICES]),
        (of_palette(transparency=bytes(range(0, 240, 8))), PALETTE[INDICES]),
        (b"P3 2 1 255 1 2 3 40 50 60", np.array([[[1, 2, 3], [40, 50, 60]]])),
        # Of another maximum: PIL scales to 255 and rounds; 2 / 5 * 255 is 102.
        (b"P2 3 1 5 0 2 5", np.stack([[[0, 102, 255]]] * 3, -1)),
    ],
    ids=[
        "colours",
        "lossless WEBP",
        "grey",
        "grey with alpha",
        "with alpha",
        "1-bit",
        "palette",
        "palette with a transparent index",
        "palette with alpha per index",
        "text",
        "text of another maximum",
    ],
)
def test_lossless_images_are_the_arrays_they_were_made_of(content, expected):
    """Transparency is dropped and not blended: the colours stay as they are stored."""
    np.testing.assert_array_equal(decode(content), expected)


def test_ink_becomes_colour():
    """What the inks leave of white: (255 - c) (255 - k) / 255, rounded."""
    inks = np.dstack([COLOURS, ALPHA])
    content = stored(Image.fromarray(inks, "CMYK"), "TIFF")
    light = 255 - inks.astype(float)
    expected = light[..., :3] * light[..., 3:] / 255
    # Half a level for the rounding, and PIL divides by 255 in whole numbers.
    np.testing.assert_allclose(decode(content), expected, rtol=0, atol=1)


def test_one_channel_of_colours_is_their_luma():
    """ITU-R 601, by PIL's documentation: 0.299 red + 0.587 green + 0.114 blue."""
    expected = COLOURS @ [0.299, 0.587, 0.114]
    found = decode(stored(PICTURE, "PNG"), mode="L")
    assert found.shape == (20, 24, 1)
    # Half a level for the rounding, and weights in steps of 2 ** -16: 255 * 2 ** -16 each.
    np.testing.assert_allclose(found[..., 0], expected, rtol=0, atol=0.52)


def test_one_channel_of_a_grey_image_is_itself():
    found = decode(stored(Image.fromarray(GREYS), "PNG"), mode="L")
    np.testing.assert_array_equal(found, GREYS[..., None])


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (9000, 1)], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_height_comes_before_width(size, mode):
    width, height = size
    found = decode(stored(Image.new("RGB", size), "PNG"), mode=mode)
    assert found.shape == (height, width, len(mode))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_orientation_that_a_camera_recorded_is_not_applied(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = stored(PICTURE, kind, exif=exif)
    assert Image.open(io.BytesIO(content)).getexif()[0x0112] == orientation
    np.testing.assert_array_equal(decode(content), decode(stored(PICTURE, kind)))


def test_the_pixels_may_be_written_to():
    """They are the caller's own: nothing else sees them."""
    first, second = decode(KINDS["PNG"]), decode(KINDS["PNG"])
    first[...] = 0
    np.testing.assert_array_equal(second, COLOURS)


# --- what is refused ---


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"P6",
        b"II*\x00",
        b"RIFF\x10\x00\x00\x00WEBPVP8 ",
        bytes(1000),
        b"<!DOCTYPE html><title>404 Not Found</title>",
        "a picture of a cät".encode(),
    ],
    ids=[
        "empty",
        "one byte",
        "JPEG start",
        "PNG start",
        "GIF start",
        "BMP start",
        "PPM start",
        "TIFF start",
        "WEBP start",
        "zeros",
        "web page",
        "text",
    ],
)
def test_what_is_no_image_is_refused(content):
    with pytest.raises(ValueError, match=r"^the image cannot be decoded: "):
        decode(content)


EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    b"0 0 9 9 rectfill\nshowpage\n%%EOF\n"
)


@pytest.mark.parametrize("kind", ["EPS", "DDS", "ICO", "PCX", "SGI", "TGA"])
def test_formats_that_are_not_listed_are_refused(kind):
    content = EPS if kind == "EPS" else stored(PICTURE, kind)
    assert Image.open(io.BytesIO(content)).format == kind
    with pytest.raises(ValueError, match=r"^the image .* it is no image of a known format$"):
        decode(content)


WIDE = np.arange(480, dtype=np.uint16).reshape(20, 24) * 100


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "content, pil_mode",
    [
        (stored(Image.fromarray(WIDE), "PNG"), "I;16"),
        (stored(Image.fromarray(WIDE), "TIFF"), "I;16"),
        (stored(Image.fromarray(WIDE.astype(np.int32)), "TIFF"), "I"),
        (stored(Image.fromarray(WIDE.astype(np.float32)), "TIFF"), "F"),
        (b"P5 24 20 65535\n" + WIDE.astype(">u2").tobytes(), "I"),
        (b"Pf 24 20 -1.0\n" + WIDE.astype("<f4").tobytes(), "F"),
    ],
    ids=["PNG", "TIFF", "32-bit TIFF", "float TIFF", "PGM", "PFM"],
)
def test_pixels_of_more_than_8_bits_are_refused(content, pil_mode, mode):
    with pytest.raises(ValueError, match=rf"not 8-bit \(PIL's mode {pil_mode}\)"):
        decode(content, mode=mode)


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def one_bit_png(width, height, rows=b""):
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def grown(content, place, layout, *sizes):
    """A file whose header speaks of another size."""
    sized = bytearray(content)
    struct.pack_into(layout, sized, place, *sizes)
    return bytes(sized)


JPEG_SIZE = KINDS["JPEG"].index(b"\xff\xc0") + 5  # of the frame header: height, width
ENORMOUS = {
    "PNG": one_bit_png(60_000, 60_000),
    "JPEG": grown(KINDS["JPEG"], JPEG_SIZE, ">HH", 60_000, 60_000),
    "GIF": grown(KINDS["GIF"], 6, "<HH", 60_000, 60_000),
    "BMP": grown(KINDS["BMP"], 18, "<ii", 60_000, 60_000),
    "PPM": b"P6 60000 60000 255\n" + bytes(100),
}


@pytest.mark.parametrize("content", ENORMOUS.values(), ids=ENORMOUS)
@pytest.mark.parametrize("limit", ["PIL's limit", "no limit"])
def test_an_enormous_image_is_refused_by_its_header(content, limit, monkeypatch):
    """Also where the researcher has taken PIL's own limit away."""
    if limit == "no limit":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ValueError, match=r"^it's me cannot be decoded: it would have more "):
        decode(content, "it's me")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_000, 10_000), (9_460, 9_459), (89_478_486, 1)], ids=str)
def test_an_image_beyond_the_limit_that_pil_only_warns_of_is_refused(size):
    """89,478,485 pixels; PIL itself refuses those of more than twice as many."""
    width, height = size
    content = one_bit_png(width, height, bytes((width // 8 + 1 + 1) * height))
    with pytest.raises(ValueError, match=r"it would have more than 89,478,485 pixels"):
        decode(content)


@pytest.mark.slow
def test_an_image_just_below_the_limit_is_decoded():
    """9,459 x 9,459 are 89,472,681 pixels; PIL takes 4 bytes for each."""
    rows = bytes((9_459 // 8 + 1 + 1) * 9_459)
    assert decode(one_bit_png(9_459, 9_459, rows)).shape == (9_459, 9_459, 3)


# --- damage ---

# Bytes at the end without which every pixel is still there: JPEG's end marker; PNG's end chunk
# (12), and the checksums of its last data (8) with the end of the compressed stream.
SPARE = {
    "JPEG": 2,
    "progressive JPEG": 2,
    "CMYK JPEG": 2,
    "PNG": 32,
    "PNG with alpha": 32,
    "1-bit PNG": 32,
    "palette PNG": 32,
}


@pytest.mark.parametrize("name", SPARE)
def test_a_torn_file_is_refused_wherever_it_ends(name):
    content = KINDS[name]
    whole = decode(content)
    for end in range(len(content)):
        try:
            found = decode(content[:end])
        except ValueError:
            continue
        assert end >= len(content) - SPARE[name], f"{end} of {len(content)} bytes are enough"
        np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize(
    "settings", [{}, {"progressive": True}], ids=["baseline", "progressive"]
)
def test_a_torn_photograph_is_refused_wherever_it_ends(rng, settings):
    """Longer than the 64 KiB that PIL reads at once."""
    noise = Image.fromarray(rng.integers(0, 256, (400, 400, 3)).astype(np.uint8))
    content = stored(noise, "JPEG", quality=95, **settings)
    assert len(content) > 2 * 2**16
    for end in [2**16, 2**17, len(content) - 3, *rng.integers(0, len(content) - 2, 12)]:
        with pytest.raises(ValueError, match="cannot be decoded"):
            decode(content[:end])


def damaged(content, rng):
    """Bits flipped, bytes replaced, numbers made extreme, parts left out or put in."""
    changed = bytearray(content)
    # As often in the header as in all the rest.
    reach = len(content) if rng.random() < 0.5 else min(len(content), 100)
    place = int(rng.integers(reach))
    match int(rng.integers(5)):
        case 0:
            changed[place] ^= 1 << int(rng.integers(8))
        case 1:
            for _ in range(4):
                changed[int(rng.integers(reach))] = int(rng.integers(256))
        case 2:
            extreme = [bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]
            changed[place : place + 4] = extreme[int(rng.integers(4))]
        case 3:
            del changed[place : place + int(rng.integers(1, 20))]
        case _:
            changed[place:place] = rng.bytes(int(rng.integers(1, 20)))
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")  # PIL's, of damaged files; as errors they would hide it
@every_kind
def test_damage_is_a_value_error_with_the_name_or_does_not_matter(content, rng):
    n_refused = 0
    for _ in range(60):
        try:
            found = decode(damaged(content, rng), "n01/cat.png")
        except ValueError as error:
            assert str(error).startswith("n01/cat.png cannot be decoded: ")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            n_refused += 1
        else:
            assert found.dtype == np.uint8
            assert found.ndim == 3
            assert found.shape[-1] == 3
    assert n_refused > 0


@pytest.mark.parametrize("name", ["n01440764/a b.JPEG", "cifar10 test 7", "Ünï {0} %s"])
@pytest.mark.parametrize("content", [b"", KINDS["PNG"][:300], ENORMOUS["PPM"]])
def test_an_error_names_the_image(name, content):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        decode(content, name)
    assert str(caught.value).startswith(f"{name} cannot be decoded: ")


# --- many of them ---


class Numbered:
    """A source whose image i has the colour (i, 0, 200), and that knows what it was asked."""

    def __init__(self):
        self.reads = []

    def __call__(self, number):
        self.reads.append(number)
        return stored(Image.new("RGB", (3, 2), (number, 0, 200)), "PNG")


@pytest.fixture
def source():
    return Numbered()


def numbered(source, n_images, **settings):
    return EncodedImages(source, "image {}".format, np.arange(n_images), **settings)


def test_an_image_is_read_when_it_is_asked_for(source):
    images = numbered(source, 9)
    chosen = images[2:8][np.array([3, 0, 5])][:2]
    assert (len(images), len(chosen)) == (9, 2)
    assert source.reads == []
    image = chosen[0]
    assert source.reads == [5]
    assert image.dtype == np.uint8
    assert image.tolist() == [[[5, 0, 200]] * 3] * 2


@pytest.mark.parametrize("which", [4, -1], ids=repr)
def test_one_number_is_one_image(source, which):
    assert numbered(source, 5)[which][0, 0].tolist() == [4, 0, 200]


@given(data=st.data(), n_images=st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_a_selection_selects_as_a_list_does(data, n_images):
    source = Numbered()
    images, expected = numbered(source, n_images), list(range(n_images))
    for _ in range(3):
        if data.draw(st.booleans()):
            which = data.draw(st.slices(len(expected)))
            images, expected = images[which], expected[which]
        else:
            any_place = st.integers(-len(expected), len(expected) - 1)
            places = data.draw(st.lists(any_place, max_size=9) if expected else st.just([]))
            images, expected = images[np.array(places, int)], [expected[i] for i in places]
    assert len(images) == len(expected)
    assert images.indices.tolist() == expected
    assert source.reads == []


def test_a_mask_selects_where_it_is_true(source):
    chosen = numbered(source, 4)[np.array([True, False, False, True])]
    assert [image[0, 0, 0] for image in chosen] == [0, 3]


@pytest.mark.parametrize("which", [5, -6, np.array([0, 5])], ids=str)
def test_an_image_that_is_not_there_is_an_index_error(source, which):
    with pytest.raises(IndexError):
        numbered(source, 5)[which]
    assert source.reads == []


def test_a_selection_keeps_the_mode(source):
    images = numbered(source, 5, mode="L")[3:]
    # 0.299 * 3 + 0.114 * 200 is 23.7.
    assert images[0].tolist() == [[[24]] * 3] * 2


def test_an_error_names_the_image_by_its_number_in_the_source():
    images = EncodedImages(lambda i: b"torn", "cat{}.jpg".format, np.arange(9))
    with pytest.raises(ValueError, match=r"^cat7\.jpg cannot be decoded"):
        images[5:][2]


def test_what_cannot_be_read_is_no_damaged_image():
    def read(number):
        raise FileNotFoundError(2, "No such file or directory", f"{number}.png")

    images = EncodedImages(read, "image {}".format, np.arange(3))
    with pytest.raises(FileNotFoundError, match=r"1\.png"):
        images[1]


@pytest.mark.parametrize("which", [np.int64(4), np.uint8(4)], ids=repr)
def test_one_numpy_number_is_one_image(which):
    assert numbered(Numbered(), 5)[which][0, 0].tolist() == [4, 0, 200]


def test_a_warning_that_a_filter_makes_an_error_is_not_taken_for_damage():
    """A camera's torn notes about a sound picture."""
    notes = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x1a\0\x05\0\0\0\x01"
    content = stored(Image.new("RGB", (4, 2)), "JPEG", exif=notes)
    with pytest.raises(UserWarning, match="Corrupt EXIF data"):
        decode(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert decode(content).shape == (2, 4, 3)
