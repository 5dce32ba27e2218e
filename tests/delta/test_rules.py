"""Every rule against float64 f(x + dx) - f(x), on both sides of its switches and at them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxsel.delta import delta
from jaxsel.delta.rules import RULES

KERNEL = np.random.default_rng(1).normal(size=(3, 2, 2, 4)).astype(np.float32)


def convolution(strides, padding):
    return lambda x: lax.conv_general_dilated(
        x[0], x[1], strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def max_pool(window, strides, padding, **dilation):
    dims = {"window_dimensions": (1, *window, 1), "window_strides": (1, *strides, 1)}
    padding = ((0, 0), *padding, (0, 0))
    return lambda x: lax.reduce_window(
        x[0], -jnp.inf, lax.max, padding=padding, **dims, **dilation
    )


def summed_cotangents(x):
    """The gradient of a value that is used twice."""
    return jax.vjp(lambda y: (y, y), x[0])[1]((x[0], x[1]))[0]


def sum_pool(x):
    return lax.reduce_window(x[0], 0.0, lax.add, (1, 2, 3, 1), (1, 2, 1, 1), "SAME")


# Primitive, function of a list of operands, shapes of the operands that may move.
CASES = {
    "sum": ("add", lambda x: x[0] + x[1], [(3, 4), (3, 4)]),
    "conv bias": ("add", lambda x: lax.add_p.bind(x[0], x[1]), [(2, 3, 3, 4), (1, 1, 1, 4)]),
    "add a constant": ("add", lambda x: x[0] + 3, [(3, 4)]),
    "add_any": ("add_any", summed_cotangents, [(4,), (4,)]),
    "difference": ("sub", lambda x: x[0] - x[1], [(3, 4), (3, 4)]),
    "size-one subtrahend": ("sub", lambda x: lax.sub_p.bind(x[0], x[1]), [(3, 4), (1, 4)]),
    "product": ("mul", lambda x: x[0] * x[1], [(3, 4), (3, 4)]),
    "square": ("mul", lambda x: x[0] * x[0], [(3, 4)]),
    "moved denominator": ("div", lambda x: x[0] / (3 + x[1] * x[1]), [(5,), (5,)]),
    "quotient": ("div", lambda x: x[0] / jnp.float32(3), [(3, 4)]),
    "matrix product": ("dot_general", lambda x: x[0] @ x[1], [(3, 7), (7, 4)]),
    "batched product": (
        "dot_general",
        lambda x: jnp.einsum("bij,bjk->bik", *x),
        [(2, 3, 5), (2, 5, 4)],
    ),
    "convolution": (
        "conv_general_dilated",
        convolution((1, 1), "SAME"),
        [(2, 5, 4, 2), KERNEL.shape],
    ),
    "strided convolution": (
        "conv_general_dilated",
        convolution((2, 1), ((1, 2), (0, 1))),
        [(2, 5, 4, 2), KERNEL.shape],
    ),
    "side by side": ("concatenate", jnp.concatenate, [(2, 4), (3, 4)]),
    "padding": (
        "pad",
        lambda x: lax.pad(x[0], x[1], [(1, 2, 0), (0, 1, 1)]),
        [(3, 4), ()],
    ),
    "relu": ("max", lambda x: jnp.maximum(x[0], 0), [(50,)]),
    "larger of two": ("max", lambda x: jnp.maximum(x[0], x[1]), [(50,), (50,)]),
    "max-pool": (
        "reduce_window_max",
        max_pool((2, 2), (2, 2), ((0, 0), (0, 0))),
        [(2, 6, 6, 3)],
    ),
    "overlapping max-pool": (
        "reduce_window_max",
        max_pool((3, 2), (2, 1), ((1, 1), (0, 1))),
        [(2, 6, 5, 3)],
    ),
    "dilated max-pool": (
        "reduce_window_max",
        max_pool((2, 2), (1, 1), ((1, 0), (0, 0)), window_dilation=(1, 2, 1, 1)),
        [(1, 5, 5, 2)],
    ),
    "broadcast": ("broadcast_in_dim", lambda x: jnp.broadcast_to(x[0], (3, 4)), [(4,)]),
    "copy": ("copy", lambda x: lax.copy_p.bind(x[0]), [(4,)]),
    "negative": ("neg", lambda x: -x[0], [(4,)]),
    "sum over an axis": ("reduce_sum", lambda x: x[0].sum(1), [(3, 6, 2)]),
    "sum-pool": ("reduce_window_sum", sum_pool, [(2, 5, 4, 3)]),
    "reshape": ("reshape", lambda x: x[0].reshape(2, 6), [(3, 4)]),
    "reverse": ("rev", lambda x: lax.rev(x[0], (1,)), [(3, 4)]),
    "slice": ("slice", lambda x: x[0][1:, ::2], [(3, 4)]),
    "squeeze": ("squeeze", lambda x: lax.squeeze(x[0], (1,)), [(3, 1)]),
    "transpose": ("transpose", lambda x: x[0].T, [(3, 4)]),
}

# Each case with every choice of operands that move.
CHOICES = [
    pytest.param(name, moved, id=f"{name}-{''.join(map(str, moved))}")
    for name, (_, _, shapes) in CASES.items()
    for n in range(1, len(shapes) + 1)
    for moved in itertools.combinations(range(len(shapes)), n)
]


def change64(f, x, dx):
    """f(x + dx) - f(x) in float64: eleven digits of a change that is 1e-5 of its value."""
    with jax.enable_x64(True):
        old = [np.asarray(a, np.float64) for a in x]
        new = [
            a if d is None else a + d.astype(np.float64) for a, d in zip(old, dx, strict=True)
        ]
        return np.asarray(f([jnp.asarray(a) for a in new])) - np.asarray(
            f([jnp.asarray(a) for a in old])
        )


def draw(rng, shapes, moved, scale):
    x = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    dx = [scale * rng.normal(size=shape).astype(np.float32) for shape in shapes]
    return x, [d.astype(np.float32) if i in moved else None for i, d in enumerate(dx)]


@pytest.mark.parametrize("scale", [1e-5, 1, 1e5], ids=["tiny", "moderate", "huge"])
@pytest.mark.parametrize("name, moved", CHOICES)
def test_change_is_right_to_a_few_roundings_of_itself(rng, name, moved, scale):
    _, f, shapes = CASES[name]
    x, dx = draw(rng, shapes, moved, scale)
    expected = change64(f, x, dx)
    found = jax.jit(delta(f, strict=True))(x, dx)
    # At most 12 products are summed here: 16 roundings of 2**-24 of the largest change.
    # Subtracting two float32 values would be wrong by 1e-2 of a tiny change.
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=16 * 2.0**-24 * np.abs(expected).max()
    )


@pytest.mark.parametrize("name, moved", CHOICES)
def test_no_change_gives_exactly_zero(rng, name, moved):
    _, f, shapes = CASES[name]
    x, dx = draw(rng, shapes, moved, 0)
    found = np.asarray(delta(f, strict=True)(x, dx))
    np.testing.assert_array_equal(found, np.zeros_like(found))


@pytest.mark.parametrize("name", CASES)
def test_case_holds_the_primitive_it_names(rng, name):
    primitive, f, shapes = CASES[name]
    x, _ = draw(rng, shapes, (), 0)
    assert primitive in {eqn.primitive.name for eqn in jax.make_jaxpr(f)(x).eqns}


def test_every_rule_has_a_case():
    tested = {primitive for primitive, _, _ in CASES.values()} | {"convert_element_type"}
    assert tested == RULES.keys()


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
    found = delta(jax.nn.relu, strict=True)(jnp.float32(x), jnp.float32(dx))
    assert found == np.float32(expected)


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
        (-np.inf, -np.inf, 0, 0, 0),
        (-np.inf, 1, 0, 2, 2),
    ],
)
def test_larger_of_two_where_they_change_places(x, y, dx, dy, expected):
    x, y, dx, dy = map(np.float32, (x, y, dx, dy))
    found = delta(lambda xy: jnp.maximum(*xy), strict=True)((x, y), (dx, dy))
    assert found == np.float32(expected)


@pytest.mark.parametrize(
    "row, change, expected",
    [
        ([3, 1], [-1, 0], -1),
        ([3, 1], [-9, 0], -2),
        ([3, 1], [0, 3], 1),
        ([3, 3], [-1, 0], 0),
        ([-np.inf, 1], [0, 0.5], 0.5),
        ([-np.inf, -np.inf], [0, 0], 0),
    ],
    ids=["same place", "new place falls", "new place rises", "tie", "half -inf", "all -inf"],
)
def test_max_pool_where_the_best_place_changes(row, change, expected):
    """One window of two places; an outer window is padding alone and never changes."""
    pool = max_pool((1, 2), (1, 2), ((0, 0), (2, 0)))
    x, dx = (np.array(a, np.float32).reshape(1, 1, 2, 1) for a in (row, change))
    found = delta(pool, strict=True)([x], [dx])
    np.testing.assert_array_equal(np.ravel(found), np.float32([0, expected]))


def test_widening_conversion_keeps_every_bit(rng):
    x, dx = (scale * rng.normal(size=9).astype(np.float32) for scale in (1, np.float32(1e-20)))
    with jax.enable_x64(True):
        found = delta(lambda x: lax.convert_element_type(x, np.float64), strict=True)(x, dx)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, dx)


@pytest.mark.parametrize("dtype", [np.int32, bool])
def test_conversion_to_whole_numbers_is_differenced_or_refused(dtype):
    """A step function: 0 becomes 1 (or True), 2 stays what it is."""

    def f(x):
        return lax.convert_element_type(lax.convert_element_type(x, dtype), np.float32)

    x, dx = jnp.array([0.0, 2.0]), jnp.array([1.5, 0.25])
    try:
        found = delta(f)(x, dx)
    except ValueError as refused:  # right as well, if it says what it is about
        assert "convert_element_type" in str(refused)  # noqa: PT017
        return
    np.testing.assert_array_equal(found, f(x + dx) - f(x))


# Layers that keep the shape (2, 4, 4, 2) and whole numbers whole.
LAYERS = {
    "conv": lambda x, w: lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    ),
    "relu": lambda x, w: jax.nn.relu(x),
    "bias": lambda x, w: x + w[0, 0, 0],
    "gain": lambda x, w: x * w[1, 0, 0],
    "max-pool": lambda x, w: lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 2, 3, 1), (1, 1, 1, 1), "SAME"
    ),
    "sum-pool": lambda x, w: lax.reduce_window(
        x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "SAME"
    ),
    "residual": lambda x, w: x + jax.nn.relu(x * w[0, 1, 1]),
    "turn": lambda x, w: -lax.rev(x, (1,)).transpose(0, 2, 1, 3),
    "larger": lambda x, w: jnp.maximum(x, lax.rev(x, (2,))),
    "flatten": lambda x, w: x.reshape(2, -1)[:, ::-1].reshape(x.shape) - x,
}


@given(
    layers=st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=4),
    exponent=st.sampled_from([-30, -4, 0, 4]),
    one_unit=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_networks_of_whole_numbers_change_exactly(layers, exponent, one_unit, seed):
    """Nothing here needs more than 24 bits, so that nothing may be rounded.

    Inputs are whole numbers up to 4, weights are -1, 0, 1; a layer grows them at most
    eightfold: 4 * 8**4 = 2**14. Changes are multiples of 2**exponent: with 2**-4 a mixture
    of both takes 18 bits and some for the changes. With 2**-30 the changes stay below 1:
    they pass a switch only where the gap is exactly 0, and are not mixed with whole
    numbers; float32 values before and after would not differ at all.
    """
    rng = np.random.default_rng(seed)
    weights = rng.integers(-1, 2, size=(len(layers), 2, 2, 2, 2)).astype(np.float32)
    x = rng.integers(-4, 5, size=(2, 4, 4, 2)).astype(np.float32)
    dx = (rng.integers(-4, 5, size=x.shape) * 2.0**exponent).astype(np.float32)
    if one_unit:
        dx[..., 1] = 0

    def network(operands):
        (x,) = operands
        for layer, w in zip(layers, weights, strict=True):
            x = LAYERS[layer](x, jnp.asarray(w, x.dtype))
        return x

    found = delta(network, strict=True)([x], [dx])
    np.testing.assert_array_equal(found, change64(network, [x], [dx]))
