"""What may follow a value one channel of which changes: function, shape, axis of channels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from jaxsel.delta.channel import OneChannel
from jaxsel.delta.transform import change_at
from tests.delta.layers import batch_norm, response_norm

LAST, FIRST = (2, 5, 6, 4), (2, 4, 5, 6)


def marked(f):
    return lambda x: f(checkpoint_name(x, "site"))


def one_channel(channel, dx, axis):
    channel = jnp.asarray(channel)
    change = lax.dynamic_slice_in_dim(jnp.asarray(dx, jnp.float32), channel, 1, axis)
    return OneChannel(channel, change, dx.shape, axis)


def changed(f, x, dx, axis, channel):
    """Value and change when one channel of x changes as in dx."""
    return change_at("site", lambda _: one_channel(channel, dx, axis), f, strict=True)(x)


# Programs that run once: compiled as fast as can be.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def weights(*shape):
    """Such that values keep their size."""
    size = np.sqrt(np.prod(shape[:-1]))
    return np.random.default_rng(len(shape)).normal(size=shape) / size


def conv(kernel, strides=None, padding="SAME", dims=("NHWC", "HWIO", "NHWC"), **how):
    numbers, strides = weights(*kernel), strides or (1,) * (len(kernel) - 2)
    return lambda x: lax.conv_general_dilated(
        x, jnp.asarray(numbers), strides, padding, dimension_numbers=dims, **how
    )


def pool(reducer, init, window, strides, padding):
    return lambda x: lax.reduce_window(x, init, reducer, window, strides, padding)


@jax.custom_jvp
def own_gradient(x):
    return jax.nn.relu(x) * 2


own_gradient.defjvp(lambda primals, tangents: (own_gradient(*primals), tangents[0]))
PADDED = ((0, 0), (0, 1), (1, 1), (0, 0))
ROWS = weights(120, 7)
MATRIX = weights(4, 3)


def last(**functions):
    """Of arrays with channels last."""
    return {name.replace("_", " "): (f, LAST, 3) for name, f in functions.items()}


# The channel stays one.
APART = last(
    scalars=lambda x: (2 * x + 1) / 3 - x / 5,
    constants=lambda x: x * weights(5, 6, 4) + weights(4) - weights(2, 5, 6, 4),
    constants_before=lambda x: weights(4) / (3 + x * x) - weights(4),
    batch_norm=batch_norm(np.random.default_rng(0), LAST),
    relu=jax.nn.relu,
    clip=lambda x: lax.clamp(0.0, x, 1.0),
    clip_by_arrays=lambda x: jnp.minimum(jnp.maximum(x, weights(4)), 0.5 + weights(4)),
    smooth=lambda x: jnp.exp(jnp.tanh(x)) + jax.nn.sigmoid(x) + jnp.log1p(x * x),
    powers=lambda x: x**3 + (1 + abs(x)) ** 0.75 + lax.rsqrt(1 + jnp.square(x)),
    max_pool=pool(lax.max, -jnp.inf, (1, 3, 2, 1), (1, 2, 1, 1), PADDED),
    min_pool=pool(lax.min, jnp.inf, (1, 3, 2, 1), (1, 2, 1, 1), PADDED),
    average_pool=pool(lax.add, 0.0, (1, 2, 3, 1), (1, 1, 2, 1), PADDED),
    transposed=lambda x: jax.nn.relu(jnp.transpose(x, (3, 0, 2, 1))),
    sum_over_space=lambda x: jnp.sum(x, (1, 2)) - 1,
    mean_over_space=lambda x: jax.nn.relu(jnp.mean(x, (1, 2))),
    largest_over_space=lambda x: x.max((0, 2)),
    smallest_over_space=lambda x: x.min(1) * weights(4),
    space_as_one_axis=lambda x: jax.nn.relu(x.reshape(2, 30, 4)) * weights(30, 4),
    space_as_three_axes=lambda x: jax.nn.relu(x.reshape(2, 5, 3, 2, 4)),
    flattened_and_back=lambda x: jax.nn.relu(x.reshape(2, -1).reshape(2, 6, 5, 4)),
    with_itself=lambda x: x + x,
    square=lambda x: x * x,
    residual=lambda x: jnp.tanh(x + jax.nn.relu(x) * x),
    jit=jax.jit(lambda x: jax.nn.relu(x) * weights(4) - x / 2),
    checkpoint=jax.checkpoint(lambda x: jnp.tanh(2 * x)),
    custom_jvp=own_gradient,
    vmap=jax.vmap(jax.vmap(lambda row: row * jnp.arange(4.0))),
)
APART |= {
    "channels first": (lambda x: jax.nn.relu(x * weights(4, 1, 1)).max((2, 3)), FIRST, 1),
    "channels first to last": (
        lambda x: jax.nn.relu(jnp.transpose(x, (0, 2, 3, 1))) * weights(4),
        FIRST,
        1,
    ),
    "sum before the channels": (lambda x: x.sum(0) * weights(4, 1, 1), FIRST, 1),
    "vector": (lambda x: jax.nn.relu(x) * weights(4), (4,), 0),
}

# Channels are mixed, at the cost of one.
MIXED = last(
    sum_over_channels=lambda x: x.sum(-1),
    sum_over_space_and_channels=lambda x: jax.nn.relu(x).sum((1, 3)),
    mean=lambda x: x.mean(),
    conv=conv((3, 3, 4, 5)),
    strided_conv=conv((3, 3, 4, 5), (2, 3), ((1, 1), (0, 1))),
    unevenly_padded_conv=conv((2, 3, 4, 5), (1, 2), ((3, 0), (0, 4))),
    negatively_padded_conv=conv((2, 3, 4, 5), (2, 1), ((-1, 1), (2, -2))),
    dilated_conv=conv((3, 2, 4, 5), (1, 2), ((2, 1), (0, 1)), rhs_dilation=(2, 3)),
    grouped_conv=conv((3, 3, 2, 6), feature_group_count=2),
    depthwise_conv=conv((3, 3, 1, 8), (1, 2), feature_group_count=4),
    pointwise_conv=conv((1, 1, 4, 5), padding="VALID"),
    conv_as_large_as_the_image=conv((5, 6, 4, 3), padding="VALID"),
    channels_last_to_first=conv((3, 2, 4, 5), (2, 1), dims=("NHWC", "HWIO", "NCHW")),
    kernel_turned=conv((5, 4, 3, 2), (2, 1), "VALID", ("NHWC", "OIHW", "WNHC")),
    dense=lambda x: jax.nn.relu(x) @ jnp.asarray(MATRIX),
    dense_from_the_left=lambda x: jnp.einsum("ck,nhwc->knhw", MATRIX, x),
    flattened=lambda x: x.reshape(2, -1) @ jnp.asarray(ROWS),
    flattened_as_a_whole=lambda x: x.reshape(-1) @ jnp.asarray(weights(240, 7)),
    flattened_twice=lambda x: x.reshape(2, 5, 24).reshape(2, -1) @ jnp.asarray(ROWS),
    flattened_and_transposed_matrix=lambda x: lax.dot_general(
        jnp.asarray(ROWS.T), x.reshape(2, -1), (((1,), (1,)), ((), ()))
    ),
    flattened_after_transposition=lambda x: (
        jnp.transpose(x, (0, 3, 1, 2)).reshape(2, -1) @ jnp.asarray(ROWS)
    ),
    rows_flattened=lambda x: x.reshape(2, 5, -1) @ jnp.asarray(weights(24, 3)),
    rows_and_columns=lambda x: jnp.einsum("nhwc,whck->nk", x, weights(6, 5, 4, 3)),
    pooled_then_flattened=lambda x: (
        APART["max pool"][0](x).reshape(2, -1) @ jnp.asarray(weights(56, 3))
    ),
    read_by_two_branches=lambda x: (
        conv((3, 3, 4, 5))(jax.nn.relu(x)) + conv((1, 1, 4, 5))(x * x) * 2
    ),
)
FIRST_CONV = ("NCHW", "OIHW", "NCHW")
MIXED |= {
    "channels first conv": (conv((5, 4, 3, 2), (2, 1), dims=FIRST_CONV), FIRST, 1),
    "channels first flattened": (lambda x: x.reshape(2, -1) @ jnp.asarray(ROWS), FIRST, 1),
    "batch last conv": (conv((3, 3, 4, 5), dims=("CHWN", "HWIO", "HNWC")), (4, 5, 6, 2), 0),
    "1-D conv": (conv((3, 4, 5), (2,), dims=("NWC", "WIO", "NWC")), (2, 9, 4), 2),
    "3-D conv": (
        conv((2, 3, 2, 4, 3), (1, 2, 1), dims=("NDHWC", "DHWIO", "NDHWC")),
        (1, 3, 4, 5, 4),
        4,
    ),
    "flattened image of one place": (
        lambda x: x.reshape(2, -1) @ jnp.asarray(MATRIX),
        (2, 1, 1, 4),
        3,
    ),
    "flattened images of one row": (
        lambda x: x.reshape(2, -1) @ jnp.asarray(weights(24, 3)),
        (2, 1, 6, 4),
        3,
    ),
    "single image": (lambda x: x.reshape(-1) @ jnp.asarray(ROWS), (5, 6, 4), 2),
}

# The change is widened to the whole array.
FALLS_BACK = last(
    leaky_relu=lambda x: jax.nn.leaky_relu(x, 0.3),
    response_norm=response_norm,
    softmax=jax.nn.softmax,
    largest_channel=lambda x: x.max(-1),
    conv_of_many_places=conv((9, 8, 4, 5)),
    transposed_conv=conv((3, 3, 4, 5), padding=((1, 2), (1, 1)), lhs_dilation=(2, 1)),
    conv_of_batch_groups=conv((3, 3, 4, 6), batch_group_count=2),
    over_space=lambda x: jnp.einsum("nhwc,hk->nkwc", x, weights(5, 3)),
    product_of_batches=lambda x: jnp.einsum("nhwc,nck->nhwk", x, weights(2, 4, 3)),
    half_of_the_channels_flattened=lambda x: x.reshape(2, 5, 12, 2) * weights(12, 2),
    concatenated=lambda x: jnp.concatenate([x, -x, weights(2, 5, 6, 3)], -1),
    padded_channels=lambda x: jnp.pad(x, [(0, 0)] * 3 + [(1, 2)]),
    half_of_the_channels=lambda x: jax.nn.relu(x[..., 1:3]),
    gated=lambda x: x * jax.nn.sigmoid(x.mean((1, 2), keepdims=True) @ weights(4, 4)),
    next_channel=lambda x: x * jnp.roll(x, 1, -1),
    branches_of_other_layouts=lambda x: x.sum((1, 2)) @ MATRIX + x.sum((1, 3)) @ weights(6, 3),
    truth_values=lambda x: jnp.floor(2 * x).astype(bool) * x,
    whole_numbers=lambda x: (4 * x).astype(np.int32) * x,
    power_of_another_channel=lambda x: jnp.exp(x[..., ::-1] * jnp.log(1 + abs(x))),
)
FALLS_BACK |= {
    "rectified when flattened": (
        lambda x: jax.nn.relu(x.reshape(2, -1)) @ jnp.asarray(ROWS),
        LAST,
        3,
    ),
    "as many columns as channels": (
        lambda x: jax.nn.relu(x.reshape(2, 30, 4)) * weights(4),
        FIRST,
        1,
    ),
    "with its transposition": (lambda x: x * jnp.swapaxes(x, 1, 2), (3, 4, 4), 2),
    # As many axes as before, but not the same.
    "rows of channels": (
        lambda x: jax.nn.relu(x.reshape(2, 1, 20, 6) * weights(2, 1, 20, 6)).sum(2),
        FIRST,
        1,
    ),
}
