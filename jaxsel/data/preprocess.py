"""How stored pixels become a network's input, named by origin.

Each function takes a batch as it is stored and returns float32. A checkpoint's manifest
records the name, so that a network always sees the images it was trained on. A batch is its
images one by one, to the bit: images of different sizes go through in batches of one.
"""

import numpy as np
from jaxtyping import Float, Num
from PIL import Image

# Of ImageNet's training images, red, green, blue, for pixels 0 to 1 (torchvision).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)
# Caffe's own mean (ilsvrc_2012_mean) for pixels 0 to 255, blue, green, red.
CAFFE_MEAN = (104.00698793, 116.66876762, 122.67891434)
MOST_PIXELS = 2**30  # of a resized image before its middle is cut out: 4 GiB in PIL


def unit_range(images: Num[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Pixels 0 to 255 become 0 to 1: x / 255.

    Raises a `ValueError` for numbers that are no whole pixels 0 to 255: what is scaled
    already would be scaled twice.

    >>> unit_range(np.array([0, 255], np.uint8)).tolist()
    [0.0, 1.0]
    """
    _refuse_other_range(images, 255)
    return images.astype(np.float32) / np.float32(255)


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


def torchvision(
    images: Num[np.ndarray, "images ..."],
) -> Float[np.ndarray, "images 224 224 3"]:
    """torchvision's images for ImageNet networks: shorter side 256, the middle 224x224.

    PIL's bilinear filter; the longer side is rounded down, the crop's corner to the even
    number; then as `cifar10_resnet`.

    Source:
        torchvision's `Resize(256)`, `CenterCrop(224)`, `ToTensor` and `Normalize` on PIL
        images, as its ImageNet weights are evaluated.

    >>> torchvision(np.zeros((1, 300, 400, 3), np.uint8)).shape
    (1, 224, 224, 3)
    """
    _refuse_all_but_colour(images)
    height, width = images.shape[1:3]
    short = min(height, width)
    size = (256 * height // short, 256 * width // short)
    return cifar10_resnet(np.stack([_middle(image, size, 224) for image in images]))


def caffe(
    images: Num[np.ndarray, "images ..."],
) -> Float[np.ndarray, "images 227 227 3"]:
    """Caffe's images for AlexNet: 256x256 whatever the shape was, the middle 227x227.

    Blue, green, red instead of red, green, blue; 0 to 255 minus ImageNet's mean. Resized by
    PIL's bilinear filter; Caffe's own tools have used others.

    >>> [f"{x:.1f}" for x in caffe(np.zeros((1, 300, 400, 3), np.uint8))[0, 0, 0]]
    ['-104.0', '-116.7', '-122.7']
    """
    _refuse_all_but_colour(images)
    return _caffe_pixels(np.stack([_middle(image, (256, 256), 227) for image in images]))


def warp(
    images: Num[np.ndarray, "images ..."],
) -> Float[np.ndarray, "images 227 227 3"]:
    """The whole image, warped to 227x227 whatever its shape was, then as `caffe`.

    What Kanda et al. seem to have done: their accuracies of VGG-19 lie far below those of
    images that keep their shape. Resized by PIL's bilinear filter; theirs is not stated. For
    networks of torchvision's, see `warp_torchvision`.

    >>> warp(np.zeros((1, 300, 400, 3), np.uint8)).shape
    (1, 227, 227, 3)
    """
    _refuse_all_but_colour(images)
    return _caffe_pixels(np.stack([_middle(image, (227, 227), 227) for image in images]))


def warp_torchvision(
    images: Num[np.ndarray, "images ..."],
) -> Float[np.ndarray, "images 224 224 3"]:
    """The whole image, warped to 224x224, then as `cifar10_resnet`.

    `warp` for networks of torchvision's, such as VGG-19.

    >>> warp_torchvision(np.zeros((1, 300, 400, 3), np.uint8)).shape
    (1, 224, 224, 3)
    """
    _refuse_all_but_colour(images)
    return cifar10_resnet(np.stack([_middle(image, (224, 224), 224) for image in images]))


def _refuse_all_but_colour(images):
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(
            "this preprocessing takes colour images, uint8 of shape (images, height, width, "
            f"3); found {images.dtype} of shape {images.shape}"
        )


def _refuse_other_range(images, largest):
    if images.dtype == np.uint8 and largest == 255:
        return
    if images.dtype.kind not in "biu":
        raise ValueError(
            f"this preprocessing takes whole numbers 0 to {largest}; found {images.dtype}"
        )
    if images.size and (images.min() < 0 or images.max() > largest):
        raise ValueError(
            f"this preprocessing takes numbers 0 to {largest}; found {images.min()} to "
            f"{images.max()}"
        )


def _normalised(images, mean, deviation):
    """In place, over rows: along an axis of three NumPy is slow."""
    width = images.shape[-2]
    rows = images.reshape(*images.shape[:-2], -1)
    rows -= np.tile(np.array(mean, np.float32), width)
    rows /= np.tile(np.array(deviation, np.float32), width)
    return images


def _caffe_pixels(pixels):
    return _normalised(pixels[..., ::-1].astype(np.float32, order="C"), CAFFE_MEAN, (1, 1, 1))


def _middle(image, size, side):
    """An image resized to `size` (height, width), then its middle `side` x `side`."""
    height, width = size
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"an image of {image.shape[1]} x {image.shape[0]} pixels is too narrow: resized, "
            f"it would have {width:,} x {height:,}"
        )
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    top, left = (round((n - side) / 2) for n in size)  # Python rounds half to even
    return np.asarray(resized.crop((left, top, left + side, top + side)))


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
