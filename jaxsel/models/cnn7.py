"""The seven-layer network of Ukita for CIFAR-10."""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from ..sites import Tap, untouched
from .batch_norm import BatchNorm
from .images import refuse_other_shapes


class CNN7(nnx.Module):
    """Six 3x3 convolutions and one dense layer, BatchNorm after each ReLU.

    Every second convolution has stride 2; none is padded, so that maps are 30, 14, 12, 5, 3
    and 1 numbers wide. Sites are after the ReLU, before BatchNorm; the extra sites `conv1_bn`,
    ..., `fc7_bn` are after BatchNorm, where the author's ablation writes its zeros. 360,106
    parameters (BatchNorm's running statistics are none).

    Args:
        n_classes: logits.
        widths: channels of conv1 to conv6.
        dense_width: units of fc7.
        rngs: Flax random streams for the initial parameters.

    Source:
        ukky17/ori_selectivity_CNN (`model.py`), Keras' defaults for BatchNorm.
    """

    sites = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "fc7")
    extra_sites = tuple(f"{site}_bn" for site in sites)

    def __init__(
        self,
        *,
        n_classes: int = 10,
        widths: Sequence[int] = (32, 32, 64, 64, 128, 128),
        dense_width: int = 512,
        rngs: nnx.Rngs,
    ):
        glorot = nnx.initializers.glorot_uniform()
        self.convs = nnx.List(
            nnx.Conv(
                n_in,
                n_out,
                (3, 3),
                strides=(1 + i % 2, 1 + i % 2),
                padding="VALID",
                kernel_init=glorot,
                rngs=rngs,
            )
            for i, (n_in, n_out) in enumerate(zip((3, *widths), widths, strict=False))
        )
        self.norms = nnx.List(
            BatchNorm(n, momentum=0.99, epsilon=1e-3, rngs=rngs) for n in (*widths, dense_width)
        )
        self.fc7 = nnx.Linear(widths[-1], dense_width, kernel_init=glorot, rngs=rngs)
        self.fc8 = nnx.Linear(dense_width, n_classes, kernel_init=glorot, rngs=rngs)

    def __call__(
        self, images: Float[Array, "images ..."], tap: Tap = untouched
    ) -> Float[Array, "images classes"]:
        """Logits of a batch of images `(images, 32, 32, 3)`."""
        refuse_other_shapes(images, 32, 32, 3)
        x = images
        *norms, last = self.norms
        for site, conv, norm in zip(self.sites[:-1], self.convs, norms, strict=True):
            x = tap(site, nnx.relu(conv(x)))
            x = tap(f"{site}_bn", norm(x))
        x = tap("fc7", nnx.relu(self.fc7(x.reshape(x.shape[0], -1))))
        return self.fc8(tap("fc7_bn", last(x)))
