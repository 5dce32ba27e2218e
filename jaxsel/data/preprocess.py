"""How stored pixels become a network's input, named by origin.

Each function takes a batch as it is stored and returns float32. A checkpoint's manifest
records the name, so that a network always sees the images it was trained on. A batch is its
images one by one, to the bit: images of different sizes go through in batches of one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num
from PIL import Image

# Of ImageNet's training images, red, green, blue, for pixels 0 to 1 (torchvision).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)
# Caffe's own mean (ilsvrc_2012_mean) for pixels 0 to 255, blue, green, red.
CAFFE_MEAN = (104.00698793, 116.66876762, 122.67891434)
# Of a resized image before its middle is cut out. PIL holds four bytes a pixel: larger ones
# are resized colour by colour, one byte a pixel, and the largest need 1 GiB.
LARGE, MOST_PIXELS = 2**25, 2**30


def unit_range(images: Num[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Pixels 0 to 255 become 0 to 1: x / 255.

    Raises a `ValueError` for numbers that are no whole pixels 0 to 255: what is scaled
    already would be scaled twice.

    >>> unit_range(np.array([0, 255], np.uint8)).tolist()
    [0.0, 1.0]
    """
    _refuse_other_range(images, 255)
    return images.astype(np.float32, order="C") / np.float32(255)


