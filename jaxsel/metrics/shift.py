"""Shift invariance: whether units respond alike to an image and to the same image shifted."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .orientation import correlation


def shift_invariance(
    responses: Float[ArrayLike, "images units"],
    to_shifted: Float[ArrayLike, "images units"],
    *,
    over: str = "images",
) -> Float[Array, " _"]:
    r"""How far responses to shifted images follow those to the images themselves.

    $$\mathrm{corr}\bigl(\phi(x), \phi(T x)\bigr)$$

    Pearson's correlation, for each unit over images, or for each image over units.

    jaxsel's definition: the paper's abstract says that ablation disrupts the shift invariance
    of higher layers, and neither it nor the author's code says how that is measured.

    Args:
        responses: to images, in the units of the activation.
        to_shifted: to the same images, shifted (`jaxsel.data.shifted`), in the same order.
        over: `images`: one number for each unit, of how it orders and spaces images; `units`:
            one for each image, of the pattern of units.

    Returns:
        Correlations, -1 to 1: 1 where a shift changes nothing but size and offset. NaN where
        either side does not vary by more than float32's roundings, such as for a silent unit,
        or has a response that is NaN or infinite.

    Raises:
        ValueError: another name, other shapes.

    >>> responses = jnp.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    >>> shift_invariance(responses, 2 * responses).round(6).tolist()
    [1.0, nan]
    """
    first, second = jnp.asarray(responses), jnp.asarray(to_shifted)
    if over not in ("images", "units"):
        raise ValueError(f"over must be images or units; found {over!r}")
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(
            f"responses of shapes {first.shape} and {second.shape} are not pairs of shape "
            "(images, units)"
        )
    if over == "units":
        first, second = first.T, second.T
    return correlation(first, second)
