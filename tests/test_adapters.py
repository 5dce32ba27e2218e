"""Networks as other libraries write them, against the same networks in NumPy float64."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from jax import lax

from jaxsel import (
    Dataset,
    ablate_by_masks,
    ablate_groups,
    ablate_units,
    evaluate,
    first_order,
    forward,
    record,
)
from jaxsel.adapters import in_turn, linen, per_image, with_parameters
from jaxsel.intact import intact_pass
from jaxsel.sites import untouched
from tests.references import brute_force, mlp

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


@pytest.fixture(params=MAKE)
def case(request):
    return made(request.param)


def truth_of(case, site):
    """Every unit replaced by 0, and the network run again in float64."""
    images, labels = case.dataset.images, case.dataset.labels
    n_units = brute_force.activations(case.run, images)[1][site].shape[-1]
    return brute_force.ablate(case.run, images, labels, site, np.eye(n_units, dtype=bool))


def by_class(values, labels):
    """(units, classes) from (images, units)."""
    return values.T @ np.eye(N_CLASSES)[labels]


def test_logits_are_those_of_the_network_called_directly(case):
    """Compiled programs may sum in another order: to a few roundings of the largest."""
    images = jnp.asarray(case.dataset.images)
    found = jax.jit(lambda model, images: model(images, untouched))(case.model, images)
    assert found.shape == (len(images), N_CLASSES)
    expected = jax.jit(case.direct)(images)
    size = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=16 * 2.0**-24 * size)


def test_activations_are_those_of_the_network_by_hand(case):
    """By name and order, images first and channels last."""
    logits, found = intact_pass(case.model, case.dataset.images)
    expected, by_hand = brute_force.activations(case.run, case.dataset.images)
    assert tuple(found) == case.sites
    for site in case.sites:
        assert np.abs(by_hand[site]).max() > 0.01
        # Float64 sums of some hundred products near 1.
        np.testing.assert_allclose(found[site], by_hand[site], rtol=0, atol=1e-12)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", ["maps", "vector"])
@pytest.mark.parametrize("name", [name for name in MAKE if name != "nnx in turn"])
def test_units_equal_brute_force(name, kind):
    """The nnx network is among the twins below."""
    case = made(name)
    site, engine = getattr(case, kind)
    effects = ablate_units(case.model, case.dataset, site)
    truth = truth_of(case, site)
    assert effects.engine == engine
    # Changes are of float64 values, if float64 comes through the adapter.
    assert effects.precision.endswith("changes of float64 values")
    brute_force.assert_exact(effects, truth, case.dataset.labels)
    assert np.abs(truth.change).max() > 1e-2  # units that matter


def test_recorded_sums_equal_those_by_hand(case):
    found = record(case.model, case.dataset, keep_responses=True, batch_size=4)
    _, by_hand = brute_force.activations(case.run, case.dataset.images)
    assert tuple(found) == case.sites
    for site in case.sites:
        activation = by_hand[site]
        means = activation.reshape(len(activation), -1, activation.shape[-1]).mean(1)
        sums = by_class(means, case.dataset.labels).T
        # Float64 throughout.
        np.testing.assert_allclose(found[site].class_sums, sums, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(found[site].per_image, means, rtol=2**-23, atol=1e-12)


def test_evaluation_equals_that_by_hand(case):
    labels = case.dataset.labels
    found = evaluate(case.model, case.dataset, batch_size=4)
    logits = brute_force.activations(case.run, case.dataset.images)[0]
    np.testing.assert_allclose(found.loss, mlp.losses(logits, labels), rtol=1e-11)
    np.testing.assert_array_equal(found.rank, mlp.ranks(logits, labels))


def test_first_order_estimates_equal_differences_by_hand(case):
    """The slope of the loss as the unit's responses shrink, by central differences.

    Float32 gradients are right to a millionth or so of what they are sums of; steps of 1e-6
    leave ten digits of a float64 slope.
    """
    site, _ = case.maps
    dataset, step = case.dataset, 1e-6
    found = first_order(case.model, dataset, site, batch_size=4)
    slopes = []
    for unit in range(len(found)):
        losses = []
        for scale in (1 - step, 1 + step):

            def tap(name, x, unit=unit, scale=scale):
                at_unit = np.arange(x.shape[-1]) == unit
                return np.where(at_unit, scale * x, x) if name == site else x

            losses.append(mlp.losses(case.run(np.float64(dataset.images), tap), dataset.labels))
        slopes.append((losses[0] - losses[1]) / (2 * step))
    slopes = np.stack(slopes, 1)
    size = np.abs(slopes).sum(0).max()
    assert size > 1e-2
    np.testing.assert_allclose(
        found, by_class(slopes, dataset.labels), rtol=0, atol=1e-5 * size
    )


def test_groups_equal_brute_force(case):
    """At both sites together."""
    rng, dataset = np.random.default_rng(6), case.dataset
    _, by_hand = brute_force.activations(case.run, dataset.images)
    sites = [case.maps[0], case.vector[0]]
    keep = {site: rng.random((3, by_hand[site].shape[-1])) < 0.7 for site in sites}
    found = ablate_groups(case.model, dataset, keep, batch_size=4, chunk=2)
    for group in range(3):

        def tap(name, x, group=group):
            return np.where(keep[name][group], x, 0) if name in keep else x

        logits = case.run(np.float64(dataset.images), tap)
        losses = by_class(mlp.losses(logits, dataset.labels)[:, None], dataset.labels)[0]
        # Losses near 1, from float32 logits near 10.
        np.testing.assert_allclose(found.loss[group], losses, rtol=1e-5, atol=1e-5)
        right = mlp.ranks(logits, dataset.labels)[:, None] < 1
        np.testing.assert_array_equal(found.top1[group], by_class(right, dataset.labels)[0])


def test_the_plain_way_equals_brute_force(case):
    """Differences of two float32 losses near 1: right to some roundings of these."""
    site, _ = case.maps
    found = ablate_by_masks(case.model, case.dataset, site, batch_size=4, chunk=3)
    change = by_class(truth_of(case, site).change, case.dataset.labels)
    np.testing.assert_allclose(found, change, rtol=0, atol=2e-5)


# --- one network, written five times ----------------------------------------------------


def twin_dataset():
    return some_images(np.random.default_rng(3), (10, 8, 2))


@pytest.mark.parametrize("site", ["maps", "vector"])
def test_the_same_network_has_the_same_effects_however_it_is_written(site):
    """To the last bits: 16 roundings of 2**-24, of the sum of absolute changes.

    The operations are the same and their order is not: a kernel that stands the other way
    is summed in another order. Linen's sites come before the ReLU, where a unit that is
    replaced by 0 does the same.
    """
    dataset = twin_dataset()
    truth = brute_force.ablate(
        twin_in_numpy(weights()),
        dataset.images,
        dataset.labels,
        site,
        np.eye({"maps": 5, "vector": 12}[site]) > 0,
    )
    own = ablate_units(tapped_nnx(), dataset, site)
    brute_force.assert_exact(own, truth, dataset.labels)
    size = np.abs(truth.change).sum(0)[:, None]
    for make, names in TWINS.values():
        found = ablate_units(make(), dataset, names[site])
        if site == "maps":
            assert (own.engine, found.engine) == ("channel", "channel")
        brute_force.assert_exact(found, truth, dataset.labels)
        assert (np.abs(found.loss_change - own.loss_change) <= 2.0**-20 * size).all()
        np.testing.assert_array_equal(found.top1_change, own.top1_change)
        np.testing.assert_array_equal(found.top5_change, own.top5_change)
        np.testing.assert_allclose(found.baseline.loss, own.baseline.loss, rtol=1e-13)


@pytest.mark.parametrize(
    "how, engine", [("nnx in turn", "dense"), ("Equinox in turn", "generic")]
)
def test_dense_layers_whose_weights_stand_right_get_the_dense_engine(how, engine):
    """Equinox's stand left of single images."""
    make, names = TWINS[how]
    effects = ablate_units(make(), twin_dataset(), names["vector"], units=np.array([0]))
    assert effects.engine == engine


