"""The engine for any network: what follows the site, walked by `delta` for a chunk of units.

What does not depend on the unit has the precision of the intact pass, float64 as a rule; only
what changes is computed per unit, in full float32.
"""

from collections.abc import Callable, Generator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from ..data.dataset import Batch
from ..delta.channel import OneChannel
from ..delta.transform import delta
from ..intact import full_precision, in_float64, intact_pass
from ..memory import fitting, program_bytes
from ..sites import Model, Tap, replaced
from .ablations import Ablations, change_by
from .condition import DRAWS, shifted, spread
from .judged import judged
from .sizes import Sizes
from .sums import Block, Pass, with_spread

MOST_UNITS = 32  # at a time
# One batch in so many is computed again with shifted numbers.
CHECKED = 16


def generic_engine(
    model: Model,
    site: str,
    ablations: Ablations,
    products: str,
    sizes: Sizes,
    memory: int,
    *,
    careful: bool,
) -> Callable[[Batch], Pass]:
    """The engine for one site: a function from a batch to the effects of its ablations.

    Args:
        model: as `traceable` gives it.
        site: where the units are.
        ablations: units or groups of them.
        products: precision of the products of changes.
        sizes: `chunk`, ablations at a time.
        memory: bytes that a program may use.
        careful: whether all pairs are computed with shifted numbers as well, several times.
    """
    n_ablations = len(ablations.units)
    models: list[Model] = [model] if jax.tree.leaves(model) else []

    def run(batch: Batch) -> Pass:
        logits, activations = intact_pass(model, batch.images, (site,), memory=memory)
        exact, activation = _same_precision(logits, activations[site])
        if not models:
            models.append(_with_constants(model, site, batch.images, activation))
        numbers = models[0], exact, activation
        if "bytes" not in sizes:

            def needs(chunk: int) -> int:
                rows = np.arange(chunk)
                return _changes(_bytes, numbers, None, batch, ablations, rows, site, products)

            most = min(sizes.get("chunk", MOST_UNITS), n_ablations)
            sizes["chunk"] = fitting(needs, most, memory, "ablations")
            sizes["bytes"] = needs(sizes["chunk"])
        chunk = min(sizes["chunk"], n_ablations)
        n = batch.n_images
        checked = (batch.start // len(batch.images)) % CHECKED == 0

        def changes(rows: np.ndarray, draw: int | None = None) -> list[np.ndarray]:
            """Each `(images, ablations)`."""
            padded = np.resize(rows, chunk)
            found = _changes(
                _traced_changes, numbers, draw, batch, ablations, padded, site, products
            )
            return [np.asarray(array)[: len(rows), :n].T for array in found]

        def blocks() -> Generator[Block, None, None]:
            for start in range(0, n_ablations, chunk):
                rows = np.arange(start, min(start + chunk, n_ablations))
                found = Block(slice(0, n), rows, *changes(rows))
                draws = range(DRAWS if careful else int(checked))
                moved = [spread(found.change, changes(rows, draw)[0]) for draw in draws]
                yield with_spread(found, moved, np.ones(n, bool), careful=careful)

        precision = f"{products} changes of {exact.dtype} values"
        return Pass(np.asarray(logits), precision, blocks())

    return run


def _with_constants(
    model: Model, site: str, images: np.ndarray, activation: jax.Array
) -> Model:
    """What follows the site, with the arrays that a plain function holds as leaves."""
    exact = activation.dtype == np.float64
    with full_precision(), jax.enable_x64(exact):
        closed = jax.make_jaxpr(lambda images, x: model(images, replaced(site, x)))(
            images.astype(activation.dtype), activation
        )
    shape, dtype = activation.shape, activation.dtype
    fixed = exact and not _takes_float64(closed)

    def run(consts: list[jax.Array], images: jax.Array, tap: Tap) -> jax.Array:
        seen = tap(site, jnp.zeros(shape, dtype))
        if fixed:
            own = zip(consts, closed.consts, strict=True)
            consts = [const.astype(first.dtype) for const, first in own]
        return jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, consts))(images, seen)[0]

    return jax.tree_util.Partial(run, list(closed.consts))


def _takes_float64(closed: ClosedJaxpr) -> bool:
    """Whether a traced function runs with its own arrays in float64.

    Not where one meets a number that is float32 all the same, such as a mask as 0 and 1.
    """
    inputs = [
        jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in closed.jaxpr.invars
    ]
    try:
        with jax.enable_x64(True):
            wide = jax.eval_shape(in_float64, list(closed.consts))
            jax.eval_shape(partial(eval_jaxpr, closed.jaxpr), wide, *inputs)
    except TypeError:
        return False
    return True


def _same_precision(logits: jax.Array, activation: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both in float64 or, where the network itself casts either to float32, both in that."""
    if logits.dtype == activation.dtype:
        return logits, activation
    return logits.astype(np.float32), activation.astype(np.float32)


def _changes(run, numbers, draw, batch, ablations, rows, site, products):
    """`_traced_changes` in the precision of the intact pass, with shifted numbers if asked."""
    exact = numbers[1].dtype == np.float64
    with full_precision(), jax.enable_x64(exact):
        images = np.asarray(batch.images, np.float64 if exact else np.float32)
        model, *known = numbers
        if products == "float64":
            model = in_float64(model)
        if draw is not None:
            model, *known = shifted((model, *known), products, draw)
        return run(model, images, batch.labels, *known, ablations, rows, site, products)


def _bytes(*arguments):
    """What `_traced_changes` needs."""
    return program_bytes(_traced_changes, *arguments)


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
        own, moved = change_by(ablations, at, activation, products)
        if isinstance(moved, OneChannel):
            moved = moved.whole(activation.shape)
        change = delta(after, strict=True, products=products)(activation, moved)
        return judged(logits, labels, activation, own, change, products)

    return jax.vmap(of_ablation)(rows)
