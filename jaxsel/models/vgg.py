"""VGG16 and VGG19."""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from ..sites import Tap, untouched
from .images import refuse_other_shapes
from .layers import adaptive_average_pool

VGG16 = (2, 2, 3, 3, 3)
VGG19 = (2, 2, 4, 4, 4)


class VGG(nnx.Module):
    """Five blocks of 3x3 convolutions and three dense layers; units are read after each ReLU.

    Sites are `conv1_1`, `conv1_2`, ..., `fc6`, `fc7`. 138,357,544 parameters with 16 layers,
    143,667,240 with 19.

    Args:
        convs_per_block: `VGG16` or `VGG19`.
        n_classes: logits.
        widths: channels of the convolutions of each block.
        dense_widths: units of fc6 and fc7.
        rngs: Flax random streams for the initial parameters.

    Source:
        Simonyan and Zisserman (2015), configurations D and E; torchvision's `vgg16`, `vgg19`.
    """

    extra_sites = ()

    def __init__(
        self,
        *,
        convs_per_block: Sequence[int] = VGG16,
        n_classes: int = 1000,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        dense_widths: Sequence[int] = (4096, 4096),
        rngs: nnx.Rngs,
    ):
        self.conv_sites = conv_sites(convs_per_block)
        self.sites = (*self.conv_sites, "fc6", "fc7")
        self.ends_of_blocks = tuple(
            f"conv{block}_{n}" for block, n in enumerate(convs_per_block, start=1)
        )
        self.convs = nnx.List(
            nnx.Conv(n_in, n_out, (3, 3), padding=1, rngs=rngs)
            for n_in, n_out in conv_widths(convs_per_block, widths)
        )
        d6, d7 = dense_widths
        self.fc6 = nnx.Linear(7 * 7 * widths[-1], d6, rngs=rngs)
        self.fc7 = nnx.Linear(d6, d7, rngs=rngs)
        self.fc8 = nnx.Linear(d7, n_classes, rngs=rngs)

    def __call__(
        self, images: Float[Array, "images ..."], tap: Tap = untouched
    ) -> Float[Array, "images classes"]:
        """Logits of a batch of images `(images, height, width, 3)`, 224x224 as trained.

        Other sizes from 32 on are pooled to the 7x7 maps that fc6 takes, as torchvision does.
        """
        refuse_other_shapes(images, None, None, 3)
        if min(images.shape[1:3]) < 32:
            raise ValueError(
                f"this network takes images from 32x32 on; found "
                f"{images.shape[1]}x{images.shape[2]}"
            )
        x = images
        for site, conv in zip(self.conv_sites, self.convs, strict=True):
            x = tap(site, nnx.relu(conv(x)))
            if site in self.ends_of_blocks:
                x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = adaptive_average_pool(x, 7)
        x = tap("fc6", nnx.relu(self.fc6(x.reshape(x.shape[0], -1))))
        x = tap("fc7", nnx.relu(self.fc7(x)))
        return self.fc8(x)


def conv_sites(convs_per_block: Sequence[int]) -> tuple[str, ...]:
    """The names of a VGG's convolutions in network order.

    >>> conv_sites((2, 1))
    ('conv1_1', 'conv1_2', 'conv2_1')
    """
    return tuple(
        f"conv{block}_{i}"
        for block, n in enumerate(convs_per_block, start=1)
        for i in range(1, n + 1)
    )


def conv_widths(
    convs_per_block: Sequence[int], widths: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Input and output channels of a VGG's convolutions in network order.

    >>> conv_widths((2, 1), (8, 16))
    ((3, 8), (8, 8), (8, 16))
    """
    outputs = [w for n, w in zip(convs_per_block, widths, strict=True) for _ in range(n)]
    return tuple(zip([3, *outputs], outputs, strict=False))
