"""Images that are stored encoded, as JPEG or PNG, and decoded when they are asked for."""

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from .preprocess import Resized

# What class folders hold; nothing that starts another program (EPS would).
FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP", "GIF")
MOST_PIXELS = 89_478_485  # PIL's own limit: 256 MiB of colours
MOST_BYTES = 2**28  # of one encoded image


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Encoded images of a tar, a folder or a data base, decoded by PIL when asked for.

    `images[3]` is a decoded image; `images[2:5]` and `images[np.array([4, 1])]` are a
    selection, of which nothing is read yet. Memory does not grow with the number of images.

    Args:
        read: the encoded bytes of an image, given its number; called from several threads. A
            `ValueError` counts as an image that cannot be decoded.
        name: what an error calls that image.
        indices: numbers of the images.
        mode: `RGB` for images `(height, width, 3)`, `L` for grey ones `(height, width, 1)`.

    >>> stream = io.BytesIO()
    >>> Image.new("RGB", (4, 2), "red").save(stream, "PNG")
    >>> images = EncodedImages(lambda i: stream.getvalue(), "image {}".format, np.arange(9))
    >>> len(images[2:5]), images[0].shape, images[0][0, 0].tolist()
    (3, (2, 4, 3), [255, 0, 0])
    """

    read: Callable[[int], bytes]
    name: Callable[[int], str]
    indices: Int[np.ndarray, " images"]
    mode: Literal["RGB", "L"] = "RGB"

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice | np.ndarray):
            return replace(self, indices=self.indices[which])
        return pixels(self.opened(int(which)))

    def opened(self, row: int) -> Image.Image:
        """An image as PIL decoded it."""
        return opened(self.read(int(self.indices[row])), self.name_of(row), self.mode)

    def name_of(self, row: int) -> str:
        """What an error calls the image in this row of the selection."""
        return self.name(int(self.indices[row]))


def decode(
    content: bytes, name: str = "the image", mode: Literal["RGB", "L"] = "RGB"
) -> UInt8[np.ndarray, "height width channels"]:
    """The pixels of an encoded image, as PIL's `convert(mode)` gives them.

    Grey, CMYK and palette images become colours; transparency is dropped, not blended; an
    orientation recorded by a camera is not applied (but to TIFF, by PIL itself). All of it as
    torchvision's loader does. Pixels of JPEGs are those of the libjpeg-turbo inside PIL:
    another version may round otherwise. PIL may warn, of damaged EXIF data for example; damage
    in the middle of a JPEG that libjpeg conceals is not seen.

    Args:
        content: the bytes of a file.
        name: what an error calls it.
        mode: `RGB`, or `L` for one channel.

    Returns:
        Pixels 0 to 255.

    Raises:
        ValueError: damaged, no image, of more than 89 million pixels, or grey with more than
            8 bits, which PIL would cut off at 255.

    >>> decode(b"no image")
    Traceback (most recent call last):
    ...
    ValueError: the image cannot be decoded: it is no image of a known format
    """
    return pixels(opened(content, name, mode))


def opened(content: bytes, name: str, mode: Literal["RGB", "L"]) -> Image.Image:
    """`decode` without the way into an array."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > MOST_PIXELS:
            raise Image.DecompressionBombError
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"its pixels are not 8-bit (PIL's mode {image.mode})")
        image.load()
        # It changes no pixel of the result; PIL would warn that it is dropped.
        image.info.pop("transparency", None)
        return image if image.mode == mode else image.convert(mode)
    except MemoryError:
        raise
    except Exception as error:  # PIL's readers raise nearly anything on a damaged file
        if isinstance(error, Warning) and not isinstance(error, Image.DecompressionBombWarning):
            raise  # somebody's filter made it an error: the image may be sound
        raise ValueError(f"{name} cannot be decoded: {_reason(error)}") from error


def pixels(image: Image.Image) -> UInt8[np.ndarray, "height width channels"]:
    """The pixels of an opened image, the channels last."""
    array = np.array(image)
    return array if array.ndim == 3 else array[..., None]


def inputs(
    images: EncodedImages, preprocess: Callable[[np.ndarray], np.ndarray] | None
) -> Float[np.ndarray, "images ..."]:
    """Images decoded and preprocessed one by one, on all processors.

    Args:
        images: at least one.
        preprocess: takes a batch; here, of one image.

    Returns:
        float32, the image axis first.

    Raises:
        ValueError: an image that cannot be decoded, of another size than the first, or that
            becomes NaN or infinite.
    """

    def one(row: int) -> np.ndarray:
        image = images.opened(row)
        if preprocess is None:
            return pixels(image)
        try:
            if isinstance(preprocess, Resized) and image.mode == "RGB":
                return preprocess.of_image(image)
            return preprocess(pixels(image)[None])[0]
        except ValueError as error:
            raise ValueError(f"{images.name_of(row)}: {error}") from error

    def keep(row: int, image: np.ndarray) -> None:
        refuse_other_size(images, row, image.shape, 0, out.shape[1:])
        with np.errstate(over="ignore"):  # an overflow is infinite: refused below
            out[row] = image
        if not np.isfinite(out[row]).all():
            raise ValueError(f"{images.name_of(row)} has pixels that are NaN or infinite")

    first = one(0)
    out = np.empty((len(images), *first.shape), np.float32)
    keep(0, first)
    with ThreadPoolExecutor(n_processors()) as pool:
        for _ in pool.map(lambda row: keep(row, one(row)), range(1, len(images))):
            pass
    return out


def refuse_other_size(
    images: EncodedImages,
    row: int,
    size: tuple[int, ...],
    other_row: int,
    other_size: tuple[int, ...],
) -> None:
    """Raise a `ValueError` that names two images, unless they are of one size."""
    if size != other_size:
        this, other = images.name_of(row), images.name_of(other_row)
        raise ValueError(
            f"{this} is {_size(size)}, {other} is {_size(other_size)}: images of different "
            "sizes need a preprocessing that gives them one"
        )


def read_file(path: Path, name: str) -> bytes:
    """The bytes of an encoded image, unless they are too many: see `refuse_large`."""
    refuse_large(path.stat().st_size, name)
    return path.read_bytes()


def refuse_large(n_bytes: int, name: str) -> None:
    """Raise a `ValueError` for an encoded image that is too large to be read at all."""
    if n_bytes > MOST_BYTES:
        raise ValueError(
            f"{name} cannot be decoded: it has {n_bytes:,} bytes, more than {MOST_BYTES:,}"
        )


def n_processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _size(shape):
    return "x".join(map(str, shape))


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is no image of a known format"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it would have more than {MOST_PIXELS:,} pixels"
    return " ".join(str(error).split()) or type(error).__name__