# --- Linen ------------------------------------------------------------------------------


def test_ablation_to_0_before_a_relu_is_ablation_to_0_after_it():
    """And to 0.5 or to -1, of a unit that had responded otherwise, it is not always."""
    case = made("Linen")
    dataset, masks = case.dataset, np.eye(4, dtype=bool)
    effects = ablate_units(case.model, dataset, "bn_init")
    after = functools.partial(
        brute_force.ablate, case.run, dataset.images, dataset.labels, "relu of bn_init", masks
    )
    brute_force.assert_exact(effects, after(), dataset.labels)
    other = ablate_units(case.model, dataset, "bn_init", replacement=-1.0)
    brute_force.assert_exact(other, after(), dataset.labels)  # the ReLU makes it 0
    negative = after(-1.0).change.sum(0)
    assert (np.abs(other.total() - negative) > 1e-3 * np.abs(negative)).any()


def test_an_example_that_casts_to_float32_is_ablated_in_float32():
    """As the example has it by default.

    Float32 values are known to some roundings of the largest, and a change that just crosses
    a threshold is a difference of such: four digits are left, less than the engine's own.
    """
    rng = np.random.default_rng(1)
    dataset = some_images(rng, (16, 16, 3))
    module = ResNet([1, 1], N_CLASSES)
    variables = random_variables(module, dataset.images, rng)
    effects = ablate_units(
        linen(module, variables, train=False), dataset, "ResNetBlock_0/BatchNorm_0"
    )
    assert effects.precision == "float32 changes of float32 values"
    truth = brute_force.ablate(
        resnet_in_numpy(variables), dataset.images, dataset.labels, effects.site, np.eye(4) > 0
    )
    size = np.abs(truth.change).sum(0)
    error = np.abs(effects.total() - truth.change.sum(0))
    assert (error <= effects.error).all()
    assert (error <= 1e-4 * size).all()
    assert np.abs(truth.change).max() > 1e-2


