"""The loss that turns the selectivity of units up or down."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from ..forward import forward, unit_responses
from ..sites import Model, Tap, untouched
from .indices import Index, class_selectivity


class Parts(NamedTuple):
    """What a loss is made of, over all images that count.

    Attributes:
        cross_entropy: mean over the images, nats.
        accuracy: share of images whose largest logit is their label's.
        indices: mean of the index over the units of every site, `(sites,)`.
    """

    cross_entropy: Float[Array, ""]
    accuracy: Float[Array, ""]
    indices: Float[Array, " sites"]


def selectivity_loss(
    model: Model,
    images: Float[Array, "images ..."],
    labels: Int[Array, " images"],
    *,
    alpha: Float[Array, ""] | float | int,
    sites: Sequence[str] | None = None,
    index: Index | None = None,
    where: Bool[Array, " images"] | None = None,
    axis_name: str | None = None,
    tap: Tap = untouched,
) -> tuple[Float[Array, ""], Parts]:
    r"""Cross-entropy less alpha times the mean selectivity of the units.

    $$\mathrm{loss} = \mathrm{CE} - \alpha \frac{1}{S} \sum_s \frac{1}{U_s} \sum_u
    \mathrm{SI}_{su}$$

    over the $U_s$ units of each of $S$ sites, the index SI of the class means of the images
    given. Positive alpha makes units selective, negative alpha keeps them from it.
    Differentiable in everything that the model holds.

    Args:
        model: called as `model(images, tap)`; in training mode, if it has one.
        images: a minibatch, preprocessed.
        labels: of the images, 0 to classes - 1.
        alpha: weight of the regulariser, nats per unit of the index.
        sites: whose units count; by default all of the model's. With none, the loss is the
            cross-entropy.
        index: of the responses to the batch (`jaxsel.training.indices`); by default the class
            selectivity index. Responses to feature maps are their spatial means.
        where: images that count; by default all. Others add nothing, not even to the mean.
        axis_name: the mapped axis over which the minibatch is spread, each device with as many
            images; loss and parts are then those of the whole minibatch, on every device. The
            average of the devices' gradients (`jax.lax.pmean`) is its gradient.
        tap: edits activations on their way, before they are read.

    Returns:
        The loss in nats, and its parts.

    Raises:
        KeyError: a site that this network does not have.

    Source:
        Leavitt and Morcos (2020), arXiv:2003.01262, equation 2.

    >>> def model(images, tap):
    ...     return tap("units", images)
    >>> images, labels = jnp.array([[3.0, 0.0], [1.0, 0.0]]), jnp.array([0, 1])
    >>> loss, parts = selectivity_loss(model, images, labels, alpha=1.0)
    >>> parts.indices.tolist()  # of one unit 0.5, and of one that is silent 0
    [0.25]
    """
    logits, activations = forward(model, images, tap, sites=sites)
    counted = jnp.ones(labels.shape, bool) if where is None else where
    n_classes = logits.shape[1]
    each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    right = logits.argmax(axis=1) == labels
    sums = jnp.stack([jnp.where(counted, values, 0).sum() for values in (each, right, counted)])
    if axis_name is not None:
        sums = lax.psum(sums, axis_name)
    cross_entropy, accuracy = sums[:2] / sums[2]

    # An index is no sum over images: one of a device's own images would be another.
    responses = {
        site: whole_batch(unit_responses(activation), axis_name)
        for site, activation in activations.items()
    }
    all_labels, all_counted = (whole_batch(x, axis_name) for x in (labels, counted))
    chosen = class_selectivity() if index is None else index
    if not responses:
        return cross_entropy, Parts(cross_entropy, accuracy, jnp.zeros(0, logits.dtype))
    per_site = jnp.stack(
        [
            chosen(values, all_labels, n_classes, all_counted).mean()
            for values in responses.values()
        ]
    )
    loss = cross_entropy - alpha * per_site.mean()
    return loss, Parts(cross_entropy, accuracy, per_site)


def whole_batch(
    rows: Shaped[Array, "images ..."], axis_name: str | None
) -> Shaped[Array, "all_images ..."]:
    """The rows of every device that shares a batch, in the order of the devices.

    A sum over devices, each with zeros in the places of the others: exact, and the same on
    every device, so that whatever follows is computed from the whole batch.
    """
    if axis_name is None:
        return rows
    n_devices = lax.axis_size(axis_name)
    number = rows.astype(jnp.int32) if rows.dtype == bool else rows
    places = jnp.zeros((n_devices, *rows.shape), number.dtype)
    placed = places.at[lax.axis_index(axis_name)].set(number)
    everywhere = lax.psum(placed, axis_name).reshape(-1, *rows.shape[1:])
    return everywhere.astype(rows.dtype)
