"""A function in stages, and a function evaluated equation by equation, against the function."""

import collections
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.stages import evaluated, largest_array, stages

CONSTANT = np.array([1, -2, 3], np.float32)


@jax.custom_jvp
def turned(x):
    return x[::-1] - 1


turned.defjvp(lambda primals, tangents: (turned(*primals), tangents[0]))


def halves(a, b):
    """One equation with two outputs, of which only the last is read."""
    return jnp.split(jnp.concatenate([a, b]), 2)[1]


# Of whole numbers from -8 to 8, so that results are exact however they are computed.
OPERATIONS = {
    "add": lambda a, b, places: a + b,
    "subtract": lambda a, b, places: a - b,
    "multiply": lambda a, b, places: a * b,
    "with constant": lambda a, b, places: a * CONSTANT,
    "jit": lambda a, b, places: jax.jit(lambda a: jax.nn.relu(a) * CONSTANT)(a),
    "select": lambda a, b, places: jnp.where(a > b, a, b),
    "checkpoint": lambda a, b, places: jax.checkpoint(turned)(a),
    "outputs not read": lambda a, b, places: halves(a, b),
    "gather": lambda a, b, places: a[places],
    "whole numbers": lambda a, b, places: a + (places * 2).astype(a.dtype),
}


class Program:
    """Random operations on three arguments, and a result for each of them.

    What depends on which arguments is known here from how it was put together.
    """

    def __init__(self, operations, results):
        self.operations = operations
        self.results = results

    def __call__(self, x, y, z):
        pool = [(x["a"], 0), (x["b"], 0), (y[0], 1), (z, 2)]
        for name, i, j in self.operations:
            (a, of_a), (b, of_b) = pool[i % len(pool)], pool[j % len(pool)]
            out = jnp.clip(OPERATIONS[name](a, b, x["places"]), -8, 8)
            binary = name in ("add", "subtract", "multiply", "select", "outputs not read")
            pool.append((out, max(of_a, of_b) if binary else of_a))
        results = []
        for stage, chosen in enumerate(self.results):
            may = [value for value, level in pool if level <= stage]
            # None of them is a number that the function was written with.
            results.append(may[chosen % len(may)] if chosen else 5.0)
        return results[0], {"tree": results[1], "places": x["places"]}, [results[2], ()]


PROGRAMS = st.builds(
    Program,
    st.lists(
        st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 99), st.integers(0, 99)),
        max_size=7,
    ),
    st.tuples(*[st.integers(0, 99)] * 3),
)


def arguments(seed=0):
    rng = np.random.default_rng(seed)
    a, b, c, d, unused = rng.integers(-8, 9, (5, 3)).astype(np.float32)
    places = rng.integers(0, 3, 3).astype(np.int32)
    return {"a": a, "b": b, "places": places}, (c, unused), d


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@given(program=PROGRAMS, seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_parts_one_after_another_give_the_results_of_the_whole(program, seed):
    # Shapes and types are enough to cut; the values are others.
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), arguments())
    first, second, third = stages(program, *shapes)
    x, y, z = arguments(seed)
    of_x, one = first(x)
    of_y, two = second(of_x, y)
    assert_same((one, two, third(of_x, of_y, z)), program(x, y, z))


def equations(jaxpr):
    """All of them, those of nested functions included."""
    for eqn in jaxpr.eqns:
        inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if inner is None:
            yield eqn
        else:
            yield from equations(getattr(inner, "jaxpr", inner))


@given(program=PROGRAMS)
@settings(max_examples=20, deadline=None)
def test_every_part_computes_only_what_needs_its_argument_and_nothing_twice(program):
    x, y, z = arguments()
    first, second, third = stages(program, x, y, z)
    of_x, _ = first(x)
    of_y, _ = second(of_x, y)
    parts = [(first, (x,)), (second, (of_x, y)), (third, (of_x, of_y, z))]
    n_equations = 0
    for part, operands in parts:
        jaxpr = jax.make_jaxpr(part)(*operands).jaxpr
        moved = set(jaxpr.invars[-len(jax.tree.leaves(operands[-1])) :])
        for eqn in jaxpr.eqns:
            assert any(not hasattr(v, "val") and v in moved for v in eqn.invars), eqn
            moved |= set(eqn.outvars)
        n_equations += len(jaxpr.eqns)
    assert n_equations <= len(list(equations(jax.make_jaxpr(program)(x, y, z).jaxpr)))


def of_three(w, x, unit):
    """Each argument goes through a function of its own."""
    weights = jnp.sin(w) @ jnp.ones((3, 3))
    hidden = jnp.cos(x * weights) + weights
    jnp.log(weights)  # nothing needs it
    return jnp.sum(weights), hidden, jnp.tanh(unit * hidden) * weights * w


def primitives(f, *operands):
    return collections.Counter(
        eqn.primitive.name for eqn in equations(jax.make_jaxpr(f)(*operands).jaxpr)
    )