class Shared(nn.Module):
    """One dense layer, used twice."""

    @nn.compact
    def __call__(self, x):
        dense = nn.Dense(4, name="Shared")
        return nn.Dense(N_CLASSES, name="Out")(nn.relu(dense(nn.relu(dense(x)))))


def test_a_submodule_called_again_is_another_site():
    rng = np.random.default_rng(7)
    dataset = some_images(rng, (4,))
    variables = random_variables(Shared(), dataset.images, rng)
    shared, out = (
        jax.tree.map(np.float64, variables["params"][name]) for name in ("Shared", "Out")
    )

    def run(x, tap):
        for site in ("Shared", "Shared#2"):
            x = relu(tap(site, x @ shared["kernel"] + shared["bias"]))
        return tap("Out", x @ out["kernel"] + out["bias"])

    model = linen(Shared(), variables)
    assert list(intact_pass(model, dataset.images)[1]) == ["Shared", "Shared#2", "Out"]
    # Two programs each: the counting begins again in every pass.
    by_hand = brute_force.activations(run, dataset.images)[1]
    for one in (model, linen(Shared(), variables, sites=("Shared#2",))):
        for n_images in (6, 5):
            _, found = intact_pass(one, dataset.images[:n_images])
            for site in found:
                expected = by_hand[site][:n_images]
                np.testing.assert_allclose(found[site], expected, rtol=0, atol=1e-13)
    assert list(found) == ["Shared#2"]
    masks = np.eye(4, dtype=bool)
    truth = brute_force.ablate(run, dataset.images, dataset.labels, "Shared#2", masks)
    brute_force.assert_exact(ablate_units(model, dataset, "Shared#2"), truth, dataset.labels)


def test_only_the_sites_asked_for_are_tapped():
    case = made("Linen")
    module = ResNet([1, 1], N_CLASSES, dtype=None)
    sites = ("ResNetBlock_1", "bn_init")
    images = case.dataset.images
    variables = random_variables(module, images, np.random.default_rng(0))
    model, named = linen(module, variables, sites, train=False), []
    jax.eval_shape(lambda x: model(x, lambda site, x: named.append(site) or x), images)
    assert named == ["bn_init", "ResNetBlock_1"]


class Carrying(nn.Module):
    """Submodules that return a pair, whole numbers, and one that is no `__call__`."""

    @nn.compact
    def __call__(self, x):
        _, x = nn.SimpleCell(4, name="Cell")(jnp.zeros((len(x), 4), x.dtype), x)
        table = nn.Embed(4, N_CLASSES, name="Table")
        return table.attend(jnp.zeros((len(x), N_CLASSES))) @ jnp.ones((4, N_CLASSES)) + x @ (
            jnp.ones((4, N_CLASSES))
        )


def test_what_returns_no_single_activation_is_no_site():
    """The cell's two layers are: the cell returns its state too, the table only attends."""
    images = np.ones((2, 3), np.float32)
    model = linen(Carrying(), random_variables(Carrying(), images, np.random.default_rng(0)))
    named = []
    jax.eval_shape(lambda x: model(x, lambda site, x: named.append(site) or x), images)
    assert named == ["Cell/i", "Cell/h"]


# --- in turn, per image -----------------------------------------------------------------


@pytest.mark.parametrize("unknown", [3, -1])
def test_unknown_layers_are_refused_in_one_sentence(unknown):
    layers = [jnp.square, jnp.tanh, jnp.negative]
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        in_turn(layers, {1: "tanh", unknown: "other"})
    assert str(refusal.value) == f"there are the layers 0 to 2; found [{unknown}]"


