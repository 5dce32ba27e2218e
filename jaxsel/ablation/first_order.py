"""The usual shortcut: every unit's effect estimated from one backward pass."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..data.dataset import Dataset
from ..delta.loss import cross_entropy
from ..forward import forward
from ..intact import full_precision, traceable
from ..sites import Model
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
    return first_orders(
        model,
        dataset,
        {site: replacement},
        batch_size=batch_size,
        progress=progress,
    )[site]


def first_orders(
    model: Model,
    dataset: Dataset,
    replacements: Mapping[str, float | Float[np.ndarray, " units"]],
    *,
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Float[np.ndarray, "units classes"]]:
    """`first_order` of the units of several sites, from one backward pass for all.

    Args:
        model: as in `first_order`, as are all that are not mentioned here.
        dataset: images and labels.
        replacements: of the responses, by site.
        batch_size: images at a time.
        progress: called with the number of images done.

    Returns:
        The estimates by site.

    >>> model = lambda images, tap: tap("all", images)
    >>> dataset = Dataset(np.ones((1, 2), np.float32), np.array([0]), ("cat", "dog"))
    >>> first_orders(model, dataset, {"all": 0.0})["all"][:, 0].tolist()
    [0.5, -0.5]
    """
    network, values, totals = traceable(model), {}, {}
    for site, replacement in replacements.items():
        n_units = activation_shape(model, dataset, site).shape[-1]
        values[site] = one_per_unit(replacement, n_units)
        totals[site] = np.zeros((len(dataset.class_names), n_units))
    with full_precision():
        for batch in dataset.batches(batch_size):
            labels = batch.labels[: batch.n_images]
            found = _estimates(network, batch.images, batch.labels, values)
            for site, estimates in found.items():
                present, sums = class_sums(np.asarray(estimates)[: len(labels)], labels)
                totals[site][present] += sums
            if progress is not None:
                progress(batch.start + len(labels))
    for site, total in totals.items():
        if not np.isfinite(total).all():
            raise FloatingPointError(f"a first-order estimate at {site} is NaN or infinite")
    return {site: total.T for site, total in totals.items()}


@jax.jit
def _estimates(model, images, labels, values):
    """Gradient times change, `(images, units)` by site."""
    _, activations = forward(model, images, sites=tuple(values))

    def loss(moves):
        def moved(name, x):
            return x + moves[name] if name in moves else x

        return cross_entropy(model(images, moved), labels).sum()

    nothing = {site: jnp.zeros_like(one) for site, one in activations.items()}
    gradients = jax.grad(loss)(nothing)
    found = {}
    for site, activation in activations.items():
        change = values[site].astype(activation.dtype) - activation
        product = gradients[site] * change
        found[site] = product.reshape(len(product), -1, product.shape[-1]).sum(axis=1)
    return found
