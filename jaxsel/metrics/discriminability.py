"""d-prime: how far a unit's best class stands out from its responses to all others."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from .class_means import class_means


def d_prime(
    responses: Float[ArrayLike, "images units"],
    labels: Int[ArrayLike, " images"],
    n_classes: int,
) -> Float[Array, " units"]:
    r"""How far a unit's best class stands out, in standard deviations.

    $$d' = \frac{\mu_{best} - \mu_{others}}{\sqrt{(\sigma^2_{best} + \sigma^2_{others})/2}}$$

    with mean and unbiased variance over the images of the class with the largest mean, and
    over all other images. Unlike the selectivity indices it knows how much the responses to
    one class differ.

    Args:
        responses: one number per image and unit, of any sign, in the units of the activation.
        labels: class of each image.
        n_classes: classes in all; those without images do not count.

    Returns:
        One number per unit, dimensionless, 0 and more as a rule (below 0 only where common
        classes outweigh the best one); infinite where neither group varies but their means
        differ. NaN where all responses are equal (a silent unit), and where the best class or
        the others have fewer than two images.

    Source:
        Green and Swets (1966), "Signal detection theory and psychophysics"; with the mean of
        the two variances as Simpson and Fitter (1973), Psychological Bulletin 80:481, have it.

    >>> responses = jnp.array([[3.0], [5.0], [0.0], [2.0]])
    >>> round(float(d_prime(responses, jnp.array([0, 0, 1, 1]), 2)[0]), 3)
    2.121
    """
    responses, labels = jnp.asarray(responses), jnp.asarray(labels)
    means, counts = class_means(responses, labels, n_classes)
    best = jnp.where(counts[:, None] > 0, means, -jnp.inf).argmax(axis=0)
    in_best = labels[:, None] == best
    (mean, variance, n), (other_mean, other_variance, n_others) = (
        _moments(responses, group) for group in (in_best, ~in_best)
    )
    size = jnp.sqrt((variance + other_variance) / 2)
    apart = mean - other_mean
    undefined = (n < 2) | (n_others < 2) | ((size == 0) & (apart == 0))
    return jnp.where(undefined, jnp.nan, apart / size)


def _moments(responses: Array, where: Array) -> tuple[Array, Array, Array]:
    """Mean, unbiased variance and number of the images of each unit's group."""
    n = where.sum(axis=0)
    # Above the smallest of them: where all are equal, exactly 0.
    least = responses.min(axis=0, where=where, initial=jnp.inf)
    above = jnp.where(where, responses - least, 0)
    mean = above.sum(axis=0) / jnp.maximum(n, 1)
    squares = jnp.square(above - mean).sum(axis=0, where=where)
    return least + mean, squares / jnp.maximum(n - 1, 1), n
