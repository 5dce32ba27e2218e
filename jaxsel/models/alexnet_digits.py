"""An AlexNet in small, for 8x8 grey images."""

from flax import nnx
from jaxtyping import Array, Float

from ..sites import Tap, untouched
from .images import refuse_other_shapes


class AlexNetDigits(nnx.Module):
    """Five convolutions, two pools and three dense layers; units are read after each ReLU.

    AlexNet's order of layers at the scale of 8x8 digits: all kernels 3x3, the first pool
    (8x8 to 4x4) after conv1, the second (to 2x2) after conv5, fc6 and fc7 with 512 units.
    AlexNet's pool after conv2 is left out, or nothing of the image would be left at conv5.
    """

    sites = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    extra_sites = ()

    def __init__(self, *, n_classes: int = 10, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 32, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, (3, 3), rngs=rngs)
        self.conv3 = nnx.Conv(64, 64, (3, 3), rngs=rngs)
        self.conv4 = nnx.Conv(64, 64, (3, 3), rngs=rngs)
        self.conv5 = nnx.Conv(64, 64, (3, 3), rngs=rngs)
        self.fc6 = nnx.Linear(2 * 2 * 64, 512, rngs=rngs)
        self.fc7 = nnx.Linear(512, 512, rngs=rngs)
        self.fc8 = nnx.Linear(512, n_classes, rngs=rngs)

    def __call__(
        self, images: Float[Array, "images ..."], tap: Tap = untouched
    ) -> Float[Array, "images classes"]:
        """Logits of a batch of images, shape `(images, 8, 8, 1)`."""
        refuse_other_shapes(images, 8, 8, 1)
        x = tap("conv1", nnx.relu(self.conv1(images)))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = tap("conv2", nnx.relu(self.conv2(x)))
        x = tap("conv3", nnx.relu(self.conv3(x)))
        x = tap("conv4", nnx.relu(self.conv4(x)))
        x = tap("conv5", nnx.relu(self.conv5(x)))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = tap("fc6", nnx.relu(self.fc6(x.reshape(x.shape[0], -1))))
        x = tap("fc7", nnx.relu(self.fc7(x)))
        return self.fc8(x)