def test_what_depends_on_the_first_argument_is_computed_in_the_first_part_alone():
    operands = np.float32([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    first, second, third = stages(of_three, *operands)
    of_w, _ = first(operands[0])
    of_x, _ = second(of_w, operands[1])
    found = [
        primitives(first, operands[0]),
        primitives(second, of_w, operands[1]),
        primitives(third, of_w, of_x, operands[2]),
    ]
    assert found[0]["sin"] == found[0]["dot_general"] == found[0]["reduce_sum"] == 1
    assert found[1] == {"mul": 1, "cos": 1, "add": 1}
    assert found[2] == {"mul": 3, "tanh": 1}
    assert not found[0]["cos"]
    assert not found[0]["log"]
    # Weights twice and the hidden values once are all that is handed over.
    assert (len(of_w), len(of_x)) == (2, 1)


def test_result_that_depends_on_a_later_argument_is_refused():
    for f, message in (
        (lambda x, y, z: (x, z, y), "result 1 depends on argument 2"),
        (lambda x, y, z: (jnp.where(y > 0, x, 0), y, z), "result 0 depends on argument 1"),
        (lambda x, y, z: ({"a": x, "b": x * z}, y, z), "result 0 depends on argument 2"),
    ):
        with pytest.raises(ValueError, match=message):
            stages(f, 1.0, 2.0, 3.0)


def test_function_of_one_argument_is_one_part():
    (only,) = stages(lambda x: (2 * x,), 1.0)
    assert only(4.0) == 8


def test_an_argument_that_every_part_uses_is_handed_through():
    first, second, third = stages(lambda x, y, z: (x, x * y, x + z), *jnp.ones(3))
    of_x, one = first(jnp.float32(5))
    of_y, two = second(of_x, jnp.float32(2))
    assert (one, two, third(of_x, of_y, jnp.float32(1))) == (5, 10, 6)
    assert len(of_x) == 1
    assert of_y == []


def test_parts_are_batched_and_compiled_as_other_functions_are():
    rng = np.random.default_rng(0)
    w, xs, units = rng.normal(size=3), rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    w, xs, units = (a.astype(np.float32) for a in (w, xs, units))
    first, second, third = stages(of_three, w, xs[0], units[0])
    of_w, total = jax.jit(first)(w)
    of_xs, hidden = jax.jit(jax.vmap(second, (None, 0)))(of_w, xs)
    of_units = jax.vmap(third, (None, None, 0))
    found = jax.jit(jax.vmap(of_units, (None, 0, None)))(of_w, of_xs, units)
    for (i, x), (j, unit) in itertools.product(enumerate(xs), enumerate(units)):
        expected = of_three(w, x, unit)
        for part, right in zip((total, hidden[i], found[i, j]), expected, strict=True):
            # Fused otherwise: sums of three and products, a few roundings.
            np.testing.assert_allclose(part, right, rtol=1e-5, atol=1e-5)


def test_a_compiled_function_is_cut_inside():
    first, second = stages(jax.jit(lambda x, y: (x + 1, jnp.sin(x) * y)), 1.0, 2.0)
    of_x, one = first(1.0)
    assert one == 2
    assert primitives(second, of_x, 2.0) == {"mul": 1}


@given(program=PROGRAMS, seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_evaluated_function_is_the_function(program, seed):
    at = arguments(seed)
    assert_same(evaluated(program)(*at), program(*at))
    assert_same(jax.jit(evaluated(program))(*at), program(*at))


def test_evaluated_function_is_batched_and_differentiated_as_the_function():
    f = functools.partial(lambda w, x: jnp.sum(jax.nn.relu(turned(x) * w) ** 2), CONSTANT)
    xs = np.random.default_rng(0).integers(-8, 9, (4, 3)).astype(np.float32)
    np.testing.assert_array_equal(jax.vmap(evaluated(f))(xs), jax.vmap(f)(xs))
    g = jax.jit(lambda x: jnp.sum(x**2 * CONSTANT))
    np.testing.assert_array_equal(jax.grad(evaluated(g))(xs[0]), jax.grad(g)(xs[0]))


def test_largest_array_is_counted_in_bytes_of_what_is_computed():
    x = jnp.ones(4, np.float32)
    assert largest_array(lambda x: (jnp.outer(x, x).astype(np.float16) * 2).sum(), x) == 64
    assert largest_array(lambda x: x.astype(np.int8) + 1, x) == 4
    # The argument itself is not computed.
    assert largest_array(lambda x: x[:2] * 2, x) == 8
    assert largest_array(lambda x: x, x) == 1


def test_largest_array_is_found_inside_a_compiled_function():
    f = jax.jit(lambda x: jnp.outer(x, x).sum())
    assert largest_array(f, jnp.ones(4, np.float32)) == 64
