"""What is taken away, and what that changes at the site."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..delta.channel import OneChannel


class Ablations(NamedTuple):
    """Units taken away one at a time, or groups of them.

    Attributes:
        units: the number of each, or a mask for each group: True is ablated.
        values: what each becomes: one per number, or one per unit of the site.
    """

    units: Int[Array | np.ndarray, " units"] | Bool[Array | np.ndarray, "groups units"]
    values: Float[Array | np.ndarray, " _"]


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
    ablations: Ablations, at: Int[Array, ""], activation: Float[Array, "images ... units"]
) -> OneChannel | Float[Array, "images ... units"]:
    """What one of the ablations changes: a single channel where it is a single unit."""
    units, values = ablations
    if units.ndim == 2:
        return jnp.where(units[at], values - activation, 0)
    one = OneChannel(units[at], activation, activation.shape, activation.ndim - 1)
    return one.with_change(values[at] - one.of(activation))
