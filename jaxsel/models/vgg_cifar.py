"""VGG16 with BatchNorm for CIFAR's 32x32 images."""

import itertools
from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from ..sites import Tap, untouched
from .batch_norm import BatchNorm
from .images import refuse_other_shapes
from .vgg import VGG16, conv_sites, conv_widths


class VGGCifar(nnx.Module):
    """Thirteen convolutions with BatchNorm and one dense layer instead of VGG16's two.

    Sites are `conv1_1`, ..., `conv5_3`, each after its ReLU, and `fc6`. The extra sites
    `conv1_1_bn`, ... are before the ReLU, after BatchNorm. 14,990,922 parameters (BatchNorm's
    running statistics are none).

    Args:
        n_classes: logits.
        widths: channels of the convolutions of each block.
        dense_widths: units of the hidden dense layers fc6, fc7, ...; `()` for none, as some
            public VGGs for CIFAR have it.
        rngs: Flax random streams for the initial parameters.

    Source:
        Leavitt and Morcos (2020), arXiv:2003.01262: the two layers of 4,096 units replaced by
        one of 512.
    """

    def __init__(
        self,
        *,
        n_classes: int = 10,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        dense_widths: Sequence[int] = (512,),
        rngs: nnx.Rngs,
    ):
        self.conv_sites = conv_sites(VGG16)
        self.dense_sites = tuple(f"fc{6 + i}" for i in range(len(dense_widths)))
        self.sites = (*self.conv_sites, *self.dense_sites)
        self.extra_sites = tuple(f"{site}_bn" for site in self.conv_sites)
        self.ends_of_blocks = tuple(f"conv{block}_{n}" for block, n in enumerate(VGG16, 1))
        kaiming = nnx.initializers.variance_scaling(2.0, "fan_in", "normal")
        pairs = conv_widths(VGG16, widths)
        self.convs = nnx.List(
            nnx.Conv(n_in, n_out, (3, 3), padding=1, kernel_init=kaiming, rngs=rngs)
            for n_in, n_out in pairs
        )
        self.norms = nnx.List(
            BatchNorm(n, momentum=0.9, epsilon=1e-5, rngs=rngs) for _, n in pairs
        )
        self.dense = nnx.List(
            nnx.Linear(n_in, n_out, rngs=rngs)
            for n_in, n_out in itertools.pairwise((widths[-1], *dense_widths, n_classes))
        )

    def __call__(
        self, images: Float[Array, "images ..."], tap: Tap = untouched
    ) -> Float[Array, "images classes"]:
        """Logits of a batch of images `(images, 32, 32, 3)`."""
        refuse_other_shapes(images, 32, 32, 3)
        x = images
        for site, conv, norm in zip(self.conv_sites, self.convs, self.norms, strict=True):
            x = tap(site, nnx.relu(tap(f"{site}_bn", norm(conv(x)))))
            if site in self.ends_of_blocks:
                x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)  # the maps are 1x1 by now
        *hidden, head = self.dense
        for site, layer in zip(self.dense_sites, hidden, strict=True):
            x = tap(site, nnx.relu(layer(x)))
        return head(x)
