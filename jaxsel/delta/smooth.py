"""Rules of smooth functions of one number: each a product in which nothing cancels.

Where a form would overflow or cancel another takes over, and what is not chosen is computed
of harmless numbers, so that its gradient is one too.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfc
from jaxtyping import Array, Bool

from .step import Step, exact_sum, scaled

# exp(d) - 1 and the difference of two exponentials lose equally few digits here.
SWITCH = 0.7
# Gauss-Legendre on 0 to 1: twelve points leave less than 1e-13 of exp(-(x + t d)^2) over a
# |d| of at most 0.7 for every x up to 10, beyond which erfc is 0 in float32.
QUADRATURE = [
    (float(1 + t) / 2, float(w) / 2)
    for t, w in zip(*np.polynomial.legendre.leggauss(12), strict=True)
]


def exponential(step: Step) -> list[Array]:
    """exp(x) expm1(dx) for dx <= 0.7, else exp(x + dx) - exp(x), which cannot be 0 * inf."""
    (x,), (dx,) = step.values, step.changes
    small = dx <= SWITCH
    product = scaled(step.narrow(jnp.exp(x)), jnp.expm1(jnp.where(small, dx, 0)))
    difference = jnp.exp(x + jnp.where(small, 0, dx)) - jnp.exp(x)
    return [jnp.where(small, product, step.narrow(difference))]


def logarithm(step: Step) -> list[Array]:
    """log of the ratio (x + dx) / x; from 0 or into infinity log(x + dx) - log(x)."""
    (x,), (dx,) = step.values, step.changes
    return [_log_change(step, x, dx, x + dx)]


def logarithm_of_1_plus(step: Step) -> list[Array]:
    """The same of 1 + x, where 1 + x + dx loses nothing that cancels."""
    (x,), (dx,) = step.values, step.changes
    moved, rest = exact_sum(x, dx.astype(x.dtype))
    return [_log_change(step, 1 + x, dx, (1 + moved) + rest)]


def integer_power(step: Step) -> list[Array]:
    """A square as such; an even power with x + dx on the side of x; else as any power."""
    exponent = step.params["y"]
    if exponent == 2:
        return square(step)
    (x,), (dx,) = step.values, step.changes
    if exponent % 2 == 0:
        opposite = (x + dx) * jnp.sign(x) < 0
        dx = jnp.where(opposite, -step.narrow(2 * x + dx), dx)
    return [_power_change(step, exponent, dx)]


def square(step: Step) -> list[Array]:
    """dx (2 x + dx)."""
    (x,), (dx,) = step.values, step.changes
    return [scaled(step.narrow(2 * x + dx), dx)]


def power(step: Step) -> list[Array] | None:
    """x^p expm1(p log((x + dx) / x)) with an exponent that stays."""
    (_, exponent), (_, dp) = step.values, step.changes
    return None if dp is not None else [_power_change(step, exponent, step.changes[0])]


def square_root(step: Step) -> list[Array]:
    """dx / (sqrt(x + dx) + sqrt(x))."""
    (x,), (dx,) = step.values, step.changes
    total = step.narrow(jnp.sqrt(x + dx) + jnp.sqrt(x))
    return [jnp.where(total == 0, 0, dx / jnp.where(total == 0, 1, total))]


def reciprocal_root(step: Step) -> list[Array]:
    """-dx / (sqrt(x + dx) + sqrt(x)) / sqrt(x + dx) / sqrt(x)."""
    (x,), (dx,) = step.values, step.changes
    before, after = step.narrow(jnp.sqrt(x)), step.narrow(jnp.sqrt(x + dx))
    nothing = (before == 0) & (dx == 0)
    before, after = (jnp.where(nothing, 1, root) for root in (before, after))
    return [-dx / (before + after) / after / before]


def logistic(step: Step) -> list[Array]:
    """-s(-x) s(x + d) expm1(-d) for d >= 0, s(x) s(-x - d) expm1(d) for d < 0."""
    (x,), (dx,) = step.values, step.changes
    return [_logistic_change(step, x, dx)]


def tanh(step: Step) -> list[Array]:
    """2 s(2 x) - 1: the addition formula of tanh itself fails at (10, -20)."""
    (x,), (dx,) = step.values, step.changes
    return [2 * _logistic_change(step, 2 * x, 2 * dx)]


def error_function(step: Step) -> list[Array]:
    """d times the mean of the derivative on the way; over a long way the difference."""
    return [-change for change in complementary_error_function(step)]


def complementary_error_function(step: Step) -> list[Array]:
    """The same downwards; the difference on the side where erfc is small."""
    (x,), (dx,) = step.values, step.changes
    near = jnp.abs(dx) <= SWITCH
    way = jnp.where(near, dx, 0)
    slope = sum(
        (w * jnp.exp(-jnp.square(x + t * way)) for t, w in QUADRATURE), start=jnp.zeros_like(x)
    )
    short = -2 / math.sqrt(math.pi) * way * step.narrow(slope)
    turned = jnp.where(x < 0, -1, 1)
    far = jnp.where(near, 0, dx)
    long = turned * step.narrow(erfc(turned * (x + far)) - erfc(turned * x))
    return [jnp.where(near, short, long)]


def _logistic_change(step: Step, x: Array, dx: Array) -> Array:
    up = dx >= 0
    rise, fall = jnp.where(up, dx, 0), jnp.where(up, 0, dx)
    product = jnp.where(
        up,
        -jax.nn.sigmoid(-x) * jax.nn.sigmoid(x + rise),
        jax.nn.sigmoid(x) * jax.nn.sigmoid(-x - fall),
    )
    return step.narrow(product) * (jnp.expm1(-rise) + jnp.expm1(fall))


def _log_change(step: Step, x: Array, dx: Array, moved: Array) -> Array:
    log_ratio, known = _log_ratio(step, x, dx, moved)
    difference = _difference(step, jnp.where(known, 0, dx))
    return jnp.where(known, log_ratio, jnp.where(dx == 0, 0, difference))


def _power_change(step: Step, exponent: Array | int, dx: Array) -> Array:
    x = step.values[0]
    log_ratio, known = _log_ratio(step, x, dx, x + dx)
    by = step.narrow(jnp.asarray(exponent, x.dtype)) * log_ratio
    near = (known & (jnp.abs(by) <= SWITCH)) | (dx == 0)
    product = scaled(step.narrow(step.outputs[0]), jnp.expm1(jnp.where(near, by, 0)))
    return jnp.where(near, product, _difference(step, jnp.where(near, 0, dx)))


def _log_ratio(
    step: Step, x: Array, dx: Array, moved: Array
) -> tuple[Array, Bool[Array, "..."]]:
    """log((x + dx) / x), and where it is a number: x and x + dx of one sign and not 0.

    Below -1/2 of x, x + dx is exact and log1p(dx / x) is not: there the ratio itself.
    """
    divisor = jnp.where(x == 0, 1, x)
    share = dx / divisor
    known = (x != 0) & (share > -1) & (jnp.abs(step.narrow(share)) < jnp.inf)
    small = known & (share > -0.5)
    ratio = jnp.log(jnp.where(known & ~small, moved / divisor, 1))
    return step.narrow(jnp.where(small, jnp.log1p(jnp.where(small, share, 0)), ratio)), known


def _difference(step: Step, dx: Array) -> Array:
    """f(x + dx) - f(x) for another change of the first operand."""
    x, *others = step.values
    (after,) = step.raw((x + dx).astype(x.dtype), *others)
    return step.narrow(after - step.outputs[0])
