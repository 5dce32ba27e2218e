"""Folded convolutions against the convolution itself, and which ones are left alone."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

from jaxsel.folding import SLOW
from jaxsel.stages import evaluated


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


LAYOUTS = {
    1: ("NWC", "WIO", "OWI"),
    2: ("NHWC", "HWIO", "OIHW"),
    3: ("NDHWC", "DHWIO", "IODHW"),
}


def convolution(strides=None, padding="SAME", turned=False, n_dims=2, **how):
    """A convolution of the common layout, the kernel in one of two."""
    layout, *kernels = LAYOUTS[n_dims]
    return lambda x, kernel: lax.conv_general_dilated(
        x,
        kernel,
        strides or (1,) * n_dims,
        padding,
        dimension_numbers=(layout, kernels[turned], layout),
        **how,
    )


def numbers(*shapes, dtype=np.float64):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def convolutions(f, x, kernel):
    """What is executed in place of f: the shapes of its convolutions' outputs."""
    jaxpr = jax.make_jaxpr(evaluated(f))(x, kernel).jaxpr
    return [
        eqn.outvars[0].aval.shape
        for eqn in jaxpr.eqns
        if eqn.primitive.name == "conv_general_dilated"
    ]


def assert_folded_and_the_same(f, x, kernel):
    right = f(x, kernel)
    *_, columns, channels = right.shape
    ((*_, n_folded, width),) = convolutions(f, x, kernel)
    # As many channels as are fast, or all columns if there are fewer; none but the last
    # folded column reaches beyond the output.
    n = width // channels
    assert width > SLOW or n == columns
    assert (n - 1) * channels <= SLOW
    assert n <= columns
    assert n_folded == -(-columns // n)
    # Sums of up to 300 products of numbers about 1, in float64.
    np.testing.assert_allclose(evaluated(f)(x, kernel), right, rtol=0, atol=1e-12)


@st.composite
def cases(draw):
    n_dims = draw(st.sampled_from([1, 2, 2, 2, 3]))

    def of_each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(n_dims))

    window, strides = of_each(1, 4 if n_dims < 3 else 3), of_each(1, 3)
    padding = tuple(zip(of_each(-2, 4), of_each(-2, 4), strict=True))
    # Only columns must be next to each other.
    dilation, between = ((*of_each(1, 2)[1:], 1) for _ in range(2))
    how = {
        "strides": strides,
        "padding": padding,
        "rhs_dilation": dilation,
        "lhs_dilation": between,
        "turned": draw(st.booleans()),
        "n_dims": n_dims,
    }
    return how, of_each(1, 9), window, draw(st.integers(1, 3)), draw(st.integers(1, SLOW))


@given(cases())
@settings(max_examples=15, deadline=None)
def test_folded_convolution_is_the_convolution(case):
    how, size, window, n_in, n_out = case
    kernel = (*window, n_in, n_out)
    if how["turned"]:
        kernel = np.array(kernel)[
            [*{1: (2, 0, 1), 2: (3, 2, 0, 1), 3: (3, 4, 0, 1, 2)}[len(size)]]
        ]
    x, kernel = numbers((2, *size, n_in), kernel)
    try:
        shape = jax.eval_shape(convolution(**how), x, kernel).shape
    except (TypeError, ValueError):  # the image is cut away altogether
        shape = (0,)
    assume(0 not in shape)
    assume(convolutions(convolution(**how), x, kernel))  # or it is a product: `unrolled.py`
    assert_folded_and_the_same(convolution(**how), x, kernel)


@pytest.mark.parametrize("n_out", range(1, 21))
def test_number_of_channels_is_wide_enough_and_no_wider(n_out):
    x, kernel = numbers((1, 3, 30, 2), (2, 3, 2, n_out))
    f = convolution((1, 2), ((1, 0), (2, 1)))
    if n_out <= SLOW:
        assert_folded_and_the_same(f, x, kernel)
    else:
        assert convolutions(f, x, kernel) == [f(x, kernel).shape]


def slow_convolution(x, kernel, strides, padding):
    """Place by place, by definition."""
    x = np.pad(x, [(0, 0), *padding, (0, 0)])
    height, width = kernel.shape[:2]
    n_rows, n_columns = ((x.shape[i + 1] - kernel.shape[i]) // strides[i] + 1 for i in range(2))
    out = np.zeros((len(x), n_rows, n_columns, kernel.shape[-1]))
    for i, j in itertools.product(range(n_rows), range(n_columns)):
        row, column = i * strides[0], j * strides[1]
        window = x[:, row : row + height, column : column + width]
        out[:, i, j] = np.tensordot(window, kernel, 3)
    return out


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_folded_convolution_is_that_of_the_definition(strides):
    x, kernel = numbers((2, 7, 11, 3), (3, 4, 3, 6))
    padding = ((0, 2), (3, 1))
    found = evaluated(convolution(strides, padding))(x, kernel)
    right = slow_convolution(np.asarray(x), np.asarray(kernel), strides, padding)
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-12)


