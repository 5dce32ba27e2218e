"""Rules of what is linear: in all operands together, in one, or in each of two."""

import functools
import operator

import jax.numpy as jnp
from jaxtyping import Array

from .step import Step, gap, is_discrete, scaled


def linear(step: Step) -> list[Array]:
    """Linear in its only operand: the primitive applied to the change."""
    return step.bind(*step.changes)


def jointly_linear(step: Step) -> list[Array]:
    """Linear in all operands at once: the primitive applied to their changes, 0 for none."""
    return step.bind(*step.moved_parts())


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
        numerator, denominator = dx, step.narrow(y)
    else:
        by_denominator = scaled(step.narrow(ratio), dy)
        numerator = -by_denominator if dx is None else dx - by_denominator
        denominator = step.narrow(y + dy)
    nothing = (numerator == 0) & (denominator == 0)
    return [jnp.where(nothing, 0, numerator / jnp.where(nothing, 1, denominator))]


def convert(step: Step) -> list[Array]:
    """Between floating types the change is converted; a lower precision stays as it is."""
    ((x,), (d,)) = step.values, step.changes
    if is_discrete(x) or is_discrete(step.outputs[0]):
        return step.difference()
    return [d.astype(step.params["new_dtype"]) if d.dtype == x.dtype else d]


def indexed(step: Step) -> list[Array]:
    """The change at the places read; where others are read than before, also their gap."""
    x, *old = step.values
    dx, *new = step.changes
    places = [was if now is None else now for was, now in zip(old, new, strict=True)]
    # What lies outside the array reads as a constant.
    outside = {"fill_value": 0} if "fill_value" in step.params else {}
    parts = [] if dx is None else step.bind(dx, *places, **outside)
    if any(now is not None for now in new):
        ((after,), (before,)) = step.raw(x, *places), step.outputs
        parts.append(step.narrow(gap(after, before)))
    return [functools.reduce(operator.add, parts)]


def written(step: Step) -> list[Array] | None:
    """Linear in the array and in what is written or added to it, at places that stay."""
    if any(d is not None and is_discrete(d) for d in step.changes):
        return None
    # The primitive holds a function of the values' own type.
    parts = [
        x if is_discrete(x) else jnp.zeros_like(x) if d is None else d.astype(x.dtype)
        for x, d in zip(step.values, step.changes, strict=True)
    ]
    return [step.narrow(out) for out in step.raw(*parts)]
