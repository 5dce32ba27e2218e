"""A fully connected network."""

import itertools
import math
from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from ..sites import Tap, untouched


class MLP(nnx.Module):
    """Dense layers with ReLU between them; units are read after each ReLU.

    Args:
        n_inputs: numbers in one image; images of any shape are flattened.
        widths: units of each hidden layer. Their sites are `fc1`, `fc2`, ...
        n_classes: logits.
        rngs: Flax random streams for the initial parameters.

    By default 784-512-512-10: the MNIST networks of Morcos et al. (2018), 669,706
    parameters.
    """

    extra_sites = ()

    def __init__(
        self,
        *,
        n_inputs: int = 784,
        widths: Sequence[int] = (512, 512),
        n_classes: int = 10,
        rngs: nnx.Rngs,
    ):
        self.n_inputs = n_inputs
        self.sites = tuple(f"fc{i + 1}" for i in range(len(widths)))
        self.layers = nnx.List(
            nnx.Linear(n_in, n_out, rngs=rngs)
            for n_in, n_out in itertools.pairwise((n_inputs, *widths, n_classes))
        )

    def __call__(
        self, images: Float[Array, "images ..."], tap: Tap = untouched
    ) -> Float[Array, "images classes"]:
        """Logits of a batch of images."""
        if math.prod(images.shape[1:]) != self.n_inputs:
            shape = "x".join(str(n) for n in images.shape[1:]) or "single numbers"
            raise ValueError(
                f"this network takes images of {self.n_inputs} numbers; found {shape}"
            )
        x = images.reshape(images.shape[0], -1)
        *hidden, head = self.layers
        for site, layer in zip(self.sites, hidden, strict=True):
            x = tap(site, nnx.relu(layer(x)))
        return head(x)
