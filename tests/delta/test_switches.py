"""Smooth rules on both sides of the place where another form takes over, and at it.

The truth is the difference of two values of 120 digits (`exact.py`).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxsel.delta import delta
from tests.delta.exact import exact_change

ROUNDING = 2.0**-24
# Float32 ends here; what is below is flushed to 0, also each of the terms of a sum.
SMALLEST, LARGEST = np.finfo(np.float32).tiny, np.finfo(np.float32).max


def around(*numbers):
    """Each number with its two neighbours."""
    middle = np.float32(numbers)
    return [*np.nextafter(middle, -np.inf), *middle, *np.nextafter(middle, np.inf)]


def parts(shares, sizes=(1e-20, 0.3, 7.3, 1e20)):
    """Changes that are parts of values of all sizes."""
    return [(x, np.float32(x) * np.float32(share)) for x in sizes for share in shares]


def pairs(values, changes):
    return [(x, dx) for x in values for dx in changes]


SMALL = (1e-8, -1e-8, 1e-20, -1e-3, 0.1)
SHARES = (1e-8, -1e-8, 1e-30, 0.1, -0.25, *around(-0.5), -0.9, -0.999, 2.0**-23 - 1, 3, 1e4)
SIGMOID = (1e-8, -1e-8, 1e-3, -1e-3, 0.7, -0.7, 10, -10, 50, -50, 100, -100, 200, -200)


def ends(exponent):
    """Shares where |p log(1 + share)| is 0.7, and the two sides of each."""
    return [np.expm1(0.7 * side / exponent) * t for side in (-1, 1) for t in (0.99, 1, 1.01)]


POINTS = {
    # At -200 exp is 0 in float32 and exp(dx) infinite: 0 * inf.
    "exp": [
        *pairs((-60, -5, -0.3, 0, 3, 60), (*SMALL, *around(0.7), -0.7, -20, 5, 20)),
        *[(-200, 280), (-200, 100), (-200, -1), (-85, 170), (0, -300)],
    ],
    "expm1": [
        *pairs((-10, -1, 0, 1e-8, 3, 60), (*SMALL, 0.7, -0.7, -20)),
        *pairs((-1, 0, 1e-8, 3), (*around(0.7), 5, 20)),
    ],
    "log": parts(SHARES),
    "log1p": [
        *pairs((0, 1e-8, -1e-3), (*SMALL, 3, 1e10, -0.25)),
        *pairs((-0.5, -0.75, -0.999), (1e-8, -(2.0**-12), 0.1, 1.0, 1e20)),
        *[(7, -7.5), (7, np.float32(2.0**-20 - 8)), (2.0**-3, -0.5625), (1, -1.75)],
    ],
    "square": [
        *parts((*SHARES, -1, -1.5, -1.999, -2, -2.001, -3), (0.3, 1, 7.3, 1e10)),
        *pairs((-1, -7.3), (1e-8, -1, 2, 2.001, 14.6, 1e5)),
    ],
    "sqrt": [*parts(SHARES), (0, 1e-30), (0, 1e30), (4, -4), (1e-30, 1e30)],
    "rsqrt": [*parts(SHARES), (1e-30, 1e30), (1e30, -1e30 * (1 - 2.0**-20))],
    **{f"x^{p}": [*parts((*SHARES, *ends(p))), (0, 1e-3)] for p in (0.75, 0.5)},
    "x^-1.5": parts((*SHARES, *ends(-1.5))),
    # Whole powers also of negative numbers, from one sign to the other, and from 0.
    **{
        f"x^{p}": [
            (sign * x, sign * np.float32(x) * np.float32(share))
            for x, sign in pairs((0.3, 1, 1e5), (1, -1))
            for share in (*SHARES, *ends(p), -1.5, -3, -1.9 if p % 2 == 0 else -2.001)
        ]
        for p in (3, 4, 5, -1, -2)
    },
    "x^3 at 0": [(0, 1e-3), (0, -1e-3), (0, 30), (1e-3, -1e-3)],
    "logistic": pairs((-100, -50, -10, -1, 0, 1, 10, 50, 100), SIGMOID),
    "tanh": pairs((-10, -3, -0.1, 0, 1e-5, 3, 10), (*SIGMOID, 20, -20, 1, -1)),
    **dict.fromkeys(
        ("erf", "erfc"),
        pairs(range(-6, 10), (*SMALL, *around(-0.7, 0.7), 0.5, -0.5, 1, -1, 3, -3, 15, -15)),
    ),
}


def function(name):
    """What `exact.py` calls by this name."""
    if name[0] == "x":
        p = float(name[2:])
        if p == int(p):
            return lambda x: lax.integer_pow(x, int(p))
        return lambda x: lax.pow(x, jnp.asarray(p, x.dtype))
    return {
        "rsqrt": lax.rsqrt,
        "logistic": jax.nn.sigmoid,
        "erf": lax.erf,
        "erfc": lax.erfc,
    }.get(name, getattr(jnp, name, None))


def assert_few_roundings(name, points, roundings=16.0):
    """Two function values of 2 to 4 roundings in a product, and roundings of its arguments.

    `roundings` is a number, or one for every point.
    """
    name = name.split()[0]
    x, dx = np.float32(points).T
    found = np.asarray(delta(function(name), strict=True)(x, dx), np.float64)
    exact = np.array([exact_change(name, *point) for point in zip(x, dx, strict=True)])
    exact[np.abs(exact) > LARGEST] *= np.inf
    error = np.abs(np.subtract(found, exact, where=found != exact, out=np.zeros(len(x))))
    bound = np.where(np.isfinite(exact), np.abs(exact), 0) * roundings * ROUNDING
    worst = error / (bound + 2 * SMALLEST)
    at = np.where(np.isnan(worst), np.inf, worst).argmax()
    assert worst[at] <= 1, f"{name} at {x[at]}, {dx[at]}: {found[at]}, not {exact[at]}"


def allowed(name, points):
    """An exponent e that is rounded once is off by |e| roundings of the power.

    So is exp(x + dx), where dx is above 0.7, and twice in exp(-(x + t d)^2), of a rounded
    sum and a rounded square, whose d is at most 0.7.
    """
    x, dx = np.float32(points).T
    if name == "exp":
        return 16 + np.abs(x + dx) * (dx >= 0.7)
    if name == "logistic":
        return 16 + np.minimum(np.abs(x), np.abs(x + dx)) / 4
    if name in ("erf", "erfc"):
        return 16 + 2 * np.minimum(np.abs(x) + 0.7, 10) ** 2
    return 16


@pytest.mark.parametrize("name", POINTS)
def test_change_is_right_on_both_sides_of_every_switch(name):
    assert_few_roundings(name, POINTS[name], allowed(name, POINTS[name]))


def test_rising_expm1_far_below_0_is_no_difference_of_two_numbers_near_minus_1():
    """At -20 both are -1 in float32."""
    assert_few_roundings("expm1", pairs((-5, -10, -20), (np.float32(0.71), 2, 10)), 32)


@pytest.mark.parametrize("p", [4, -2, 6])
def test_even_power_of_nearly_the_opposite_number_does_not_cancel(p):
    """(-1.0001)^4 - 1: the signs differ and the powers do not."""
    shares = (-1.9, -1.99, -1.9999, -2.0001, -2.01)
    points = [
        (x, np.float32(x) * np.float32(share)) for x in (-7.3, 1, 0.3) for share in shares
    ]
    assert_few_roundings(f"x^{p}", points)


def test_square_of_nearly_the_opposite_number_across_a_power_of_2():
    """x + dx is -1 - 2**-24, which is no float32, 2 x + dx is -2**-23."""
    assert_few_roundings("square", [(1 - 2.0**-24, -2), (-1 + 2.0**-24, 2), (1, -2 - 2.0**-22)])


def test_log1p_near_its_pole_from_far_away():
    """1 + x is rounded, and (1 + x) + dx is left with the rounding."""
    points = [(0.3, np.float32(-1.2999998)), (1 + 2.0**-23, -1.9999), (1e-8, -0.999)]
    assert_few_roundings("log1p", points)


@pytest.mark.parametrize(
    "name, x",
    [
        ("exp", [-np.inf, -200, 0, 90, 1e30, np.inf]),
        ("expm1", [-np.inf, -200, 0, 90, np.inf]),
        ("log", [0, 1e-30, 1, np.inf]),
        ("log1p", [-1, -0.5, 0, np.inf]),
        ("square", [-1e30, 0, 1, 1e30]),
        ("sqrt", [0, 1e-30, 1, np.inf]),
        ("rsqrt", [0, 1e-30, 1, np.inf]),
        *[(f"x^{p}", [0, 1e-30, 1, 1e30, np.inf]) for p in (3, 4, -1, -2, 0.75, -1.5)],
        *[(f"x^{p}", [-0.0, -1e-30, -1, -1e30]) for p in (2, 3, 4, -1, -2)],
        *[(name, [-np.inf, -100, -1, 0, 100, np.inf]) for name in ("logistic", "tanh")],
        *[(name, [-np.inf, -9, 0, 1, 30, np.inf]) for name in ("erf", "erfc")],
    ],
)
def test_zero_change_gives_exactly_zero_also_where_values_are_infinite(name, x):
    x = np.float32(x)
    found = delta(function(name), strict=True)(x, np.zeros_like(x))
    np.testing.assert_array_equal(found, np.zeros_like(x))


@pytest.mark.parametrize(
    "f",
    [jnp.square, lambda x: x * x[::-1], lambda x: x / x[::-1], lambda x: 3 / x],
    ids=["square", "product", "ratio", "reciprocal"],
)
def test_zero_change_of_a_product_of_infinity_gives_exactly_zero(f):
    """The values are infinite or 0, the changes would be 0 * inf."""
    x = jnp.array([np.inf, 2, 0])
    found = delta(f, strict=True)(x, jnp.zeros(3))
    was_number = ~np.isnan(f(x))
    np.testing.assert_array_equal(np.asarray(found)[was_number], np.zeros(was_number.sum()))


@pytest.mark.parametrize(
    "name, x, dx, expected",
    [
        ("log", 0, 2, np.inf),
        ("log", 2, -2, -np.inf),
        ("log1p", -1, 2, np.inf),
        ("log1p", 1, -2, -np.inf),
        ("rsqrt", 0, 2, -np.inf),
        ("rsqrt", 4, -4, np.inf),
        ("x^-1", 0, 2, -np.inf),
        ("x^-1", 2, -2, np.inf),
        ("x^-1", -2, 2, np.inf),  # 1 / (-2 + 2) is 1 / 0
        ("x^-2", -2, 2, np.inf),
        ("exp", 0, 200, np.inf),
        ("exp", -200, 400, np.inf),
        ("exp", 0, -np.inf, -1),
    ],
)
def test_poles_are_reached_and_left_with_the_right_sign(name, x, dx, expected):
    found = delta(function(name), strict=True)(jnp.float32(x), jnp.float32(dx))
    assert found == expected


@pytest.mark.parametrize("name", ["erf", "erfc", "exp", "tanh", "logistic"])
def test_float32_function_changes_by_float32_where_float64_is_enabled(name):
    with jax.enable_x64(True):
        found = delta(function(name), strict=True)(jnp.float32(1), jnp.float32(0.5))
    assert found.dtype == np.float32
