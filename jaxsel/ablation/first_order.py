"""The usual shortcut: every unit's effect estimated from one backward pass."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jaxtyping import Float

from ..data.dataset import Dataset
from ..delta.loss import cross_entropy
from ..forward import forward
from ..intact import full_precision, traceable
from ..sites import Model, replaced
from .checks import activation_shape, one_per_unit
from .sums import class_sums


def first_order(
    model: Model,
    dataset: Dataset,
    site: str,
    *,
    replacement: float | Float[np.ndarray, " units"] = 0.0,
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
) -> Float[np.ndarray, "units classes"]:
    r"""What ablating each unit would change if the loss were linear in its response.

    $$\sum_i \frac{\partial L_i}{\partial h_{iu}} (r_u - h_{iu})$$

    with $h$ the response (over a feature map, the sum over its places) and $r$ its
    replacement. One backward pass serves all units: cheap, and blind to whatever is not
    linear over the whole way to the replacement. `ablate_units` is exact.

    Args:
        model: called as `model(images, tap)`, in evaluation mode.
        dataset: images and labels.
        site: where the units are.
        replacement: 0, another number, or one value per unit.
        batch_size: images at a time.
        progress: called with the number of images done.

    Returns:
        Estimated changes of the loss, nats, summed over the images of each class; exactly 0
        for a unit whose responses all equal the replacement.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: replacements that do not fit, a network in bfloat16.
        FloatingPointError: an estimate that is NaN or infinite.

    Source:
        The Taylor criterion of Molchanov et al. (2017), arXiv:1611.06440, with its sign.

    >>> model = lambda images, tap: tap("all", images)
    >>> dataset = Dataset(np.ones((1, 2), np.float32), np.array([0]), ("cat", "dog"))
    >>> first_order(model, dataset, "all")[:, 0].tolist()  # exactly: .62 and -.38
    [0.5, -0.5]
    """
    network = traceable(model)
    n_units = activation_shape(model, dataset, site).shape[-1]
    values = one_per_unit(replacement, n_units)
    total = np.zeros((len(dataset.class_names), n_units))
    with full_precision():
        for batch in dataset.batches(batch_size):
            labels = batch.labels[: batch.n_images]
            found = _estimates(network, batch.images, batch.labels, values, site)
            present, sums = class_sums(np.asarray(found)[: len(labels)], labels)
            total[present] += sums
            if progress is not None:
                progress(batch.start + len(labels))
    if not np.isfinite(total).all():
        raise FloatingPointError(f"a first-order estimate at {site} is NaN or infinite")
    return total.T


@partial(jax.jit, static_argnames="site")
def _estimates(model, images, labels, values, site):
    """Gradient times change, `(images, units)`."""
    _, activations = forward(model, images, sites=(site,))
    activation = activations[site]

    def loss(seen):
        return cross_entropy(model(images, replaced(site, seen)), labels).sum()

    change = values.astype(activation.dtype) - activation
    product = jax.grad(loss)(activation) * change
    return product.reshape(len(product), -1, product.shape[-1]).sum(axis=1)
