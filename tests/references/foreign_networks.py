"""Networks as others write them, and the same in NumPy: what the adapters are tried with."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx
from jax import lax

from jaxsel import (
    Dataset,
)
from jaxsel.adapters import in_turn, linen, per_image, with_parameters
from jaxsel.sites import untouched

N_CLASSES = 7  # more than five: or else nothing enters or leaves the top five
CLASSES = tuple("abcdefg")


# --- layers in NumPy --------------------------------------------------------------------


def windows(x, size, stride, padding, fill):
    """(images, rows, columns, channels, *size): what each place of the output looks at."""
    if padding == "SAME":  # so much that the output has a place for every stride begun
        missing = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[1:3]]
        padding = [(n // 2, n - n // 2) for n in missing]
    x = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=fill)
    found = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
    return found[:, ::stride, ::stride]


def convolution(x, kernel, stride=1, padding=((0, 0), (0, 0))):
    seen = windows(x, len(kernel), stride, padding, 0)
    return np.einsum("nhwcij,ijco->nhwo", seen, np.float64(kernel))


def max_pool(x, size, stride, padding=((0, 0), (0, 0))):
    return windows(x, size, stride, padding, -np.inf).max((-2, -1))


def relu(x):
    return np.maximum(x, 0)


# --- Linen, as Flax's example for ImageNet is written -----------------------------------


class ResNetBlock(nn.Module):
    """Two convolutions beside a path around them; the layers come ready to be called."""

    filters: int
    conv: Any
    norm: Any
    act: Callable
    strides: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x):
        y = self.act(self.norm()(self.conv(self.filters, (3, 3), self.strides)(x)))
        y = self.norm(scale_init=nn.initializers.zeros)(self.conv(self.filters, (3, 3))(y))
        if x.shape != y.shape:
            x = self.conv(self.filters, (1, 1), self.strides, name="conv_proj")(x)
            x = self.norm(name="norm_proj")(x)
        return self.act(x + y)


class ResNet(nn.Module):
    stage_sizes: Sequence[int]
    num_classes: int
    num_filters: int = 4
    dtype: Any = jnp.float32
    act: Callable = nn.relu

    @nn.compact
    def __call__(self, x, train: bool = True):
        conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = functools.partial(
            nn.BatchNorm, use_running_average=not train, epsilon=1e-5, dtype=self.dtype
        )
        x = conv(self.num_filters, (7, 7), (2, 2), padding=[(3, 3), (3, 3)], name="conv_init")(
            x
        )
        x = self.act(norm(name="bn_init")(x))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for stage, n_blocks in enumerate(self.stage_sizes):
            for block in range(n_blocks):
                strides = (2, 2) if stage > 0 and block == 0 else (1, 1)
                filters = self.num_filters * 2**stage
                x = ResNetBlock(filters, conv, norm, self.act, strides)(x)
        return nn.Dense(self.num_classes, dtype=self.dtype)(jnp.mean(x, axis=(1, 2)))


def random_variables(module, images, rng):
    """Every array random, variances and scales positive: nothing is 0 or 1 as at the start."""
    variables = jax.eval_shape(module.init, jax.random.key(0), images[:1])

    def drawn(path, array):
        name = jax.tree_util.keystr(path)
        noise = rng.normal(size=array.shape).astype(np.float32)
        if "var" in name or "scale" in name:
            return jnp.asarray(np.exp(noise / 3))
        if "kernel" in name:
            fan_in = np.prod(array.shape[:-1])
            return jnp.asarray(noise * np.float32(np.sqrt(2 / fan_in)))
        return jnp.asarray(noise / 2)

    return jax.tree.map_with_path(drawn, variables)


def resnet_in_numpy(variables, *, normalised=lambda x: x):
    """The network of two stages of one block each; `normalised` sees what bn_init feeds."""
    arrays = jax.tree.map(np.float64, variables)

    def inside(name):
        p, s = arrays["params"], arrays["batch_stats"]
        for part in name.split("/"):
            p, s = p[part], s.get(part)
        return p, s

    def run(x, tap):
        def conv(x, name, stride=1, padding="SAME"):
            return tap(name, convolution(x, inside(name)[0]["kernel"], stride, padding))

        def norm(x, name):
            p, s = inside(name)
            x = (x - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"]
            return tap(name, x)

        x = norm(conv(x, "conv_init", 2, [(3, 3), (3, 3)]), "bn_init")
        x = max_pool(tap("relu of bn_init", relu(x)), 3, 2, "SAME")
        for block, stride in (("ResNetBlock_0", 1), ("ResNetBlock_1", 2)):
            y = relu(norm(conv(x, f"{block}/Conv_0", stride), f"{block}/BatchNorm_0"))
            y = norm(conv(y, f"{block}/Conv_1"), f"{block}/BatchNorm_1")
            if stride == 2:
                x = norm(conv(x, f"{block}/conv_proj", stride), f"{block}/norm_proj")
            x = tap(block, relu(x + y))
        dense = arrays["params"]["Dense_0"]
        return tap("Dense_0", x.mean((1, 2)) @ dense["kernel"] + dense["bias"])

    return run


BLOCK = ("Conv_0", "BatchNorm_0", "Conv_1", "BatchNorm_1")
RESNET_SITES = (
    "conv_init",
    "bn_init",
    *(f"ResNetBlock_0/{name}" for name in BLOCK),
    "ResNetBlock_0",
    *(f"ResNetBlock_1/{name}" for name in (*BLOCK, "conv_proj", "norm_proj")),
    "ResNetBlock_1",
    "Dense_0",
)


# --- Equinox, as its example for MNIST is written ---------------------------------------


class CNN(eqx.Module):
    layers: list

    def __init__(self, key):
        keys = jax.random.split(key, 4)
        self.layers = [
            eqx.nn.Conv2d(1, 3, kernel_size=4, key=keys[0]),
            eqx.nn.MaxPool2d(kernel_size=2),
            jax.nn.relu,
            jnp.ravel,
            eqx.nn.Linear(3 * 6 * 5, 16, key=keys[1]),
            jax.nn.sigmoid,
            eqx.nn.Linear(16, 8, key=keys[2]),
            jax.nn.relu,
            eqx.nn.Linear(8, N_CLASSES, key=keys[3]),
            jax.nn.log_softmax,
        ]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class TappedCNN(CNN):
    """The same with a tap in its own `__call__`."""

    def __call__(self, x, tap):
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i < len(self.layers) - 1:
                x = tap(f"layer{i}", x)
        return x


def random_cnn(kind):
    """Weights so large that units matter."""
    rng = np.random.default_rng(3)

    def drawn(leaf):
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        fan_in = max(np.prod(leaf.shape[1:]), 4)
        drawn = 2 * rng.normal(size=leaf.shape) / np.sqrt(fan_in)
        return jnp.asarray(drawn, np.float32)

    return jax.tree.map(drawn, eqx.filter_eval_shape(kind, jax.random.key(0)))


def cnn_in_numpy(network):
    layers = network.layers
    kernel = np.moveaxis(np.asarray(layers[0].weight), (0, 1), (3, 2))

    def dense(x, layer):
        return x @ np.float64(layer.weight).T + np.float64(layer.bias)

    def run(x, tap):
        x = convolution(x, kernel) + np.float64(layers[0].bias).ravel()
        x = tap("layer0", x)
        x = tap("layer1", max_pool(x, 2, 1))
        x = tap("layer2", relu(x))
        x = tap("layer3", np.moveaxis(x, -1, 1).reshape(len(x), -1))
        x = tap("layer4", dense(x, layers[4]))
        x = tap("layer5", 1 / (1 + np.exp(-x)))
        x = tap("layer6", dense(x, layers[6]))
        x = dense(tap("layer7", relu(x)), layers[8])
        x = tap("layer8", x)
        return x - np.log(np.exp(x).sum(1, keepdims=True))

    return run


# --- one network of layers in turn, written five times ----------------------------------


class Weights(NamedTuple):
    """A convolution and two dense layers; the first of these reads maps channels last."""

    kernel: np.ndarray
    kernel_bias: np.ndarray
    first: np.ndarray
    first_bias: np.ndarray
    last: np.ndarray
    last_bias: np.ndarray


@functools.cache
def weights():
    rng = np.random.default_rng(4)
    shapes = (3, 3, 2, 5), (5,), (4 * 3 * 5, 12), (12,), (12, N_CLASSES), (N_CLASSES,)
    scales = 0.4, 0.3, 0.3, 0.3, 0.8, 0.3
    drawn = (s * rng.normal(size=shape) for s, shape in zip(scales, shapes, strict=True))
    return Weights(*(array.astype(np.float32) for array in drawn))


def twin_in_numpy(w):
    w = Weights(*map(np.float64, w))

    def run(x, tap):
        x = tap("maps", relu(convolution(x, w.kernel) + w.kernel_bias))
        x = max_pool(x, 2, 2).reshape(len(x), -1)
        x = tap("vector", relu(x @ w.first + w.first_bias))
        return x @ w.last + w.last_bias

    return run


class TappedNnx(nnx.Module):
    """Flax's newer modules, with taps: a model as it is."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(2, 5, (3, 3), padding="VALID", rngs=rngs)
        self.first = nnx.Linear(60, 12, rngs=rngs)
        self.last = nnx.Linear(12, N_CLASSES, rngs=rngs)

    def __call__(self, images, tap=untouched):
        x = pooled(tap("maps", nnx.relu(self.conv(images))))
        return self.last(tap("vector", nnx.relu(self.first(x.reshape(len(x), -1)))))


