"""`delta` as a transformation: what it refuses, and that it composes with the others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsel.delta import delta

WEIGHT = np.random.default_rng(2).normal(size=(5, 3)).astype(np.float32)


def dense_relu(x):
    return jnp.maximum(x @ WEIGHT, 0)


def change64(x, dx, f=lambda x: np.maximum(x @ WEIGHT.astype(np.float64), 0)):
    return f(np.float64(x) + np.float64(dx)) - f(np.float64(x))


@pytest.fixture
def x(rng):
    return rng.normal(size=(4, 5)).astype(np.float32)


@pytest.fixture
def dx(rng):
    return rng.uniform(-1, 1, size=(4, 5)).astype(np.float32)


def assert_close(found, expected):
    # Five float32 products near 1 are summed.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_strict_names_the_primitive_without_a_rule(x, dx):
    with pytest.raises(ValueError, match="'sin'"):
        delta(lambda x: dense_relu(jnp.sin(x)), strict=True)(x, dx)


def test_the_table_of_rules_can_be_asked_for():
    from jaxsel.delta import RULES

    assert {"exp", "conv_general_dilated"} <= RULES.keys()


def test_without_strict_a_warning_names_it_and_the_change_is_right(x, dx):
    with pytest.warns(UserWarning, match="'sin'"):
        found = delta(jnp.sin)(x, dx)
    assert_close(found, change64(x, dx, np.sin))


def test_a_primitive_of_unchanged_operands_needs_no_rule(x, dx):
    found = delta(lambda ab: jnp.sin(ab[0]) * ab[1], strict=True)((x, x), (None, dx))
    assert_close(found, np.sin(np.float64(x)) * dx)


@pytest.mark.parametrize(
    "f",
    [lambda x: x > 0, lambda x: x.astype(np.int32), lambda x: x.argmax(), lambda x: x.shape[0]],
    ids=["truth values", "whole numbers", "argmax", "a constant number"],
)
def test_truth_values_and_integers_have_no_change(f, x, dx):
    with pytest.raises((TypeError, ValueError), match=r"has no change|no rule"):
        delta(f)(x, dx)


def test_a_leaf_that_is_none_does_not_change(x, dx):
    def f(parts):
        return parts["a"] * parts["b"] + parts["c"][0]

    found = delta(f, strict=True)({"a": x, "b": x, "c": [x]}, {"a": dx, "b": None, "c": [None]})
    assert_close(found, np.float64(x) * dx)


def test_nothing_changed_gives_exactly_zero(x):
    np.testing.assert_array_equal(delta(dense_relu)(x, None), np.zeros((4, 3)))


def test_result_has_the_structure_of_the_value(x, dx):
    found = delta(lambda x: {"twice": 2 * x, "rest": (jnp.ones(2), x)})(x, dx)
    np.testing.assert_array_equal(found["twice"], 2 * dx)
    np.testing.assert_array_equal(found["rest"][0], [0, 0])
    np.testing.assert_array_equal(found["rest"][1], dx)


@pytest.mark.parametrize(
    "change, message",
    [
        ([np.ones(3, np.float32)], "structure"),
        ((np.ones(3, np.float32), None), "structure"),
        (np.ones(4, np.float32), r"float32\[4\].*float32\[3\]"),
        (np.ones((1, 3), np.float32), "float32"),
        (np.ones(3, np.int32), "int32"),
        (1.0, "float32"),
    ],
    ids=["list", "tuple", "length", "rank", "int", "number"],
)
def test_a_change_that_does_not_fit_is_refused(change, message):
    with pytest.raises(TypeError, match=message):
        delta(lambda x: 2 * x)(np.ones(3, np.float32), change)


def test_changes_less_precise_than_values_keep_the_thresholds_of_the_values():
    """A unit is pushed over a threshold 1e-9 away: float32 values cannot say by how much."""

    def layer(x):
        return jax.nn.relu(x @ jnp.array([[1.0], [1.0]], x.dtype))

    with jax.enable_x64(True):
        x, dx = np.array([[1.0, -1.0 - 1e-9]]), np.array([[3e-9, 0.0]], np.float32)
        mixed = delta(layer, strict=True)(x, dx)
        assert mixed.dtype == np.float32
        # 2**-24 from the change 3e-9 and from the gap 1e-9, each relative to itself.
        np.testing.assert_allclose(mixed, [[2e-9]], rtol=3e-7)
    rounded = delta(layer, strict=True)(x.astype(np.float32), dx)
    assert abs(rounded[0, 0] - 2e-9) > 5e-10


def test_a_change_more_precise_than_the_value_is_refused():
    with jax.enable_x64(True), pytest.raises(TypeError, match="float64"):
        delta(lambda x: 2 * x)(np.ones(3, np.float32), np.ones(3))


def test_under_jit(x, dx):
    assert_close(jax.jit(delta(dense_relu, strict=True))(x, dx), change64(x, dx))


def test_under_vmap(x, rng):
    changes = rng.normal(size=(6, 4, 5)).astype(np.float32)
    together = jax.vmap(delta(dense_relu, strict=True), (None, 0))(x, changes)
    assert_close(together, np.stack([change64(x, dx) for dx in changes]))


def test_what_does_not_change_is_not_repeated_under_vmap(x, rng):
    """The product of the unchanged leaf keeps its shape: no axis of changes."""
    changes = rng.normal(size=(6, 4, 3)).astype(np.float32)

    def of_change(d):
        return delta(lambda ab: (ab[0] @ WEIGHT) * ab[1])((x, x[:, :3]), (None, d))

    jaxpr = jax.make_jaxpr(jax.vmap(of_change))(changes)
    products = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "dot_general"]
    assert products
    assert {eqn.outvars[0].aval.shape for eqn in products} == {(4, 3)}


def test_gradient_by_the_change_is_the_gradient_where_it_leads(x, dx):
    """d/d(dx) of f(x + dx) - f(x) is f'(x + dx); by x it is f'(x + dx) - f'(x)."""

    def slope(x):
        return (np.float64(x) @ WEIGHT > 0) @ WEIGHT.T.astype(np.float64)

    by_x, by_dx = jax.grad(lambda *args: delta(dense_relu)(*args).sum(), (0, 1))(x, dx)
    assert_close(by_dx, slope(np.float64(x) + dx))
    assert_close(by_x, slope(np.float64(x) + dx) - slope(x))


