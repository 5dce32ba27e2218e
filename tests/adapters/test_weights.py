"""The weights of an adapter: never the old ones, and one program for all."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsel import ablate_units, evaluate
from jaxsel.adapters import in_turn, linen, per_image, with_parameters
from jaxsel.sites import untouched
from tests.references import brute_force, mlp
from tests.references.foreign_networks import (
    N_CLASSES,
    InLinen,
    Weights,
    linen_variables,
    some_images,
    twin_dataset,
    twin_in_numpy,
    weights,
)

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
