"""How a finite change goes through each primitive.

| primitive | change of the output |
|---|---|
| linear in what moved | the primitive applied to the change |
| products, convolutions with both operands moved | B(dx, y + dy) + B(x, dy) |
| add, sub | sum or difference of the changes |
| max(x, y); ReLU is y = 0 | max(dx - (m - x), dy - (m - y)) with m = max(x, y) |
| max over a window | max over its places j of dx_j - (m - x_j) |

In the rules of maxima, m - x is 0 for the larger operand, so that a change goes through
unrounded; for the other it is the gap that the change has to close first. A change of
exactly 0 gives exactly 0 everywhere.
"""

import itertools
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


class Step:
    """One application of a primitive: all that a rule may look at.

    Attributes:
        params: the primitive's parameters.
        values: operands before the change.
        changes: what each operand changes by; None for one that does not.
    """

    def __init__(self, eqn: Any, operands: list[tuple[Any, Any]]):
        self.primitive = eqn.primitive
        self.params = eqn.params
        self.values = [x for x, _ in operands]
        self.changes = [d for _, d in operands]

    def bind(self, *operands: Any) -> list[Any]:
        """The primitive applied to other operands."""
        params = self.primitive.get_bind_params(self.params)
        out = self.primitive.bind(*operands, **params)
        return list(out) if self.primitive.multiple_results else [out]

    @cached_property
    def outputs(self) -> list[Any]:
        """The outputs before the change."""
        return self.bind(*self.values)


def difference(step: Step) -> list[Array]:
    """f(x + dx) - f(x): what is left where no rule is known."""
    moved = [x if d is None else x + d for x, d in zip(step.values, step.changes, strict=True)]
    return [new - old for new, old in zip(step.bind(*moved), step.outputs, strict=True)]


def linear(step: Step) -> list[Array]:
    """Linear in its only operand: the primitive applied to the change."""
    return step.bind(*step.changes)


def bilinear(step: Step) -> list[Array]:
    """Linear in each of two operands: B(dx, y + dy) + B(x, dy)."""
    (x, y), (dx, dy) = step.values, step.changes
    if dx is None:
        return step.bind(x, dy)
    if dy is None:
        return step.bind(dx, y)
    return [a + b for a, b in zip(step.bind(dx, y + dy), step.bind(x, dy), strict=True)]


def convert(step: Step) -> list[Array]:
    """Linear between floating types; a step function otherwise."""
    floating = jnp.issubdtype(step.params["new_dtype"], jnp.floating)
    return linear(step) if floating else difference(step)


def divide(step: Step) -> list[Array]:
    """Linear in the numerator; a moved denominator is differenced."""
    dx, dy = step.changes
    return difference(step) if dy is not None else step.bind(dx, step.values[1])


def add(step: Step) -> list[Array]:
    """The sum of the changes, or the only one."""
    dx, dy = step.changes
    (out,) = step.outputs
    return [jnp.broadcast_to(dx if dy is None else dy if dx is None else dx + dy, out.shape)]


def subtract(step: Step) -> list[Array]:
    """The difference of the changes."""
    dx, dy = step.changes
    (out,) = step.outputs
    return [jnp.broadcast_to(dx if dy is None else -dy if dx is None else dx - dy, out.shape)]


def maximum(step: Step) -> list[Array]:
    """max(dx - (m - x), dy - (m - y)): the gap of the larger operand is exactly 0."""
    (x, y), (dx, dy) = step.values, step.changes
    (m,) = step.outputs
    return [jnp.maximum(_less_gap(dx, m, x), _less_gap(dy, m, y))]


def window_maximum(step: Step) -> list[Array]:
    """max_j(dx_j - (m - x_j)) over the places j of each window, padding as -inf.

    One strided slice per place of the window, so that the change stays as small in memory
    as the map itself.
    """
    ((x,), (dx,), (m,)) = step.values, step.changes, step.outputs
    p = step.params
    if any(d != 1 for d in (*p["base_dilation"], *p["window_dilation"])):
        return difference(step)
    padding = [(low, high, 0) for low, high in p["padding"]]
    x = lax.pad(x, jnp.array(-jnp.inf, x.dtype), padding)
    dx = lax.pad(dx, jnp.array(0, dx.dtype), padding)
    out = jnp.full(m.shape, -jnp.inf, m.dtype)
    strides = p["window_strides"]
    for place in itertools.product(*map(range, p["window_dimensions"])):
        stop = [
            at + stride * (n - 1) + 1
            for at, stride, n in zip(place, strides, m.shape, strict=True)
        ]
        x_j, dx_j = (lax.slice(a, place, stop, strides) for a in (x, dx))
        out = jnp.maximum(out, _less_gap(dx_j, m, x_j))
    return [out]


def _less_gap(d: Any, m: Array, x: Array) -> Array:
    """D - (m - x); a gap between two infinities of the same sign is none."""
    gap = jnp.where(m == x, 0, m - x)
    return 0 - gap if d is None else d - gap


RULES: dict[str, Callable[[Step], list[Array]]] = {
    "add": add,
    "add_any": add,
    "sub": subtract,
    "mul": bilinear,
    "div": divide,
    "dot_general": bilinear,
    "conv_general_dilated": bilinear,
    "convert_element_type": convert,
    "max": maximum,
    "reduce_window_max": window_maximum,
    **dict.fromkeys(
        (
            "broadcast_in_dim",
            "copy",
            "neg",
            "reduce_sum",
            "reduce_window_sum",
            "reshape",
            "rev",
            "slice",
            "squeeze",
            "transpose",
        ),
        linear,
    ),
}
