"""Maxima, comparisons and choices on both sides of where they switch, and at it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxsel.delta import delta
from tests.delta.cases import max_pool

COMPARISONS = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}


def change(f, x, dx):
    """Of numbers or rows of them, in float32; None does not move."""
    x = [jnp.float32(a) for a in x]
    dx = [None if d is None else jnp.float32(d) for d in dx]
    return delta(lambda x: f(*x), strict=True)(x, dx)


@pytest.mark.parametrize(
    "x, dx, expected",
    [
        (1, -0.5, -0.5),
        (1, -1, -1),
        (1, -2, -1),
        (-1, 0.5, 0),
        (-1, 1, 0),
        (-1, 2, 1),
        (0, 1e-30, 1e-30),
        (0, -1e-30, 0),
        (1e8, 1e-3, 1e-3),
        (-1e8, 1e-3, 0),
        (-1e-8, 1e30, 1e30),
        (1e-8, -1e30, -1e-8),
    ],
)
def test_relu_on_both_sides_of_its_kink_and_at_it(x, dx, expected):
    assert change(jax.nn.relu, [x], [dx]) == np.float32(expected)


@pytest.mark.parametrize(
    "x, y, dx, dy, expected",
    [
        (3, 1, -1, 0, -1),  # the larger stays the larger
        (3, 1, -2, 0, -2),  # they become equal
        (3, 1, -5, 0, -2),  # they change places: 3 becomes 1
        (3, 1, 0, 2, 0),
        (3, 1, 0, 5, 3),
        (3, 1, -1, 7, 5),
        (2, 2, -1, -3, -1),  # equal before: the smaller loss counts
        (2, 2, 1e-20, -1, 1e-20),
        (1e8, 1e8 - 8, 1e-3, 16, 8),
        (-np.inf, -np.inf, 0, 0, 0),
        (np.inf, np.inf, 0, 0, 0),
        (-np.inf, 1, 0, 2, 2),
    ],
)
def test_larger_and_smaller_of_two_where_they_change_places(x, y, dx, dy, expected):
    assert change(jnp.maximum, [x, y], [dx, dy]) == np.float32(expected)
    assert change(jnp.maximum, [y, x], [dy, dx]) == np.float32(expected)
    assert change(jnp.minimum, [-x, -y], [-dx, -dy]) == -np.float32(expected)


@pytest.mark.parametrize(
    "low, x, high, dx, expected",
    [
        (0, 3, 6, 1e-9, 1e-9),
        (0, 3, 6, 3, 3),  # to the edge
        (0, 3, 6, 5, 3),
        (0, 3, 6, -3, -3),
        (0, 3, 6, -5, -3),
        (0, 6, 6, 1, 0),
        (0, 6, 6, -1e-20, -1e-20),
        (0, 1e8, 6, -1e-3, 0),
        (0, 9, 6, -5, -2),
        (0, 9, 6, -20, -6),  # from one side to the other
        (0, -9, 6, 20, 6),
        (-np.inf, 2, np.inf, -7, -7),
    ],
)
def test_clamp_on_both_sides_of_its_edges_and_at_them(low, x, high, dx, expected):
    assert change(lax.clamp, [low, x, high], [None, dx, None]) == np.float32(expected)


@pytest.mark.parametrize(
    "dlow, dx, dhigh, expected",
    [(1, 0, 0, 0), (3, 0, 0, 1), (0, 0, -2, -1), (0, 0, -9, -8), (2, -1, 0, 0), (4, 0, 1, 2)],
)
def test_edges_of_clamp_may_move(dlow, dx, dhigh, expected):
    """2 between 0 and 3."""
    assert change(lax.clamp, [0, 2, 3], [dlow, dx, dhigh]) == expected


@pytest.mark.parametrize(
    "x, dx, expected",
    [
        (1, -1, -1),
        (1, -2, 0),
        (1, -3, 1),
        (-1, 1e-9, -1e-9),
        (0, -1e-20, 1e-20),
        (0, 1e-20, 1e-20),
        (1, -2 - 2.0**-22, 2.0**-22),
        (1e8, -1e-3, -1e-3),
        (-1e-8, 1e8, 1e8),
        (-np.inf, 3, 0),
    ],
)
def test_absolute_value_on_both_sides_of_0_and_at_it(x, dx, expected):
    if np.isfinite(x):
        assert change(jnp.abs, [x], [dx]) == np.float32(expected)
    assert change(jnp.abs, [x], [0]) == 0


@pytest.mark.parametrize(
    "row, moves, expected",
    [
        ([3, 1], [-1, 0], -1),
        ([3, 1], [-9, 0], -2),
        ([3, 1], [0, 3], 1),
        ([3, 3], [-1, 0], 0),
        ([1e8, 1e8], [1e-9, 0], 1e-9),
        ([-np.inf, 1], [0, 0.5], 0.5),
        ([-np.inf, -np.inf], [0, 0], 0),
        ([np.inf, 1], [0, 5], 0),
    ],
    ids=str,
)
def test_largest_of_a_window_or_an_axis_where_the_best_place_changes(row, moves, expected):
    """One window of two places; an outer window is padding alone and never changes."""
    pool = max_pool((1, 2), (1, 2), ((0, 0), (2, 0)))
    x, dx = (np.array(a, np.float32).reshape(1, 1, 2, 1) for a in (row, moves))
    found = delta(pool, strict=True)([x], [dx])
    np.testing.assert_array_equal(np.ravel(found), np.float32([0, expected]))
    assert change(jnp.max, [row], [moves]) == np.float32(expected)
    assert change(jnp.min, [np.negative(row)], [np.negative(moves)]) == -np.float32(expected)


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize(
    "x, y, dx, dy, sign",
    [
        (2, 2, 0, 0, 0),
        (2, 1, -1, 0, 0),
        (2, 1, 0, 1, 0),
        (1, 2, 3, 1, 1),
        (2, 2, 1e-9, 0, 1),  # 2 + 1e-9 is 2 in float32
        (2, 2, 1e-9, 2e-9, -1),
        (1e8, 1e8 - 8, 1, 9 + 2.0**-20, -1),
        (1e8, 1e8 - 8, 1, 9, 0),
        (-1e-20, 0, 1e-20, None, 0),
        (-1e-20, 0, 1.01e-20, None, 1),
        (-np.inf, -np.inf, 0, None, 0),
        (-np.inf, 3, 0, 1, -1),
    ],
)
def test_comparison_has_its_new_value_even_where_the_moved_operand_rounds(
    name, x, y, dx, dy, sign
):
    """`sign` is that of (x + dx) - (y + dy)."""
    new, old = (COMPARISONS[name](a, b) for a, b in ((sign, 0), (np.float32(x), np.float32(y))))
    found = change(lambda x, y: getattr(lax, name)(x, y).astype(jnp.float32), [x, y], [dx, dy])
    assert found == float(new) - float(old)


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparison_of_what_becomes_0_with_a_small_number(name):
    """0.3 - 1e-9 rounds to 0.3 and 0.3 - 0.3 is 0, but 0 is not 1e-9."""
    new, old = COMPARISONS[name](0, 1e-9), COMPARISONS[name](0.3, 1e-9)
    compare = getattr(lax, name)
    found = change(lambda x, y: compare(x, y).astype("f4"), [0.3, 1e-9], [-0.3, None])
    assert found == float(new) - float(old)


@pytest.mark.parametrize(
    "row, moves, place",
    [
        ([3, 1, 2], [0, 0, 0], 0),
        ([1, 3, 2], [0, 0, 1], 1),  # a tie: the first of them
        ([1, 2, 3], [0, 1, 0], 1),
        ([2, 2, 2], [0, 1e-9, 0], 1),  # 2 + 1e-9 is 2 in float32
        ([2, 2, 2], [1e-9, 1e-9, 2e-9], 2),
        ([2, 2, 2], [-1e-9, 0, 0], 1),
        ([-np.inf, 1, 0], [0, -2, 0], 2),
        ([-np.inf, -np.inf, -np.inf], [0, 0, 0], 0),
        ([1e8, 1e8 - 8, 0], [1, 9 + 2.0**-20, 0], 1),
    ],
    ids=str,
)
def test_place_of_the_largest_at_ties_and_past_them(row, moves, place):
    def one_hot(place):
        return (jnp.arange(3) == place).astype(jnp.float32)

    expected = one_hot(place) - one_hot(np.argmax(row))
    for sign, where in ((1, jnp.argmax), (-1, jnp.argmin)):
        x, dx = np.multiply(sign, row), np.multiply(sign, moves)
        found = change(lambda x, where=where: one_hot(where(x)), [x], [dx])
        np.testing.assert_array_equal(found, expected)


def test_place_of_the_largest_where_the_largest_becomes_0():
    """0.3 - 0.3 is less than 1e-9."""
    assert change(lambda x: 1.0 * x.argmax(), [[0.3, 1e-9]], [[-0.3, 0]]) == 1


@pytest.mark.parametrize(
    "x, dx, expected",
    [
        (1, 2, 2),  # unmoved side
        (-1e8, 1e-3, 1e-5),
        (1e8, 1e-3, 1e-3),
        (-1e-8, -1e-20, -1e-22),
        (1e-8, -1e8, -1e6),  # from one side to the other
        (-1e-8, 1e8, 1e8),
        (-1, 3, 2.01),
        (1, -3, -1.02),
        (0, 1e-20, 1e-20),
        (0, -1e-20, -1e-22),
        (1, -1, -1),
        (0, 0, 0),
    ],
)
def test_leaky_relu_on_both_sides_of_its_kink_and_at_it(x, dx, expected):
    # Three roundings, of the slope, of the gap and of the sum.
    np.testing.assert_allclose(
        change(jax.nn.leaky_relu, [x], [dx]), expected, rtol=4 * 2.0**-24
    )


@pytest.mark.parametrize("x", [-0.3, -1, -0.7, -1e8])
def test_leaky_relu_that_rises_to_0_loses_no_digits(x):
    """From slope * x to 0, while the chosen case goes from x to 0, a hundred times as far."""
    x = np.float32(x)
    expected = -np.float64(np.float32(0.01)) * x
    np.testing.assert_allclose(
        change(jax.nn.leaky_relu, [x], [-x]), expected, rtol=4 * 2.0**-24
    )


@pytest.mark.parametrize(
    "chooser, dchooser, expected",
    [(1, 1, 1e-9), (-1, 0.5, 1e-7), (1, -3, 7 - 1e8 + 1e-7), (-1, 1.5, 1e8 - 7 + 1e-9)],
    ids=["stays true", "stays false", "becomes false", "becomes true"],
)
def test_moved_choice_changes_by_the_gap_of_its_cases_only_if_it_switches(
    chooser, dchooser, expected
):
    def choose(chooser, x, y):
        return jnp.where(chooser > 0, x, y)

    found = change(choose, [chooser, 1e8, 7], [dchooser, 1e-9, 1e-7])
    np.testing.assert_allclose(found, expected, rtol=2 * 2.0**-24)


@pytest.mark.parametrize(
    "f, x, dx, expected",
    [
        (jnp.sign, -2, 5, 2),
        (jnp.sign, -2, 2, 1),
        (jnp.sign, 0, -1e-30, -1),
        (jnp.floor, 0.5, 0.25, 0),
        (jnp.floor, 0.5, 0.5, 1),
        (jnp.floor, 0, -1e-30, -1),
        (jnp.ceil, 0, 1e-30, 1),
        (jnp.round, 0.5, 0.25, 1),  # half goes to the even number
        (jnp.isfinite, np.inf, -1.0, 0),
    ],
)
def test_steps_are_taken_where_they_are(f, x, dx, expected):
    assert change(lambda x: f(x).astype(jnp.float32), [x], [dx]) == expected
