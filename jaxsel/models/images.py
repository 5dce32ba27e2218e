"""The shape that a network's images must have."""

from jaxtyping import Array, Num


def refuse_other_shapes(images: Num[Array, "images ..."], *expected: int | None) -> None:
    """Raise a `ValueError` unless each image has the shape `expected`; None fits any size.

    >>> import jax.numpy as jnp
    >>> refuse_other_shapes(jnp.zeros((1, 28, 28)), 32, 32, 3)
    Traceback (most recent call last):
    ...
    ValueError: this network takes images of 32x32x3 numbers; found 28x28
    """
    found = images.shape[1:]
    fits = len(found) == len(expected) and all(
        wanted in (None, n) for wanted, n in zip(expected, found, strict=True)
    )
    if not fits:
        wanted = "x".join("N" if n is None else str(n) for n in expected)
        shape = "x".join(map(str, found)) or "single"
        raise ValueError(f"this network takes images of {wanted} numbers; found {shape}")
