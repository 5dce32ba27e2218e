"""Class selectivity index: the one that training turns up or down."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from .class_means import best_and_others


def class_selectivity_index(
    means: Float[ArrayLike, "classes units"],
    *,
    where: Bool[ArrayLike, " classes"] | None = None,
    cancelling: float = 0.0,
) -> Float[Array, " units"]:
    r"""How much more a unit responds to its best class than to the other classes.

    $$\mathrm{SI} = \frac{\mu_{\max} - \mu_{-\max}}{\mu_{\max} + \mu_{-\max}}$$

    with $\mu_{\max}$ the largest class mean and $\mu_{-\max}$ the mean of the other class
    means (unweighted: a rare class counts as much as a common one). Differentiable.

    Args:
        means: class means, in the units of the activation, non-negative as after a ReLU.
            Below zero the index leaves its range.
        where: classes that take part; default all. In a training batch: `counts > 0`.
        cancelling: for class means below 0, as a leaky ReLU has them: where the two means have
            opposite signs and add up to less than this share of the sum of their sizes, the
            index counts as undefined, so that none is beyond 1 / `cancelling`; 0 to 1.

    Returns:
        One index per unit, dimensionless: 0 (equal class means) to 1 (one class only).
        Defined as 0, with zero gradient, where the two means add up to 0 (a silent unit),
        or nearly so by `cancelling`, and where fewer than two classes take part.

    Source:
        Morcos et al. (2018), "On the importance of single directions for generalization",
        ICLR; Leavitt and Morcos (2020), arXiv:2003.01262, equation 1, where no
        epsilon is stated; there is none here.

    >>> class_selectivity_index(jnp.array([[3.0], [1.0], [1.0]])).tolist()
    [0.5]
    """
    best, others, n_others = best_and_others(means, where)
    total = best + others
    sizes = jnp.abs(best) + jnp.abs(others)
    undefined = (total == 0) | (jnp.abs(total) < cancelling * sizes) | (n_others < 1)
    # Dividing by 1 where the index is undefined keeps the gradient there at 0, not NaN. Both
    # means are brought to the order of 1 first: the derivative of a quotient squares its
    # denominator, which vanishes in float32 for a nearly silent unit.
    size = jax.lax.stop_gradient(jnp.where(undefined, 1, total))
    best, others = best / size, others / size
    index = (best - others) / jnp.where(undefined, 1, best + others)
    return jnp.where(undefined, 0, index)
