"""Rules of maxima: max(x, y) changes by max(dx - (m - x), dy - (m - y)), m the maximum before.

m - x is 0 for the larger operand, so that a change goes through unrounded; for the other it
is the gap that the change has to close first. Minima are maxima of what is turned around.
"""

import itertools

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .step import Step, gap


def maximum(step: Step) -> list[Array]:
    """max(dx - (m - x), dy - (m - y))."""
    (x, y), (dx, dy) = step.values, step.changes
    return [_larger(step.narrow(gap(x, y)), dx, dy)]


def minimum(step: Step) -> list[Array]:
    """-max(-x, -y)."""
    (x, y), (dx, dy) = step.values, step.changes
    return [-_larger(step.narrow(gap(y, x)), _minus(dx), _minus(dy))]


def clamp(step: Step) -> list[Array]:
    """min(max(x, low), high)."""
    (low, x, high), (dlow, dx, dhigh) = step.values, step.changes
    m = jnp.maximum(x, low)
    dm = jnp.maximum(_less_gap(step, dx, m, x), _less_gap(step, dlow, m, low))
    (out,) = step.outputs
    by_value, by_high = (
        _less_gap(step, _minus(d), -out, -value) for d, value in ((dm, m), (dhigh, high))
    )
    return [-jnp.maximum(by_value, by_high)]


def absolute(step: Step) -> list[Array]:
    """|x| = max(x, -x)."""
    (x,), (dx,), (m,) = step.values, step.changes, step.outputs
    return [jnp.maximum(_less_gap(step, dx, m, x), _less_gap(step, -dx, m, -x))]


def axis_maximum(step: Step) -> list[Array]:
    """max_j(dx_j - (m - x_j)) over the places j of the axes."""
    (x,), (dx,), (m,), axes = step.values, step.changes, step.outputs, step.params["axes"]
    return [_less_gap(step, dx, jnp.expand_dims(m, axes), x).max(axis=axes)]


def axis_minimum(step: Step) -> list[Array]:
    """-max_j(-x_j)."""
    (x,), (dx,), (m,), axes = step.values, step.changes, step.outputs, step.params["axes"]
    return [-_less_gap(step, -dx, jnp.expand_dims(-m, axes), -x).max(axis=axes)]


def window_maximum(step: Step) -> list[Array] | None:
    """max_j(dx_j - (m - x_j)) over the places j of each window, padding as -inf."""
    (x,), (dx,), (m,) = step.values, step.changes, step.outputs
    return _window_maximum(step, x, dx, m)


def window_minimum(step: Step) -> list[Array] | None:
    """-max_j(-x_j) over the places j of each window."""
    (x,), (dx,), (m,) = step.values, step.changes, step.outputs
    turned = _window_maximum(step, -x, -dx, -m)
    return None if turned is None else [-turned[0]]


def _window_maximum(step: Step, x: Array, dx: Array, m: Array) -> list[Array] | None:
    """One strided slice per place of the window.

    So the change stays as small in memory as the map itself.
    """
    p = step.params
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
    """d - (m - x), the gap taken between values as exact as they are."""
    behind = step.narrow(gap(m, x))
    return 0 - behind if d is None else d - behind


def _larger(lead: Array, dx: Array | None, dy: Array | None) -> Array:
    """The change of max(x, y) from the gap x - y: nothing else has to be kept of both."""
    of_x, of_y = (
        0 - jnp.maximum(behind, 0) if d is None else d - jnp.maximum(behind, 0)
        for d, behind in ((dx, -lead), (dy, lead))
    )
    return jnp.maximum(of_x, of_y)


def _minus(d: Array | None) -> Array | None:
    return None if d is None else -d
