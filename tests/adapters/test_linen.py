"""Flax Linen modules: which submodules are sites, and what that means."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxsel import ablate_units
from jaxsel.adapters import linen
from jaxsel.intact import intact_pass
from tests.references import brute_force
from tests.references.foreign_networks import (
    N_CLASSES,
    ResNet,
    made,
    random_variables,
    relu,
    resnet_in_numpy,
    some_images,
)


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
