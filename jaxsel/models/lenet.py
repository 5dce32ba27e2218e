"""LeNet5 for 32x32 images."""

from flax import nnx
from jaxtyping import Array, Float

from ..sites import Tap, untouched
from .images import refuse_other_shapes


class LeNet5(nnx.Module):
    """Two convolutions and three dense layers, 6-16-120-84-10; units are read after each ReLU.

    62,006 parameters with three input channels.

    Args:
        n_channels: of the images: 3 for colour, 1 for grey.
        n_classes: logits.
        rngs: Flax random streams for the initial parameters.

    Source:
        LeCun et al. (1998) with ReLU and max-pooling, as Truong and Hasson (2022) and
        PyTorch's CIFAR-10 tutorial have it.
    """

    sites = ("conv1", "conv2", "fc1", "fc2")
    extra_sites = ()

    def __init__(self, *, n_channels: int = 3, n_classes: int = 10, rngs: nnx.Rngs):
        self.n_channels = n_channels
        self.conv1 = nnx.Conv(n_channels, 6, (5, 5), padding="VALID", rngs=rngs)
        self.conv2 = nnx.Conv(6, 16, (5, 5), padding="VALID", rngs=rngs)
        self.fc1 = nnx.Linear(5 * 5 * 16, 120, rngs=rngs)
        self.fc2 = nnx.Linear(120, 84, rngs=rngs)
        self.fc3 = nnx.Linear(84, n_classes, rngs=rngs)

    def __call__(
        self, images: Float[Array, "images ..."], tap: Tap = untouched
    ) -> Float[Array, "images classes"]:
        """Logits of a batch of images `(images, 32, 32, n_channels)`."""
        refuse_other_shapes(images, 32, 32, self.n_channels)
        x = tap("conv1", nnx.relu(self.conv1(images)))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = tap("conv2", nnx.relu(self.conv2(x)))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = tap("fc1", nnx.relu(self.fc1(x.reshape(x.shape[0], -1))))
        x = tap("fc2", nnx.relu(self.fc2(x)))
        return self.fc3(x)
