"""`by_chunks` is XLA's convolution, with a gradient of the kernel that is right."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax

from jaxsel.training.convolution import CHUNK, LAYOUT, by_chunks

ROUNDING = 2.0**-24  # of one float32 operation, relative


@functools.cache
def compiled(convolution, strides, padding):
    """Output, and the gradients of images and kernel from that of the output."""

    def run(images, kernel, cotangent):
        def of(x, k):
            return convolution(x, k, strides, padding, dimension_numbers=LAYOUT)

        output, back = jax.vjp(of, images, kernel)
        return output, *back(cotangent)

    return jax.jit(run)


def arrays(shape, strides, padding, seed=0):
    """Images, kernel and a gradient of the output; the shapes are few."""
    n, height, width, rows, columns, channels, units = shape
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, height, width, channels))
    kernel = rng.normal(size=(rows, columns, channels, units))
    output = jax.eval_shape(
        lambda x, k: lax.conv_general_dilated(x, k, strides, padding, dimension_numbers=LAYOUT),
        *(jax.ShapeDtypeStruct(x.shape, "float32") for x in (images, kernel)),
    )
    return images, kernel, rng.normal(size=output.shape)


def assert_same(found, expected, tolerance=1e-12):
    """The value to the bit, the gradients to their largest entry."""
    np.testing.assert_array_equal(found[0], expected[0])
    for a, b in zip(found[1:], expected[1:], strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        atol = tolerance * np.abs(b).max(initial=0)
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


pads = st.tuples(st.integers(0, 3), st.integers(0, 3))
shapes = st.tuples(
    *(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9)),
    *(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)),
)


def has_output(case):
    """Whether the kernel fits into the padded images."""
    (_, height, width, rows, columns, *_), _, padding = case
    if padding == "SAME":
        return True
    around = ((0, 0), (0, 0)) if padding == "VALID" else padding
    return height + sum(around[0]) >= rows and width + sum(around[1]) >= columns


cases = st.tuples(
    shapes,
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.one_of(st.sampled_from(["SAME", "VALID"]), st.tuples(pads, pads)),
).filter(has_output)
few = settings(max_examples=8, deadline=None)  # each is compiled


@given(case=cases)
@example(((33, 7, 4, 3, 2, 2, 3), (2, 1), ((2, 0), (0, 1))))
@example(((2 * CHUNK, 6, 6, 3, 3, 2, 2), (2, 2), ((1, 1), (1, 1))))
@example(((5, 3, 3, 1, 1, 2, 2), (3, 3), "SAME"))
@example(((2, 1, 1, 3, 5, 2, 2), (1, 2), ((3, 0), (1, 3))))
@few
def test_value_is_that_of_xla_and_gradients_are_right(case):
    shape, strides, padding = case
    given_ = arrays(shape, strides, padding)
    with jax.enable_x64(True):
        found = compiled(by_chunks, strides, padding)(*given_)
        expected = compiled(lax.conv_general_dilated, strides, padding)(*given_)
        assert_same(*jax.device_get((found, expected)))


def loop(images, gradient, size, strides, padding):
    """The gradient of a kernel by its formula, one number at a time."""
    found = np.zeros((*size, images.shape[-1], gradient.shape[-1]))
    for a, b in np.ndindex(*size):
        for n, i, j in np.ndindex(*gradient.shape[:3]):
            row, column = i * strides[0] + a - padding[0][0], j * strides[1] + b - padding[1][0]
            if 0 <= row < images.shape[1] and 0 <= column < images.shape[2]:
                found[a, b] += np.outer(images[n, row, column], gradient[n, i, j])
    return found


@pytest.mark.parametrize("n_images", [1, CHUNK - 1, CHUNK, CHUNK + 1, 40])
@pytest.mark.parametrize(
    "strides, padding",
    [((1, 1), ((1, 1), (1, 1))), ((3, 2), ((0, 2), (1, 0)))],
    ids=["plain", "uneven"],
)
def test_gradient_of_the_kernel_matches_loop(n_images, strides, padding):
    images, kernel, gradient = arrays((n_images, 5, 6, 3, 2, 2, 3), strides, padding)
    with jax.enable_x64(True):
        _, _, found = compiled(by_chunks, strides, padding)(images, kernel, gradient)
    expected = loop(images, gradient, kernel.shape[:2], strides, padding)
    assert_same([0, found], [0, expected])


@given(case=cases)
@few
def test_float32_has_the_digits_that_a_sum_has(case):
    """A sum of n products has n + 1 roundings, in any order, of the sum of their sizes."""
    shape, strides, padding = case
    images, kernel, gradient = (np.float32(x) for x in arrays(shape, strides, padding))
    _, _, found = compiled(by_chunks, strides, padding)(images, kernel, gradient)
    assert found.dtype == np.float32
    with jax.enable_x64(True):
        exact = compiled(lax.conv_general_dilated, strides, padding)
        wide = [np.float64(x) for x in (images, kernel, gradient)]
        expected = np.asarray(exact(*wide)[2])
        sizes = np.asarray(exact(*map(np.abs, wide))[2])
    n_terms = gradient[..., 0].size
    assert (np.abs(np.float64(found) - expected) <= (n_terms + 1) * ROUNDING * sizes).all()


@pytest.mark.parametrize("stride", [1, 2])
def test_a_kernel_that_does_not_fit_has_gradient_0(stride):
    """As XLA has it: no output, and nothing that depends on the kernel."""
    strides = (stride, stride)
    given_ = arrays((3, 2, 2, 3, 3, 1, 2), strides, "VALID")
    with jax.enable_x64(True):
        expected = compiled(lax.conv_general_dilated, strides, "VALID")(*given_)
        assert expected[0].size == 0
        found = compiled(by_chunks, strides, "VALID")(*given_)
        assert_same(*jax.device_get((found, expected)))


def program(layer, images):
    """The gradient of a layer's kernel, as a program that can be read."""
    graph, state = nnx.split(layer)
    return str(jax.make_jaxpr(jax.grad(lambda s: nnx.merge(graph, s)(images).sum()))(state))