def test_by_default_every_layer_but_the_last_is_a_site():
    model = in_turn(sequential())
    named = list(intact_pass(model, twin_dataset().images)[1])
    assert named == [f"layer{i}" for i in range(6)]


def test_the_last_layer_may_be_a_site():
    model = in_turn([jnp.square, jnp.negative], {1: "out"})
    logits, found = forward(model, jnp.array([[3.0]]))
    assert (logits.tolist(), found["out"].tolist()) == ([[-9.0]], [[-9.0]])


def sums_of_squares(seen=None):
    """A network of single images, channels last, and the same in NumPy."""
    weight = np.random.default_rng(8).normal(size=(5, N_CLASSES)).astype(np.float32)

    def network(image, tap):
        x = tap("squares", jnp.square(image))
        if seen is not None:
            seen.extend((image.shape, x.shape))
        return tap("sums", x.sum((0, 1))) @ jnp.asarray(weight, x.dtype)

    def run(x, tap):
        return tap("sums", tap("squares", x**2).sum((1, 2))) @ np.float64(weight)

    return per_image(network, channels_first=False), run


def test_channels_last_networks_of_single_images():
    """Their taps see (height, width, channels), and so does the outside, with images first."""
    dataset, seen = some_images(np.random.default_rng(8), (3, 4, 5)), []
    model, run = sums_of_squares(seen)
    _, found = intact_pass(model, dataset.images)
    assert set(seen) == {(3, 4, 5)}
    _, by_hand = brute_force.activations(run, dataset.images)
    for site in ("squares", "sums"):
        np.testing.assert_allclose(found[site], by_hand[site], rtol=1e-13)


@pytest.mark.parametrize("engine", ["channel", "generic"])
def test_units_of_channels_last_networks_of_single_images(engine):
    dataset = some_images(np.random.default_rng(8), (3, 4, 5))
    model, run = sums_of_squares()
    effects = ablate_units(model, dataset, "squares", engine=engine)
    masks = np.eye(5, dtype=bool)
    truth = brute_force.ablate(run, dataset.images, dataset.labels, "squares", masks)
    brute_force.assert_exact(effects, truth, dataset.labels)


def test_a_tap_sees_images_first_wherever_they_were():
    """A weight that stands left of the image: `vmap` has the images on the last axis."""
    dataset = some_images(np.random.default_rng(8), (5,), n=4)
    weight = np.random.default_rng(9).normal(size=(N_CLASSES, 5)).astype(np.float32)

    def network(image, tap):
        return tap("product", lax.dot(jnp.asarray(weight, image.dtype), image))

    seen = []

    def tap(site, x):
        seen.append((site, x.shape))
        return 2 * x

    found = per_image(network)(jnp.asarray(dataset.images), tap)
    assert seen == [("product", (4, N_CLASSES))]
    np.testing.assert_allclose(found, 2 * dataset.images @ weight.T, rtol=0, atol=1e-5)


def test_channels_first_networks_see_their_own_order():
    """The image outside is (3, 4, 5): five channels."""
    seen = []

    def network(image, tap):
        seen.append(image.shape)
        x = tap("same", image)
        seen.append(x.shape)
        return x.sum((1, 2))

    images = jnp.asarray(some_images(np.random.default_rng(8), (3, 4, 5)).images)
    logits, found = forward(per_image(network), images)
    assert set(seen) == {(5, 3, 4)}
    np.testing.assert_array_equal(found["same"], images)
    np.testing.assert_allclose(logits, images.sum((1, 2)), rtol=1e-5, atol=1e-5)


# --- weights, and programs --------------------------------------------------------------


WEIGHTED = {
    "Linen": lambda w: linen(InLinen(), linen_variables(w)),
    "in turn": lambda w: in_turn([functools.partial(dense, w.last), jnp.tanh], {0: "first"}),
    "object in turn": lambda w: in_turn([Layer(w.last), jnp.tanh], {0: "first"}),
    "per image": lambda w: per_image(Layer(w.last)),
    "function": lambda w: with_parameters(lambda p, x, tap: tap("first", x) @ p, w.last),
}


def dense(weight, x):
    return x @ weight


class Layer(eqx.Module):
    weight: Any

    def __call__(self, x, tap=untouched):
        return tap("first", x) @ self.weight


def flat_images(how):
    shape = (10, 8, 2) if how == "Linen" else (12,)
    return some_images(np.random.default_rng(9), shape)


def losses_by_hand(how, w, images, labels):
    if how == "Linen":
        return mlp.losses(twin_in_numpy(w)(np.float64(images), lambda site, x: x), labels)
    x = np.float64(images) @ np.float64(w.last)
    return mlp.losses(np.tanh(x) if "turn" in how else x, labels)


