"""The regularised loss: float64 loop, finite differences, PyTorch, and what must not count."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from jaxsel.training.indices import (
    NEGATIVE,
    batch_sparseness,
    by_class_means,
    class_selectivity,
)
from jaxsel.training.losses import selectivity_loss

from .by_definition import (
    class_selectivity_loop,
    class_selectivity_torch,
    regularised_torch,
    sparseness_loop,
    sparseness_torch,
)

N_CLASSES = 4
LABELS = np.array([0, 1, 3, 3, 1, 0, 3])  # class 2 is absent


def variance(means, where):
    """An index of our own: how much the class means differ."""
    return jnp.var(means, axis=0, where=where[:, None])


def variance_torch(responses, labels, n_classes):
    classes = [k for k in range(n_classes) if bool((labels == k).any())]
    means = torch.stack([responses[labels == k].mean(dim=0) for k in classes])
    return ((means - means.mean(dim=0)) ** 2).mean(dim=0)


IN_TORCH = {
    None: class_selectivity_torch,
    batch_sparseness: sparseness_torch,
    by_class_means(variance): variance_torch,
}
INDICES = list(IN_TORCH)
each_index = pytest.mark.parametrize("index", INDICES, ids=["default", "sparseness", "own"])
each_alpha = pytest.mark.parametrize("alpha", [-2.0, 0.0, 3.0])


def parameters(rng):
    """Of a network with maps of 4 units and 5 dense ones; the gains keep the sizes."""
    return {
        "a": rng.normal(size=(3, 4)) / np.sqrt(3),
        "b": rng.normal(size=4) / 4,
        "c": rng.normal(size=(4, 5)),
        "d": rng.normal(size=5) / 4,
        "e": rng.normal(size=(5, N_CLASSES)),
        "f": rng.normal(size=N_CLASSES) / 4,
    }


def batch(rng, n_images=7):
    return rng.normal(size=(n_images, 2, 3, 3))


def network(p, slope=0.0):
    """Sites `maps` and `dense`."""

    def rectified(x):
        return jnp.where(x > 0, x, slope * x)

    def model(images, tap):
        maps = tap("maps", rectified(images @ p["a"] + p["b"]))
        dense = tap("dense", rectified(maps.mean(axis=(1, 2)) @ p["c"] + p["d"]))
        return dense @ p["e"] + p["f"]

    return model


def network_torch(p, images):
    """Logits, and the activations of both sites in PyTorch's order."""
    maps = torch.relu(images @ p["a"] + p["b"])
    dense = torch.relu(maps.mean(dim=(1, 2)) @ p["c"] + p["d"])
    return dense @ p["e"] + p["f"], {"maps": maps.permute(0, 3, 1, 2), "dense": dense}


@functools.cache
def compiled(sites=None, index=None, slope=0.0):
    """Loss, parts, and the gradient of parameters and images, as one program."""

    def loss(p, images, labels, alpha, where):
        return selectivity_loss(
            network(p, slope),
            images,
            labels,
            alpha=alpha,
            sites=sites,
            index=index,
            where=where,
        )

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


def run(p, images, labels, alpha, where=None, **static):
    """In float64, on the host."""
    with jax.enable_x64(True):
        found = compiled(**static)(p, images, labels, np.float64(alpha), where)
        return jax.device_get(found)


