"""Matrix products and convolutions of changes, in full float32 or in what is asked for.

Only the change is rounded, so that each effect keeps some digits of its own: three with
TF32, two with bfloat16. In float64 nothing of the change is rounded to less.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array

# Digits after the leading one, in binary.
DIGITS = {"float64": 52, "float32": 23, "tensorfloat32": 10, "bfloat16": 7}
# These leave the operands of products as they are.
UNROUNDED = ("float64", "float32")
PRODUCTS = {"dot_general", "conv_general_dilated"}


def check_precision(name: str) -> None:
    """Whether this is a precision that products may have."""
    if name not in DIGITS:
        raise ValueError(f"precision must be {', '.join(DIGITS)}; found {name!r}")


def precision_of(name: str) -> str:
    """What changes are kept in, and products of them summed in: float32 or float64.

    >>> precision_of("bfloat16")
    'float32'
    """
    return name if name in UNROUNDED else "float32"


def roundoff(name: str) -> float:
    """Relative error of a number in this precision, at most: half a unit in the last place.

    >>> roundoff("bfloat16")
    0.00390625
    """
    return 2.0 ** -(DIGITS[name] + 1)


def rounded(array: ArrayLike, name: str) -> Array:
    """An operand of a product, as exact as its precision lets it be.

    Sums of products stay float32. On CPU, where there are no such products, the operands
    alone are rounded: the same numbers, no faster.

    >>> rounded(jnp.array([1 + 2.0**-8]), "bfloat16").tolist()
    [1.0]
    """
    array = jnp.asarray(array)
    if name in UNROUNDED:
        return array
    if name == "bfloat16" and jax.default_backend() != "cpu":
        return array.astype(jnp.bfloat16)
    return lax.reduce_precision(array, exponent_bits=8, mantissa_bits=DIGITS[name])
