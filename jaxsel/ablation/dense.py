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
float64; the products are float32. Where the site is followed by the logits, there are no
products, and all of it is float64.

Images are padded to a few sizes of (rows, columns), so that few programs are compiled.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..data.dataset import Batch
from ..delta.loss import ROUNDINGS
from ..intact import full_precision, intact_activations
from ..sites import Model
from .change import IntactLogits, effects, intact_logits
from .head import Dense
from .sums import Block, Pass

# Rows of one product: bounds its memory where no pair is silent.
MOST_ROWS = 4096
# Every pair of sizes compiles a program, for some 0.3 s; in a batch with more operations than
# this, less padding is worth it.
WORTH_FINE_SIZES = 1e11
# Rows of a weight that are float64 at a time: they stay in the processor's cache.
BLOCK = 128


def dense_engine(
    model: Model,
    site: str,
    units: Int[np.ndarray, " units"],
    values: Float[np.ndarray, " units"],
    head: tuple[Dense, ...],
) -> Callable[[Batch], Pass]:
    """The engine for one site: a function from a batch to the effects of its ablations.

    Args:
        model: as `traceable` gives it.
        site: where the units are.
        units: their numbers.
        values: what each unit's responses become.
        head: the layers after the site, as `dense_head` finds them.
    """
    narrow = [jnp.asarray(layer.weight, jnp.float32) for layer in head]
    if len(head) == 2:
        narrow[1:] = [_aligned(narrow[1]), jnp.ptp(narrow[1], axis=1)]
    largest = _largest(narrow[0])
    span = _span(units, values, len(narrow[0]))
    sizes: list[list[int]] = []  # of rows and of columns, from the first batch

    def run(batch: Batch) -> Pass:
        activation = intact_activations(model, batch.images, (site,))[site]
        unit_error = ROUNDINGS * float(jnp.finfo(activation.dtype).eps) / 2
        h = np.asarray(activation, np.float64)
        change = values - h[:, units]
        known_to = unit_error * np.abs(h).max(axis=1)
        with full_precision(), jax.enable_x64(True):
            z, reach = _first_layer(h, head[0], span, largest)
            logits = z if len(head) == 1 else _second_layer(z, head[1])

        def blocks() -> Iterator[Block]:
            with full_precision(), jax.enable_x64(True):
                intact = intact_logits(logits, batch.labels)
                if len(head) == 1:
                    jobs = _to_logits(narrow[0], units, change, intact, sizes)
                else:
                    # What is no number is possible, so that it is not passed over.
                    possible = np.asarray(z), np.asarray(~(z + reach <= 0))
                    jobs = _through_relu(narrow, units, change, *possible, intact, sizes)
                yield _collect(jobs, change, known_to)

        precision = "float64" if len(head) == 1 else "float32"
        values_are = "float64" if activation.dtype == np.float64 else "float32"
        return Pass(np.asarray(logits), f"{precision} changes of {values_are} values", blocks())

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
    return jnp.abs(weight).max(axis=0)


@jax.jit
def _first_layer(h: Array, layer: Dense, span: Array, largest: Array) -> tuple[Array, Array]:
    """h @ weight + bias in float64, and how far some unit can move each of its columns."""
    most = jnp.maximum(jnp.abs(span[0] - h), jnp.abs(span[1] - h))
    most = jnp.where(span[0] <= span[1], most, 0).astype(jnp.float32)
    scale = jnp.max(most, axis=1, keepdims=True)
    shares = _power16(most / jnp.where(scale == 0, 1, scale))
    divisor = jnp.where(largest == 0, 1, largest)

    def add(block: Array, of_h: Array, of_shares: Array, totals: tuple[Array, Array]):
        by_norm = of_shares @ _power16(jnp.abs(block.astype(jnp.float32)) / divisor)
        return totals[0] + of_h @ block.astype(h.dtype), totals[1] + by_norm

    n = len(layer.weight)
    # What underflows in float32 adds less than this.
    start = jnp.full((len(h), len(divisor)), n * 2.0**-126, jnp.float32)
    z, powers = _by_rows(layer.weight, add, (h, shares), (_rows_of(layer.bias, h), start))
    return z, scale * largest * powers ** (1 / 16) * (1 + 1e-4)


@jax.jit
def _second_layer(z: Array, layer: Dense) -> Array:
    """The logits, in float64."""

    def add(block: Array, of_z: Array, total: Array) -> Array:
        return total + jnp.maximum(of_z, 0) @ block.astype(z.dtype)

    return _by_rows(layer.weight, add, (z,), _rows_of(layer.bias, z))


def _by_rows(weight: Array, add: Callable, inputs: tuple[Array, ...], total: Any) -> Any:
    """A sum over blocks of rows of a weight, so that it is never there in float64."""
    n_blocks = weight.shape[0] // BLOCK

    def step(i: Array, total: Any) -> Any:
        rows = lax.dynamic_slice_in_dim(weight, i * BLOCK, BLOCK, 0)
        columns = (lax.dynamic_slice_in_dim(x, i * BLOCK, BLOCK, 1) for x in inputs)
        return add(rows, *columns, total)

    if n_blocks:
        total = lax.fori_loop(0, n_blocks, step, total)
    rest = slice(n_blocks * BLOCK, None)
    return add(weight[rest], *(x[:, rest] for x in inputs), total)


def _rows_of(bias: Array, like: Array) -> Array:
    return jnp.broadcast_to(bias.astype(like.dtype), (len(like), len(bias)))