@pytest.mark.parametrize("how", ["Linen", "object in turn", "per image", "function"])
@pytest.mark.parametrize("way", ["a new adapter", "the adapter's arrays"])
def test_changed_weights_are_never_the_old_ones(how, way):
    w, dataset = weights(), flat_images(how)
    model, times = WEIGHTED[how](w), 1.5
    changed = Weights(*(np.float32(times) * array for array in w))
    for _ in range(2):  # there and back
        np.testing.assert_allclose(
            evaluate(model, dataset).loss,
            losses_by_hand(how, w, dataset.images, dataset.labels),
            rtol=1e-10,
        )
        if way == "a new adapter":
            other = WEIGHTED[how](changed)
        else:
            other = jax.tree.map(lambda array: np.float32(times) * array, model)
        expected = losses_by_hand(how, changed, dataset.images, dataset.labels)
        np.testing.assert_allclose(evaluate(other, dataset).loss, expected, rtol=1e-10)


@pytest.mark.parametrize("site, name", [("maps", "conv"), ("vector", "first")])
def test_ablation_uses_the_weights_it_is_given(site, name):
    """In the engine that keeps its programs, and in one that does not."""
    w, dataset = weights(), twin_dataset()
    model = linen(InLinen(), linen_variables(w))
    for times in (1.0, 0.75):
        other = jax.tree.map(lambda array, times=times: np.float32(times) * array, model)
        effects = ablate_units(other, dataset, name)
        run = twin_in_numpy(np.float32(times) * array for array in w)
        masks = np.eye(len(effects.units), dtype=bool)
        truth = brute_force.ablate(run, dataset.images, dataset.labels, site, masks)
        brute_force.assert_exact(effects, truth, dataset.labels)


@pytest.mark.parametrize("how", ["in turn", "per image", "function"])
def test_arrays_that_a_function_holds_itself_are_never_the_old_ones(how):
    """As with a plain function without an adapter."""
    w = {"out": np.ones((12, N_CLASSES), np.float32)}
    dataset = flat_images(how)
    one = 1.0

    class Times(eqx.Module):
        factor: Any
        after: Callable

        def __call__(self, x, tap=untouched):
            return self.after(tap("in", self.factor * x))

    last = Times(one, lambda x: jnp.tanh(x) @ w["out"])
    model = {
        "in turn": lambda: in_turn([jnp.positive, last]),
        "per image": lambda: per_image(last),
        "function": lambda: with_parameters(lambda p, x, tap: last(x, tap), {}),
    }[how]()
    # With equal logits each loss is log 7.
    np.testing.assert_allclose(evaluate(model, dataset).loss, np.log(7), rtol=1e-12)
    w["out"] = weights().last
    logits = np.tanh(np.float64(dataset.images)) @ np.float64(w["out"])
    expected = mlp.losses(logits, dataset.labels)
    np.testing.assert_allclose(evaluate(model, dataset).loss, expected, rtol=1e-10)


@pytest.mark.parametrize("how", ["Linen", "object in turn", "per image", "function"])
def test_an_adapter_is_a_tree_of_the_arrays_alone(how):
    w, dataset = weights(), flat_images(how)
    model = WEIGHTED[how](w)
    leaves = jax.tree.leaves(model)
    expected = [*w] if how == "Linen" else [w.last]
    assert sorted(leaf.shape for leaf in leaves) == sorted(one.shape for one in expected)
    assert not jax.tree_util.all_leaves([model])
    images = jnp.asarray(dataset.images)
    found = jax.jit(lambda model, images: model(images, untouched))(model, images)
    # A compiled program may sum in another order.
    np.testing.assert_allclose(found, model(images, untouched), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", ["in turn", "per image", "function"])
def test_a_program_is_compiled_once_for_all_weights(how):
    """What a network prints while it is traced, it prints once."""
    traced, dataset = [], flat_images(how)

    class Counted(eqx.Module):
        weight: Any

        def __call__(self, x, tap=untouched):
            traced.append(x.shape)
            return tap("first", x) @ self.weight

    layer = Counted(jnp.asarray(weights().last))
    model = {
        "in turn": lambda: in_turn([layer, jnp.tanh]),
        "per image": lambda: per_image(layer),
        "function": lambda: with_parameters(lambda p, x, tap: p(x, tap), layer),
    }[how]()
    evaluate(model, dataset)
    once = len(traced)
    assert once > 0
    evaluate(jax.tree.map(lambda array: 2 * array, model), dataset)
    assert len(traced) == once
