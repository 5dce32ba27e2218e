"""BatchNorm in training: PyTorch's, also on batches that are filled up or spread."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from jaxsel.models.batch_norm import Batch, BatchNorm

N = 5  # channels
each_shape = pytest.mark.parametrize(
    "shape", [(6, 3, 2, N), (6, N), (2, 1, 1, N)], ids=["maps", "units", "two numbers"]
)


def numbers(rng):
    """Scale, bias, running mean and running variance; none is what a layer begins with."""
    return rng.normal(size=N), rng.normal(size=N), rng.normal(size=N), rng.uniform(0.5, 2, N)


def filled(made, arrays):
    """The layer with these numbers, in float32."""
    variables = (made.scale, made.bias, made.mean, made.var)
    for variable, values in zip(variables, arrays, strict=True):
        variable.set_value(jnp.asarray(values, jnp.float32))
    return made


def layer():
    """A layer of our own with the numbers that it begins with."""
    return BatchNorm(N, momentum=0.9, epsilon=1e-5, rngs=nnx.Rngs(0))


@functools.cache
def compiled(axis_name=None):
    """One pass in training mode: output, running statistics, and the gradients of scale, bias
    and input of the sum of the output times weights.
    """
    made = layer()
    made.train()
    graph, parameters, statistics = nnx.split(made, nnx.Param, nnx.BatchStat)

    def one(arrays, x, weights, where):
        def loss(scale, bias, x):
            held = ({"scale": scale, "bias": bias}, {"mean": arrays[2], "var": arrays[3]})
            for state, values in zip((parameters, statistics), held, strict=True):
                nnx.replace_by_pure_dict(state, values)
            made = nnx.merge(graph, parameters, statistics, copy=True)
            made.batch = Batch(where, axis_name)
            output = made(x)
            return (output * weights).sum(), (output, made.mean[...], made.var[...])

        gradients, found = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(*arrays[:2], x)
        return found, gradients

    return one


def run(arrays, x, weights, where=None):
    with jax.enable_x64(True):
        return jax.device_get(jax.jit(compiled())(arrays, x, weights, where))


def in_torch(arrays, steps):
    """PyTorch's layer over several batches; what `run` gives for the last of them."""
    kind = torch.nn.BatchNorm2d if steps[0][0].ndim == 4 else torch.nn.BatchNorm1d
    theirs = kind(N, eps=1e-5, momentum=0.1).double().train()
    scale, bias, mean, var = (torch.tensor(values) for values in arrays)
    with torch.no_grad():
        theirs.weight.copy_(scale)
        theirs.bias.copy_(bias)
    theirs.running_mean.copy_(mean)
    theirs.running_var.copy_(var)
    for x, weights in steps:
        theirs.zero_grad()
        given = torch.tensor(x, requires_grad=True)
        output = theirs(given.movedim(-1, 1)).movedim(1, -1)
        (output * torch.tensor(weights)).sum().backward()
    running = theirs.running_mean.numpy(), theirs.running_var.numpy()
    gradients = theirs.weight.grad.numpy(), theirs.bias.grad.numpy(), given.grad.numpy()
    return (output.detach().numpy(), *running), gradients


def assert_same(found, expected, tolerance=1e-12):
    """Every array to its largest entry."""
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def drawn(rng, shape, n=1):
    """Batches and weights of their outputs."""
    return [(3 + 2 * rng.normal(size=shape), rng.normal(size=shape)) for _ in range(n)]


@each_shape
def test_training_matches_pytorch_over_several_batches(shape, rng):
    """Two numbers leave the gradient of the input a difference that nearly cancels: of order
    epsilon, 1e-5, and less, of terms of order 1.
    """
    arrays, steps = numbers(rng), drawn(rng, shape, 3)
    expected = in_torch(arrays, steps)
    moving = arrays
    for x, weights in steps:
        found = run(moving, x, weights)
        moving = (*arrays[:2], *found[0][1:])
    assert_same(found[0], expected[0])
    assert_same(found[1][:2], expected[1][:2])
    size = max(np.abs(expected[1][2]).max(), np.abs(arrays[0]).max())
    np.testing.assert_allclose(found[1][2], expected[1][2], rtol=0, atol=1e-12 * size)


