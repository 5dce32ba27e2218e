"""Networks at random against float64 f(x + dx) - f(x)."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.delta import delta
from tests.delta.layers import LAYERS, network

# Precision of values and of changes.
PRECISIONS = {
    "float32": (np.float32, np.float32),
    "float64": (np.float64, np.float64),
    "float32 changes of float64 values": (np.float64, np.float32),
}
SHAPES = [(2, 5, 4, 4), (1, 6, 6, 4)]


def run(layers, x):
    for layer in layers:
        x = layer(x)
    return x


def brute_force(layers, x, dx, noise=None):
    """f(x + dx) - f(x) in float64, layer after layer.

    `noise(size)` is added to the values and to the changes after each layer, and before the
    first, where `size` is their largest number: as if each layer were rounded.
    """
    x, dx = np.float64(x), np.float64(dx)
    for layer in [lambda x: x, *layers]:
        new, x = np.asarray(layer(jnp.asarray(x + dx))), np.asarray(layer(jnp.asarray(x)))
        dx = new - x
        if noise is not None:
            x, dx = noise(x, dx)
    return dx


def rounding_effect(layers, x, dx, precision):
    """The largest error of the output that roundings within the layers can lead to.

    Each of 8 runs disturbs values and changes after each layer by random parts up to 16
    roundings of the largest. Layers make about 3 roundings of terms that are little larger
    than their result, so that the true errors lie well within what was tried; the errors of
    eight runs show what they lead to, sensitive layers and kinks crossed by mistake
    included. Brute force rounds its values to float64: so is the change there.
    """
    rng = np.random.default_rng(7)
    of_values, of_changes = (16 * np.finfo(dtype).eps / 2 for dtype in precision)

    def noise(x, dx):
        a, b, c = rng.uniform(-1, 1, size=(3, *x.shape))
        size, change = np.abs(x).max(), np.abs(dx).max()
        lost = 16 * np.finfo(np.float64).eps * size * (change > 0)
        return x + of_values * size * a, dx + of_changes * change * b + lost * c

    exact = brute_force(layers, x, dx)
    runs = [brute_force(layers, x, dx, noise) for _ in range(8)]
    return exact, max(np.abs(run - exact).max() for run in runs)


def assert_network_changes_right(names, shape, size, one_unit, precision, seed):
    precision = PRECISIONS[precision]
    rng = np.random.default_rng(seed)
    layers = network(names, rng, shape)
    x = rng.normal(size=shape).astype(np.float32).astype(precision[0])
    dx = (size * rng.normal(size=shape)).astype(precision[1])
    if one_unit:  # one channel is taken away
        dx = np.zeros_like(dx)
        dx[..., 1] = -x[..., 1]
    change = delta(lambda x: run(layers, x), strict=True)
    with jax.enable_x64(True):
        exact, allowed = rounding_effect(layers, x, dx, precision)
    wide = precision[0] is np.float64
    with jax.enable_x64(True) if wide else contextlib.nullcontext():
        found = change(jnp.asarray(x), jnp.asarray(dx))
        nothing = change(jnp.asarray(x), jnp.zeros_like(dx))
    assert found.dtype == precision[1]
    error = np.abs(np.float64(found) - exact).max()
    assert error <= allowed, f"error {error}, allowed {allowed}, of {np.abs(exact).max()}"
    np.testing.assert_array_equal(nothing, np.zeros_like(nothing))


NETWORKS = {
    "names": st.lists(st.sampled_from(sorted(LAYERS)), min_size=2, max_size=6),
    "shape": st.sampled_from(SHAPES),
    "size": st.sampled_from([1e-6, 1e-3, 1.0]),
    "one_unit": st.booleans(),
    "precision": st.sampled_from(sorted(PRECISIONS)),
    "seed": st.integers(0, 2**32 - 1),
}


@given(**NETWORKS)
@settings(max_examples=5, deadline=None)
def test_change_of_a_random_network_is_as_exact_as_its_roundings(**how):
    assert_network_changes_right(**how)


@pytest.mark.slow
@given(**NETWORKS)
@settings(max_examples=300, deadline=None)
def test_change_of_many_random_networks_is_as_exact_as_their_roundings(**how):
    assert_network_changes_right(**how)


# Made of several primitives each.
COMPOSED = [
    *("grouped conv", "dilated conv", "max-ceil-mode pool", "average ceil-mode pool"),
    *("leaky relu", "elu", "gelu", "gelu by tanh", "swish", "softplus"),
    *("softmax", "log-softmax", "logsumexp", "attention", "residual"),
    *("batch norm", "layer norm", "response norm"),
    *("strongest", "gather", "select", "custom_vjp", "checkpoint", "vmap"),
]


@pytest.mark.parametrize("name", COMPOSED)
def test_composed_layer_alone_changes_right(name):
    """After a convolution, so that values and changes are mixed."""
    names = [name] if "conv" in name else ["conv", name]
    assert_network_changes_right(names, SHAPES[0], 1e-4, False, "float32", 3)
