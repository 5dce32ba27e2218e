"""Category selectivity index: the one that Kanda et al. relate to ablation."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from .class_means import best_and_others


def category_selectivity_index(
    means: Float[ArrayLike, "classes units"],
    *,
    where: Bool[ArrayLike, " classes"] | None = None,
) -> Float[Array, " units"]:
    r"""How much more a unit responds to its best category than to all the others.

    $$\mathrm{CSI} = \frac{R_{\max} - R_{others}}{R_{\max} + R_{others}}$$

    with $R_{\max}$ the largest class mean and $R_{others}$ the mean of the other class
    means: with as many images in every class, the mean over all other images. The formula
    is that of `class_selectivity_index`; a unit without an index is NaN here, not 0, so
    that it can be counted and left out.

    Args:
        means: class means, in the units of the activation, non-negative as after a ReLU.
            Below zero the index leaves its range.
        where: classes that take part; default all.

    Returns:
        One index per unit, dimensionless: 0 (equal class means) to 1 (one category only).
        NaN where the two means add up to 0 (a silent unit) and where fewer than two
        classes take part.

    Source:
        Kanda et al. (2020), arXiv:2001.07811, Methods.

    >>> category_selectivity_index(jnp.array([[3.0, 0.0], [1.0, 0.0], [1.0, 0.0]])).tolist()
    [0.5, nan]
    """
    best, others, n_others = best_and_others(means, where)
    total = best + others
    undefined = (total == 0) | (n_others < 1)
    return jnp.where(undefined, jnp.nan, (best - others) / jnp.where(undefined, 1, total))
