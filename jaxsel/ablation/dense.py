r"""The engine for dense layers: image by image, only what can change.

With activations $h$ at the site, $z = h W_1 + b_1$ and logits $\max(z, 0) W_2 + b_2$,
replacing the response of unit $u$ to image $i$ moves $z_{ij}$ by
$d_{iu} W_{1,uj}$, where $d_{iu}$ is the replacement less $h_{iu}$. So

- rows with $d_{iu} = 0$ are left out: for replacement 0 the silent pairs;
- columns with $z_{ij} + \max_u d_{iu} W_{1,uj} \le 0$ are left out: inactive before and
  after every ablation. For the maximum stands the 16-norm over $u$, which is never below it
  and a twentieth more columns above: one product for a whole batch;
- the rest is one product per image, $\max(d W_1 + \min(z, 0), -\max(z, 0)) \, W_2$.

What is left out is exactly 0. $h$, $z$, the logits and the loss of the intact network are
float64; the products are float32, or float64 with few classes. Where the site is followed by
the logits, there are no products, and all of it is float64.

Images are padded to a few sizes of (rows, columns), so that few programs are compiled.
"""

from collections.abc import Callable, Generator, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ..data.dataset import Batch
from ..delta.loss import ROUNDINGS
from ..delta.products import UNROUNDED, rounded, roundoff
from ..intact import full_precision, intact_activations
from ..memory import fitting, program_bytes
from ..sites import Model
from .ablations import Ablations
from .change import IntactLogits, effects, intact_logits
from .head import Dense
from .reach import by_rows, largest_of, reach, span_of
from .sizes import STEP, Sizes, moving_units, pad, size_for, sizes_for
from .sums import Block, Pass

# Rows of one product: bounds its memory where no pair is silent.
MOST_ROWS = 4096
# With so few classes a product in float64 costs next to nothing.
FEW_OUTPUTS = 100
# Every pair of sizes compiles a program, for some 0.3 s; in a batch with more operations than
# this, less padding is worth it.
WORTH_FINE_SIZES = 1e11


def dense_engine(
    model: Model,
    site: str,
    ablations: Ablations,
    head: tuple[Dense, ...],
    products: str,
    sizes: Sizes,
    memory: int,
) -> Callable[[Batch], Pass]:
    """The engine for one site: a function from a batch to the effects of its ablations.

    Args:
        model: as `traceable` gives it.
        site: where the units are.
        ablations: of single units.
        head: the layers after the site, as `dense_head` finds them.
        products: precision of the products of changes.
        sizes: `chunk`, rows at a time; `rows` and `columns`, what images are padded to.
        memory: bytes that a program may use.
    """
    units, values = (np.asarray(array) for array in ablations)
    span = span_of(units, values, len(head[0].weight))
    first, last = head[0].weight, head[-1].weight
    few = last.shape[1] <= FEW_OUTPUTS and products == "float32"
    exact = len(head) == 1 or few or products == "float64"
    kind = np.float64 if exact else np.float32
    with jax.enable_x64(True):
        second = _aligned(jnp.asarray(last, kind))
        largest, weights = largest_of(first), (first, second, jnp.ptp(second, axis=1))

    def run(batch: Batch) -> Pass:
        activation = intact_activations(model, batch.images, (site,), memory=memory)[site]
        unit_error = ROUNDINGS * float(jnp.finfo(activation.dtype).eps) / 2
        h = np.asarray(activation, np.float64)
        change = values - h[:, units]
        change[batch.n_images :] = 0  # copies that fill up the batch
        known_to = unit_error * np.abs(h).max(axis=1)
        with full_precision(), jax.enable_x64(True):
            z = _layer(h, head[0])
            x = h if len(head) == 1 else jnp.maximum(z, 0)
            logits = z if len(head) == 1 else _layer(x, head[1])

        def blocks() -> Generator[Block, None, None]:
            with full_precision(), jax.enable_x64(True):
                intact = intact_logits(logits, batch.labels, _terms(x, weights[2]))
                if len(head) == 1:
                    jobs = _to_logits(first, units, change, intact, sizes, memory)
                else:
                    reached = reach(h, first, span, largest)
                    # What is no number is possible, so that it is not passed over.
                    possible = np.asarray(z), np.asarray(~(z + reached <= 0))
                    known = (weights, units, change, *possible, intact)
                    jobs = _through_relu(*known, products, sizes, memory)
                least = 0 if exact else np.finfo(np.float32).tiny
                yield _collect(jobs, change[: batch.n_images], known_to, float(least))

        precision = (
            f"{np.dtype(kind) if exact else products} changes of {activation.dtype} values"
        )
        return Pass(np.asarray(logits), precision, blocks())

    return run


@jax.jit
def _terms(x: Array, spread: Array) -> Array:
    """The size of what the differences between an image's logits are sums of."""
    return jnp.sqrt(jnp.square(x) @ jnp.square(spread.astype(x.dtype)))


@jax.jit
def _layer(x: Array, layer: Dense) -> Array:
    """x @ weight + bias in float64."""

    def add(block: Array, of_x: Array, total: Array) -> Array:
        return total + of_x @ block.astype(of_x.dtype)

    bias = jnp.broadcast_to(layer.bias.astype(x.dtype), (len(x), len(layer.bias)))
    return by_rows(layer.weight, add, x, bias)


Job = tuple[int, np.ndarray, tuple[Array, ...]]  # image, moving units, their effects