def assert_same(found, expected, tolerance):
    """Every array to its largest entry."""
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    for a, b in zip(found, expected, strict=True):
        b = np.asarray(b)
        assert a.dtype == b.dtype == np.float64
        atol = tolerance * np.abs(b).max(initial=0)
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def loss_loop(p, images, labels, alpha, sites, index, where):
    """The definition, one image and one number at a time."""
    seen, each, right = {"maps": [], "dense": []}, [], []
    for image, label in zip(images, labels, strict=True):
        places = [
            [max(0.0, math.fsum(pixel * p["a"][:, u]) + p["b"][u]) for u in range(4)]
            for pixel in image.reshape(-1, 3)
        ]
        maps = [math.fsum(place[u] for place in places) / len(places) for u in range(4)]
        dense = [max(0.0, math.fsum(maps * p["c"][:, u]) + p["d"][u]) for u in range(5)]
        logits = [math.fsum(dense * p["e"][:, k]) + p["f"][k] for k in range(N_CLASSES)]
        seen["maps"].append(maps)
        seen["dense"].append(dense)
        if 0 <= label < N_CLASSES:
            total = math.fsum(math.exp(logit) for logit in logits)
            each.append(math.log(total) - logits[label])
            right.append(logits[label] == max(logits))
        else:
            each.append(math.nan)
            right.append(math.nan)
    n = sum(where)
    cross_entropy = math.fsum(x for x, counts in zip(each, where, strict=True) if counts) / n
    accuracy = sum(x for x, counts in zip(right, where, strict=True) if counts) / n
    indices = []
    for site in sites:
        units = index(np.array(seen[site]), labels, where)
        indices.append(math.fsum(units) / len(units))
    loss = cross_entropy - alpha * math.fsum(indices) / len(sites)
    return loss, (cross_entropy, accuracy, np.array(indices))


def selectivity_of(responses, labels, where):
    return class_selectivity_loop(responses, labels, N_CLASSES, where)


def sparseness_of(responses, labels, where):
    del labels
    return sparseness_loop(responses, where)


@pytest.mark.parametrize(
    "index, by_definition, sites, where",
    [
        (None, selectivity_of, None, np.arange(7) % 3 != 1),
        (None, selectivity_of, ("maps",), None),
        (None, selectivity_of, ("dense", "maps"), None),
        (batch_sparseness, sparseness_of, None, np.arange(7) % 3 != 1),
        (batch_sparseness, sparseness_of, None, None),
    ],
    ids=["some images", "one site", "sites turned", "sparseness of some", "sparseness"],
)
def test_loss_and_parts_match_loop(index, by_definition, sites, where, rng):
    p, images = parameters(rng), batch(rng)
    counted = np.ones(7, bool) if where is None else where
    labels = np.where(counted, LABELS, [-1, 99, 7, 7, -5, 7, 7])
    expected = loss_loop(
        p, images, labels, -1.5, sites or ("maps", "dense"), by_definition, counted
    )
    (loss, parts), _ = run(p, images, labels, -1.5, where, sites=sites, index=index)
    assert parts.indices.min() > 0.01
    np.testing.assert_allclose(loss, expected[0], rtol=1e-13)
    for found, part in zip(parts, expected[1], strict=True):
        np.testing.assert_allclose(found, part, rtol=1e-13)


@functools.cache
def losses_around(index, n):
    """The loss where one of n numbers is changed by a step, for every one of them in turn."""

    def losses(p, images, labels, alpha, step):
        flat, unravel = ravel_pytree((p, images))

        def loss(change):
            moved, moved_images = unravel(flat + change)
            model = network(moved)
            return selectivity_loss(model, moved_images, labels, alpha=alpha, index=index)[0]

        return jax.vmap(loss)(step * jnp.eye(n))

    return jax.jit(losses)


@each_alpha
@each_index
def test_gradient_matches_central_differences(index, alpha, rng):
    """A step of 1e-6 is wrong by 1e-12 for its length and by 1e-10 for rounding of a loss of
    order 1, unless it goes over a kink: a ReLU of these 7 images, or another best class.
    """
    p, images = parameters(rng), batch(rng)
    _, gradient = run(p, images, LABELS, alpha, index=index)
    with jax.enable_x64(True):
        found, _ = ravel_pytree(gradient)
        losses = functools.partial(losses_around(index, found.size), p, images, LABELS)
        up, down = (np.asarray(losses(np.float64(alpha), step)) for step in (1e-6, -1e-6))
    differences = (up - down) / 2e-6
    assert np.abs(differences).max() > 0.1
    atol = 1e-8 * np.abs(differences).max()
    np.testing.assert_allclose(found, differences, rtol=0, atol=atol)