def _power16(x: Array) -> Array:
    return jnp.square(jnp.square(jnp.square(jnp.square(x))))


Job = tuple[int, np.ndarray, tuple[Array, ...]]  # image, moving units, their effects


def _through_relu(weights, units, change, z, possible, intact, sizes) -> Iterator[Job]:
    """Dense, ReLU, Dense: one product per image over moving rows and possible columns."""
    images = list(_moving(change))
    columns = [np.flatnonzero(row) for row in possible]
    if not sizes:
        flop = (
            2.0
            * weights[1].shape[1]
            * sum(len(moving) * len(columns[i]) for i, moving in images)
        )
        n_rows, n_columns = (4, 6) if flop > WORTH_FINE_SIZES else (1, 2)
        sizes += [
            _sizes([len(moving) for _, moving in images], MOST_ROWS, n_rows),
            _sizes([len(found) for found in columns], z.shape[1], n_columns),
        ]
    for i, moving in images:
        at = z[i, columns[i]]
        if len(at):
            rows = _pad(_size(len(moving), sizes[0]), units[moving], change[i, moving])
            # A column of padding lies infinitely far below its threshold.
            found = _pad(
                _size(len(at), sizes[1]),
                *(columns[i], np.minimum(at, 0), -np.maximum(at, 0)),
                fill=(0, -np.inf, 0),
            )
            yield i, moving, _relu_image(*weights, *rows, *found, intact, i)


def _to_logits(weight, units, change, intact, sizes) -> Iterator[Job]:
    """Dense to logits: elementwise, in float64."""
    images = list(_moving(change))
    if not sizes:
        sizes.append(_sizes([len(moving) for _, moving in images], MOST_ROWS, 2))
    for i, moving in images:
        size = _size(len(moving), sizes[0])
        rows, d = _pad(size, units[moving], change[i, moving])
        yield i, moving, _logit_image(weight, rows, d, intact, i)


@jax.jit
def _relu_image(first, second, spread, rows, d, columns, low, high, intact: IntactLogits, i):
    """Effects of the moving rows of image i."""
    gathered = first.at[rows[:, None], columns].get(mode="promise_in_bounds")
    gathered = lax.optimization_barrier(gathered)  # apart, both loops are faster on CPU
    # In float64, so that a column which just crosses its threshold keeps its digits.
    hidden = jnp.maximum(d[:, None] * gathered + low, high).astype(gathered.dtype)
    size = jnp.sqrt(jnp.sum(jnp.square(hidden * spread[columns]), axis=1))
    gathered = second.at[columns].get(mode="promise_in_bounds")
    # Less the label's weights before the product, not its change after: two to four times
    # as exact.
    e = hidden @ (gathered - gathered[:, intact.label[i]][:, None])
    return effects(intact, i, e, size)


@jax.jit
def _logit_image(weight, rows, d, intact: IntactLogits, i):
    """Effects of the moving rows of image i: the difference to the label is exact."""
    gathered = weight.at[rows].get(mode="promise_in_bounds").astype(d.dtype)
    return effects(intact, i, d[:, None] * (gathered - gathered[:, intact.label[i]][:, None]))


def _moving(change: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Image by image, at most `MOST_ROWS` of the units that move."""
    for i, row in enumerate(change):
        moving = np.flatnonzero(row)
        for start in range(0, len(moving), MOST_ROWS):
            yield i, moving[start : start + MOST_ROWS]


def _sizes(found: Sequence[int], largest: int, n: int) -> list[int]:
    """Sizes to pad to: what divides the sizes found into `n` parts, and steps beyond."""
    sizes = {_up(size) for size in np.quantile(found or [1], np.arange(1, n + 1) / n)}
    while max(sizes) < largest:
        sizes.add(_up(1.25 * max(sizes)))
    return sorted(sizes)


def _up(n: float, step: int = 16) -> int:
    """The next multiple of a step, at least one."""
    return max(int(np.ceil(n / step)), 1) * step


def _size(n: int, sizes: Sequence[int]) -> int:
    return next(size for size in sizes if size >= n)


def _pad(size: int, index: np.ndarray, *arrays: np.ndarray, fill=(0, 0)):
    """Indices and what belongs to them, filled up to a size."""
    out = [np.full(size, fill[0], np.int32)]
    out += [np.full(size, value, np.float64) for value in fill[1:]]
    for target, source in zip(out, (index, *arrays), strict=True):
        target[: len(source)] = source
    return out


def _aligned(weight: Array, step: int = 64) -> Array:
    """More columns, all 0, where they are few: products are a seventh faster so."""
    n = weight.shape[1]
    return jnp.pad(weight, ((0, 0), (0, -n % step))) if n > 8 * step else weight


def _collect(jobs: Iterator[Job], change: np.ndarray, known_to: np.ndarray) -> Block:
    """Every job's effects in their places; a response's own error comes on top."""
    n_images, n_units = change.shape
    loss, error = (np.zeros((n_images, n_units)) for _ in range(2))
    top1, top5 = (np.zeros((n_images, n_units), np.int8) for _ in range(2))
    for i, moving, found in list(jobs):  # all of them started before the first is awaited
        n = len(moving)
        found_loss, found_error, *tops = (np.asarray(array)[:n] for array in found)
        loss[i, moving] = found_loss
        by_response = known_to[i] / np.abs(change[i, moving])
        error[i, moving] = found_error + by_response * np.abs(found_loss)
        top1[i, moving], top5[i, moving] = tops
    return Block(np.arange(n_units), loss, error, top1, top5)
