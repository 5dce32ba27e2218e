"""Precision: of the images that a unit responds to most, how many are of one class."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int


def precision(
    responses: Float[ArrayLike, "images units"],
    labels: Int[ArrayLike, " images"],
    n_classes: int,
    n_top: int,
) -> Float[Array, " units"]:
    """Share of the most common class among the images with the largest responses.

    Places that are tied at the border of the top are shared: each of the tied images gets
    the same fraction of the places that are left. So the number does not depend on the
    order of the images.

    Args:
        responses: one number per image and unit, of any sign.
        labels: class of each image.
        n_classes: classes in all.
        n_top: how many images are the top, 1 to the number of images; the images per class
            in the set analysed, as a rule.

    Returns:
        One number per unit, a fraction: `1 / n_classes` (no preference, equal classes) to
        1. A unit that responds the same to every image has the share of the most common
        class in the set; a silent unit, which prefers nothing, has NaN. NaN, too, where any
        response is NaN.

    Raises:
        ValueError: `n_top` outside its range.

    Source:
        Zhou et al. (2015, 2018), as Leavitt and Morcos (2020), arXiv:2003.01262, appendix
        A.5, use it. What happens to ties is not stated; their example of a unit that
        responds to ten images of one class out of ten classes ("0.11") is met by sharing.

    >>> responses = jnp.array([[5.0], [4.0], [0.0], [0.0]])
    >>> precision(responses, jnp.array([0, 0, 1, 1]), n_classes=2, n_top=2).tolist()
    [1.0]
    """
    responses, labels = jnp.asarray(responses), jnp.asarray(labels)
    n_images = responses.shape[0]
    if not 1 <= n_top <= n_images:
        raise ValueError(f"n_top must be 1 to {n_images}, the number of images; found {n_top}")
    border = jnp.sort(responses, axis=0)[n_images - n_top]
    above = responses > border
    tied = responses == border
    left = n_top - above.sum(axis=0)
    # One-hot sums rather than products with fractions: counts are exact in float32.
    members = jax.nn.one_hot(labels, n_classes, dtype=jnp.float32)
    above_by_class = jnp.einsum("iu,ic->cu", above, members, precision="highest")
    tied_by_class = jnp.einsum("iu,ic->cu", tied, members, precision="highest")
    share = above_by_class + tied_by_class * (left / jnp.maximum(tied.sum(axis=0), 1))
    undefined = jnp.isnan(responses).any(axis=0) | (responses == 0).all(axis=0)
    return jnp.where(undefined, jnp.nan, share.max(axis=0) / n_top)
