"""Layers that Flax has not: against float64 loops over the definitions, and against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from jaxsel import models
from jaxsel.models.layers import (
    adaptive_average_pool,
    local_response_normalisation,
    max_pool_ceil,
)

SIDES = st.integers(1, 13)
SEEDS = st.integers(0, 2**32 - 1)
EXAMPLES = settings(max_examples=25, deadline=None)


def maps(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def in_float64(layer, x, *arguments, **keywords):
    # Every shape is another program: unoptimised, each takes less time.
    quickly = {"xla_backend_optimization_level": 0}
    run = jax.jit(lambda x: layer(x, *arguments, **keywords), compiler_options=quickly)
    with jax.enable_x64(True):
        found = run(jnp.asarray(x))
        assert found.dtype == np.float64
        return np.asarray(found)


def by_torch(layer, x, *arguments, **keywords):
    nchw = torch.from_numpy(x).permute(0, 3, 1, 2)
    return layer(nchw, *arguments, **keywords).permute(0, 2, 3, 1).numpy()


def assert_same(found, expected):
    """Some tens of roundings of 2**-53, beside numbers of about 1."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


def normalised_by_loop(x, size, alpha, beta, k):
    result, n_channels = np.empty_like(x), x.shape[-1]
    for at in np.ndindex(x.shape):
        *place, c = at
        neighbours = [j for j in range(n_channels) if abs(j - c) <= (size - 1) / 2]
        energy = sum(x[*place, j] ** 2 for j in neighbours)
        result[at] = x[at] / (k + alpha / size * energy) ** beta
    return result


@EXAMPLES
@given(
    seed=SEEDS,
    n_channels=st.integers(1, 9),
    size=st.sampled_from([1, 3, 5, 7]),
    alpha=st.floats(1e-4, 4),
    beta=st.floats(0.25, 1.5),
    k=st.floats(0.5, 3),
)
def test_response_normalisation_equals_its_definition_and_pytorch(
    seed, n_channels, size, alpha, beta, k
):
    x = maps(seed, 2, 2, 3, n_channels)
    found = in_float64(local_response_normalisation, x, size=size, alpha=alpha, beta=beta, k=k)
    assert_same(found, normalised_by_loop(x, size, alpha, beta, k))
    layer = functional.local_response_norm
    assert_same(found, by_torch(layer, x, size, alpha=alpha, beta=beta, k=k))


def test_response_normalisation_has_caffes_values_by_default():
    """Numbers as large as Caffe's activations: with small ones alpha would go unseen."""
    x = 100 * maps(0, 1, 2, 2, 8)
    found = in_float64(local_response_normalisation, x)
    assert_same(found, normalised_by_loop(x, 5, 1e-4, 0.75, 1.0))


def test_response_normalisation_of_equal_channels_is_known():
    """3, 4, 5, 5, 4, 3 of the squares are within the channels."""
    found = in_float64(local_response_normalisation, np.full((1, 1, 1, 6), 3.0), alpha=5.0)
    terms = np.array([3, 4, 5, 5, 4, 3])
    assert_same(found[0, 0, 0], 3 / (1 + 9 * terms) ** 0.75)


def pooled_by_loop(x, size, stride):
    """Window after window until one has reached the last row or column."""

    def begins(n):
        begin, found = 0, [0]
        while begin + size < n:
            begin += stride
            found.append(begin)
        return found

    rows, columns = (begins(n) for n in x.shape[1:3])
    return np.stack(
        [
            np.stack([x[:, i : i + size, j : j + size].max((1, 2)) for j in columns], 1)
            for i in rows
        ],
        1,
    )


@EXAMPLES
@given(
    seed=SEEDS,
    height=SIDES,
    width=SIDES,
    strides_and_sizes=st.tuples(st.integers(1, 5), st.integers(0, 4)),
    shift=st.sampled_from([-9, 0]),
)
def test_max_pooling_equals_its_definition_and_pytorch(
    seed, height, width, strides_and_sizes, shift
):
    """Numbers below 0 too: zeros beyond the edge would be larger than they."""
    stride, more = strides_and_sizes
    size = stride + more
    x = maps(seed, 2, height, width, 3) + shift
    found = in_float64(max_pool_ceil, x, size, stride)
    np.testing.assert_array_equal(found, pooled_by_loop(x, size, stride))
    if min(height, width) > more:  # where PyTorch has a window at all
        layer = functional.max_pool2d
        right = by_torch(layer, x, size, stride=stride, ceil_mode=True)
        np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize(
    "n, last", [(1, [0]), (2, [1]), (3, [2]), (4, [2, 3]), (7, [2, 4, 6]), (8, [2, 4, 6, 7])]
)
def test_max_pooling_of_rising_numbers_takes_the_last_of_each_window(n, last):
    rising = np.arange(float(n)).reshape(1, n, 1, 1)
    assert in_float64(max_pool_ceil, rising, 3, 2).ravel().tolist() == last
    assert in_float64(max_pool_ceil, rising.swapaxes(1, 2), 3, 2).ravel().tolist() == last


