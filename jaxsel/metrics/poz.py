"""Percentage of zeros: how rarely a unit fires."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float


def percentage_of_zeros(
    responses: Float[ArrayLike, "images units"],
) -> Float[Array, " units"]:
    """Percent of the images to which a unit's response is exactly 0.

    Args:
        responses: one number per image and unit, read after a ReLU.

    Returns:
        One number per unit, in percent: 0 (fires for every image) to 100 (silent). NaN and
        negative responses are no zeros. With one image: 0 or 100.

    Source:
        Truong and Hasson, "Using deep neural networks for modeling representational
        spaces", Current study (there "PoZ"), after Hu et al. (2016), arXiv:1607.03250.

    >>> percentage_of_zeros(jnp.array([[0.0, 1.0], [0.0, 0.0]])).tolist()
    [100.0, 50.0]
    """
    zeros = jnp.asarray(responses) == 0
    # In whole numbers first: 96 of 120 are 80, where XLA's product with 1/120 gives more.
    whole, rest = jnp.divmod(100 * zeros.sum(axis=0), len(zeros))
    return whole + rest / len(zeros)