@pytest.mark.parametrize("columns", range(1, 8))
def test_output_may_be_narrower_than_what_is_folded(columns):
    x, kernel = numbers((2, 16, columns, 3), (3, 3, 3, 3))
    assert_folded_and_the_same(convolution(), x, kernel)


def test_convolutions_within_other_functions_are_folded():
    x, kernel = numbers((2, 5, 12, 3), (3, 3, 3, 4))
    for nest in (jax.jit, jax.checkpoint, lambda f: jax.jit(jax.checkpoint(jax.jit(f)))):
        inner = nest(convolution())

        def f(x, kernel, inner=inner):
            return jax.nn.relu(inner(x, kernel)) + 1

        assert convolutions(f, x, kernel) == [(2, 5, 3, 20)]
        found = jax.jit(evaluated(f))(x, kernel)
        np.testing.assert_allclose(found, f(x, kernel), rtol=0, atol=1e-12)


def test_a_batch_of_convolutions_is_that_of_each():
    """With a kernel of its own for each, too."""
    f = convolution((2, 1))
    xs, kernels = numbers((3, 2, 5, 7, 2), (3, 3, 2, 2, 5))
    found = jax.vmap(evaluated(f))(xs, kernels)
    for one, x, kernel in zip(found, xs, kernels, strict=True):
        np.testing.assert_allclose(one, f(x, kernel), rtol=0, atol=1e-12)


LEFT_ALONE = {
    "float32": (convolution(), (2, 5, 6, 4), (3, 3, 4, 4), np.float32),
    "channels first": (
        lambda x, kernel: lax.conv(x, kernel, (1, 1), "SAME"),
        (2, 4, 5, 6),
        (4, 4, 3, 3),
        np.float64,
    ),
    "columns before rows": (
        lambda x, kernel: lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NWHC", "HWIO", "NWHC")
        ),
        (2, 5, 6, 4),
        (3, 3, 4, 4),
        np.float64,
    ),
    "other layout of the output": (
        lambda x, kernel: lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NCHW")
        ),
        (2, 5, 6, 4),
        (3, 3, 4, 4),
        np.float64,
    ),
    "grouped": (convolution(feature_group_count=2), (2, 5, 6, 4), (3, 3, 2, 4), np.float64),
    "in groups of images": (
        convolution(batch_group_count=2),
        (2, 5, 6, 4),
        (3, 3, 4, 4),
        np.float64,
    ),
    "transposed": (
        convolution(padding=((1, 1), (1, 1)), lhs_dilation=(1, 2)),
        (2, 5, 6, 4),
        (3, 3, 4, 4),
        np.float64,
    ),
    "dilated columns": (
        convolution(rhs_dilation=(1, 2)),
        (2, 5, 6, 4),
        (3, 3, 4, 4),
        np.float64,
    ),
    "many channels": (convolution(), (2, 5, 6, 4), (3, 3, 4, SLOW + 1), np.float64),
    "of nothing": (convolution(), (0, 5, 6, 4), (3, 3, 4, 4), np.float64),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_other_convolutions_are_left_alone(name):
    f, shape, kernel_shape, dtype = LEFT_ALONE[name]
    x, kernel = numbers(shape, kernel_shape, dtype=dtype)
    plain = jax.make_jaxpr(f)(x, kernel)
    assert str(jax.make_jaxpr(evaluated(f))(x, kernel)) == str(plain)
    np.testing.assert_array_equal(evaluated(f)(x, kernel), f(x, kernel))


def test_nothing_is_folded_for_accelerators(monkeypatch):
    x, kernel = numbers((2, 5, 6, 4), (3, 3, 4, 4))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert convolutions(convolution(), x, kernel) == [(2, 5, 6, 4)]


def test_convolution_without_places_is_a_matrix_product():
    x, kernel = numbers((3, 4), (5, 4))
    found = evaluated(lambda x, kernel: lax.conv_general_dilated(x, kernel, (), ()))(x, kernel)
    np.testing.assert_allclose(found, x @ kernel.T, rtol=0, atol=1e-12)
