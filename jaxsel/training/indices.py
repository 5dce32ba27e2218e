"""What a regulariser can turn up or down: one number per unit, of the responses to a batch.

An index is a function `index(responses, labels, n_classes, where)` of the responses
`(images, units)`, the labels, the number of classes and the images that count. It returns one
number per unit and must be differentiable, silent units and absent classes included.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ..metrics.class_means import class_means
from ..metrics.class_selectivity import class_selectivity_index

Index = Callable[..., Float[Array, " units"]]

# Below this share of the sum of their sizes, two class means of opposite signs cancel.
CANCELLING = 0.01
# Class means that differ by less than this share of their size are equal, once shifted.
EQUAL = 1e-5


def _clipped(means: Float[Array, "classes units"], where: Bool[Array, " classes"]) -> Array:
    del where
    return jnp.maximum(means, 0)


def _shifted(means: Float[Array, "classes units"], where: Bool[Array, " classes"]) -> Array:
    # By its place, not as a minimum: see `best_and_others`.
    place = jnp.argmin(jnp.where(where[:, None], means, jnp.inf), axis=0)
    at_smallest = jnp.arange(means.shape[0])[:, None] == place
    smallest = means.sum(axis=0, where=at_smallest & where[:, None])
    shifted = means - jnp.minimum(smallest, 0)
    # Of equal means only roundings are left, which are no selectivity.
    sizes = jnp.where(where[:, None], jnp.abs(means), 0).max(axis=0)
    largest = jnp.where(where[:, None], shifted, 0).max(axis=0)
    is_flat = (smallest < 0) & (largest <= EQUAL * sizes)
    return jnp.where(is_flat, 0, shifted)


def _raw(means: Float[Array, "classes units"], where: Bool[Array, " classes"]) -> Array:
    del where
    return means


# What becomes of class means below 0, which only a leaky ReLU or a site before its ReLU has.
NEGATIVE: Mapping[str, Callable[..., Array]] = {
    "raw": _raw,
    "clip": _clipped,
    "shift": _shifted,
}


def by_class_means(function: Callable[..., Array], *, negative: str = "raw") -> Index:
    """The index that a function of class means is.

    Args:
        function: called as `function(means, where=present)` with class means
            `(classes, units)` and the classes that the batch has; returns one number per unit.
        negative: what becomes of class means below 0: they stay (`raw`), count as 0 (`clip`),
            or all of their unit's are raised until the smallest is 0 (`shift`).

    Returns:
        An index.

    Raises:
        ValueError: another `negative`.

    >>> largest = by_class_means(lambda means, where: means.max(axis=0))
    >>> responses, labels = jnp.array([[1.0], [3.0]]), jnp.array([0, 1])
    >>> largest(responses, labels, 2, jnp.array([True, True])).tolist()
    [3.0]
    """
    if negative not in NEGATIVE:
        raise ValueError(f"negative must be {', '.join(NEGATIVE)}; found {negative!r}")
    return partial(_of_class_means, function, NEGATIVE[negative])


def _of_class_means(function, corrected, responses, labels, n_classes, where):
    # A label outside the classes counts for none.
    members = jnp.where(where, labels, -1)
    means, counts = class_means(responses, members, n_classes)
    present = counts > 0
    return function(corrected(means, present), where=present)


def class_selectivity(*, negative: str = "raw", cancelling: float = CANCELLING) -> Index:
    """The class selectivity index of the responses to a batch.

    Args:
        negative: what becomes of class means below 0, as in `by_class_means`.
        cancelling: a unit whose two means, of opposite signs, add up to less than this share
            of their sizes has index 0 and no gradient: no index is beyond 1 / `cancelling`.

    >>> responses, labels = jnp.array([[3.0], [1.0]]), jnp.array([0, 1])
    >>> class_selectivity()(responses, labels, 2, jnp.array([True, True])).tolist()
    [0.5]
    """
    return by_class_means(
        partial(class_selectivity_index, cancelling=cancelling), negative=negative
    )


def batch_sparseness(
    responses: Float[Array, "images units"],
    labels: Int[Array, " images"],
    n_classes: int,
    where: Bool[Array, " images"],
) -> Float[Array, " units"]:
    """Sparseness over the images of a batch; 0 for a silent unit, without a gradient.

    >>> labels, where = jnp.array([0, 1]), jnp.array([True, True])
    >>> batch_sparseness(jnp.array([[0.0, 0.0], [0.0, 1.0]]), labels, 2, where).tolist()
    [0.0, 1.0]
    """
    del labels, n_classes
    counted = jnp.where(where[:, None], responses, 0)
    n_images = where.sum()
    # The index does not depend on the scale; with it, squares could overflow or vanish.
    scale = lax.stop_gradient(jnp.abs(counted).max(axis=0))
    scaled = counted / jnp.where(scale == 0, 1, scale)
    sums, squares = scaled.sum(axis=0), jnp.square(scaled).sum(axis=0)
    undefined = (scale == 0) | (n_images < 2)
    evenness = sums * (sums / jnp.where(scale == 0, 1, squares)) / jnp.maximum(n_images, 1)
    index = (1 - evenness) / (1 - 1 / jnp.maximum(n_images, 2))
    return jnp.where(undefined, 0, index)


INDICES: Mapping[str, Index] = {
    "class_selectivity": class_selectivity(),
    "sparseness": batch_sparseness,
}
