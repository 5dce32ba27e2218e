"""The change of one channel against float64 f(x + dx) - f(x), and that it stays narrow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from jaxsel.delta.channel import MOST_PLACES, OneChannel
from jaxsel.delta.transform import change_at
from tests.delta.one_channel import (
    APART,
    FALLS_BACK,
    LAST,
    MIXED,
    changed,
    conv,
    marked,
    one_channel,
    quick,
    weights,
)

CASES = {**APART, **MIXED, **FALLS_BACK}


@pytest.fixture(autouse=True)
def wide():
    """Values in float64, changes in float32, as units are ablated."""
    with jax.enable_x64(True):
        yield


def of_each_channel(f, x, dx, axis):
    one = functools.partial(changed, marked(f), jnp.asarray(x), dx, axis)
    return quick(jax.vmap(one))(jnp.arange(x.shape[axis]))


def brute_force(f, x, dx, axis):
    """f(x) and, for each channel, f(x + dx) - f(x)."""
    channels = np.arange(x.shape[axis]).reshape([-1] + [1] * (x.ndim - axis - 1))
    alone = np.stack([np.where(channels == c, np.float64(dx), 0) for c in channels.ravel()])
    before, *after = np.asarray(quick(jax.vmap(f))(np.concatenate([x[None], x + alone])))
    return before, after - before


def numbers(shape, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    return x, (0.5 * rng.normal(size=shape)).astype(np.float32)


def assert_right(found, expected):
    """Sums of up to 100 products, whose roundings of 2^-24 add up as the root: and some."""
    atol = 32 * 2.0**-24 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
    # Brute force gives exactly 0 where nothing moves: there the change is none at all.
    np.testing.assert_array_equal(np.asarray(found)[expected == 0], 0)


@pytest.mark.parametrize("name", CASES)
def test_change_of_every_channel_is_that_of_brute_force(name):
    f, shape, axis = CASES[name]
    x, dx = numbers(shape)
    values, change = of_each_channel(f, x, dx, axis)
    right, expected = brute_force(f, x, dx, axis)
    assert np.abs(expected).max() > 1e-3
    assert change.dtype == np.float32
    assert_right(change, expected)
    # The same operations, perhaps fused otherwise.
    np.testing.assert_allclose(values, np.broadcast_to(right, values.shape), atol=1e-13)


@pytest.mark.parametrize("name", [*APART, *MIXED])
def test_nothing_is_widened_where_one_channel_is_enough(name, monkeypatch):
    """A silent fallback gives the right numbers, only some hundred times slower."""
    f, shape, axis = CASES[name]
    widened = []
    whole = OneChannel.whole
    monkeypatch.setattr(OneChannel, "whole", lambda *at: widened.append(at) or whole(*at))
    x, dx = numbers(shape)
    # At the end channels are mixed by a sum, for a result of the whole array is wide.
    total = marked(lambda x: f(x).sum())
    jax.make_jaxpr(lambda c: changed(total, jnp.asarray(x), dx, axis, c))(1)
    assert not widened


def products_of_the_change(f, x, axis):
    """Products in which the change of one channel takes part: name and size of its operand."""
    x, dx = jnp.asarray(x), jnp.ones(x.shape, jnp.float32)
    jaxpr = jax.make_jaxpr(lambda c: changed(marked(f), x, dx, axis, c)[1])(1).jaxpr
    moved, found = set(jaxpr.invars), []
    for eqn in jaxpr.eqns:
        of_change = [v for v in eqn.invars if not hasattr(v, "val") and v in moved]
        if of_change:
            moved |= set(eqn.outvars)
            if eqn.primitive.name in ("conv_general_dilated", "dot_general"):
                found.append((eqn.primitive.name, min(v.aval.size for v in eqn.invars)))
    return found


def test_first_convolution_is_no_convolution_of_all_channels():
    x, _ = numbers(LAST)
    inner, outer = (conv((3, 3, n, 5)) for n in (4, 5))
    # The second one, after channels are mixed, is a convolution.
    found = products_of_the_change(lambda x: outer(inner(jax.nn.relu(x))), x, 3)
    assert [name for name, _ in found] == ["conv_general_dilated"]


def test_first_dense_layer_costs_one_row_of_its_weights():
    matrix = jnp.asarray(numbers((120, 7))[0])
    x, _ = numbers(LAST)
    found = products_of_the_change(lambda x: jax.nn.relu(x).reshape(2, -1) @ matrix, x, 3)
    assert found == [("dot_general", 2 * 5 * 6)]


@pytest.mark.parametrize("more", [False, True])
def test_windows_of_many_places_are_convolved_as_a_whole(more):
    """Written out as a sum they would compile for minutes."""
    x, _ = numbers((1, 12, 12, 2))
    layer = conv((8, MOST_PLACES // 8 + more, 2, 3), padding="VALID")
    assert len(products_of_the_change(layer, x, 3)) == more


def test_a_channel_of_a_grouped_convolution_changes_its_group_only():
    x, dx = numbers(LAST)
    _, change = of_each_channel(conv((3, 3, 2, 6), feature_group_count=2), x, dx, 3)
    moved = np.any(np.asarray(change) != 0, axis=(1, 2, 3))
    own = np.array([[True] * 3 + [False] * 3] * 2 + [[False] * 3 + [True] * 3] * 2)
    np.testing.assert_array_equal(moved, own)


def test_what_nothing_reads_changes_nothing():
    def f(x):
        checkpoint_name(x, "site")
        return jax.nn.relu(x) @ jnp.ones((4, 2))

    x, dx = numbers(LAST)
    value, change = quick(lambda x: changed(f, x, dx, 3, 2))(x)
    np.testing.assert_array_equal(value, f(jnp.asarray(x)))
    np.testing.assert_array_equal(change, np.zeros((2, 5, 6, 2), np.float32))


def test_a_value_inside_nested_functions_is_found_and_paths_around_it_stay():
    inner = conv((3, 3, 4, 4))

    @jax.jit
    @jax.checkpoint
    def block(x, change=0):
        hidden = checkpoint_name(inner(x), "site") + change
        return jax.nn.relu(hidden) * x + hidden

    x, dx = numbers(LAST)
    _, change = quick(lambda x: changed(lambda x: block(x) + x, x, dx, 3, 2))(x)
    alone = np.where(np.arange(4) == 2, np.float64(dx), 0)
    expected = np.asarray(block(jnp.asarray(x), alone) - block(jnp.asarray(x)))
    assert_right(change, expected)


def test_change_may_depend_on_the_value():
    """A unit is taken away: minus its activation."""
    x, _ = numbers(LAST)
    layer = conv((3, 3, 4, 5))

    def without(value):
        return one_channel(2, -value, 3)

    _, found = quick(change_at("site", without, marked(layer), strict=True))(x)
    expected = layer(jnp.asarray(np.where(np.arange(4) == 2, 0, x))) - layer(jnp.asarray(x))
    assert_right(found, np.asarray(expected))


def test_two_sites_of_different_channels_meet():
    """Where two channels move at once there is no channel to keep apart."""
    x, dx = numbers(LAST)
    layer = conv((3, 3, 4, 5))

    def f(x):
        return layer(marked(jax.nn.relu)(x) + checkpoint_name(2 * x, "site"))

    channels = iter((1, 3))

    def change(value):
        return one_channel(next(channels), dx, 3)

    _, found = quick(change_at("site", change, f, strict=True))(x)
    first, second = (np.where(np.arange(4) == c, np.float64(dx), 0) for c in (1, 3))
    after = layer(jax.nn.relu(x + first) + 2 * x + second)
    assert_right(found, np.asarray(after - layer(jax.nn.relu(x) + 2 * x)))


def test_of_a_batch_of_values_is_that_of_each():
    f, shape, axis = MIXED["conv"]
    batch = [numbers(shape, seed) for seed in range(3)]
    x, dx = (jnp.stack([jnp.asarray(pair[i]) for pair in batch]) for i in (0, 1))
    pairs = jax.vmap(lambda x, dx, c: changed(marked(f), x, dx, axis, c))
    _, together = quick(pairs)(x, dx, jnp.array([2, 0, 3]))
    for found, channel, (one, its_dx) in zip(together, (2, 0, 3), batch, strict=True):
        assert_right(found, brute_force(f, one, its_dx, axis)[1][channel])


# Right answers would need a look at both operands, or at how many channels there are.
WRONG = {
    "products of the value with itself": (
        lambda x: jnp.einsum("nc,mc->nm", x, x),
        (3, 4),
        1,
    ),
    "length of the value": (lambda x: jnp.vdot(x, x), LAST, 3),
    "the value as its own kernel": (
        lambda x: lax.conv_general_dilated(
            x, x, (1, 1), "SAME", dimension_numbers=("NHWC", "OHWI", "NHWC")
        ),
        (3, 2, 2, 4),
        3,
    ),
    "one channel becomes four": (lambda x: x * weights(4) + 1, (2, 5, 6, 1), 3),
}


@pytest.mark.parametrize("name", WRONG)
def test_change_is_right_where_a_channel_meets_itself_or_is_spread(name):
    f, shape, axis = WRONG[name]
    x, dx = numbers(shape)
    _, change = of_each_channel(f, x, dx, axis)
    assert_right(change, brute_force(f, x, dx, axis)[1])
