"""Groups of channels and of units, against float64 brute force."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsel import ablate_groups, ablate_units
from jaxsel.ablation.checks import asked_for
from tests.references import brute_force

from .networks import (
    N_CLASSES,
    assert_alike,
    dense,
    mean_and_logits,
    mean_responses,
    numbers,
    some_images,
    truth_of,
)


def some_groups(n_units):
    """Two of one unit, all, none, and three at random."""
    masks = np.zeros((7, n_units), bool)
    masks[0, 1] = masks[1, 3] = masks[2] = True
    masks[4:] = np.random.default_rng(4).random((3, n_units)) < 0.5
    return masks


@pytest.mark.parametrize(
    "site, engine, replacement",
    [
        *(("first", None, value) for value in (0.0, -0.4, "one per unit")),
        *(("vector", "channel", value) for value in (0.0, "one per unit")),
        ("first", "generic", "one per unit"),
        ("vector", None, "one per unit"),
    ],
)
def test_groups_equal_brute_force(small, dataset, site, engine, replacement):
    model = dense if site == "vector" else small
    if replacement == "one per unit":
        replacement = mean_responses(model, dataset, site)
        replacement[0] = 0
    masks = some_groups(8 if site == "vector" else 5)
    effects = ablate_units(
        model, dataset, site, groups=masks, replacement=replacement, engine=engine, batch_size=8
    )
    assert effects.engine == engine or {"first": "channel", "vector": "generic"}[site]
    truth = truth_of(model, dataset, site, masks, replacement)
    brute_force.assert_exact(effects, truth, dataset.labels)
    np.testing.assert_array_equal(effects.units, np.arange(7))
    np.testing.assert_array_equal(effects.groups, masks)
    # The empty group.
    np.testing.assert_array_equal(effects.loss_change[3], np.zeros(N_CLASSES))
    assert (effects.error[3], effects.verdict()[3]) == (0, "zero")


def test_a_group_of_one_unit_is_that_unit(small, dataset, truth):
    values = np.array([0.0, 0.3, -0.2, 0.0, 1.0])
    groups, units = (
        ablate_units(small, dataset, "first", replacement=values, **which)
        for which in ({"groups": np.eye(5, dtype=bool)}, {})
    )
    assert units.groups is None
    moved = truth_of(small, dataset, "first", values=values)
    largest = moved.largest.sum(0)
    assert_alike(groups.total(), units.total(), moved._replace(largest=largest))
    np.testing.assert_array_equal(groups.top1_change, units.top1_change)
    np.testing.assert_array_equal(groups.top5_change, units.top5_change)


def test_groups_agree_with_plain_masks(small, dataset):
    """Float32 losses near 2 nats, subtracted: each known to some roundings, 13 of them."""
    masks = some_groups(5)
    groups = ablate_units(small, dataset, "first", groups=masks)
    plain = ablate_groups(small, dataset, {"first": ~masks})
    change = plain.loss - plain.baseline.loss
    np.testing.assert_allclose(groups.loss_change, change, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(groups.top1_change, plain.top1 - plain.baseline.top1)
    np.testing.assert_array_equal(groups.top5_change, plain.top5 - plain.baseline.top5)


def test_a_group_that_leaves_all_logits_alike_leaves_the_first_class_the_first():
    """Without any response all logits are 0: a tie, decided by the number of the class.

    A lead of a rounding counts as none only beside the changes of the two logits that it is
    between; their roundings are those of the largest.
    """
    dataset = some_images(60, 4, 4, 2)
    every = np.ones((1, 4), bool)
    effects = ablate_units(mean_and_logits, dataset, "site", groups=every)
    images = effects.baseline.images
    right = effects.baseline.top5 + effects.top5_change[0]
    np.testing.assert_array_equal(right, np.where(np.arange(N_CLASSES) < 5, images, 0))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"groups": np.ones((2, 4), bool)}, r"groups of first .*\(groups, 5\); found bool"),
        ({"groups": np.ones((0, 5), bool)}, r"at least one mask.*found bool of shape \(0, 5\)"),
        ({"groups": np.eye(5, dtype=bool), "units": np.arange(5)}, "units and groups cannot"),
        ({"groups": np.eye(5, dtype=bool), "engine": "dense"}, "single units"),
        ({"engine": "dense"}, "the dense engine is for one or two dense layers"),
    ],
    ids=str,
)
def test_groups_that_do_not_fit_are_refused_in_one_sentence(small, dataset, settings, message):
    with pytest.raises(ValueError, match=message) as refused:
        ablate_units(small, dataset, "first", **settings)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "groups, replacement, message",
    [
        (np.ones(5, bool), 0.0, r"found bool of shape \(5,\)"),
        (np.ones((2, 5), int), 0.0, r"found int64 of shape \(2, 5\)"),
        (np.ones((2, 5)), 0.0, "found float64"),
        (np.ones((2, 5), bool), np.zeros(2), r"one per unit, 5 here; found shape \(2,\)"),
    ],
    ids=str,
)
def test_masks_of_other_types_are_refused_in_one_sentence(groups, replacement, message):
    """Where it is checked: `ablate_units` is called with what its annotations allow."""
    with pytest.raises(ValueError, match=message) as refused:
        asked_for(None, groups, replacement, 5, "first")
    assert "\n" not in str(refused.value)


def test_groups_before_dense_layers_are_refused_by_the_dense_engine():
    """Single units of that site it would take."""
    dataset = some_images(3, N_CLASSES)

    def model(images, tap):
        x = tap("in", images)
        return x @ jnp.asarray(numbers(N_CLASSES, N_CLASSES), x.dtype)

    assert ablate_units(model, dataset, "in").engine == "dense"
    with pytest.raises(ValueError, match="single units"):
        ablate_units(model, dataset, "in", groups=np.eye(7, dtype=bool), engine="dense")
