"""Layers of random networks: each a builder that takes a generator and a shape."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# A convolution and a pool as they are used: strides, padding, groups, dilation.
CONVOLUTIONS = {
    "conv": ((1, 1), "SAME", 1, (1, 1)),
    "strided conv": ((2, 1), ((1, 1), (0, 1)), 1, (1, 1)),
    "grouped conv": ((1, 1), "SAME", 2, (1, 1)),
    "depthwise conv": ((1, 2), ((1, 1), (1, 2)), 4, (1, 1)),
    "dilated conv": ((1, 1), ((2, 2), (1, 1)), 1, (2, 1)),
}
POOLS = {
    "pool": ((2, 2), (1, 1), ((0, 1), (1, 0))),
    "strided pool": ((3, 2), (2, 1), ((1, 1), (0, 0))),
    "ceil-mode pool": ((2, 2), (2, 2), ((0, 1), (0, 1))),
}


def convolution(rng, shape, how):
    strides, padding, groups, dilation = CONVOLUTIONS[how]
    channels = shape[-1]
    kernel = weights(rng, (3, 3, channels // groups, channels))
    bias = weights(rng, (channels,))

    def layer(x):
        out = lax.conv_general_dilated(
            x,
            jnp.asarray(kernel, x.dtype),
            strides,
            padding,
            rhs_dilation=dilation,
            feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return out + jnp.asarray(bias, x.dtype)

    return layer


def pool(reducer, init, how):
    window, strides, padding = POOLS[how]
    padding = ((0, 0), *padding, (0, 0))

    def layer(x):
        return lax.reduce_window(x, init, reducer, (1, *window, 1), (1, *strides, 1), padding)

    return layer


def weights(rng, shape):
    """Such that a layer keeps the size of its values."""
    fan_in = int(np.prod(shape[:-1])) if len(shape) > 1 else 4
    return (rng.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)


def dense(rng, shape):
    matrix, bias = weights(rng, (shape[-1], 4)), weights(rng, (4,))
    return lambda x: x @ jnp.asarray(matrix, x.dtype) + jnp.asarray(bias, x.dtype)


def attention(rng, shape):
    """Over places: both operands of both products move."""
    key, query, value = (dense(rng, shape) for _ in range(3))

    def layer(x):
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        k, q, v = key(x), query(x), value(x)
        return (x + jax.nn.softmax(q @ k.swapaxes(1, 2) / 2) @ v).reshape(-1, *shape[1:])

    return layer


def residual(rng, shape):
    inner = convolution(rng, shape, "conv")
    return lambda x: x + jax.nn.relu(inner(x))


def batch_norm(rng, shape):
    """As it is evaluated, with averages that are kept."""
    mean, gain, bias = (weights(rng, (shape[-1],)) for _ in range(3))
    variance = rng.uniform(0.5, 2, shape[-1]).astype(np.float32)
    return lambda x: (x - mean) * lax.rsqrt(jnp.asarray(variance + 1e-3, x.dtype)) * gain + bias


def layer_norm(x):
    mean, variance = (m(x, -1, keepdims=True) for m in (jnp.mean, jnp.var))
    return (x - mean) * lax.rsqrt(variance + 0.1)


def response_norm(x):
    """Three neighbouring channels, as in AlexNet."""
    squares = lax.reduce_window(
        x * x, 0.0, lax.add, (1, 1, 1, 3), (1, 1, 1, 1), ((0, 0), (0, 0), (0, 0), (1, 1))
    )
    return x / (1 + squares) ** 0.75


@jax.custom_vjp
def own_gradient(x):
    return jnp.tanh(x) + x


own_gradient.defvjp(lambda x: (own_gradient(x), x), lambda x, g: (g,))


def rearranged(rng, shape):
    order = rng.permutation(shape[-1]).astype(np.int32)
    return lambda x: x[..., order] - x[:, ::-1]


def strongest(rng, shape):
    """The channel with the largest value is read again: moved places."""
    return lambda x: x + jnp.take_along_axis(x, x.argmax(-1, keepdims=True), -1)


def side_by_side(x):
    return jnp.concatenate([x[..., 2:], jax.nn.relu(x[..., :2])], -1)


SIMPLE = {
    "relu": jax.nn.relu,
    "relu6": lambda x: jnp.clip(x, 0, 1),
    "leaky relu": lambda x: jax.nn.leaky_relu(x, 0.3),
    "elu": jax.nn.elu,
    "logistic": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu by tanh": jax.nn.gelu,
    "swish": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "softmax": jax.nn.softmax,
    "log-softmax": jax.nn.log_softmax,
    "logsumexp": lambda x: x - jax.nn.logsumexp(x, -1, keepdims=True) / 2,
    "layer norm": layer_norm,
    "response norm": response_norm,
    "select": lambda x: jnp.where(x > 0.2, x, 0.2 + 2 * (x - 0.2)),
    "fixed select": lambda x: jnp.where(jnp.arange(x.shape[-1]) % 2 == 0, x, x * x),
    "side by side": side_by_side,
    "exp": lambda x: jnp.exp(-abs(x)),
    "log": lambda x: jnp.log(0.5 + x * x),
    "log1p": lambda x: jnp.log1p(jnp.maximum(x, -0.5)),
    "power": lambda x: (0.5 + abs(x)) ** 1.3,
    "cube": lambda x: x**3 / 4,
    "root": lambda x: jnp.sqrt(0.1 + x * x),
    "jit": jax.jit(lambda x: jax.nn.relu(x) - x / 2),
    "checkpoint": jax.checkpoint(lambda x: jnp.tanh(2 * x)),
    "custom_vjp": own_gradient,
    "vmap": jax.vmap(lambda x: x - x.mean()),
}
LAYERS = {
    **{name: lambda rng, shape, f=f: f for name, f in SIMPLE.items()},
    **{name: lambda *at, how=name: convolution(*at, how) for name in CONVOLUTIONS},
    **{f"max-{name}": lambda rng, _, how=name: pool(lax.max, -jnp.inf, how) for name in POOLS},
    **{
        f"average {name}": lambda rng, _, how=name: lambda x: pool(lax.add, 0.0, how)(x) / 4
        for name in POOLS
    },
    "dense": dense,
    "attention": attention,
    "residual": residual,
    "batch norm": batch_norm,
    "gather": rearranged,
    "strongest": strongest,
}


def network(names, rng, shape):
    """The layers of a network by their names, for inputs of a shape.

    A layer whose window is larger than what the layers before it left is skipped.
    """
    layers = []
    for name in names:
        layer = LAYERS[name](rng, shape)
        after = jax.eval_shape(layer, jax.ShapeDtypeStruct(shape, np.float32)).shape
        if 0 not in after:
            layers.append(layer)
            shape = after
    return layers