def both(images, *sizes, **settings_):
    """Output, gradient of kernel and images of a layer, by chunks and by XLA."""
    found = []
    for convolution in (by_chunks, lax.conv_general_dilated):
        layer = nnx.Conv(
            *sizes, conv_general_dilated=convolution, rngs=nnx.Rngs(0), **settings_
        )
        graph, state = nnx.split(layer)
        state = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), state)

        def of(state, images, graph=graph):
            return nnx.merge(graph, state)(images)

        output, back = jax.vjp(of, state, images)
        weights = jnp.cos(jnp.arange(output.size, dtype=output.dtype)).reshape(output.shape)
        of_state, of_images = back(weights)
        found.append((output, *jax.tree.leaves(of_state), of_images))
    return jax.device_get(found)


plain = {
    "padding 1, stride 2": {"padding": 1, "strides": 2},
    "same": {"padding": "SAME", "strides": (2, 3), "use_bias": False},
    "circular": {"padding": "CIRCULAR"},
}
left_to_xla = {
    "groups": {"feature_group_count": 2},
    "dilated kernel": {"kernel_dilation": (1, 2)},
    "dilated images": {"input_dilation": 2, "padding": ((1, 0), (0, 2))},
}


@pytest.mark.parametrize(
    "how", [*plain.values(), *left_to_xla.values()], ids=[*plain, *left_to_xla]
)
def test_every_layer_of_flax_takes_it(how, rng):
    images = rng.normal(size=(CHUNK + 3, 6, 5, 2))
    with jax.enable_x64(True):
        assert_same(*both(jnp.asarray(images), 2, 4, (3, 2), **how))
    by_hand = nnx.Conv(2, 4, (3, 2), conv_general_dilated=by_chunks, rngs=nnx.Rngs(0), **how)
    uses_chunks = "scan" in program(by_hand, jnp.asarray(images, jnp.float32))
    assert uses_chunks == (how in plain.values())


def test_a_layer_over_one_axis_is_left_to_xla(rng):
    with jax.enable_x64(True):
        assert_same(*both(jnp.asarray(rng.normal(size=(4, 9, 2))), 2, 3, (3,), strides=2))


