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
from ..sites import Model
from .ablations import Ablations
from .change import IntactLogits, effects, intact_logits
from .head import Dense
from .sizes import moving_units, pad, size_for, sizes_for
from .sums import Block, Pass

# Rows of one product: bounds its memory where no pair is silent.
MOST_ROWS = 4096
# With so few classes a product in float64 costs next to nothing.
FEW_OUTPUTS = 100
# Every pair of sizes compiles a program, for some 0.3 s; in a batch with more operations than
# this, less padding is worth it.
WORTH_FINE_SIZES = 1e11
# Rows of a weight that are float64 at a time: they stay in the processor's cache.
BLOCK = 128


def dense_engine(
    model: Model,
    site: str,
    ablations: Ablations,
    head: tuple[Dense, ...],
    products: str,
) -> Callable[[Batch], Pass]:
    """The engine for one site: a function from a batch to the effects of its ablations.

    Args:
        model: as `traceable` gives it.
        site: where the units are.
        ablations: of single units.
        head: the layers after the site, as `dense_head` finds them.
        products: precision of the products of changes.
    """
    units, values = (np.asarray(array) for array in ablations)
    span = _span(units, values, len(head[0].weight))
    sizes: list[list[int]] = []  # of rows and of columns, from the first batch
    first, last = head[0].weight, head[-1].weight
    few = last.shape[1] <= FEW_OUTPUTS and products == "float32"
    exact = len(head) == 1 or few or products == "float64"
    kind = np.float64 if exact else np.float32
    with jax.enable_x64(True):
        second = _aligned(jnp.asarray(last, kind))
        largest, weights = _largest(first), (first, second, jnp.ptp(second, axis=1))

    def run(batch: Batch) -> Pass:
        activation = intact_activations(model, batch.images, (site,))[site]
        unit_error = ROUNDINGS * float(jnp.finfo(activation.dtype).eps) / 2
        h = np.asarray(activation, np.float64)
        change = values - h[:, units]
        change[batch.n_images :] = 0  # copies that fill up the batch
        known_to = unit_error * np.abs(h).max(axis=1)
        with full_precision(), jax.enable_x64(True):
            z = _layer(h, head[0])
            logits = z if len(head) == 1 else _layer(jnp.maximum(z, 0), head[1])

        def blocks() -> Generator[Block, None, None]:
            with full_precision(), jax.enable_x64(True):
                intact = intact_logits(logits, batch.labels)
                if len(head) == 1:
                    jobs = _to_logits(first, units, change, intact, sizes)
                else:
                    reach = _reach(h, first, span, largest)
                    # What is no number is possible, so that it is not passed over.
                    possible = np.asarray(z), np.asarray(~(z + reach <= 0))
                    jobs = _through_relu(
                        weights, units, change, *possible, intact, sizes, products
                    )
                least = 0 if exact else np.finfo(np.float32).tiny
                yield _collect(jobs, change[: batch.n_images], known_to, float(least))

        precision = (
            f"{np.dtype(kind) if exact else products} changes of {activation.dtype} values"
        )
        return Pass(np.asarray(logits), precision, blocks())

    return run


def _span(units: np.ndarray, values: np.ndarray, n_units: int) -> np.ndarray:
    """The lowest and the highest replacement of every unit; crossed over for one left alone."""
    low, high = np.full(n_units, np.inf), np.full(n_units, -np.inf)
    np.minimum.at(low, units, values)
    np.maximum.at(high, units, values)
    return np.stack([low, high])


@jax.jit
def _largest(weight: Array) -> Array:
    """The largest magnitude in each column."""
    return jnp.abs(weight).max(axis=0).astype(jnp.float32)


@jax.jit
def _layer(x: Array, layer: Dense) -> Array:
    """x @ weight + bias in float64."""

    def add(block: Array, of_x: Array, total: Array) -> Array:
        return total + of_x @ block.astype(of_x.dtype)

    bias = jnp.broadcast_to(layer.bias.astype(x.dtype), (len(x), len(layer.bias)))
    return _by_rows(layer.weight, add, x, bias)


@jax.jit
def _reach(h: Array, weight: Array, span: Array, largest: Array) -> Array:
    """How far some unit can move each column of the layer, or a little further."""
    most = jnp.maximum(jnp.abs(span[0] - h), jnp.abs(span[1] - h))
    most = jnp.where(span[0] <= span[1], most, 0).astype(jnp.float32)
    scale = jnp.max(most, axis=1, keepdims=True)
    shares = _power16(most / jnp.where(scale == 0, 1, scale))
    divisor = jnp.where(largest == 0, 1, largest)

    def add(block: Array, of_shares: Array, total: Array) -> Array:
        return total + of_shares @ _power16(jnp.abs(block).astype(jnp.float32) / divisor)

    # What underflows in float32 adds less than this.
    start = jnp.full((len(h), len(divisor)), len(weight) * 2.0**-126, jnp.float32)
    powers = _by_rows(weight, add, shares, start)
    return scale * largest * powers ** (1 / 16) * (1 + 1e-4)


def _by_rows(weight: Array, add: Callable, x: Array, total: Array) -> Array:
    """A sum over blocks of rows of a weight: of what is made of it, only a block is there."""
    n_blocks = weight.shape[0] // BLOCK

    def step(i: Array, total: Array) -> Array:
        rows = lax.dynamic_slice_in_dim(weight, i * BLOCK, BLOCK, 0)
        return add(rows, lax.dynamic_slice_in_dim(x, i * BLOCK, BLOCK, 1), total)

    if n_blocks:
        total = lax.fori_loop(0, n_blocks, step, total)
    return add(weight[n_blocks * BLOCK :], x[:, n_blocks * BLOCK :], total)


def _power16(x: Array) -> Array:
    return jnp.square(jnp.square(jnp.square(jnp.square(x))))


Job = tuple[int, np.ndarray, tuple[Array, ...]]  # image, moving units, their effects


def _through_relu(
    weights, units, change, z, possible, intact, sizes, products
) -> Iterator[Job]:
    """Dense, ReLU, Dense: one product per image over moving rows and possible columns."""
    images = list(moving_units(change, MOST_ROWS))
    columns = [np.flatnonzero(row) for row in possible]
    if not sizes:
        flop = (
            2.0
            * weights[1].shape[1]
            * sum(len(moving) * len(columns[i]) for i, moving in images)
        )
        n_rows, n_columns = (4, 6) if flop > WORTH_FINE_SIZES else (1, 2)
        sizes += [
            sizes_for([len(moving) for _, moving in images], MOST_ROWS, n_rows),
            sizes_for([len(found) for found in columns], z.shape[1], n_columns),
        ]
    for i, moving in images:
        at = z[i, columns[i]]
        if len(at):
            rows = pad(size_for(len(moving), sizes[0]), units[moving], change[i, moving])
            # A column of padding lies infinitely far below its threshold.
            found = pad(
                size_for(len(at), sizes[1]),
                *(columns[i], np.minimum(at, 0), -np.maximum(at, 0)),
                fill=(0, -np.inf, 0),
            )
            yield i, moving, _relu_image(*weights, *rows, *found, intact, i, products)


def _to_logits(weight, units, change, intact, sizes) -> Iterator[Job]:
    """Dense to logits: elementwise, in float64."""
    images = list(moving_units(change, MOST_ROWS))
    if not sizes:
        sizes.append(sizes_for([len(moving) for _, moving in images], MOST_ROWS, 2))
    for i, moving in images:
        size = size_for(len(moving), sizes[0])
        rows, d = pad(size, units[moving], change[i, moving])
        yield i, moving, _logit_image(weight, rows, d, intact, i)


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
