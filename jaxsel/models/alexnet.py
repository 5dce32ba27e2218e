"""AlexNet as torchvision has it."""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from ..sites import Tap, untouched
from .images import refuse_other_shapes
from .layers import adaptive_average_pool


class AlexNet(nnx.Module):
    """Five convolutions and three dense layers; units are read after each ReLU.

    Without local response normalisation and without groups: the network of Krizhevsky (2014),
    not that of Krizhevsky et al. (2012), which is `AlexNetCaffe`. 61,100,840 parameters.

    Args:
        n_classes: logits.
        widths: channels of conv1 to conv5.
        dense_widths: units of fc6 and fc7.
        rngs: Flax random streams for the initial parameters.

    Source:
        Krizhevsky (2014), arXiv:1404.5997; torchvision's `alexnet`.
    """

    sites = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    extra_sites = ()

    def __init__(
        self,
        *,
        n_classes: int = 1000,
        widths: Sequence[int] = (64, 192, 384, 256, 256),
        dense_widths: Sequence[int] = (4096, 4096),
        rngs: nnx.Rngs,
    ):
        c1, c2, c3, c4, c5 = widths
        d6, d7 = dense_widths
        self.conv1 = nnx.Conv(3, c1, (11, 11), strides=(4, 4), padding=2, rngs=rngs)
        self.conv2 = nnx.Conv(c1, c2, (5, 5), padding=2, rngs=rngs)
        self.conv3 = nnx.Conv(c2, c3, (3, 3), padding=1, rngs=rngs)
        self.conv4 = nnx.Conv(c3, c4, (3, 3), padding=1, rngs=rngs)
        self.conv5 = nnx.Conv(c4, c5, (3, 3), padding=1, rngs=rngs)
        self.fc6 = nnx.Linear(6 * 6 * c5, d6, rngs=rngs)
        self.fc7 = nnx.Linear(d6, d7, rngs=rngs)
        self.fc8 = nnx.Linear(d7, n_classes, rngs=rngs)

    def __call__(
        self, images: Float[Array, "images ..."], tap: Tap = untouched
    ) -> Float[Array, "images classes"]:
        """Logits of a batch of images `(images, height, width, 3)`, 224x224 as trained.

        Other sizes from 63 on are pooled to the 6x6 maps that fc6 takes, as torchvision does.
        """
        refuse_other_shapes(images, None, None, 3)
        if min(images.shape[1:3]) < 63:
            raise ValueError(
                f"this network takes images from 63x63 on; found "
                f"{images.shape[1]}x{images.shape[2]}"
            )
        x = tap("conv1", nnx.relu(self.conv1(images)))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2))
        x = tap("conv2", nnx.relu(self.conv2(x)))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2))
        x = tap("conv3", nnx.relu(self.conv3(x)))
        x = tap("conv4", nnx.relu(self.conv4(x)))
        x = tap("conv5", nnx.relu(self.conv5(x)))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2))
        x = adaptive_average_pool(x, 6)
        x = tap("fc6", nnx.relu(self.fc6(x.reshape(x.shape[0], -1))))
        x = tap("fc7", nnx.relu(self.fc7(x)))
        return self.fc8(x)
