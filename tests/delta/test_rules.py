"""Every rule against float64 f(x + dx) - f(x), every choice of operands that may move."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxsel.delta import delta
from jaxsel.delta.rules import RULES
from tests.delta.cases import CASES, SCALES, change64

# Each case with every choice of operands that move.
CHOICES = [
    pytest.param(name, moved, id=f"{name}-{''.join(map(str, moved))}")
    for name, case in CASES.items()
    for n in range(1, len(case.shapes) + 1)
    for moved in itertools.combinations(range(len(case.shapes)), n)
]


@functools.cache
def compiled(name):
    """One for all scales."""
    return jax.jit(delta(CASES[name].f, strict=True))


def assert_few_roundings(case, found, expected):
    """Subtracting two float32 values would be wrong by 1e-2 of a tiny change.

    Where sums are involved a rounding is one of the largest change: at most 18 numbers are
    added here, in any order, and a random sum of 18 is off by 5 roundings at most. 16 allow
    for products and for the second sum of the rule of a product.
    """
    size = np.abs(expected) if case.each else np.abs(expected).max()
    excess = np.abs(found - expected) - case.roundings * 2.0**-24 * size
    assert excess.max() <= 0, f"off by {np.abs(found - expected).max()} of {size}"


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("name, moved", CHOICES)
def test_change_is_right_to_a_few_roundings_of_itself(rng, name, moved, scale):
    case = CASES[name]
    x, dx = case.operands(rng, moved, scale)
    found = compiled(name)(x, dx)
    assert found.dtype == np.float32
    assert_few_roundings(case, found, change64(case.f, x, dx))


@pytest.mark.parametrize("name, moved", CHOICES)
def test_zero_change_gives_exactly_zero(rng, name, moved):
    x, dx = CASES[name].operands(rng, moved, 0.0)
    found = compiled(name)(x, dx)
    np.testing.assert_array_equal(found, np.zeros_like(found))


@pytest.mark.parametrize("name", CASES)
def test_float32_changes_of_float64_values_keep_their_digits(rng, name):
    """The values are none of float32."""
    case = CASES[name]
    every = range(len(case.shapes))
    x, dx = case.operands(rng, every, 1e-3 if case.draw != "whole" else 1.0)
    with jax.enable_x64(True):
        x = [np.float64(a) if case.draw == "whole" else np.float64(a) * (1 + 1e-9) for a in x]
        found = compiled(name)(x, dx)
    assert found.dtype == np.float32
    assert_few_roundings(case, found, change64(case.f, x, dx))


def primitives(jaxpr):
    """Names of all primitives, also within nested functions."""
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name
        for inner in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
        ):
            if hasattr(inner, "eqns"):
                yield from primitives(inner)


@pytest.mark.parametrize("name", CASES)
def test_case_holds_the_primitive_it_names(rng, name):
    case = CASES[name]
    x, _ = case.operands(rng, (), 0.0)
    assert case.primitive in set(primitives(jax.make_jaxpr(case.f)(x)))


def test_every_rule_has_a_case():
    assert {case.primitive for case in CASES.values()} == RULES.keys()


def test_widening_conversion_keeps_every_bit(rng):
    x, dx = (scale * rng.normal(size=9).astype(np.float32) for scale in (1, np.float32(1e-20)))
    with jax.enable_x64(True):
        found = delta(lambda x: lax.convert_element_type(x, np.float64), strict=True)(x, dx)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, dx)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrowing_conversion_rounds_the_change_and_not_the_value(rng, dtype):
    """What the value loses does not come back as a change."""
    x, dx = rng.normal(size=9).astype(np.float32), np.full(9, 2.0**-9, np.float32)
    found = delta(lambda x: x.astype(dtype), strict=True)(x, dx)
    assert found.dtype == dtype
    np.testing.assert_array_equal(np.float32(found), dx)


def moved_exponent(x):
    return jnp.abs(x[0]) ** x[1]


def moved_place(x):
    return lax.dynamic_update_slice(x[0], x[1], (x[0].argmax(),))


def gaps_between_pixels(x):
    """A window over an image that was stretched: its padding is not only outside."""
    return lax.reduce_window(x[0], -jnp.inf, lax.max, (2,), (1,), "VALID", base_dilation=(2,))


@pytest.mark.parametrize(
    "f, primitive",
    [
        (moved_exponent, "pow"),
        (moved_place, "dynamic_update_slice"),
        (gaps_between_pixels, "reduce_window_max"),
    ],
    ids=["exponent", "place written at", "stretched image"],
)
def test_use_of_a_primitive_that_its_rule_does_not_hold_for_is_refused(rng, f, primitive):
    x = [rng.normal(size=4).astype(np.float32), rng.normal(size=4).astype(np.float32)]
    dx = [rng.normal(size=4).astype(np.float32) for _ in x]
    with pytest.raises(ValueError, match=f"'{primitive}'"):
        delta(f, strict=True)(x, dx)
    with pytest.warns(UserWarning, match=f"'{primitive}'"):
        found = delta(f)(x, dx)
    # Differenced: one rounding of values near 10, after the few of the primitive.
    np.testing.assert_allclose(found, change64(f, x, dx), rtol=0, atol=1e-5)