@each_alpha
@each_index
def test_loss_and_gradient_match_pytorch(index, alpha, rng):
    p, images = parameters(rng), batch(rng)
    found = run(p, images, LABELS, alpha, index=index)
    leaves = {name: torch.tensor(values, requires_grad=True) for name, values in p.items()}
    pixels = torch.tensor(images, requires_grad=True)
    logits, activations = network_torch(leaves, pixels)
    loss, cross_entropy, indices = regularised_torch(
        logits, activations.values(), torch.tensor(LABELS), alpha, IN_TORCH[index]
    )
    loss.backward()
    (value, parts), (gradient, of_images) = found
    np.testing.assert_allclose(value, loss.item(), rtol=1e-12)
    np.testing.assert_allclose(parts.cross_entropy, cross_entropy.item(), rtol=1e-12)
    np.testing.assert_allclose(parts.indices, indices.detach(), rtol=1e-12)
    expected = {name: leaf.grad.numpy() for name, leaf in leaves.items()}
    assert_same((gradient, of_images), (expected, pixels.grad.numpy()), 1e-11)


@pytest.mark.parametrize(
    "index, counted",
    [*((index, (0, 1, 3, 6)) for index in INDICES), (None, (5,))],
    ids=["default", "sparseness", "own", "one image"],
)
def test_images_that_do_not_count_change_nothing(index, counted, rng):
    """Neither do their labels, of no class, nor what they look like."""
    where = np.isin(np.arange(7), counted)
    p, images = parameters(rng), batch(rng)
    labels = np.where(where, LABELS, [-1, 4, 99, -100, 4, -7, 12345])
    larger = np.where(where[:, None, None, None], images, 1e3 * images)
    value, (gradient, of_images) = run(p, larger, labels, 3.0, where, index=index)
    alone = run(p, images[where], LABELS[where], 3.0, index=index)
    assert_same((value, (gradient, of_images[where])), alone, 1e-12)
    assert not of_images[~where].any()


@pytest.mark.parametrize("alpha", [0.0, 5.0])
def test_without_sites_the_loss_is_the_cross_entropy(alpha, rng):
    p, images = parameters(rng), batch(rng)
    (loss, parts), gradient = run(p, images, LABELS, alpha, sites=())
    (_, with_sites), expected = run(p, images, LABELS, 0.0)
    assert parts.indices.shape == (0,)
    assert loss == parts.cross_entropy
    np.testing.assert_allclose(loss, with_sites.cross_entropy, rtol=1e-14)
    assert parts.accuracy == with_sites.accuracy
    assert_same(gradient, expected, 1e-13)


def test_only_the_sites_given_are_regularised(rng):
    """What follows the last of them has the gradient of the cross-entropy alone."""
    p, images = parameters(rng), batch(rng)
    _, (plain, _) = run(p, images, LABELS, 0.0)
    _, (at_maps, _) = run(p, images, LABELS, 3.0, sites=("maps",))
    for name in "cdef":
        np.testing.assert_allclose(at_maps[name], plain[name], rtol=0, atol=1e-13)
    assert np.abs(at_maps["a"] - plain["a"]).max() > 0.01


def test_an_unknown_site_is_refused(rng):
    with pytest.raises(KeyError, match="unknown site conv9: this network has maps, dense"):
        selectivity_loss(
            network(parameters(rng)), jnp.asarray(batch(rng), jnp.float32), jnp.asarray(LABELS),
            alpha=1.0, sites=("maps", "conv9"),
        )  # fmt: skip


