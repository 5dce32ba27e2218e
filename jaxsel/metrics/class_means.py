"""Class means: where every class-based index starts."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int


def class_means(
    responses: Float[ArrayLike, "images units"],
    labels: Int[ArrayLike, " images"],
    n_classes: int,
) -> tuple[Float[Array, "classes units"], Float[Array, " classes"]]:
    """Mean response of each unit to each class, and the images of each class.

    Args:
        responses: one number per image and unit, in the units of the activation.
        labels: class of each image, 0 to `n_classes - 1`; others do not count.
        n_classes: classes in all, those without images included.

    Returns:
        Means, in the units of the activation, and counts. A class without images has mean
        0 and count 0: pass `where=counts > 0` to the indices, so that it does not count.
        One response that is NaN or infinite makes other means of its unit NaN, too.

    >>> means, counts = class_means(jnp.array([[1.0], [3.0]]), jnp.array([0, 0]), 2)
    >>> means.tolist(), counts.tolist()
    ([[2.0], [0.0]], [2.0, 0.0])
    """
    responses = jnp.asarray(responses)
    members = jax.nn.one_hot(labels, n_classes, dtype=responses.dtype, axis=0)
    counts = members.sum(axis=1)
    sums = jnp.matmul(members, responses, precision="highest")
    return sums / jnp.maximum(counts, 1)[:, None], counts


def best_and_others(
    means: Float[ArrayLike, "classes units"], where: ArrayLike | None
) -> tuple[Float[Array, " units"], Float[Array, " units"], Array]:
    """The largest class mean, the mean of the other class means, and how many others.

    The two numbers that both selectivity indices compare. Classes with `where` False do
    not count; with no other class, the mean of the others is 0.

    >>> best_and_others(jnp.array([[3.0], [1.0], [0.0]]), None)[1].tolist()
    [0.5]
    """
    means = jnp.asarray(means)
    present = jnp.ones(means.shape[0], bool) if where is None else jnp.asarray(where)
    n_others = present.sum() - 1
    # The best class is taken out by its place, not by subtracting its mean from the sum: where
    # it is a thousand times the others, the difference would have lost their digits. Nor is it
    # the maximum, whose derivative looks for its place again: numbers that a compiler computes
    # twice may differ by a rounding, and then there is no such place, and NaN.
    at_best = jnp.arange(means.shape[0])[:, None] == jnp.argmax(
        jnp.where(present[:, None], means, -jnp.inf), axis=0
    )
    best = means.sum(axis=0, where=present[:, None] & at_best)
    others = means.sum(axis=0, where=present[:, None] & ~at_best)
    return best, others / jnp.maximum(n_others, 1), n_others
