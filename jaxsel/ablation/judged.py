"""What a change of the logits does to loss and rank, and how exactly that is known."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..delta.loss import (
    ROUNDINGS,
    cross_entropy_change,
    cross_entropy_change_error,
    label_rank,
)
from ..delta.products import roundoff


def judged(
    logits: Float[Array, "images classes"],
    labels: Int[Array, " images"],
    activation: Float[Array, "images ..."],
    ablated: Float[Array, "images ..."],
    change: Float[Array, "images classes"],
    products: str = "float32",
) -> tuple[Array, Array, Array, Array]:
    """Loss change, its error, top-1 and top-5 change of each image under one ablation.

    Args:
        logits: of the intact network.
        labels: class of each image.
        activation: at the site.
        ablated: by how much the ablated units move.
        change: of the logits, in the precision of the changes.
        products: precision of the products that it comes from.
    """
    loss_change = cross_entropy_change(logits, labels, change)
    before = label_rank(logits, labels)
    v = roundoff(products)
    rank = label_rank(logits, labels, change, tolerance=ROUNDINGS * v)
    # A response is known to some roundings of the largest one; its own relative error goes
    # straight into its effect.
    own = _largest(ablated)
    known_to = ROUNDINGS * float(jnp.finfo(activation.dtype).eps) / 2 * _largest(activation)
    by_response = (known_to / jnp.where(own == 0, 1, own)).astype(change.dtype)
    error = cross_entropy_change_error(logits, labels, change, roundoff=v)
    # Where the response is next to nothing, its relative error may be infinite.
    error += jnp.where(loss_change == 0, 0, by_response * jnp.abs(loss_change))
    # What is too small for float32 must not pass for exactly nothing.
    least = jnp.finfo(np.float32).tiny if change.dtype == np.float32 else 0
    return (
        loss_change,
        jnp.where(own == 0, error, jnp.maximum(error, least)),
        (rank < 1).astype(jnp.int8) - (before < 1).astype(jnp.int8),
        (rank < 5).astype(jnp.int8) - (before < 5).astype(jnp.int8),
    )


def _largest(values: Array) -> Array:
    """The largest magnitude in each image."""
    return jnp.abs(values).max(axis=tuple(range(1, values.ndim)))
