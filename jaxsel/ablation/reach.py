"""How far the ablation of any unit can move each column of a dense layer, at most."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

# Rows of a weight that are float64 at a time: they stay in the processor's cache.
BLOCK = 128


def span_of(units: np.ndarray, values: np.ndarray, n_units: int) -> np.ndarray:
    """The lowest and the highest replacement of every unit; crossed over for one left alone."""
    low, high = np.full(n_units, np.inf), np.full(n_units, -np.inf)
    np.minimum.at(low, units, values)
    np.maximum.at(high, units, values)
    return np.stack([low, high])


@jax.jit
def largest_of(weight: Array) -> Array:
    """The largest magnitude in each column."""
    return jnp.abs(weight).max(axis=0).astype(jnp.float32)


@jax.jit
def reach(h: Array, weight: Array, span: Array, largest: Array) -> Array:
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
    powers = by_rows(weight, add, shares, start)
    return scale * largest * powers ** (1 / 16) * (1 + 1e-4)


def by_rows(weight: Array, add: Callable, x: Array, total: Array) -> Array:
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
