"""How a finite change goes through each primitive.

| primitive | change of the output |
|---|---|
| linear in what moved | the primitive applied to the change |
| products, convolutions with both operands moved | B(dx, y + dy) + B(x, dy) |
| add, sub | sum or difference of the changes |
| max(x, y); ReLU is y = 0 | max(dx - (m - x), dy - (m - y)) with m = max(x, y) |
| max over a window | max over its places j of dx_j - (m - x_j) |
| division | (dx - (x / y) dy) / (y + dy) |

In the rules of maxima, m - x is 0 for the larger operand, so that a change goes through
unrounded; for the other it is the gap that the change has to close first. A change of
exactly 0 gives exactly 0 everywhere.

Values and changes may differ in precision: gaps are taken between values as exact as they
are, and rounded to the precision of the changes afterwards.
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
        dtype: precision of the changes, that of the values or lower; None if none moves.
    """

    def __init__(self, eqn: Any, operands: list[tuple[Any, Any]]):
        self.primitive = eqn.primitive
        self.params = eqn.params
        self.values = [x for x, _ in operands]
        self.changes = [d for _, d in operands]
        moved = [d.dtype for d in self.changes if d is not None]
        self.dtype = jnp.result_type(*moved) if moved else None

    @cached_property
    def outputs(self) -> list[Any]:
        """The outputs before the change."""
        return self._bind(self.params, self.values)

    def bind(self, *operands: Any) -> list[Any]:
        """The primitive applied to other operands, in the precision of the changes."""
        params = dict(self.params)
        if params.get("preferred_element_type") is not None:
            params["preferred_element_type"] = self.dtype
        return self._bind(params, [operand.astype(self.dtype) for operand in operands])

    def _bind(self, params: dict[str, Any], operands: list[Any]) -> list[Any]:
        out = self.primitive.bind(*operands, **self.primitive.get_bind_params(params))
        return list(out) if self.primitive.multiple_results else [out]

    def difference(self) -> list[Array]:
        """f(x + dx) - f(x): what is left where no rule is known."""
        moved = [
            x if d is None else (x + d).astype(x.dtype)
            for x, d in zip(self.values, self.changes, strict=True)
        ]
        new = self._bind(self.params, moved)
        return [
            (after - before).astype(self.dtype)
            for after, before in zip(new, self.outputs, strict=True)
        ]


def linear(step: Step) -> list[Array]:
    """Linear in its only operand: the primitive applied to the change."""
    return step.bind(*step.changes)


def convert(step: Step) -> list[Array] | None:
    """Between floating types the change is converted too; a lower precision stays as it is."""
    ((x,), (d,)) = step.values, step.changes
    if not jnp.issubdtype(step.params["new_dtype"], jnp.floating):
        return None
    return [d.astype(step.params["new_dtype"]) if d.dtype == x.dtype else d]


def jointly_linear(step: Step) -> list[Array]:
    """Linear in all operands at once: the primitive applied to their changes, 0 for none."""
    parts = [
        jnp.zeros(x.shape, step.dtype) if d is None else d
        for x, d in zip(step.values, step.changes, strict=True)
    ]
    return step.bind(*parts)


def bilinear(step: Step) -> list[Array]:
    """Linear in each of two operands: B(dx, y + dy) + B(x, dy)."""
    (x, y), (dx, dy) = step.values, step.changes
    if dx is None:
        return step.bind(x, dy)
    if dy is None:
        return step.bind(dx, y)
    return [a + b for a, b in zip(step.bind(dx, y + dy), step.bind(x, dy), strict=True)]


def divide(step: Step) -> list[Array]:
    """(dx - (x / y) dy) / (y + dy)."""
    ((_, y), (dx, dy), (ratio,)) = step.values, step.changes, step.outputs
    if dy is None:
        return step.bind(dx, y)
    by_denominator = ratio.astype(step.dtype) * dy
    numerator = -by_denominator if dx is None else dx - by_denominator
    return [numerator / (y + dy).astype(step.dtype)]


def add(step: Step) -> list[Array]:
    """The sum of the changes, or the only one."""
    dx, dy = step.changes
    (out,) = step.outputs
    change = dx if dy is None else dy if dx is None else dx + dy
    return [jnp.broadcast_to(change, out.shape)]


def subtract(step: Step) -> list[Array]:
    """The difference of the changes."""
    dx, dy = step.changes
    (out,) = step.outputs
    change = dx if dy is None else -dy if dx is None else dx - dy
    return [jnp.broadcast_to(change, out.shape)]


def maximum(step: Step) -> list[Array]:
    """max(dx - (m - x), dy - (m - y)): the gap of the larger operand is exactly 0."""
    ((x, y), (dx, dy), (m,)) = step.values, step.changes, step.outputs
    return [jnp.maximum(_less_gap(step, dx, m, x), _less_gap(step, dy, m, y))]


def window_maximum(step: Step) -> list[Array] | None:
    """max_j(dx_j - (m - x_j)) over the places j of each window, padding as -inf.

    One strided slice per place of the window, so that the change stays as small in memory
    as the map itself.
    """
    ((x,), (dx,), (m,), p) = step.values, step.changes, step.outputs, step.params
    if any(d != 1 for d in p["base_dilation"]):
        return None
    padding = [(low, high, 0) for low, high in p["padding"]]
    x = lax.pad(x, jnp.array(-jnp.inf, x.dtype), padding)
    dx = lax.pad(dx, jnp.array(0, dx.dtype), padding)
    out = jnp.full(m.shape, -jnp.inf, dx.dtype)
    strides = p["window_strides"]
    for place in itertools.product(*map(range, p["window_dimensions"])):
        start = [at * d for at, d in zip(place, p["window_dilation"], strict=True)]
        stop = [
            at + stride * (n - 1) + 1
            for at, stride, n in zip(start, strides, m.shape, strict=True)
        ]
        x_j, dx_j = (lax.slice(a, start, stop, strides) for a in (x, dx))
        out = jnp.maximum(out, _less_gap(step, dx_j, m, x_j))
    return [out]


def _less_gap(step: Step, d: Array | None, m: Array, x: Array) -> Array:
    """d - (m - x); a gap between two infinities of the same sign is none."""
    gap = jnp.where(m == x, 0, m - x).astype(step.dtype)
    return 0 - gap if d is None else d - gap


# A rule gives None where it does not hold: then the primitive counts as one without a rule.
RULES: dict[str, Callable[[Step], list[Array] | None]] = {
    "add": add,
    "add_any": add,
    "sub": subtract,
    "mul": bilinear,
    "div": divide,
    "dot_general": bilinear,
    "conv_general_dilated": bilinear,
    "concatenate": jointly_linear,
    "convert_element_type": convert,
    "max": maximum,
    "pad": jointly_linear,
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