@pytest.mark.parametrize(
    "index, where",
    [(None, np.arange(8) != 6), (batch_sparseness, None)],
    ids=["some images", "sparseness"],
)
def test_a_batch_spread_over_an_axis_is_one_batch(index, where, rng):
    """Two devices with four images each: everything is that of all eight, on both."""
    p, images, labels = parameters(rng), batch(rng, 8), np.array([0, 1, 3, 3, 1, 0, 3, 0])
    expected = run(p, images, labels, -2.0, where, index=index)

    def share(images, labels, where):
        def loss(p):
            return selectivity_loss(
                network(p), images, labels, alpha=-2.0, index=index, where=where,
                axis_name="devices",
            )  # fmt: skip

        return jax.value_and_grad(loss, has_aux=True)(p)

    with jax.enable_x64(True):
        p = jax.tree.map(jnp.asarray, p)
        counted = None if where is None else where.reshape(2, 4)
        spread = jax.jit(jax.vmap(share, axis_name="devices"))(
            images.reshape(2, 4, *images.shape[1:]), labels.reshape(2, 4), counted
        )
        values, gradients = jax.device_get(spread)
    for device in range(2):
        assert_same(jax.tree.map(lambda x, i=device: x[i], values), expected[0], 1e-13)
    mean = jax.tree.map(lambda x: x.mean(axis=0), gradients)
    assert_same(mean, expected[1][0], 1e-12)


EVERY = {f"class {name}": class_selectivity(negative=name) for name in NEGATIVE} | {
    "sparseness": batch_sparseness
}


@functools.cache
def in_float32(name):
    """The loss of a leaky network, its slope an argument."""

    def loss(p, images, labels, slope):
        return selectivity_loss(
            network(p, slope), images, labels, alpha=-5.0, index=EVERY[name]
        )

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


def assert_finite(name, p, images, labels, slope=0.0):
    p, images = jax.tree.map(np.float32, (p, images))
    found = in_float32(name)(p, images, labels, np.float32(slope))
    for leaf in jax.tree.leaves(found):
        assert np.isfinite(leaf).all()
    return jax.device_get(found)


every_index = pytest.mark.parametrize("name", list(EVERY))


@every_index
def test_a_batch_of_one_class_has_no_nan(name, rng):
    assert_finite(name, parameters(rng), batch(rng), np.full(7, 2))


@every_index
def test_a_silent_site_has_no_nan_and_no_index(name, rng):
    p = parameters(rng)
    p["c"][:], p["d"][:] = 0, -1
    (_, parts), _ = assert_finite(name, p, batch(rng), LABELS)
    assert parts.indices[0] > 0
    assert parts.indices[1] == 0


@every_index
def test_some_silent_units_have_no_nan(name, rng):
    """They count among the units of their site: the mean of the others is as much smaller."""
    p, images = parameters(rng), batch(rng)
    p["a"][:, 1], p["b"][1] = 0, -1
    (_, parts), _ = assert_finite(name, p, images, LABELS)
    others = {**p, "a": np.delete(p["a"], 1, 1), "b": np.delete(p["b"], 1)}
    others["c"] = np.delete(p["c"], 1, 0)
    (_, alone), _ = assert_finite(name, others, images, LABELS)
    np.testing.assert_allclose(parts.indices[0], 3 / 4 * alone.indices[0], rtol=1e-6)


@every_index
@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_black_images_have_no_nan(name, slope, rng):
    p = parameters(rng)
    for bias in (0, p["b"], -np.abs(p["b"])):
        assert_finite(
            name, {**p, "b": bias + np.zeros(4)}, np.zeros((7, 2, 3, 3)), LABELS, slope
        )


@every_index
@given(slope=st.floats(0.1, 0.9), shift=st.floats(-2, 2), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_leaky_network_with_negative_means_has_no_nan(name, slope, shift, seed):
    rng = np.random.default_rng(seed)
    p = parameters(rng)
    p["b"], p["d"] = p["b"] + shift, p["d"] + shift
    assert_finite(name, p, batch(rng), rng.integers(0, N_CLASSES, 7), slope)
