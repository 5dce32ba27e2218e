"""AlexNet as Caffe and MATLAB have it: grouped convolutions and response normalisation."""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from ..sites import Tap, untouched
from .images import refuse_other_shapes
from .layers import local_response_normalisation, max_pool_ceil


class AlexNetCaffe(nnx.Module):
    """Five convolutions, two normalisations and three dense layers, as Kanda et al. used it.

    Units are read after each ReLU, so that a unit taken away at conv1 or conv2 also changes
    what its neighbours are divided by. `conv1_lrn` and `conv2_lrn` are read after the
    normalisation. conv2, conv4 and conv5 see half of the channels each (two groups).
    60,965,224 parameters.

    Args:
        n_classes: logits.
        widths: channels of conv1 to conv5; even numbers, because of the groups.
        dense_widths: units of fc6 and fc7.
        pool_first: pool before the normalisation, as CaffeNet does; by default after it, as
            Krizhevsky et al., Caffe's AlexNet and MATLAB's.
        rngs: Flax random streams for the initial parameters.

    Source:
        Krizhevsky et al. (2012); Caffe's `bvlc_alexnet` and `bvlc_reference_caffenet`.
    """

    sites = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    extra_sites = ("conv1_lrn", "conv2_lrn")

    def __init__(
        self,
        *,
        n_classes: int = 1000,
        widths: Sequence[int] = (96, 256, 384, 384, 256),
        dense_widths: Sequence[int] = (4096, 4096),
        pool_first: bool = False,
        rngs: nnx.Rngs,
    ):
        c1, c2, c3, c4, c5 = widths
        if odd := [n for n in (c1, c2, c3, c4, c5) if n % 2]:
            raise ValueError(f"the groups need even numbers of channels; found {odd}")
        d6, d7 = dense_widths
        self.pool_first = pool_first
        self.conv1 = nnx.Conv(3, c1, (11, 11), strides=(4, 4), padding=0, rngs=rngs)
        self.conv2 = _grouped(c1, c2, 5, rngs)
        self.conv3 = nnx.Conv(c2, c3, (3, 3), padding=1, rngs=rngs)
        self.conv4 = _grouped(c3, c4, 3, rngs)
        self.conv5 = _grouped(c4, c5, 3, rngs)
        self.fc6 = nnx.Linear(6 * 6 * c5, d6, rngs=rngs)
        self.fc7 = nnx.Linear(d6, d7, rngs=rngs)
        self.fc8 = nnx.Linear(d7, n_classes, rngs=rngs)

    def __call__(
        self, images: Float[Array, "images ..."], tap: Tap = untouched
    ) -> Float[Array, "images classes"]:
        """Logits of a batch of images `(images, 227, 227, 3)`, channels blue, green, red.

        224x224 is taken too: pooling rounds up, so that fc6 still sees 6x6 maps.
        """
        side = 224 if images.shape[1:3] == (224, 224) else 227
        refuse_other_shapes(images, side, side, 3)
        x = tap("conv1", nnx.relu(self.conv1(images)))
        x = self._normalised_and_pooled(x, tap, "conv1_lrn")
        x = tap("conv2", nnx.relu(self.conv2(x)))
        x = self._normalised_and_pooled(x, tap, "conv2_lrn")
        x = tap("conv3", nnx.relu(self.conv3(x)))
        x = tap("conv4", nnx.relu(self.conv4(x)))
        x = tap("conv5", nnx.relu(self.conv5(x)))
        x = max_pool_ceil(x, 3, 2)
        x = tap("fc6", nnx.relu(self.fc6(x.reshape(x.shape[0], -1))))
        x = tap("fc7", nnx.relu(self.fc7(x)))
        return self.fc8(x)

    def _normalised_and_pooled(self, x, tap, site):
        if self.pool_first:
            return tap(site, local_response_normalisation(max_pool_ceil(x, 3, 2)))
        return max_pool_ceil(tap(site, local_response_normalisation(x)), 3, 2)


def _grouped(n_in, n_out, size, rngs):
    """A convolution in two groups that keeps the size of its maps."""
    return nnx.Conv(
        n_in, n_out, (size, size), padding=size // 2, feature_group_count=2, rngs=rngs
    )
