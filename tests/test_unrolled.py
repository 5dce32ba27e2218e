"""Convolutions as matrix products against the convolution itself, and which are left alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

from jaxsel.stages import evaluated, stages

LAYOUTS = {
    1: [("NWC", "WIO", "NWC"), ("NCW", "OIW", "WNC")],
    2: [("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW"), ("CHWN", "IHOW", "HNWC")],
    3: [("NDHWC", "DHWIO", "NDHWC")],
}


def convolution(strides, padding, layout=LAYOUTS[2][0], **how):
    return lambda x, kernel: lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=layout, **how
    )


def numbers(*shapes, dtype=np.float64):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def primitives(f, *arguments):
    jaxpr = jax.make_jaxpr(evaluated(f))(*arguments).jaxpr
    return [eqn.primitive.name for eqn in jaxpr.eqns]


def in_layout(names, sizes):
    return [sizes[name] for name in names]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_product_is_the_convolution(data):
    n_dims = data.draw(st.integers(1, 3))
    layout = data.draw(st.sampled_from(LAYOUTS[n_dims]))
    places = layout[0].replace("N", "").replace("C", "")
    draw = lambda low, high: [data.draw(st.integers(low, high)) for _ in places]  # noqa: E731
    sizes, window, strides = draw(1, 4), draw(1, 5), draw(1, 3)
    padding = [(data.draw(st.integers(-1, 3)), data.draw(st.integers(-1, 3))) for _ in places]
    channels = {name: data.draw(st.integers(1, 3)) for name in "NCIO"}
    channels["I"] = channels["C"]
    fits = zip(sizes, window, padding, strict=True)
    assume(all(size + low + high >= width for size, width, (low, high) in fits))
    with jax.enable_x64(True):
        x, kernel = numbers(
            in_layout(layout[0], channels | dict(zip(places, sizes, strict=True))),
            in_layout(layout[1], channels | dict(zip(places, window, strict=True))),
        )
        f = convolution(strides, padding, layout)
        out_sizes = jax.eval_shape(f, x, kernel).size // (channels["N"] * channels["O"])
        is_product = any(w > s for w, s in zip(window, sizes, strict=True)) and (
            np.prod(sizes) * out_sizes <= 4 * np.prod(window)
        )
        assert ("dot_general" in primitives(f, x, kernel)) == is_product
        # Sums of at most 4 * 4 * 4 * 3 products of numbers of size 1.
        np.testing.assert_allclose(evaluated(f)(x, kernel), f(x, kernel), rtol=0, atol=1e-12)


def test_nothing_of_the_kernel_is_used_that_meets_padding_only():
    """On a single place only the middle of the window counts: the rest may be anything."""
    x, kernel = numbers((2, 1, 1, 3), (3, 3, 3, 4), dtype=np.float32)
    f = evaluated(convolution((1, 1), "SAME"))
    others = jnp.ones((3, 3, 1, 1), bool).at[1, 1].set(False)
    np.testing.assert_array_equal(f(x, kernel), f(x, jnp.where(others, jnp.inf, kernel)))


LEFT_ALONE = {
    "a map as wide as the window": ((1, 3, 3, 4), (3, 3, 4, 2), {}),
    "a map that holds more than the window": ((1, 2, 5, 4), (3, 3, 4, 2), {}),
    "a long signal, whose matrix would be large": ((1, 400, 2), (401, 2, 2), {}),
    "groups": ((1, 2, 2, 4), (3, 3, 2, 2), {"feature_group_count": 2}),
    "holes in the window": ((1, 2, 2, 4), (3, 3, 4, 2), {"rhs_dilation": (2, 2)}),
    "holes in the map": ((1, 2, 2, 4), (3, 3, 4, 2), {"lhs_dilation": (2, 2)}),
}


@pytest.mark.parametrize("shape, window, how", LEFT_ALONE.values(), ids=LEFT_ALONE.keys())
def test_other_convolutions_are_left_alone(shape, window, how):
    x, kernel = numbers(shape, window, dtype=np.float32)
    n_dims = len(shape) - 2
    sides = [(max(window[0] // 2, 2),) * 2] * n_dims
    f = convolution((1,) * n_dims, sides, LAYOUTS[n_dims][0], **how)
    assert primitives(f, x, kernel) == ["conv_general_dilated"]
    np.testing.assert_array_equal(evaluated(f)(x, kernel), f(x, kernel))


def test_the_matrix_is_made_once_for_a_network():
    """What it needs of the kernel's order is no work of the images'."""
    x, kernel = numbers((2, 2, 2, 3), (3, 3, 3, 4), dtype=np.float32)
    conv = convolution((1, 1), "SAME")
    of_network, of_images = stages(lambda kernel, x: (None, conv(x, kernel)), kernel, x)
    known, _ = of_network(kernel)
    assert 4 * 3 * 4 * 4 in [array.size for array in known]
    names = [eqn.primitive.name for eqn in jax.make_jaxpr(of_images)(known, x).jaxpr.eqns]
    assert "dot_general" in names
    assert not {"gather", "concatenate"} & set(names)
    # Some roundings of sums of twelve products.
    np.testing.assert_allclose(of_images(known, x), conv(x, kernel), rtol=0, atol=1e-5)
