"""The engine for any network: what follows the site, walked by `delta` for a chunk of units.

What does not depend on the unit has the precision of the intact pass, float64 as a rule; only
what changes is computed per unit, in full float32.
"""

from collections.abc import Generator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ..data.dataset import Batch
from ..delta.channel import OneChannel
from ..delta.transform import delta
from ..intact import full_precision, in_float64, intact_pass
from ..sites import Model, replaced
from .ablations import Ablations, change_by
from .judged import judged
from .sums import Block, Pass


def generic_pass(
    model: Model, batch: Batch, site: str, ablations: Ablations, chunk: int, products: str
) -> Pass:
    """The intact logits of a batch, and the effects of its ablations chunk by chunk.

    Args:
        model: as `traceable` gives it.
        batch: images and labels.
        site: where the units are.
        ablations: units or groups of them.
        chunk: ablations at a time.
        products: precision of the products of changes.
    """
    logits, activations = intact_pass(model, batch.images, (site,))
    exact, activation = _same_precision(logits, activations[site])
    known = (model, batch.images, batch.labels, exact, activation, ablations)
    n, n_ablations = batch.n_images, len(ablations.units)

    def blocks() -> Generator[Block, None, None]:
        for start in range(0, n_ablations, chunk):
            rows = np.arange(start, min(start + chunk, n_ablations))
            found = _changes(*known, np.resize(rows, chunk), site, products)
            yield Block(
                slice(0, n), rows, *(np.asarray(array)[: len(rows), :n].T for array in found)
            )

    return Pass(np.asarray(logits), f"{products} changes of {exact.dtype} values", blocks())


def _same_precision(logits: jax.Array, activation: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both in float64 or, where the network itself casts either to float32, both in that."""
    if logits.dtype == activation.dtype:
        return logits, activation
    return logits.astype(np.float32), activation.astype(np.float32)


def _changes(model, images, labels, logits, activation, ablations, rows, site, products):
    """`_traced_changes` in the precision of the intact pass."""
    exact = logits.dtype == np.float64
    with full_precision(), jax.enable_x64(exact):
        if exact:
            images = np.asarray(images, np.float64)
        return _traced_changes(
            model, images, labels, logits, activation, ablations, rows, site, products
        )


@partial(jax.jit, static_argnames=("site", "products"))
def _traced_changes(model, images, labels, logits, activation, ablations, rows, site, products):
    """Loss change, its error, top-1 and top-5 change, each `(ablations, images)`.

    In float32 throughout, a unit whose small response just crosses a threshold after it
    would be known to a few digits only.
    """
    if logits.dtype == jnp.float64:
        model = in_float64(model)

    def after(replaced_activation):
        return model(images, replaced(site, replaced_activation))

    def of_ablation(at):
        own, moved = change_by(ablations, at, activation)
        if isinstance(moved, OneChannel):
            moved = moved.whole(activation.shape)
        change = delta(after, strict=True, products=products)(activation, moved)
        return judged(logits, labels, activation, own, change, products)

    return jax.vmap(of_ablation)(rows)
