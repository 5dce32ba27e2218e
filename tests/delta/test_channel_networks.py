"""The change of one channel in networks at random against float64 f(x + dx) - f(x)."""

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.delta.layers import LAYERS, network
from tests.delta.one_channel import changed, marked, quick
from tests.delta.test_networks import SHAPES, rounding_effect, run


@pytest.fixture(autouse=True)
def wide():
    """Values in float64, changes in float32, as units are ablated."""
    with jax.enable_x64(True):
        yield


# Each treats every channel by itself.
SEPARATE = [
    *("relu", "relu6", "leaky relu", "elu", "logistic", "tanh", "gelu", "gelu by tanh"),
    *("swish", "softplus", "select", "fixed select", "exp", "log", "log1p", "power", "cube"),
    *("root", "jit", "checkpoint", "custom_vjp", "batch norm", "depthwise conv"),
    *(name for name in LAYERS if "pool" in name),
]


@given(
    names=st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=4),
    shape=st.sampled_from(SHAPES),
    channel=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=5, deadline=None)
def test_change_of_a_channel_in_a_random_network_is_as_exact_as_its_roundings(
    names, shape, channel, seed
):
    assert_network_right(names, shape, channel, seed)


@given(
    names=st.lists(st.sampled_from(SEPARATE), min_size=1, max_size=4),
    channel=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=5, deadline=None)
@example(names=["batch norm", "leaky relu"], channel=0, seed=0)
def test_other_channels_do_not_move_at_all_through_layers_that_keep_them_apart(
    names, channel, seed
):
    found = assert_network_right(names, SHAPES[0], channel, seed)
    np.testing.assert_array_equal(np.delete(found, channel, -1), 0)


def assert_network_right(names, shape, channel, seed):
    rng = np.random.default_rng(seed)
    layers = network(names, rng, shape)
    x = rng.normal(size=shape)
    dx = (0.5 * rng.normal(size=shape) * (np.arange(4) == channel)).astype(np.float32)
    whole = marked(lambda x: run(layers, x))
    _, found = quick(lambda x: changed(whole, x, dx, 3, channel))(x)
    layers = [quick(layer) for layer in layers]
    exact, allowed = rounding_effect(layers, x, dx, (np.float64, np.float32))
    error = np.abs(np.float64(found) - exact).max()
    assert error <= allowed, f"error {error}, allowed {allowed}, of {np.abs(exact).max()}"
    return np.asarray(found)
