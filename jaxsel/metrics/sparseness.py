"""Sparseness over images (Vinje and Gallant)."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float


def sparseness(responses: Float[ArrayLike, "images units"]) -> Float[Array, " units"]:
    r"""How few of the images a unit responds to.

    $$s = \frac{1 - (\sum_k r_k)^2 / (N \sum_k r_k^2)}{1 - 1/N}$$

    Args:
        responses: $r_k$ of every unit to each of $N$ images, in the units of the
            activation, non-negative as after a ReLU. Where negative responses cancel the
            others, the formula exceeds 1, by up to N / (N - 1): it is cut off at 1.

    Returns:
        One number per unit, dimensionless: 0 (the same response to every image) to 1 (one
        image only). NaN for a silent unit and for a single image.

    Source:
        Vinje and Gallant (2000), Science 287:1273; Kanda et al. (2020), arXiv:2001.07811,
        Methods.

    >>> sparseness(jnp.array([[1.0, 2.0, 0.0], [0.0, 2.0, 0.0]])).tolist()
    [1.0, 0.0, nan]
    """
    responses = jnp.asarray(responses)
    # The index does not depend on the scale; with it, squares could overflow or vanish.
    scale = jnp.abs(responses).max(axis=0)
    scaled = responses / jnp.where(scale == 0, 1, scale)
    return sparseness_from_sums(
        scaled.sum(axis=0), jnp.square(scaled).sum(axis=0), responses.shape[0]
    )


def sparseness_from_sums(
    sums: Float[Array | np.ndarray, " units"],
    sum_of_squares: Float[Array | np.ndarray, " units"],
    n_images: int,
) -> Float[Array, " units"]:
    """`sparseness` from running sums, for images that went by in a stream.

    Args:
        sums: responses summed over the images.
        sum_of_squares: squared responses summed over the images.
        n_images: how many images, at least 2.

    Returns:
        As `sparseness`.

    >>> sparseness_from_sums(jnp.array([1.0]), jnp.array([1.0]), 5).tolist()
    [1.0]
    """
    if n_images < 2:
        return jnp.full(sums.shape, jnp.nan)
    silent = sum_of_squares == 0
    # In the precision of the sums: float64 sums may leave float32, what becomes of them here
    # does not.
    evenness = jnp.asarray(sums * (sums / (sum_of_squares + silent)) / n_images)
    # Rounding can bring equal responses a last bit outside the range.
    index = jnp.clip((1 - evenness) / (1 - 1 / n_images), 0, 1)
    return jnp.where(silent, jnp.nan, index)
