"""Rules of truth values and integers, which carry their new value instead of a change."""

from jax import lax
from jaxtyping import Array

from .step import Step, gap


def comparison(step: Step) -> list[Array]:
    """Whether (x - y) + (dx - dy) is above, at or below 0.

    x - y is exact where the two are close, and x + dx would be rounded.
    """
    (x, y), (dx, dy) = step.values, step.changes
    apart = gap(x, y)
    moved = dx if dy is None else -dy if dx is None else dx - dy
    sum_ = apart + moved.astype(apart.dtype)
    return step.raw(sum_, lax.full_like(sum_, 0))


def selection(step: Step) -> list[Array]:
    """The change of the new case, plus the gap to the old one where they differ."""
    (chooser, *cases), (new, *changes) = step.values, step.changes
    parts = [
        lax.full_like(x, 0, dtype=step.dtype) if d is None else d
        for x, d in zip(cases, changes, strict=True)
    ]
    if new is None:
        return step.bind(chooser, *parts)
    (after,), (change,) = step.raw(new, *cases), step.bind(new, *parts)
    return [step.narrow(gap(after, step.outputs[0])) + change]


def stepped(step: Step) -> list[Array]:
    """Constant between steps: the difference is exact, as x + dx is near a step at 0."""
    return step.difference()