def test_a_layer_over_three_axes_is_left_to_xla(rng):
    with jax.enable_x64(True):
        assert_same(*both(jnp.asarray(rng.normal(size=(2, 4, 4, 4, 2))), 2, 3, (3, 2, 2)))


@pytest.mark.parametrize(
    "changed",
    [
        {"batch_group_count": 2},
        {"preferred_element_type": np.float64},
        {"dimension_numbers": ("NCHW", "OIHW", "NCHW")},
        {"lhs_dilation": None, "rhs_dilation": None},
        {"padding": "SAME_LOWER"},
        {"strides": (2, 2), "padding": [(1, 0), (0, 1)]},
    ],
    ids=lambda changed: ", ".join(changed),
)
def test_it_takes_the_arguments_of_xla_s_own(changed, rng):
    """The same value, shape and dtype, and the same gradient of the kernel."""
    images = jnp.asarray(rng.normal(size=(4, 4, 4, 4)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 4, 4)), jnp.float32)
    if "dimension_numbers" in changed:
        kernel = kernel.transpose(3, 2, 0, 1)
    arguments = {"strides": (1, 1), "padding": "SAME", "dimension_numbers": LAYOUT} | changed
    strides, padding = arguments.pop("strides"), arguments.pop("padding")

    def run(convolution):
        def of(k):
            return convolution(images, k, strides, padding, **arguments)

        output, back = jax.vjp(of, kernel)
        return output, back(jnp.ones_like(output))[0]

    with jax.enable_x64(changed.get("preferred_element_type") is not None):
        found, expected = run(by_chunks), run(lax.conv_general_dilated)
    assert found[0].dtype == expected[0].dtype
    # Both gradients are float32 sums of 64 products of numbers of order 1.
    assert_same(found, expected, 64 * ROUNDING)


def test_over_one_axis_dilations_need_not_be_said(rng):
    images, kernel = jnp.asarray(rng.normal(size=(4, 9, 2)), jnp.float32), jnp.ones((3, 2, 3))
    found, expected = (
        f(images, kernel, (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC"))
        for f in (by_chunks, lax.conv_general_dilated)
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kernels", [None, 0], ids=["one kernel", "a kernel each"])
def test_under_vmap_every_replica_has_its_own_gradient(kernels, rng):
    strides, padding = (2, 1), ((1, 0), (1, 1))
    one = [arrays((CHUNK + 2, 5, 4, 3, 2, 2, 3), strides, padding, seed) for seed in range(3)]
    images, kernel, gradient = (np.stack(x) for x in zip(*one, strict=True))
    kernel = kernel if kernels == 0 else kernel[0]
    with jax.enable_x64(True):
        run = compiled(by_chunks, strides, padding)
        found = jax.jit(jax.vmap(run, in_axes=(0, kernels, 0)))(images, kernel, gradient)
        for i in range(3):
            k = kernel[i] if kernels == 0 else kernel
            expected = run(images[i], k, gradient[i])
            for a, b in zip(found, expected, strict=True):
                # Another program: the sums are in another order.
                atol = 1e-13 * np.abs(b).max()
                np.testing.assert_allclose(a[i], b, rtol=0, atol=atol)


def test_precision_reaches_all_three_products(rng):
    """Forward, and the gradients of images and kernel: none may fall back to less."""
    images, kernel, gradient = (
        jnp.asarray(x, jnp.float32) for x in arrays((2, 4, 4, 3, 3, 2, 2), (1, 1), "SAME")
    )

    def of(x, k):
        return by_chunks(
            x, k, (1, 1), "SAME", dimension_numbers=LAYOUT, precision=lax.Precision.HIGHEST
        )

    text = jax.jit(lambda x, k, g: jax.vjp(of, x, k)[1](g)).lower(images, kernel, gradient)
    products = [
        line
        for line in text.as_text().splitlines()
        if "stablehlo.convolution" in line or "stablehlo.dot_general" in line
    ]
    assert len(products) >= 2
    for line in products:
        assert "HIGHEST" in line