def averaged_by_loop(x, size):
    """Window i covers every number that begins before its end and ends after its begin.

    Number m reaches from m to m + 1, window i from i n / size to (i + 1) n / size.
    """

    def windows(n):
        return [
            [m for m in range(n) if m * size < (i + 1) * n and (m + 1) * size > i * n]
            for i in range(size)
        ]

    n_images, height, width, n_channels = x.shape
    result = np.empty((n_images, size, size, n_channels))
    for i, rows in enumerate(windows(height)):
        for j, columns in enumerate(windows(width)):
            result[:, i, j] = x[:, rows][:, :, columns].mean((1, 2))
    return result


@EXAMPLES
@given(seed=SEEDS, height=SIDES, width=SIDES, size=st.integers(1, 8))
def test_adaptive_pooling_equals_its_definition_and_pytorch(seed, height, width, size):
    x = maps(seed, 2, height, width, 3)
    found = in_float64(adaptive_average_pool, x, size)
    assert_same(found, averaged_by_loop(x, size))
    assert_same(found, by_torch(functional.adaptive_avg_pool2d, x, size))


@EXAMPLES
@given(height=SIDES, width=SIDES, size=st.integers(1, 8), value=st.floats(-10, 10))
def test_adaptive_pooling_keeps_a_constant(height, width, size, value):
    assume(abs(value) > 1e-300)  # averages of smaller numbers are flushed to 0
    found = in_float64(adaptive_average_pool, np.full((1, height, width, 1), value), size)
    # Weights such as 1 / 3 are rounded, and then their sum.
    np.testing.assert_allclose(found, np.full((1, size, size, 1), value), rtol=1e-14)


def test_adaptive_pooling_averages_blocks_repeats_numbers_or_leaves_them():
    x = maps(0, 1, 6, 6, 2)
    blocks = x.reshape(1, 3, 2, 3, 2, 2).mean((2, 4))
    assert_same(in_float64(adaptive_average_pool, x, 3), blocks)
    repeated = x.repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(in_float64(adaptive_average_pool, x, 12), repeated)
    np.testing.assert_array_equal(in_float64(adaptive_average_pool, x, 6), x)


@pytest.fixture(scope="module")
def caffe():
    """A small AlexNetCaffe of random float64 arrays."""
    rng = np.random.default_rng(3)
    small = {"widths": (6, 10, 4, 8, 6), "dense_widths": (3, 3), "n_classes": 3}
    arrays = {}
    for path, shape in models.shapes("alexnet_caffe", small).items():
        layer, name = path.split("/")
        arrays.setdefault(layer, {})[name] = rng.normal(size=shape)
    with jax.enable_x64(True):
        return arrays, models.assemble("alexnet_caffe", small, arrays)


def convolved_by_loop(x, kernel, bias, n_groups):
    """A convolution that keeps the size of its maps, group by group, offset by offset."""
    size, _, n_in, n_out = kernel.shape
    n_images, height, width, _ = x.shape
    around = size // 2
    padded = np.pad(x, ((0, 0), (around, around), (around, around), (0, 0)))
    result = np.empty((n_images, height, width, n_out))
    per_group = n_out // n_groups
    for group in range(n_groups):
        own = padded[..., group * n_in : (group + 1) * n_in]
        units = slice(group * per_group, (group + 1) * per_group)
        total = np.zeros((n_images, height, width, per_group))
        for i, j in np.ndindex(size, size):
            total += own[:, i : i + height, j : j + width] @ kernel[i, j, :, units]
        result[..., units] = total + bias[units]
    return result


@pytest.mark.parametrize("layer", ["conv2", "conv4", "conv5"])
def test_grouped_convolution_equals_a_loop_over_two_groups(caffe, layer):
    arrays, network = caffe
    kernel, bias = arrays[layer]["kernel"], arrays[layer]["bias"]
    x = maps(5, 2, 7, 6, 2 * kernel.shape[2])
    found = in_float64(getattr(network, layer), x)
    expected = convolved_by_loop(x, kernel, bias, 2)
    # Sums of up to 75 products of about 1.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


def test_ones_in_a_grouped_kernel_add_up_the_channels_of_each_group(caffe):
    arrays, _ = caffe
    small = {"widths": (6, 10, 4, 8, 6), "dense_widths": (3, 3), "n_classes": 3}
    kernel = np.zeros((5, 5, 3, 10))
    kernel[2, 2] = 1
    replaced = arrays | {"conv2": {"kernel": kernel, "bias": np.zeros(10)}}
    with jax.enable_x64(True):
        network = models.assemble("alexnet_caffe", small, replaced)
    x = maps(6, 1, 4, 5, 6)
    sums = np.stack([x[..., :3].sum(-1)] * 5 + [x[..., 3:].sum(-1)] * 5, -1)
    assert_same(in_float64(network.conv2, x), sums)


def test_windows_that_are_not_defined_are_refused():
    x = jnp.zeros((1, 6, 6, 4))
    with pytest.raises(ValueError, match="odd number of channels; found 4"):
        local_response_normalisation(x, size=4)
    with pytest.raises(ValueError, match="stride 3 is larger than the window 2"):
        max_pool_ceil(x, 2, 3)
