r"""How far the roundings on the way can have moved a change of the loss.

A product computed in floating point is the exact product of operands that are a few roundings
off (backward stability; Higham, Accuracy and Stability of Numerical Algorithms, 2002, section
3.1). So the error of a change is the change's response to such shifts of the weights: none of
note in most networks, but all of the change where units cancel, as two do whose weights are
each other's negatives.

It is measured: every number that the changes are made with is moved by

$$w' = w \,(1 + 16 v \xi), \qquad \xi = \pm 1 \text{ at random,}$$

$v$ the roundoff of the number's precision, the change is computed again with the same program,
and what it differs by, divided by 16, is what roundings of one $v$ each do, to first order. 16
lifts it out of the roundings of the comparison itself. One such draw is below a tenth of the
standard deviation once in twelve; of four draws the largest, once in 25,000 (Kenney and Laub,
1994, small-sample statistical condition estimates).

Beforehand the error of every pair is estimated as if nothing cancelled before the logits
(`delta/loss.py`; the dense engine also counts the terms that logits are sums of). On some
images, one draw then tells each unit's error as well: where that is larger than its estimates
on the same images, they are raised on all images by the same factor. What still may be zero is
computed in float64, with four draws on every image. Each error counts eightfold, and errors of
images add up as if all had the same sign.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..delta.loss import ROUNDINGS
from ..delta.products import roundoff
from ..delta.step import is_floating

SHIFT = 16.0
# Draws where every pair counts, because its sign is to be told from a few roundings.
DRAWS = 4


def shifted(arrays: Any, products: str, draw: int) -> Any:
    """Every floating-point number of a tree some roundings off, each up or down by chance.

    Args:
        arrays: a tree.
        products: precision of the products of changes; float32 numbers are known to that.
        draw: which of the random choices.

    >>> moved = shifted([np.ones(3, np.float32)], "float32", 0)[0]
    >>> bool((abs(moved - 1) == 16 * roundoff("float32")).all())
    True
    """
    rng = np.random.default_rng([draw, 1])

    def move(array: Any) -> Any:
        if not (hasattr(array, "dtype") and is_floating(array)):
            return array
        kind = products if array.dtype == np.float32 else str(array.dtype)
        # In NumPy: JAX would compile a program for each of many shapes. In float64, float32
        # numbers are exact, and reckoned with in float64.
        array = np.asarray(array, np.float64 if kind == "float64" else array.dtype)
        by = SHIFT * roundoff(kind)
        bits = np.frombuffer(rng.bytes(-(-array.size // 8)), np.uint8)
        up = np.unpackbits(bits, count=array.size).reshape(array.shape)
        with np.errstate(over="ignore", invalid="ignore"):  # as in JAX: it will be told
            return jnp.asarray(array * (1 + by * (2 * up.astype(array.dtype) - 1)))

    return jax.tree.map(move, arrays)


def spread(plain: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """The error that two results, with numbers as they are and shifted, tell of.

    Args:
        plain: changes of the loss.
        moved: the same with shifted numbers.

    >>> spread(np.array([1.0, np.inf]), np.array([1.5, np.inf])).tolist()
    [0.25, inf]
    """
    with np.errstate(invalid="ignore"):
        apart = np.abs(moved - plain)
    return ROUNDINGS / SHIFT * np.where(np.isnan(apart), np.inf, apart)
