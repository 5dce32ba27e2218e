"""Every adapter: logits, activations and effects are those of the network called directly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsel import (
    ablate_by_masks,
    ablate_groups,
    ablate_units,
    evaluate,
    first_order,
    record,
)
from jaxsel.intact import intact_pass
from jaxsel.sites import untouched
from tests.references import brute_force, mlp
from tests.references.foreign_networks import (
    MAKE,
    N_CLASSES,
    TWINS,
    made,
    tapped_nnx,
    twin_dataset,
    twin_in_numpy,
    weights,
)


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
