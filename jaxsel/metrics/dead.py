"""Dead units: silent for every image."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float


def dead_units(responses: Float[ArrayLike, "images units"]) -> Bool[Array, " units"]:
    """Whether a unit responds exactly 0 to every image.

    Args:
        responses: one number per image and unit, read after the ReLU. A unit behind a
            leaky ReLU that is negative throughout is not dead: it still speaks.

    Returns:
        One truth value per unit. A unit with NaN responses is not dead.

    Source:
        Leavitt and Morcos (2020), arXiv:2003.01262, figure A9, count them without stating
        the criterion. Exactly 0 over the whole set is jaxsel's reading.

    >>> dead_units(jnp.array([[0.0, 0.0, -1.0], [0.0, 2.0, -1.0]])).tolist()
    [True, False, False]
    """
    return jnp.all(jnp.asarray(responses) == 0, axis=0)