@pytest.mark.parametrize("shape", [(7, 2, 3, N), (7, N)], ids=["maps", "units"])
@pytest.mark.parametrize("counted", [(0, 1, 4, 6), (2, 4, 5)], ids=["four", "three"])
def test_images_that_do_not_count_are_as_if_they_were_not_there(shape, counted, rng):
    """Whatever they are, and in the gradients: PyTorch with the others alone."""
    where = np.isin(np.arange(7), counted)
    arrays, [(x, weights)] = numbers(rng), drawn(rng, shape)
    places = where.reshape(-1, *(1,) * (len(shape) - 1))
    expected = in_torch(arrays, [(x[where], weights[where])])
    found, gradients = run(arrays, np.where(places, x, 1e6 * x), weights * places, where)
    assert_same((found[0][where], *found[1:]), expected[0])
    assert_same((*gradients[:2], gradients[2][where]), expected[1], 1e-11)
    assert not gradients[2][~where].any()


def test_a_batch_spread_over_an_axis_is_one_batch(rng):
    """Two devices with four images each, of which seven count in all."""
    arrays, [(x, weights)] = numbers(rng), drawn(rng, (8, 2, 3, N))
    where = np.arange(8) != 2
    weights = weights * where[:, None, None, None]
    expected, slopes = run(arrays, x, weights, where)
    halves = [values.reshape(2, 4, *values.shape[1:]) for values in (x, weights, where)]
    with jax.enable_x64(True):
        spread = jax.vmap(compiled("devices"), in_axes=(None, 0, 0, 0), axis_name="devices")
        found, gradients = jax.device_get(jax.jit(spread)(arrays, *halves))
    assert_same(found[0].reshape(x.shape), expected[0])
    for device in range(2):
        assert_same([values[device] for values in found[1:]], expected[1:])
    # Each device has the gradient of the sum of both losses: of its images, and its part of
    # that of the parameters.
    assert_same(gradients[2].reshape(x.shape), slopes[2], 1e-11)
    assert_same([values.sum(axis=0) for values in gradients[:2]], slopes[:2])


@pytest.mark.parametrize("where", [None, np.arange(6) < 2], ids=["all", "some"])
def test_evaluation_is_flax_s_own_to_the_bit(where, rng):
    """Whatever the batch is said to be, and running statistics stay."""
    arrays, x = numbers(rng), jnp.asarray(3 + 2 * rng.normal(size=(6, 3, 2, N)), jnp.float32)
    ours = filled(layer(), arrays)
    theirs = nnx.BatchNorm(
        N, use_running_average=True, momentum=0.9, epsilon=1e-5, rngs=nnx.Rngs(0)
    )
    ours.batch = Batch(None if where is None else jnp.asarray(where))
    found, expected = ours(x), filled(theirs, arrays)(x)
    np.testing.assert_array_equal(found, expected)
    for values, variable in zip(arrays[2:], (ours.mean, ours.var), strict=True):
        np.testing.assert_array_equal(variable[...], np.float32(values))


def test_train_and_eval_switch(rng):
    """A new layer is in evaluation mode; running statistics move in training mode alone."""
    made = layer()
    x = jnp.asarray(rng.normal(size=(6, N)), jnp.float32)
    for mode, moves in ((None, False), (made.train, True), (made.eval, False)):
        if mode is not None:
            mode()
        before = np.asarray(made.mean[...])
        made(x)
        assert (np.asarray(made.mean[...]) != before).any() == moves


@pytest.mark.parametrize("n_images", [8, 512])
def test_a_large_offset_does_not_cancel(n_images, rng):
    """Mean 1e4, standard deviation 1, in float32, whose steps are 1e-3 there: with a mean of
    squares of 1e8, in steps of 8, there would be no digit of the variance.
    """
    x = np.float32(rng.normal(1e4, 1, (n_images, 3, 3, N)))
    made = layer()
    made.train()
    made.var.set_value(jnp.zeros(N))
    output = np.asarray(made(jnp.asarray(x)), np.float64)
    expected = np.float64(x).reshape(-1, N).var(axis=0, ddof=1)
    np.testing.assert_allclose(np.asarray(made.var[...]) / 0.1, expected, rtol=1e-3)
    np.testing.assert_allclose(output.std(axis=(0, 1, 2)), np.ones(N), rtol=1e-3)


def test_a_single_number_of_a_channel_is_its_own_mean(rng):
    """One image of one place counts: PyTorch refuses it, here the variance is 0 and the
    output the bias; nothing is NaN.
    """
    arrays, [(x, weights)] = numbers(rng), drawn(rng, (3, 1, 1, N))
    where = np.arange(3) == 1
    (output, mean, var), gradients = run(arrays, x, weights * where[:, None, None, None], where)
    np.testing.assert_array_equal(output[1, 0, 0], arrays[1])
    np.testing.assert_allclose(mean, 0.9 * arrays[2] + 0.1 * x[1, 0, 0], rtol=1e-14)
    np.testing.assert_allclose(var, 0.9 * arrays[3], rtol=1e-14)
    for gradient in gradients:
        assert np.isfinite(gradient).all()
    assert not gradients[2].any()