def sixteenths(images: Num[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Grey levels 0 to 16, as scikit-learn's digits have them, become 0 to 1: x / 16.

    Raises a `ValueError` for numbers that are no whole grey levels 0 to 16.

    >>> sixteenths(np.array([0, 16], np.uint8)).tolist()
    [0.0, 1.0]
    """
    _refuse_other_range(images, 16)
    return images.astype(np.float32) / np.float32(16)


def lenet5(images: Num[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Pixels 0 to 255 become -1 to 1, as in PyTorch's CIFAR-10 tutorial.

    >>> lenet5(np.array([0, 255], np.uint8)).tolist()
    [-1.0, 1.0]
    """
    return (unit_range(images) - np.float32(0.5)) / np.float32(0.5)


def cifar10_resnet(
    images: Num[np.ndarray, "images ..."],
) -> Float[np.ndarray, "images height width 3"]:
    """Pixels normalised by ImageNet's mean and deviation, at the size that they have.

    What akamaster/pytorch_resnet_cifar10 trained its networks with.

    >>> [f"{x:.3f}" for x in cifar10_resnet(np.zeros((1, 1, 1, 3), np.uint8)).ravel()]
    ['-2.118', '-2.036', '-1.804']
    """
    _refuse_all_but_colour(images)
    return _normalised(unit_range(images), IMAGENET_MEAN, IMAGENET_SD)


@dataclass(frozen=True)
class Resized:
    """A preprocessing that brings images of any size to one, and then scales their pixels.

    Args:
        resize: gives the part of an image that the network sees, by PIL.
        scale: turns such parts, uint8 `(images, height, width, 3)`, into input.

    >>> torchvision(np.zeros((1, 300, 400, 3), np.uint8)).shape
    (1, 224, 224, 3)
    >>> [f"{x:.1f}" for x in caffe(np.zeros((1, 300, 400, 3), np.uint8))[0, 0, 0]]
    ['-104.0', '-116.7', '-122.7']
    """

    resize: Callable[[Image.Image], Image.Image]
    scale: Callable[[np.ndarray], np.ndarray]

    def __call__(
        self, images: Num[np.ndarray, "images ..."]
    ) -> Float[np.ndarray, "images height width 3"]:
        """A batch of colour images, uint8 `(images, height, width, 3)`."""
        _refuse_all_but_colour(images)
        return np.stack([self.of_image(Image.fromarray(image)) for image in images])

    def of_image(self, image: Image.Image) -> Float[np.ndarray, "height width 3"]:
        """One image as PIL decoded it, mode RGB: without the way through an array."""
        return self.scale(np.asarray(self.resize(image))[None])[0]


def caffe_pixels(
    images: Num[np.ndarray, "images ..."],
) -> Float[np.ndarray, "images height width 3"]:
    """Blue, green, red instead of red, green, blue; 0 to 255 minus ImageNet's mean.

    >>> [f"{x:.1f}" for x in caffe_pixels(np.zeros((1, 1, 1, 3), np.uint8)).ravel()]
    ['-104.0', '-116.7', '-122.7']
    """
    _refuse_all_but_colour(images)
    turned = images[..., ::-1].astype(np.float32, order="C")
    return _normalised(turned, CAFFE_MEAN, (1, 1, 1))


def shorter_side(image: Image.Image) -> Image.Image:
    """Shorter side 256, the longer in proportion, rounded down; of it the middle 224x224."""
    short = min(image.size)
    return _middle(image, (256 * image.width // short, 256 * image.height // short), 224)


def square(image: Image.Image) -> Image.Image:
    """256x256 whatever the shape was; of it the middle 227x227."""
    return _middle(image, (256, 256), 227)


def warped_to(side: int) -> Callable[[Image.Image], Image.Image]:
    """The whole image, `side` x `side` whatever its shape was."""
    return lambda image: _middle(image, (side, side), side)


torchvision = Resized(shorter_side, cifar10_resnet)
"""torchvision's images for ImageNet networks: `Resize(256)`, `CenterCrop(224)`, `ToTensor` and
`Normalize` on PIL images, as its weights are evaluated."""

caffe = Resized(square, caffe_pixels)
"""Caffe's images for AlexNet. Resized by PIL; Caffe's own tools have used other filters."""

warp = Resized(warped_to(227), caffe_pixels)
"""The whole image at 227x227, then as `caffe`: what Kanda et al. seem to have done, as their
accuracies of VGG-19 lie far below those of images that keep their shape. Their filter is not
stated; here it is PIL's bilinear one."""

warp_torchvision = Resized(warped_to(224), cifar10_resnet)
"""`warp` for networks of torchvision's, such as VGG-19: 224x224, then as `cifar10_resnet`."""


def of_brightness(
    preprocess: Callable[[np.ndarray], np.ndarray], image: Sequence[int], white: int = 255
) -> Callable[[np.ndarray], np.ndarray]:
    """The same preprocessing for images that are drawn: pixels 0 to 1, of any fineness.

    Stored pixels are whole numbers; what a preprocessing makes of those in between follows from
    what it makes of black and of each colour, as long as each pixel goes through it by itself
    and linearly.

    Args:
        preprocess: turns stored pixels into input. Of one that resizes, the part that scales
            pixels: images are drawn at the network's size.
        image: height, width and channels of the network's input.
        white: the largest pixel that it takes: 16 for `sixteenths`.

    Returns:
        A function of images `(images, height, width, channels)`, 0 (black) to 1 (white).

    Raises:
        ValueError: a preprocessing that changes the size of images, is not linear, or looks at
            several pixels at once, such as one that subtracts each image's own mean.

    >>> seen = of_brightness(lenet5, (1, 1, 3))
    >>> seen(np.array([0, 0.25, 1]).reshape(1, 1, 1, 3)).ravel().tolist()
    [-1.0, -0.5, 1.0]
    """
    scale = preprocess.scale if isinstance(preprocess, Resized) else preprocess
    n_channels = image[-1]
    black = np.zeros(image, np.uint8)
    full = [np.where(np.arange(n_channels) == c, white, black) for c in range(n_channels)]
    # An image with all kinds of pixels, none like its neighbours.
    mixed = np.random.default_rng(0).integers(0, white + 1, image)
    shown = scale(np.stack([black, *full, mixed]).astype(np.uint8))
    if shown.shape[1:] != tuple(image):
        raise ValueError(
            f"images of shape {tuple(image)} become {shown.shape[1:]}: name the size that the "
            "network sees"
        )
    offset, *colours, of_mixed = shown.astype(np.float64)
    gains = np.stack([colour - offset for colour in colours])

    def seen(images: np.ndarray) -> np.ndarray:
        return (offset + np.einsum("nhwc,chwd->nhwd", images, gains)).astype(np.float32)

    if not np.allclose(seen(mixed[None] / white)[0], of_mixed, rtol=1e-4, atol=1e-4):
        raise ValueError("this preprocessing is not linear in each pixel by itself")
    return seen


def _refuse_all_but_colour(images):
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(
            "this preprocessing takes colour images, uint8 of shape (images, height, width, "
            f"3); found {images.dtype} of shape {images.shape}"
        )


def _refuse_other_range(images, largest):
    if images.dtype == np.uint8 and largest == 255:
        return
    if images.dtype.kind not in "iu":
        raise ValueError(
            f"this preprocessing takes whole numbers 0 to {largest}; found {images.dtype}"
        )
    if images.size and (images.min() < 0 or images.max() > largest):
        raise ValueError(
            f"this preprocessing takes numbers 0 to {largest}; found {images.min()} to "
            f"{images.max()}"
        )


def _normalised(images, mean, deviation):
    """In place, over rows, as NumPy is slow along an axis of three; contiguous images only."""
    width = images.shape[-2]
    rows = images.reshape(*images.shape[:-2], -1)
    rows -= np.tile(np.array(mean, np.float32), width)
    rows /= np.tile(np.array(deviation, np.float32), width)
    return images


def _middle(image: Image.Image, size: tuple[int, int], side: int) -> Image.Image:
    """An image resized to `size` (width, height), then its middle `side` x `side`."""
    if size[0] * size[1] > MOST_PIXELS:
        raise ValueError(
            f"an image of {image.width} x {image.height} pixels is too narrow: resized, it "
            f"would have {size[0]:,} x {size[1]:,}"
        )
    if size[0] * size[1] > LARGE and image.mode == "RGB":
        return Image.merge("RGB", [_middle(band, size, side) for band in image.split()])
    resized = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (round((n - side) / 2) for n in size)  # Python rounds half to even
    return resized.crop((left, top, left + side, top + side))


PREPROCESS = {
    "caffe": caffe,
    "cifar10_resnet": cifar10_resnet,
    "lenet5": lenet5,
    "sixteenths": sixteenths,
    "torchvision": torchvision,
    "unit_range": unit_range,
    "warp": warp,
    "warp_torchvision": warp_torchvision,
}
