"""Several optimiser steps are PyTorch's, in float64: nothing that training changes differs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx

from jaxsel import checkpoint, models
from jaxsel.training.images import OnDevice
from jaxsel.training.indices import INDICES
from jaxsel.training.recipe import Recipe, Replica
from jaxsel.training.step import Task, initial, numbers_of, step
from ports.cifar_nets import resnet_table
from tests.references.torch_networks import ResNetCifar, randomised

from .by_definition import class_selectivity_torch, regularised_torch, sparseness_torch

IN_TORCH = {"class_selectivity": class_selectivity_torch, "sparseness": sparseness_torch}
# Several steps multiply the last digit, 1e-16, by the derivative of one step each.
TOLERANCE = 1e-9


def turned(n, arrays):
    """PyTorch's arrays by our names, in our layout; those of `arrays` alone."""
    return {
        path: layout.turn(np.asarray(arrays[key]))
        for path, (key, layout) in resnet_table(n)({}).items()
        if key in arrays
    }


def ours_from(net, n, widths):
    """Our network with PyTorch's numbers, in training mode."""
    tree = {}
    held = {key: value.detach().numpy().copy() for key, value in net.state_dict().items()}
    for path, array in turned(n, held).items():
        *parents, last = path.split("/")
        inner = tree
        for part in parents:
            inner = inner.setdefault(int(part) if part.isdecimal() else part, {})
        inner[last] = array
    settings = {"blocks_per_stage": n, "widths": widths}
    network = models.assemble("resnet20", settings, tree)
    network.train()
    return network


def train_ours(network, images, labels, permuted, recipe, replica, index, chunked):
    """The state after all epochs, and the parts of the loss of every step."""
    graph, _, _ = nnx.split(network, nnx.Param, nnx.BatchStat)
    task = Task(
        graph,
        recipe,
        len(images),
        network.sites,
        INDICES[index],
        is_leaky=replica.slope != 0,
        chunked=chunked,
    )
    state, parts = initial(task, network), []
    data = OnDevice(jnp.asarray(images), jnp.asarray(labels), None)
    one = jax.jit(functools.partial(step, task))
    numbers, order = numbers_of(replica), jnp.asarray(permuted)
    for epoch in range(recipe.epochs):
        for number in range(task.steps):
            state, found = one(state, data, order, numbers, jnp.int32(epoch), jnp.int32(number))
            parts.append(found)
    return jax.device_get((state, parts))


def train_theirs(net, sites, images, labels, permuted, recipe, replica, index):
    """PyTorch's optimiser, and the parts of the loss of every step."""
    optimiser = torch.optim.SGD(
        net.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, recipe.drops, recipe.drop)
    pixels, parts = torch.tensor(images).permute(0, 3, 1, 2), []
    net.train()
    for _ in range(recipe.epochs):
        for rows in torch.split(torch.tensor(permuted), recipe.batch_size):
            seen = {}

            def tap(site, x, seen=seen):
                seen[site] = x
                return x

            wanted = torch.tensor(labels)[rows]
            logits = net(pixels[rows], tap)
            loss, cross_entropy, indices = regularised_torch(
                logits, [seen[site] for site in sites], wanted, replica.alpha, IN_TORCH[index]
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            right = (logits.argmax(dim=1) == wanted).double().mean()
            parts.append((cross_entropy.item(), right.item(), indices.detach().numpy()))
        schedule.step()
    return optimiser, parts


def momentum(state):
    """By our names."""

    def is_trace(part):
        return isinstance(part, optax.TraceState)

    parts = jax.tree.leaves(state.optimiser, is_leaf=is_trace)
    [trace] = [part.trace for part in parts if is_trace(part)]
    return checkpoint.named(nnx.to_pure_dict(trace))


def assert_same(found, expected):
    """The same arrays by name, each to its largest entry."""
    assert found.keys() == expected.keys()
    for name, b in expected.items():
        assert found[name].dtype == np.float64, name
        atol = TOLERANCE * np.abs(b).max()
        np.testing.assert_allclose(found[name], b, rtol=0, atol=atol, err_msg=name)


def compare(n, widths, n_images, recipe, replica, index="class_selectivity", chunked=True):
    """Both train the same network on the same images in the same order."""
    rng = np.random.default_rng(3)
    net = randomised(ResNetCifar(n, widths, slope=replica.slope), seed=1)
    images, labels = rng.normal(size=(n_images, 32, 32, 3)), rng.integers(0, 10, n_images)
    permuted = rng.permutation(n_images)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with jax.enable_x64(True):
        network = ours_from(net, n, widths)
        state, parts = train_ours(
            network, images, labels, permuted, recipe, replica, index, chunked
        )
    optimiser, expected = train_theirs(
        net, network.sites, images, labels, permuted, recipe, replica, index
    )

    assert len(parts) == len(expected) == recipe.epochs * recipe.steps(n_images)
    for found, (cross_entropy, accuracy, indices) in zip(parts, expected, strict=True):
        np.testing.assert_allclose(found.cross_entropy, cross_entropy, rtol=TOLERANCE)
        np.testing.assert_allclose(found.accuracy, accuracy, rtol=1e-15)
        assert np.abs(indices).min() > 1e-4
        np.testing.assert_allclose(found.indices, indices, rtol=TOLERANCE)
    after = {key: value.detach().numpy() for key, value in net.state_dict().items()}
    buffers = {
        key: optimiser.state[parameter]["momentum_buffer"].numpy()
        for key, parameter in net.named_parameters()
    }
    for key in buffers:
        assert not np.array_equal(after[key], before[key]), key
    ours = checkpoint.named(nnx.to_pure_dict(state.parameters))
    running = checkpoint.named(nnx.to_pure_dict(state.statistics))
    assert_same(ours | running, turned(n, after))
    assert_same(momentum(state), turned(n, buffers))


SHORT = Recipe(epochs=2, batch_size=8, learning_rate=0.05, drops=(1,), augment="none")


@pytest.mark.parametrize(
    "chunked, slope, index",
    [(True, 0.3, "class_selectivity"), (False, 0.0, "sparseness")],
    ids=["by chunks, leaky", "by XLA, sparseness"],
)
def test_six_steps_of_a_narrow_resnet(chunked, slope, index):
    """Twenty images in batches of 8: the last of an epoch has 4 and 4 that do not count; the
    learning rate drops after the first epoch. The slope is the replica's, not the network's.
    """
    replica = Replica(seed=0, alpha=-1.0, slope=slope)
    compare(1, (4, 8, 16), 20, SHORT, replica, index, chunked)


def test_three_steps_of_resnet20():
    recipe = Recipe(epochs=1, batch_size=4, augment="none", drops=())
    compare(3, (16, 32, 64), 12, recipe, Replica(seed=0, alpha=-1.0))
