"""What is taken away, and what that changes at the site."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..delta.channel import OneChannel
from ..delta.products import precision_of


class Ablations(NamedTuple):
    """Units taken away one at a time, or groups of them.

    Attributes:
        units: the number of each, or a mask for each group: True is ablated.
        values: what each becomes: one per number, or one per unit of the site.
    """

    units: Int[Array | np.ndarray, " units"] | Bool[Array | np.ndarray, "groups units"]
    values: Float[Array | np.ndarray, " _"]


def some(ablations: Ablations, rows: Int[np.ndarray, " some"]) -> Ablations:
    """Those in some rows."""
    units, values = (np.asarray(array) for array in ablations)
    return Ablations(units[rows], values[rows] if units.ndim == 1 else values)


def moved_by(
    ablations: Ablations, activation: Float[Array, "images ... units"]
) -> Bool[Array, "images ablations"]:
    """Which ablations change anything in each image: some response is not its value yet."""
    units, values = ablations
    places = tuple(range(1, activation.ndim - 1))
    if units.ndim == 1:
        return jnp.any(activation[..., units] != values, axis=places)
    differs = jnp.any(activation != values, axis=places)
    return jnp.any(units & differs[:, None], axis=-1)


def change_by(
    ablations: Ablations,
    at: Int[Array, ""],
    activation: Float[Array, "images ... units"],
    products: str,
) -> tuple[Array, OneChannel | Float[Array, "images ... units"]]:
    """By how much what is ablated moves, and that as a change of the activation.

    It is the change of one channel where a single unit is ablated. From here on all that
    follows of it is float32, unless `products` are float64.
    """
    units, values = ablations
    kind = precision_of(products)
    if units.ndim == 2:
        moved = jnp.where(units[at], values - activation, 0)
        return moved, moved.astype(kind)
    one = OneChannel(units[at], activation, activation.shape, activation.ndim - 1)
    moved = values[at] - one.of(activation)
    return moved, one.with_change(moved.astype(kind))
