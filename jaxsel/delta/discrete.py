"""Rules of truth values and integers, which carry their new value instead of a change."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .step import Step, exact_sum, gap


def comparison(step: Step) -> list[Array]:
    """The new truth: x + dx less y + dy above, at or below 0.

    With what rounds off in either sum, so that a value which becomes 0 is not one that
    becomes 1e-9.
    """
    (x, y), (dx, dy) = step.values, step.changes
    left, left_rest = _moved(x, dx)
    right, right_rest = _moved(y, dy)
    apart = gap(left, right) + (left_rest - right_rest)
    return step.raw(apart, lax.full_like(apart, 0))


def selection(step: Step) -> list[Array]:
    """The change of the new case, plus the gap to the old one where they differ."""
    (chooser, *cases), (new, *changes) = step.values, step.changes
    parts = [
        lax.full_like(x, 0, dtype=step.dtype) if d is None else d
        for x, d in zip(cases, changes, strict=True)
    ]
    if new is None:
        return step.bind(chooser, *parts)
    (chosen,), (change,) = step.raw(new, *cases), step.bind(new, *parts)
    after, rest = _moved(chosen, change)
    # Where the case is the same as before, its change goes through unrounded. Not by its value
    # alone: a compiler that computes it twice may round it in two ways.
    same = (new == chooser) | (chosen == step.outputs[0])
    switched = step.narrow(gap(after, step.outputs[0]) + rest)
    return [jnp.where(same, change, switched)]


def place_of_maximum(step: Step) -> list[Array]:
    """The new place of the largest value, or the first of equals."""
    return step.raw(_below_largest(step, *_moved(step.values[0], step.changes[0])))


def place_of_minimum(step: Step) -> list[Array]:
    """The new place of the smallest value, or the first of equals."""
    return step.raw(-_below_largest(step, *_moved(-step.values[0], -step.changes[0])))


def _below_largest(step: Step, moved: Array, rest: Array) -> Array:
    largest = moved.max(axis=step.params["axes"], keepdims=True)
    return gap(moved, largest) + rest


def _moved(x: Array, dx: Array | None) -> tuple[Array, Array]:
    """x + dx in the precision of x, and what rounds off."""
    return exact_sum(x, jnp.zeros_like(x) if dx is None else dx.astype(x.dtype))


def stepped(step: Step) -> list[Array]:
    """Constant between steps: the difference, with x + dx as it rounds."""
    return step.difference()
