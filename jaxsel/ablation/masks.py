"""The plain way: run the network once per masked unit, and subtract two losses.

What everybody writes first, kept as the baseline that the engines are tested and timed
against: `vmap` over the indices of masked units, on cached inputs of the layer (those of fc6,
say), so that what is before them runs once. It is float32 throughout.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..data.dataset import Dataset
from ..delta.loss import cross_entropy
from ..forward import forward
from ..intact import full_precision, traceable
from ..sites import Model
from .checks import activation_shape, check_units
from .sums import class_sums

NO_UNIT = -1


def ablate_by_masks(
    model: Model,
    dataset: Dataset,
    site: str,
    *,
    cached: str | None = None,
    units: Int[np.ndarray, " units"] | None = None,
    replacement: float = 0.0,
    batch_size: int = 64,
    chunk: int = 16,
) -> Float[np.ndarray, "units classes"]:
    """Loss with one unit masked less the loss without, for every unit: the plain way.

    Prefer `ablate_units`: it is faster, and keeps the digits that the subtraction loses.

    Args:
        model: called as `model(images, tap)`, in evaluation mode.
        dataset: images and labels.
        site: where the units are.
        cached: the site whose activations are computed once and run on from, such as the
            one before the layer; by default the units' own.
        units: which of them; all by default.
        replacement: what a masked response is set to.
        batch_size: images at a time.
        chunk: units at a time. Memory grows with `batch_size * chunk`.

    Returns:
        Changes of the loss, nats, summed over the images of each class. Their error is some
        roundings of the *loss*, not of the change.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: a unit that the site does not have, activations cached after it.
        FloatingPointError: a loss change that is NaN or infinite.

    >>> model = lambda images, tap: tap("all", images)
    >>> dataset = Dataset(np.ones((1, 2), np.float32), np.array([0]), ("cat", "dog"))
    >>> ablate_by_masks(model, dataset, "all")[:, 0].round(3).tolist()
    [0.62, -0.38]
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1; found {chunk}")
    network, cached = traceable(model), cached or site
    n_units = activation_shape(model, dataset, site).shape[-1]
    chosen = np.arange(n_units) if units is None else np.asarray(units)
    check_units(chosen, n_units, site)
    _check_order(model, dataset, cached, site)
    total = np.zeros((len(dataset.class_names), len(chosen)))
    with full_precision():
        for batch in dataset.batches(batch_size):
            cache = _activation(network, batch.images, cached)
            labels = batch.labels[: batch.n_images]
            known = (network, batch.images, batch.labels, cache, replacement)
            run = partial(_losses, *known, site=site, cached=cached)
            intact = run(np.array([NO_UNIT]))
            for start in range(0, len(chosen), chunk):
                rows = np.arange(start, min(start + chunk, len(chosen)))
                change = run(chosen[np.resize(rows, chunk)]) - intact
                change = np.asarray(change)[: len(rows), : len(labels)].T
                present, sums = class_sums(change, labels)
                total[np.ix_(present, rows)] += sums
    if not np.isfinite(total).all():
        raise FloatingPointError(f"a loss change at {site} is NaN or infinite")
    return total.T


def _check_order(model: Model, dataset: Dataset, cached: str, site: str) -> None:
    image = jax.ShapeDtypeStruct(dataset.inputs(slice(0, 1)).shape, np.float32)
    order: list[str] = []
    jax.eval_shape(lambda images: model(images, lambda name, x: order.append(name) or x), image)
    if cached not in order[: order.index(site) + 1]:
        raise ValueError(
            f"cached must be {site} or before it, "
            f"{', '.join(order[: order.index(site) + 1])}; found {cached}"
        )


@partial(jax.jit, static_argnames="site")
def _activation(model, images, site):
    return forward(model, images, sites=(site,))[1][site]


@partial(jax.jit, static_argnames=("site", "cached"))
def _losses(model, images, labels, cache, replacement, units, site, cached):
    """The loss of every image with each of the units masked."""

    def masked_loss(unit):
        def tap(name, x):
            x = cache if name == cached else x
            masked = jnp.where(jnp.arange(x.shape[-1]) == unit, replacement, x)
            return masked if name == site else x

        return cross_entropy(model(images, tap), labels)

    return jax.vmap(masked_loss)(units)