def test_of_itself_is_the_second_difference(x, dx):
    """For x @ W * x: f(x+e+d) - f(x+e) - f(x+d) + f(x), which is e @ W * d + d @ W * e."""
    square = WEIGHT @ WEIGHT.T
    step = dx[::-1].copy()
    found = delta(lambda x: delta(lambda x: x @ square * x)(x, dx))(x, step)
    wide = square.astype(np.float64)
    expected = step @ wide * dx + dx @ wide * step
    # Sums of ten products, each a few roundings of numbers near 10.
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-5)


@jax.custom_vjp
def with_own_gradient(x):
    return dense_relu(x)


with_own_gradient.defvjp(lambda x: (dense_relu(x), x), lambda x, g: (g @ WEIGHT.T,))


@pytest.mark.parametrize(
    "f",
    [
        jax.jit(dense_relu),
        lambda x: jax.jit(jax.jit(dense_relu))(x),
        lambda x: jax.nn.relu(x @ WEIGHT),
        jax.checkpoint(dense_relu),
        with_own_gradient,
        jax.jit(jax.checkpoint(lambda x: jax.nn.relu(x @ WEIGHT))),
        lambda x: jax.vmap(dense_relu)(x),
        lambda x: jax.vmap(jax.nn.relu)(x @ WEIGHT),
    ],
    ids=[
        "jit",
        "jit in jit",
        "custom_jvp",
        "checkpoint",
        "custom_vjp",
        "all together",
        "vmap",
        "vmap of custom_jvp",
    ],
)
def test_walks_into_functions_that_hold_functions(f, x, dx):
    assert_close(delta(f, strict=True)(x, dx), change64(x, dx))


def test_tiny_changes_keep_the_digits_that_subtraction_loses(x, dx):
    tiny = np.float32(1e-12) * dx
    found = delta(dense_relu, strict=True)(x + 1, tiny)
    active = np.float64(x + 1) @ WEIGHT > 0  # no response is within 1e-12 of 0
    np.testing.assert_allclose(found, active * (np.float64(tiny) @ WEIGHT), rtol=0, atol=2e-18)


def test_float64_inputs_give_float64_digits(x, dx):
    with jax.enable_x64(True):
        wide = [jnp.asarray(a, jnp.float64) for a in (x, dx)]
        found = delta(lambda x: jnp.maximum(x @ jnp.asarray(WEIGHT, jnp.float64), 0))(*wide)
        assert found.dtype == np.float64
    np.testing.assert_allclose(found, change64(x, dx), rtol=0, atol=1e-14)
