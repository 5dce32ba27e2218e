"""`delta` under and over `jit`, `vmap`, `grad` and itself, and where a rule is missing."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxsel.delta import delta
from tests.delta.cases import change64, max_pool

WEIGHT = np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)


def dense(x):
    return x @ jnp.asarray(WEIGHT, x.dtype)


def relu_network(x):
    return dense(jax.nn.relu(dense(x)))


def pooled(x):
    return max_pool((2, 1), (2, 1), ((0, 0), (0, 0)))([x.reshape(1, 4, 4, 1)])[0, :, :, 0]


# All take numbers above 0.2 and are smooth but for kinks.
FUNCTIONS = {
    "exp": jnp.exp,
    "expm1": jnp.expm1,
    "log": jnp.log,
    "log1p": jnp.log1p,
    "sqrt": jnp.sqrt,
    "rsqrt": lax.rsqrt,
    "square": jnp.square,
    "cube": lambda x: x**3,
    "reciprocal": lambda x: x**-1,
    "power": lambda x: x**0.75,
    "logistic": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "erf": lax.erf,
    "erfc": lax.erfc,
    "ratio": lambda x: x / (1 + x[::-1]),
    "larger": lambda x: jnp.maximum(x, x[::-1]),
    "smaller": lambda x: jnp.minimum(x, 1),
    "clamp": lambda x: jnp.clip(x, 0.5, 1.5),
    "absolute": lambda x: abs(x - 1),
    "largest": lambda x: x.max(1),
    "smallest": lambda x: x.min(0),
    "max-pool": pooled,
    "leaky relu": lambda x: jax.nn.leaky_relu(x - 1),
    "softmax": jax.nn.softmax,
    "gelu": lambda x: jax.nn.gelu(x - 1, approximate=False),
    "relu network": relu_network,
    "strongest": lambda x: jnp.take_along_axis(x, x.argmax(1, keepdims=True), 1),
}
EVERY = pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)


@pytest.fixture
def x(rng):
    return rng.uniform(0.5, 2, size=(4, 4)).astype(np.float32)


@pytest.fixture
def dx(rng):
    return rng.uniform(-0.25, 1, size=(4, 4)).astype(np.float32)


def assert_close(found, expected, roundings=64):
    """Sums of up to 16 numbers of at most 4 roundings, to the largest of the result."""
    atol = roundings * 2.0**-24 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@EVERY
def test_of_a_batch_under_jit_is_that_of_each(f, x, rng):
    changes = rng.uniform(-0.2, 1, size=(3, 4, 4)).astype(np.float32)
    together = jax.jit(jax.vmap(delta(f, strict=True), (None, 0)))(x, changes)
    one_by_one = [change64(lambda x: f(x[0]), [x], [dx]) for dx in changes]
    assert_close(together, np.stack(one_by_one))


@EVERY
def test_gradient_is_that_of_the_difference(f, x, dx):
    """By dx it is f'(x + dx), by x it is f'(x + dx) - f'(x); where dx is 0, f'(x) and 0.

    In float64, so that the plain gradients may be subtracted.
    """

    def total(x, dx):
        return delta(f, strict=True)(x, dx).sum()

    with jax.enable_x64(True):
        x, dx = jnp.float64(x), jnp.float64(dx)
        slope = jax.grad(lambda x: f(x).sum())
        for change in (dx, jnp.where(dx < 0.5, dx, 0), 0 * dx, -0.9 * dx):
            by_x, by_dx = jax.grad(total, (0, 1))(x, change)
            there, here = slope(x + change), slope(x)
            np.testing.assert_allclose(by_dx, there, rtol=1e-11, atol=1e-11)
            np.testing.assert_allclose(by_x, there - here, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "name",
    [
        "exp",
        "log",
        "log1p",
        "sqrt",
        "rsqrt",
        "cube",
        "power",
        "logistic",
        "tanh",
        "erf",
        "softmax",
    ],
)
def test_gradient_is_a_number_where_forms_that_are_not_chosen_are_none(name):
    """exp(1000), log of a negative number and the like must not reach the gradient."""
    f = FUNCTIONS[name]
    x = jnp.array([[0.5, 1, 30, 80]] * 4) + jnp.arange(4)[:, None] / 8
    for dx in (jnp.full((4, 4), -0.2), 4 - x / 8, 0 * x, -0.99 * x):
        by_x, by_dx = jax.grad(lambda *at: delta(f)(*at).sum(), (0, 1))(x, dx)
        slope = jax.grad(lambda x: f(x).sum())
        with_number = np.isfinite(slope(x)) & np.isfinite(slope(x + dx))
        assert np.isfinite(by_x[with_number]).all()
        assert np.isfinite(by_dx[with_number]).all()


@EVERY
def test_of_itself_is_the_second_difference(f, x, dx):
    """f(x + e + d) - f(x + e) - f(x + d) + f(x), and exactly 0 where e is 0."""
    step = dx.T.copy()
    twice = delta(lambda x: delta(f, strict=True)(x, dx), strict=True)
    found = twice(x, step)
    with jax.enable_x64(True):
        a, d, e = (jnp.float64(part) for part in (x, dx, step))
        expected = np.asarray(f(a + e + d) - f(a + e) - f(a + d) + f(a))
        first = np.abs(f(a + e + d) - f(a + e)) + np.abs(f(a + d) - f(a))
    # The outer change rounds to a part of the larger of the two changes that it compares.
    atol = 64 * 2.0**-24 * np.maximum(np.abs(expected), first).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
    np.testing.assert_array_equal(twice(x, np.zeros_like(step)), np.zeros_like(expected))


@pytest.mark.parametrize(
    "name", ["exp", "log", "power", "square", "logistic", "tanh", "rsqrt", "erf"]
)
def test_second_difference_of_tiny_changes_keeps_its_digits(name, x, dx):
    """f'' d e of 1e-5 and 1e-4 is 1e-9, which four float32 values do not hold."""
    f = FUNCTIONS[name]
    d, e = np.float32(1e-5) * dx, np.float32(1e-4) * dx[::-1]
    found = delta(lambda x: delta(f, strict=True)(x, d), strict=True)(x, e)
    with jax.enable_x64(True):
        curve = jax.grad(jax.grad(f))
        at = jnp.float64(x).ravel()
        bends, turns = (
            np.asarray(jax.vmap(slope)(at)).reshape(x.shape)
            for slope in (curve, jax.grad(curve))
        )
    wide, step = np.float64(d), np.float64(e)
    expected = wide * step * (bends + turns * (wide + step) / 2)
    # What is left out is of the square of 1e-4, times 10 or so from the fourth derivative.
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=64 * 2.0**-24 * abs(expected).max()
    )


# These gradients choose a place to write to, which has no rule where it moves.
PLACED = ("max-pool", "strongest")


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in PLACED])
def test_of_a_gradient_is_the_change_of_the_gradient(name, x, dx):
    slope = jax.grad(lambda x: FUNCTIONS[name](x).sum())
    for size in (1, np.float32(1e-4)):
        expected = change64(lambda x: slope(x[0]), [x], [size * dx])
        found = delta(slope, strict=True)(x, size * dx)
        # Slopes are products of numbers up to 8.
        np.testing.assert_allclose(found, expected, rtol=0, atol=size * 8 * 64 * 2.0**-24)


def test_of_a_function_of_rows_is_that_of_every_row(x, dx):
    for f in (jax.nn.softmax, jnp.sort, lambda row: row @ row, lambda row: row[row.argmax()]):
        whole = jax.vmap(f)
        with contextlib.nullcontext() if f is not jnp.sort else pytest.warns(match="'sort'"):
            assert_close(delta(whole)(x, dx), change64(lambda x, f=whole: f(x[0]), [x], [dx]))


def scanned(x):
    return lax.scan(lambda total, row: (total + row, total * row), x[0], x)[1]


def halved(x):
    return lax.while_loop(lambda x: x.max() > 1, lambda x: x / 2, x)


def branched(x):
    return lax.cond(x.sum() > 0, lambda x: 2 * x, lambda x: -x, x)


UNKNOWN = {
    "sin": jnp.sin,
    "scan": scanned,
    "while": halved,
    "cond": branched,
    "sort": jnp.sort,
    "atan2": lambda x: jnp.arctan2(x, 3 + x[::-1]),
    "cumprod": lambda x: lax.cumprod(x, 1),
}


@pytest.mark.parametrize("wide", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("name", UNKNOWN)
def test_primitive_without_a_rule_is_named_and_differenced_or_refused(name, wide, x, dx):
    f = UNKNOWN[name]
    with jax.enable_x64(True) if wide else contextlib.nullcontext():
        x, dx = (jnp.asarray(a, np.float64 if wide else np.float32) for a in (x, dx))
        with pytest.raises(ValueError, match=f"'{name}'"):
            delta(f, strict=True)(x, dx)
        with pytest.warns(UserWarning, match=f"'{name}'"):
            found = delta(f)(x, dx)
    # Values up to 16 are subtracted.
    atol = 1e-13 if wide else 1e-5
    expected = change64(lambda x: f(x[0]), [np.asarray(x)], [np.asarray(dx)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_truth_values_and_integers_move_on_the_way_to_a_number(x, dx):
    """Logical operations, counting, whole-number arithmetic and reading at a place."""

    def f(x):
        large, near = x > 1, (x > 0.75) & (x < 1.5)
        counts = jnp.sum(large ^ near, 1) * 2 - jnp.any(near, 1)
        place = jnp.clip(counts % 4, 0, 3)
        row = jnp.take_along_axis(x, place[:, None], 1)[:, 0]
        return row + counts.astype(x.dtype) * jnp.where(large.all(1), 3, x[:, 0])

    assert_close(delta(f, strict=True)(x, dx), change64(lambda x: f(x[0]), [x], [dx]))
    np.testing.assert_array_equal(delta(f, strict=True)(x, 0 * dx), np.zeros(4))


def test_complex_numbers_are_refused_by_the_name_of_what_makes_them(x, dx):
    with pytest.raises(ValueError, match="real numbers: 'fft' has complex ones"):
        delta(lambda x: jnp.fft.irfft(jnp.fft.rfft(x)))(x, dx)