def _through_relu(
    weights, units, change, z, possible, intact, products, sizes, memory
) -> Iterator[Job]:
    """Dense, ReLU, Dense: one product per image over moving rows and possible columns."""
    columns = [np.flatnonzero(row) for row in possible]

    def job(i: int, moving: np.ndarray, n_rows: int, n_columns: int) -> tuple:
        at = z[i, columns[i]]
        rows = pad(n_rows, units[moving], change[i, moving])
        # A column of padding lies infinitely far below its threshold.
        found = pad(
            n_columns,
            *(columns[i], np.minimum(at, 0), -np.maximum(at, 0)),
            fill=(0, -np.inf, 0),
        )
        return *weights, *rows, *found, intact, i, products

    if "columns" not in sizes:
        n_moving = (change != 0).sum(axis=1)
        n_found = [len(found) for found in columns]
        fine = 2.0 * weights[1].shape[1] * (n_moving @ n_found) > WORTH_FINE_SIZES
        sizes["columns"] = sizes_for(n_found, z.shape[1], 6 if fine else 2)
        most = size_for(max(n_found), sizes["columns"])
        _choose_rows(
            sizes,
            n_moving,
            4 if fine else 1,
            lambda n: program_bytes(_relu_image, *job(0, units[:0], n, most)),
            memory,
        )
    for i, moving in moving_units(change, sizes["chunk"]):
        if n_columns := len(columns[i]):
            padded = (
                size_for(len(moving), sizes["rows"]),
                size_for(n_columns, sizes["columns"]),
            )
            yield i, moving, _relu_image(*job(i, moving, *padded))


def _to_logits(weight, units, change, intact, sizes, memory) -> Iterator[Job]:
    """Dense to logits: elementwise, in float64."""

    def job(i: int, moving: np.ndarray, n_rows: int) -> tuple:
        rows, d = pad(n_rows, units[moving], change[i, moving])
        return weight, rows, d, intact, i

    if "rows" not in sizes:
        n_moving = (change != 0).sum(axis=1)
        _choose_rows(
            sizes,
            n_moving,
            2,
            lambda n: program_bytes(_logit_image, *job(0, units[:0], n)),
            memory,
        )
    for i, moving in moving_units(change, sizes["chunk"]):
        padded = size_for(len(moving), sizes["rows"])
        yield i, moving, _logit_image(*job(i, moving, padded))


def _choose_rows(
    sizes: Sizes, n_moving: np.ndarray, n: int, needs: Callable[[int], int], memory: int
) -> None:
    """How many rows go through one program at most, and the sizes they are padded to."""
    chunk = sizes.get("chunk", MOST_ROWS)
    found = [min(int(one), chunk) for one in n_moving if one]
    sizes["rows"] = sizes_for(found, chunk, n)
    most = size_for(max(found, default=1), sizes["rows"]) // STEP
    fits = STEP * fitting(lambda steps: needs(STEP * steps), most, memory, f"{STEP} rows")
    if fits < STEP * most:
        chunk = fits
        sizes["rows"] = sizes_for([min(one, chunk) for one in found], chunk, n)
    sizes["chunk"], sizes["bytes"] = chunk, needs(STEP * min(most, fits // STEP))


@partial(jax.jit, static_argnames="products")
def _relu_image(
    first, second, spread, rows, d, columns, low, high, intact: IntactLogits, i, products
):
    """Effects of the moving rows of image i."""
    gathered = first.at[rows[:, None], columns].get(mode="promise_in_bounds")
    gathered = lax.optimization_barrier(gathered)  # apart, both loops are faster on CPU
    # In float64, so that a column which just crosses its threshold keeps its digits.
    hidden = jnp.maximum(d[:, None] * gathered + low, high).astype(second.dtype)
    size = jnp.sqrt(jnp.sum(jnp.square(hidden * spread[columns]), axis=1))
    gathered = second.at[columns].get(mode="promise_in_bounds")
    # Less the label's weights before the product, not its change after: two to four times
    # as exact.
    apart = gathered - gathered[:, intact.label[i]][:, None]
    if products in UNROUNDED:
        return effects(intact, i, hidden @ apart, size)
    operands = (rounded(operand, products) for operand in (hidden, apart))
    e = jnp.matmul(*operands, precision="default", preferred_element_type=hidden.dtype)
    return effects(intact, i, e, size, roundoff(products))


@jax.jit
def _logit_image(weight, rows, d, intact: IntactLogits, i):
    """Effects of the moving rows of image i: the difference to the label is exact."""
    gathered = weight.at[rows].get(mode="promise_in_bounds").astype(d.dtype)
    return effects(intact, i, d[:, None] * (gathered - gathered[:, intact.label[i]][:, None]))


def _aligned(weight: Array, step: int = 64) -> Array:
    """More columns, all 0, where they are few: products are a seventh faster so."""
    n = weight.shape[1]
    return jnp.pad(weight, ((0, 0), (0, -n % step))) if n > 8 * step else weight


def _collect(
    jobs: Iterator[Job], change: np.ndarray, known_to: np.ndarray, least: float
) -> Block:
    """Every job's effects in their places; a response's own error comes on top.

    What is too small for float32 must not pass for exactly nothing: the error is at least
    `least`.
    """
    n_images, n_units = change.shape
    loss, error = (np.zeros((n_images, n_units)) for _ in range(2))
    top1, top5 = (np.zeros((n_images, n_units), np.int8) for _ in range(2))
    for i, moving, found in list(jobs):  # all of them started before the first is awaited
        n = len(moving)
        found_loss, found_error, *tops = (np.asarray(array)[:n] for array in found)
        loss[i, moving] = found_loss
        by_response = known_to[i] / np.abs(change[i, moving])
        found_error = found_error + by_response * np.abs(found_loss)
        error[i, moving] = np.maximum(found_error, least)
        top1[i, moving], top5[i, moving] = tops
    return Block(slice(0, n_images), np.arange(n_units), loss, error, top1, top5)
