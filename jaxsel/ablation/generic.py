"""The engine for any network: what follows the site, walked by `delta` for a chunk of units.

What does not depend on the unit has the precision of the intact pass, float64 as a rule; only
what changes is computed per unit, in full float32.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..data.dataset import Batch
from ..delta.loss import (
    ROUNDINGS,
    cross_entropy_change,
    cross_entropy_change_error,
    label_rank,
)
from ..delta.transform import delta
from ..intact import full_precision, in_float64, intact_pass
from ..sites import Model, replaced
from .sums import Block, Pass


def generic_pass(
    model: Model,
    batch: Batch,
    site: str,
    units: Int[np.ndarray, " units"],
    values: Float[np.ndarray, " units"],
    chunk: int,
) -> Pass:
    """The intact logits of a batch, and the effects of its ablations chunk by chunk.

    Args:
        model: as `traceable` gives it.
        batch: images and labels.
        site: where the units are.
        units: their numbers.
        values: what each unit's responses become.
        chunk: units at a time.
    """
    logits, activations = intact_pass(model, batch.images, (site,))
    exact, activation = _same_precision(logits, activations[site])
    known = (model, batch.images, batch.labels, exact, activation)

    def blocks() -> Iterator[Block]:
        for start in range(0, len(units), chunk):
            rows = np.arange(start, min(start + chunk, len(units)))
            padded = np.resize(rows, chunk)
            found = _changes(*known, units[padded], values[padded], site)
            yield Block(rows, *(np.asarray(array)[: len(rows)].T for array in found))

    return Pass(np.asarray(logits), f"float32 changes of {exact.dtype} values", blocks())


def _same_precision(logits: jax.Array, activation: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both in float64 or, where the network itself casts either to float32, both in that."""
    if logits.dtype == activation.dtype:
        return logits, activation
    return logits.astype(np.float32), activation.astype(np.float32)


def _changes(model, images, labels, logits, activation, units, values, site):
    """`_traced_changes` in the precision of the intact pass."""
    exact = logits.dtype == np.float64
    with full_precision(), jax.enable_x64(exact):
        if exact:
            images = np.asarray(images, np.float64)
        return _traced_changes(model, images, labels, logits, activation, units, values, site)


@partial(jax.jit, static_argnames="site")
def _traced_changes(model, images, labels, logits, activation, units, values, site):
    """Loss change, its error, top-1 and top-5 change, each `(units, images)`.

    In float32 throughout, a unit whose small response just crosses a threshold after it
    would be known to a few digits only.
    """
    if logits.dtype == jnp.float64:
        model = in_float64(model)

    def after(replaced_activation):
        return model(images, replaced(site, replaced_activation))

    before, largest = label_rank(logits, labels), _largest(activation)
    tolerance = ROUNDINGS * float(jnp.finfo(jnp.float32).eps) / 2

    def of_unit(unit, value):
        ablated = jnp.arange(activation.shape[-1]) == unit
        moved = jnp.where(ablated, value - activation, 0).astype(jnp.float32)
        change = delta(after, strict=True)(activation, moved)
        loss_change = cross_entropy_change(logits, labels, change)
        rank = label_rank(logits, labels, change, tolerance=tolerance)
        # A response is known to some roundings of the largest one; its own relative error
        # goes straight into its effect.
        own = _largest(value - activation[..., unit])
        known_to = ROUNDINGS * float(jnp.finfo(activation.dtype).eps) / 2 * largest
        by_response = (known_to / jnp.where(own == 0, 1, own)).astype(jnp.float32)
        return (
            loss_change,
            cross_entropy_change_error(logits, labels, change)
            + by_response * jnp.abs(loss_change),
            (rank < 1).astype(jnp.int8) - (before < 1).astype(jnp.int8),
            (rank < 5).astype(jnp.int8) - (before < 5).astype(jnp.int8),
        )

    return jax.vmap(of_unit)(units, values)


def _largest(activation: jax.Array) -> jax.Array:
    """The largest magnitude in each image's activation."""
    return jnp.abs(activation).max(axis=tuple(range(1, activation.ndim)))
