"""Gratings and bars: images whose orientation is known.

Pixels are 0 (black) to 1 (white), float32. Angles are in degrees; the orientation is that of
the stripes or the bar, anticlockwise from horizontal, so that 0 is a horizon and 90 upright.
Lengths are in units of the image's shorter side, places are from its middle, to the right and
up.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

# Not NumPy's ArrayLike: it allows text, and an integer is no float to a type checker.
Numbers = float | int | Sequence[float | int] | np.ndarray
WHITE, BACKGROUND = (1.0, 1.0, 1.0), 0.5


def grating(
    orientation: Numbers,
    frequency: Numbers,
    phase: Numbers = 0.0,
    *,
    image: Sequence[int],
    contrast: float = 1.0,
    background: float = BACKGROUND,
    colour: Sequence[float | int] = WHITE,
    diameter: float | None = None,
    position: Sequence[float | int] = (0.0, 0.0),
) -> Float[np.ndarray, "*many height width channels"]:
    r"""Stripes whose brightness is a cosine.

    $$b + \tfrac{1}{2} C\, k \cos(2 \pi f d + \phi)$$

    with $d$ the distance from the middle of the grating across the stripes, on the side that is
    above horizontal stripes and to the left of upright ones.

    Args:
        orientation: of the stripes, degrees; 180 more is the same grating with its phase
            reversed.
        frequency: cycles per length of the image's shorter side. At Nyquist's frequency
            itself, half the pixels of that side, the phase decides whether pixels are on the
            crests or between them, where all are grey.
        phase: at the middle of the grating, degrees: 0 is bright there. The three are
            broadcast against each other.
        image: height, width and channels, in pixels.
        contrast: from 0 to 1 with white on grey; black and white change places below 0.
        background: brightness around which the stripes vary, and outside of them.
        colour: of what is bright, less the background, for each of three channels, such as
            `(1, -1, 0)` for red and green; an image with one channel has the first.
        diameter: of the circle that the stripes fill, its edge one pixel wide; by default
            they fill the image.
        position: of the middle, to the right and up.

    Returns:
        Images, in the shape of the angles and frequencies before their own.

    Raises:
        ValueError: no size of an image, numbers that are NaN or infinite, a diameter below 0,
            pixels below 0 or above 1.

    Warns:
        UserWarning: a frequency above Nyquist's, half the pixels of the shorter side: the
            image shows another one.

    >>> grating(0, 1, 0, image=(4, 4, 1))[:, 0, 0].round(2)
    array([0.15, 0.85, 0.85, 0.15], dtype=float32)
    """
    right, up, side = _places(image, position)
    angles = {"orientation": orientation, "frequency": frequency, "phase": phase}
    for name, values in angles.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite; found NaN or infinity")
    _refuse_below_0(diameter=diameter)
    warn_above_nyquist(frequency, image)
    orientation, frequency, phase = (
        np.asarray(x, np.float64)[..., None, None] for x in angles.values()
    )
    _, across = _turned(right, up, orientation)
    pattern = np.cos(2 * np.pi * frequency * across + np.deg2rad(phase))
    if diameter is not None:
        pattern = pattern * _inside(np.hypot(right, up), diameter, side)
    return _coloured(pattern, image, contrast, background, colour)


def bar(
    orientation: Numbers,
    *,
    image: Sequence[int],
    width: float,
    length: float,
    contrast: float = 1.0,
    background: float = BACKGROUND,
    colour: Sequence[float | int] = WHITE,
    position: Sequence[float | int] = (0.0, 0.0),
) -> Float[np.ndarray, "*many height width channels"]:
    """A straight bar, its edges one pixel wide.

    Args:
        orientation: of its long side, degrees.
        image: height, width and channels, in pixels.
        width: across.
        length: along.
        contrast: 1 is white on grey, -1 black on grey.
        background: brightness around the bar.
        colour: as in `grating`.
        position: of its middle, to the right and up.

    Returns:
        Images, in the shape of the orientations before their own.

    Raises:
        ValueError: no size of an image, an orientation that is NaN or infinite, a width or
            length below 0, pixels below 0 or above 1.

    >>> bar(90, image=(3, 3, 1), width=1 / 3, length=1.0)[..., 0].tolist()
    [[0.5, 1.0, 0.5], [0.5, 1.0, 0.5], [0.5, 1.0, 0.5]]
    """
    right, up, side = _places(image, position)
    if not np.isfinite(orientation).all():
        raise ValueError("orientation must be finite; found NaN or infinity")
    _refuse_below_0(width=width, length=length)
    along, across = _turned(right, up, np.asarray(orientation, np.float64)[..., None, None])
    pattern = _inside(along, length, side) * _inside(across, width, side)
    return _coloured(pattern, image, contrast, background, colour)


def shuffled(
    images: Float[np.ndarray, "images height width channels"], rng: np.random.Generator
) -> Float[np.ndarray, "images height width channels"]:
    """The pixels of every image in another order: its colours without its orientation.

    Args:
        images: which; each gets an order of its own.
        rng: draws the orders.

    >>> images = np.arange(8.0).reshape(2, 2, 2, 1)
    >>> mixed = shuffled(images, np.random.default_rng(0))
    >>> sorted(mixed[1].ravel().tolist())
    [4.0, 5.0, 6.0, 7.0]
    """
    n, height, width, channels = images.shape
    pixels = images.reshape(n, height * width, channels)
    mixed = [rng.permutation(image, axis=0) for image in pixels]
    return np.reshape(mixed, images.shape)


def warn_above_nyquist(frequency: Numbers, image: Sequence[int]) -> None:
    """A `UserWarning` if stripes are finer than the pixels of an image can show.

    Args:
        frequency: cycles per shorter side.
        image: height, width and channels.
    """
    highest, most = float(np.max(np.abs(frequency), initial=0)), min(image[:2]) / 2
    if highest > most:
        warnings.warn(
            f"{highest:g} cycles are above Nyquist's frequency: images of "
            f"{image[0]}x{image[1]} pixels show {most:g} at most",
            stacklevel=3,
        )


def _places(
    image: Sequence[int], position: Sequence[float | int]
) -> tuple[np.ndarray, np.ndarray, int]:
    """How far pixels are to the right of a position and above it; pixels per length."""
    if len(image) != 3 or any(n < 1 for n in image):
        raise ValueError(f"an image has height, width and channels; found {tuple(image)}")
    height, width, _ = image
    side = min(height, width)
    right = (np.arange(width) - (width - 1) / 2) / side - position[0]
    up = ((height - 1) / 2 - np.arange(height)) / side - position[1]
    return right[None, :], up[:, None], side


def _refuse_below_0(**lengths: float | None) -> None:
    for name, length in lengths.items():
        if length is not None and not length >= 0:
            raise ValueError(f"{name} is a length, 0 or more; found {length}")


def _turned(right: np.ndarray, up: np.ndarray, orientation: np.ndarray):
    """Places along and across an orientation."""
    angle = np.deg2rad(orientation)
    along = right * np.cos(angle) + up * np.sin(angle)
    return along, up * np.cos(angle) - right * np.sin(angle)


def _inside(distance: np.ndarray, width: float, side: int) -> np.ndarray:
    """1 within half a width, 0 outside, a straight line over the pixel between."""
    return np.clip((width / 2 - np.abs(distance)) * side + 0.5, 0, 1)


def _coloured(
    pattern: np.ndarray,
    image: Sequence[int],
    contrast: float,
    background: float,
    colour: Sequence[float | int],
) -> np.ndarray:
    """Brightness of every channel, from a pattern of -1 to 1."""
    if len(colour) < image[2]:
        raise ValueError(
            f"an image of {image[2]} channels needs as many colours; found {colour}"
        )
    change = contrast * np.asarray(colour[: image[2]], np.float64) / 2
    pixels = background + pattern[..., None] * change
    rounding = 1e-9  # of cosines that are 1
    if pixels.size and not (-rounding <= pixels.min() <= pixels.max() <= 1 + rounding):
        raise ValueError(
            f"pixels are 0 to 1, these would be {pixels.min():.3g} to {pixels.max():.3g}: take "
            "less contrast"
        )
    return np.clip(pixels, 0, 1).astype(np.float32)