def pooled(x):
    return nnx.max_pool(x, (2, 2), strides=(2, 2))


def flattened(x):
    return x.reshape(len(x), -1)


def tapped_nnx():
    """With the weights."""
    module, w = nnx.eval_shape(TappedNnx), weights()
    for layer, (kernel, bias) in zip(
        (module.conv, module.first, module.last), (w[:2], w[2:4], w[4:]), strict=True
    ):
        layer.kernel = nnx.Param(jnp.asarray(kernel))
        layer.bias = nnx.Param(jnp.asarray(bias))
    return module


def sequential():
    module = tapped_nnx()
    return nnx.Sequential(
        module.conv, nnx.relu, pooled, flattened, module.first, nnx.relu, module.last
    )


class InLinen(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(5, (3, 3), padding="VALID", name="conv")(x))
        x = nn.max_pool(x, (2, 2), strides=(2, 2)).reshape((len(x), -1))
        x = nn.relu(nn.Dense(12, name="first")(x))
        return nn.Dense(N_CLASSES, name="last")(x)


def linen_variables(w):
    arrays = zip(("conv", "first", "last"), (w[:2], w[2:4], w[4:]), strict=True)
    return {
        "params": {
            name: {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
            for name, (kernel, bias) in arrays
        }
    }


class InEquinox(eqx.Module):
    """Maps channels first: the rows of the first dense layer in another order."""

    layers: list

    def __init__(self):
        w = weights()
        first = w.first.reshape(4, 3, 5, 12).transpose(2, 0, 1, 3).reshape(60, 12)
        blank = eqx.filter_eval_shape(
            lambda key: (
                eqx.nn.Conv2d(2, 5, 3, key=key),
                eqx.nn.Linear(60, 12, key=key),
                eqx.nn.Linear(12, N_CLASSES, key=key),
            ),
            jax.random.key(0),
        )
        arrays = (
            (w.kernel.transpose(3, 2, 0, 1), w.kernel_bias[:, None, None]),
            (first.T, w.first_bias),
            (w.last.T, w.last_bias),
        )
        conv, first, last = (
            eqx.tree_at(lambda one: (one.weight, one.bias), layer, tuple(map(jnp.asarray, new)))
            for layer, new in zip(blank, arrays, strict=True)
        )
        pool = eqx.nn.MaxPool2d(kernel_size=2, stride=2)
        self.layers = [conv, jax.nn.relu, pool, jnp.ravel, first, jax.nn.relu, last]

    def __call__(self, x, tap):
        for i, layer in enumerate(self.layers):
            x = layer(x)
            x = tap({1: "maps", 5: "vector"}[i], x) if i in (1, 5) else x
        return x


AFTER_RELU = {1: "maps", 5: "vector"}
AS_NAMED = {"maps": "maps", "vector": "vector"}
TWINS = {
    "Linen": (
        lambda: linen(InLinen(), linen_variables(weights())),
        {"maps": "conv", "vector": "first"},
    ),
    "nnx in turn": (lambda: in_turn(sequential(), AFTER_RELU), AS_NAMED),
    "Equinox in turn": (lambda: in_turn(InEquinox(), AFTER_RELU, one_image=True), AS_NAMED),
    "Equinox per image": (lambda: per_image(InEquinox()), AS_NAMED),
}


# --- a function of parameters -----------------------------------------------------------


def smooth(parameters, images, tap):
    maps = lax.conv_general_dilated(
        images,
        parameters["kernel"],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    x = tap("maps", jnp.tanh(maps))
    x = tap("means", x.mean((1, 2)))
    return x**2 @ parameters["out"]


def smooth_in_numpy(parameters):
    def run(x, tap):
        x = tap("maps", np.tanh(convolution(x, parameters["kernel"], 1, "SAME")))
        return tap("means", x.mean((1, 2))) ** 2 @ np.float64(parameters["out"])

    return run


# --- what every adapter is tried with ---------------------------------------------------


class Case(NamedTuple):
    """A network through an adapter, called directly, and in NumPy with images channels last."""

    model: Callable
    direct: Callable
    run: Callable
    dataset: Dataset
    sites: tuple[str, ...]
    maps: tuple[str, str]  # a site, and the engine it gets
    vector: tuple[str, str]


def some_images(rng, shape, n=6):
    images = rng.normal(size=(n, *shape)).astype(np.float32)
    return Dataset(images, rng.integers(0, N_CLASSES, n), CLASSES)


def linen_case():
    rng = np.random.default_rng(1)
    dataset = some_images(rng, (16, 16, 3))
    module = ResNet([1, 1], N_CLASSES, dtype=None)
    variables = random_variables(module, dataset.images, rng)
    return Case(
        linen(module, variables, train=False),
        lambda images: module.apply(variables, images, train=False),
        resnet_in_numpy(variables),
        dataset,
        RESNET_SITES,
        ("ResNetBlock_1/Conv_0", "channel"),
        ("Dense_0", "generic"),
    )


def equinox_case(tapped=False):
    network = random_cnn(CNN)
    return Case(
        per_image(random_cnn(TappedCNN)) if tapped else in_turn(network, one_image=True),
        lambda images: jax.vmap(network)(jnp.moveaxis(images, -1, 1)),
        cnn_in_numpy(network),
        # Neither square nor as high as it has channels: no axis is taken for another.
        some_images(np.random.default_rng(2), (10, 9, 1)),
        tuple(f"layer{i}" for i in range(9)),
        ("layer0", "channel"),
        ("layer4", "generic"),
    )


def nnx_case():
    network = sequential()
    run = twin_in_numpy(weights())
    names = {"maps": "layer1", "vector": "layer5"}
    return Case(
        in_turn(network, {1: "layer1", 5: "layer5"}),
        network,
        lambda x, tap: run(x, lambda name, x: tap(names[name], x)),
        some_images(np.random.default_rng(3), (10, 8, 2)),
        ("layer1", "layer5"),
        ("layer1", "channel"),
        ("layer5", "dense"),
    )


def function_case():
    rng = np.random.default_rng(5)
    parameters = {
        "kernel": rng.normal(size=(3, 3, 2, 4)).astype(np.float32) / 2,
        "out": 30 * rng.normal(size=(4, N_CLASSES)).astype(np.float32),
    }
    return Case(
        with_parameters(smooth, parameters),
        lambda images: smooth(parameters, images, untouched),
        smooth_in_numpy(parameters),
        some_images(rng, (5, 6, 2)),
        ("maps", "means"),
        ("maps", "channel"),
        ("means", "generic"),
    )


MAKE = {
    "Linen": linen_case,
    "Equinox in turn": equinox_case,
    "Equinox per image": functools.partial(equinox_case, tapped=True),
    "nnx in turn": nnx_case,
    "function": function_case,
}
made = functools.cache(lambda name: MAKE[name]())


def twin_dataset():
    return some_images(np.random.default_rng(3), (10, 8, 2))
