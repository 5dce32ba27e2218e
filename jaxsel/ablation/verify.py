"""The brute force that the engines are held against: two losses in float64, subtracted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..data.dataset import Dataset
from ..delta.loss import ROUNDINGS, cross_entropy
from ..forward import forward
from ..intact import full_precision, in_float64
from ..memory import fitting, program_bytes
from ..sites import Model
from ..stages import evaluated
from .ablations import Ablations


@dataclass(frozen=True, eq=False)
class Verification:
    """Ablations done again by float64 brute force: one forward pass each, and a subtraction.

    Attributes:
        units: numbers of the units, or groups, that were drawn.
        loss_change: by brute force, nats, summed over all images.
        size: likewise, of the absolute changes.
        error: what the ablation was off by, nats.
        resolution: what the subtraction itself may be off by, nats.
    """

    units: Int[np.ndarray, " drawn"]
    loss_change: Float[np.ndarray, " drawn"]
    size: Float[np.ndarray, " drawn"]
    error: Float[np.ndarray, " drawn"]
    resolution: Float[np.ndarray, " drawn"]

    def worst(self) -> float:
        """The largest error, relative to its unit's sum of absolute changes.

        Or to what brute force can tell from nothing, where that is more.
        """
        return float(np.max(self.error / np.maximum(self.size, self.resolution)))


def brute_force(
    network: Model,
    dataset: Dataset,
    site: str,
    ablations: Ablations,
    *,
    batch_size: int,
    memory: int,
    progress: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Loss with each ablation less the loss without, over all images.

    Args:
        network: as `traceable` gives it; it must run in float64.
        dataset: images and labels.
        site: where the units are.
        ablations: units or groups of them.
        batch_size: images at a time, or fewer.
        memory: bytes that its program may use.
        progress: called with the number of pairs (image, ablation) done.

    Returns:
        Sums of the changes, of their absolute values, and of the rounding errors that the
        subtraction may have, $8 u (2 + |L| + \max_c |l_c|)$ for each image, in nats.
    """
    n = len(ablations.units)
    sums = np.zeros((3, n))
    with full_precision(), jax.enable_x64(True):
        first = next(dataset.batches(batch_size))

        def needs(n: int) -> int:
            images = np.asarray(first.images[:n], np.float64)
            return program_bytes(_loss, network, images, first.labels[:n], ablations, 0, site)

        fits = fitting(needs, len(first.images), memory, "images")
        for batch in dataset.batches(fits):
            images, labels = np.asarray(batch.images, np.float64), batch.labels
            intact, largest = _loss(network, images, labels, ablations, None, site)
            for k in range(n):
                loss, largest_now = _loss(network, images, labels, ablations, k, site)
                change = np.asarray(loss - intact)[batch.where]
                known_to = 2 + intact + jnp.maximum(largest, largest_now)
                known_to = np.asarray(known_to)[batch.where]
                roundoff = ROUNDINGS * 2.0**-53 * known_to
                sums[:, k] += change.sum(), np.abs(change).sum(), roundoff.sum()
                if progress is not None:
                    progress(batch.start * n + (k + 1) * batch.n_images)
    change, size, resolution = sums
    return change, size, resolution


@partial(jax.jit, static_argnames="site")
def _loss(model, images, labels, ablations, k, site) -> tuple[Array, Array]:
    """The loss of each image under an ablation, or none, and its largest logit."""
    units, values = ablations

    def ablated(x: Array) -> Array:
        if units.ndim == 2:
            return jnp.where(units[k], values, x)
        return jnp.where(jnp.arange(x.shape[-1]) == units[k], values[k], x)

    def tap(name: str, x: Array) -> Array:
        return ablated(x) if name == site and k is not None else x

    def run(model: Model, images: Array) -> Array:
        return forward(in_float64(model), images, tap, sites=())[0]

    logits = evaluated(run)(model, images)
    return cross_entropy(logits, labels), jnp.abs(logits).max(axis=1)
