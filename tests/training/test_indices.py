"""The indices that training turns: float64 loop, closed forms, PyTorch, and no NaN anywhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.metrics import sparseness
from jaxsel.training.indices import (
    INDICES,
    NEGATIVE,
    batch_sparseness,
    by_class_means,
    class_selectivity,
)

from .by_definition import (
    CANCELLING,
    class_selectivity_loop,
    class_selectivity_torch,
    sparseness_loop,
    sparseness_torch,
)

ROUNDING = 2.0**-24  # of one float32 operation, relative
EVERY = {f"class {name}": class_selectivity(negative=name) for name in NEGATIVE} | {
    "sparseness": batch_sparseness
}
seeds = st.integers(0, 2**32 - 1)
# One object for each choice: every other one would be compiled anew.
selectivity = functools.cache(class_selectivity)
every_index = pytest.mark.parametrize("index", EVERY.values(), ids=list(EVERY))
each_negative = pytest.mark.parametrize("negative", ["raw", "clip", "shift"])


@functools.cache
def compiled(index, n_classes):
    """Values of an index, and the gradient of their sum weighted by 1, 2, 3, ..."""

    def weighted(responses, labels, where):
        values = index(responses, labels, n_classes, where)
        return (values * jnp.arange(1, len(values) + 1)).sum(), values

    program = jax.jit(jax.value_and_grad(weighted, has_aux=True))

    def run(responses, labels, where=None):
        where = np.ones(len(labels), bool) if where is None else where
        (_, values), gradient = program(jnp.asarray(responses), jnp.asarray(labels), where)
        return np.asarray(values), np.asarray(gradient)

    return run


def exact(rng, n_images, n_units=5):
    """Multiples of 1/8 up to 1, whose sums are exact; the first unit is silent."""
    responses = rng.integers(-8, 9, (n_images, n_units)) / 8
    responses[:, 0] = 0
    return responses


def drawn_labels(rng, n_images, n_classes, where):
    """Of at most half the classes or of all; where an image does not count, of none."""
    some = rng.permutation(n_classes)[: rng.integers(1, n_classes + 1)]
    return np.where(where, rng.choice(some, n_images), rng.choice([-5, -1, 99], n_images))


cases = given(
    shape=st.sampled_from([(12, 5), (12, 2), (12, 1), (2, 5)]),  # few: each is compiled
    counting=st.sampled_from([0.0, 0.6, 1.0]),
    seed=seeds,
)


@each_negative
@cases
@settings(max_examples=25, deadline=None)
def test_class_selectivity_matches_loop(negative, shape, counting, seed):
    """The sum of two means of opposite signs has their roundings, up to 100 times as large as
    the sum itself, and the index is up to 100: 1e4 times some ten roundings of 1e-16.
    """
    rng, (n_images, n_classes) = np.random.default_rng(seed), shape
    responses, where = exact(rng, n_images), rng.random(n_images) < counting
    labels = drawn_labels(rng, n_images, n_classes, where)
    with jax.enable_x64(True):
        found, _ = compiled(EVERY[f"class {negative}"], n_classes)(responses, labels, where)
    expected = class_selectivity_loop(responses, labels, n_classes, where, negative)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-11)


@given(n_classes=st.sampled_from([2, 5]), firing=st.sampled_from([0.1, 0.5, 1]), seed=seeds)
@settings(max_examples=25, deadline=None)
def test_class_selectivity_in_float32_has_its_digits(n_classes, firing, seed):
    """A sum of n terms of one sign has n roundings, that of the means one for each class; the
    index sees half the relative error of the two means it compares, twice.
    """
    rng, n = np.random.default_rng(seed), 20
    responses = rng.gamma(1.0, size=(n, 6)) * (rng.random((n, 6)) < firing)
    responses, labels = np.float32(responses), rng.integers(0, n_classes, n)
    found, _ = compiled(selectivity(), n_classes)(responses, labels)
    expected = class_selectivity_loop(responses, labels, n_classes, np.ones(n, bool))
    np.testing.assert_allclose(found, expected, rtol=0, atol=(n + n_classes + 4) * ROUNDING)


@each_negative
@pytest.mark.parametrize(
    "means, expected",
    [
        ((3, 1, 1), {"raw": 1 / 2, "clip": 1 / 2, "shift": 1 / 2}),
        ((3, -1), {"raw": 2, "clip": 1, "shift": 1}),
        ((1, -2), {"raw": -3, "clip": 1, "shift": 1}),
        ((1, -1, -3), {"raw": -3, "clip": 1, "shift": 3 / 5}),
        ((-1, -3), {"raw": -1 / 2, "clip": 0, "shift": 1}),
        ((-2, -2), {"raw": 0, "clip": 0, "shift": 0}),
        ((1, -1), {"raw": 0, "clip": 1, "shift": 1}),
    ],
    ids=str,
)
def test_what_becomes_of_negative_means(negative, means, expected):
    found, _ = compiled(selectivity(negative=negative), len(means))(
        np.float32(means)[:, None], np.arange(len(means))
    )
    np.testing.assert_allclose(found, [expected[negative]], rtol=4 * ROUNDING)


@each_negative
def test_gradient_of_class_selectivity_is_that_of_pytorch(negative, rng):
    """A leaky ReLU's responses; a unit without an index would have no gradient to compare."""
    responses = rng.normal(0.5, 1, (12, 6))
    responses = np.where(responses > 0, responses, 0.3 * responses)
    labels = np.array([0, 1, 3, 3, 1, 0, 3, 0, 1, 1, 0, 3])  # class 2 is absent
    given_ = torch.tensor(responses, requires_grad=True)
    values = class_selectivity_torch(given_, torch.tensor(labels), 4, negative)
    (values * torch.arange(1, 7)).sum().backward()
    assert given_.grad is not None
    with jax.enable_x64(True):
        found, gradient = compiled(EVERY[f"class {negative}"], 4)(responses, labels)
    assert np.abs(gradient).max(axis=0).min() > 1e-3
    np.testing.assert_allclose(found, values.detach(), rtol=1e-12)
    np.testing.assert_allclose(gradient, given_.grad, atol=1e-12 * np.abs(gradient).max())


def test_gradient_of_sparseness_is_that_of_pytorch(rng):
    responses = np.maximum(rng.normal(0.2, 1, (12, 6)), 0)
    responses[:, 2] = 0
    given_ = torch.tensor(responses, requires_grad=True)
    values = sparseness_torch(given_, None, None)
    (values * torch.arange(1, 7)).sum().backward()
    assert given_.grad is not None
    with jax.enable_x64(True):
        found, gradient = compiled(batch_sparseness, 1)(responses, np.zeros(12, int))
    assert not gradient[:, 2].any()
    assert np.abs(np.delete(gradient, 2, axis=1)).max(axis=0).min() > 1e-3
    np.testing.assert_allclose(found, values.detach(), atol=1e-14)
    np.testing.assert_allclose(gradient, given_.grad, atol=1e-12 * np.abs(gradient).max())


@every_index
def test_a_silent_unit_has_index_and_gradient_0_and_others_keep_theirs(index, rng):
    responses, labels = np.float32(rng.gamma(1.0, size=(8, 4))), np.arange(8) % 3
    expected, slope = (x.copy() for x in compiled(index, 3)(responses, labels))
    assert np.abs(slope).max(axis=0).min() > 1e-3
    responses[:, 1] = expected[1] = slope[:, 1] = 0
    found, gradient = compiled(index, 3)(responses, labels)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(gradient, slope)


@each_negative
@pytest.mark.parametrize("counted", [6, 1, 0], ids="{} images".format)
def test_one_class_and_no_class_have_class_selectivity_and_gradient_0(negative, counted, rng):
    where = np.arange(6) < counted
    responses, labels = np.float32(rng.normal(size=(6, 3))), np.where(where, 1, [0, 1, 2] * 2)
    found, gradient = compiled(selectivity(negative=negative), 3)(responses, labels, where)
    np.testing.assert_array_equal(found, np.zeros(3))
    np.testing.assert_array_equal(gradient, np.zeros((6, 3)))


@pytest.mark.parametrize("counted", [1, 0], ids="{} images".format)
def test_one_image_and_no_image_have_sparseness_and_gradient_0(counted, rng):
    found, gradient = compiled(batch_sparseness, 3)(
        np.float32(rng.normal(size=(6, 3))), np.arange(6) % 3, np.arange(6) < counted
    )
    np.testing.assert_array_equal(found, np.zeros(3))
    np.testing.assert_array_equal(gradient, np.zeros((6, 3)))


@every_index
def test_images_that_do_not_count_change_no_digit_and_have_gradient_0(index, rng):
    """Multiples of 1/8: the sums are exact in any order, with any zeros in between."""
    responses, labels = np.float32(exact(rng, 9)), rng.integers(0, 3, 9)
    where = np.arange(9) % 3 != 1
    found, gradient = compiled(index, 3)(
        responses, np.where(where, labels, [99, -1, 0] * 3), where
    )
    alone, slope = compiled(index, 3)(responses[where], labels[where])
    np.testing.assert_array_equal(found, alone)
    np.testing.assert_allclose(gradient[where], slope, rtol=0, atol=1e-6 * np.abs(slope).max())
    assert not gradient[~where].any()


@pytest.mark.parametrize("sign", [1, -1], ids=["sum above 0", "sum below 0"])
@pytest.mark.parametrize("cancelling", [0.01, 0.1, 0.5])
def test_means_that_cancel_have_no_index(cancelling, sign):
    """Means 1 and -x: their sum is less than the share c of 1 + x where x > (1 - c) / (1 + c).

    A last bit of x is up to 1/c times as much of the sum, by which the index divides.
    """
    edge = (1 - cancelling) / (1 + cancelling)
    for x, cancels in ((edge - 1e-4, False), (edge + 1e-4, True)):
        means = [[1], [-x]] if sign > 0 else [[x], [-1]]
        found, gradient = compiled(selectivity(cancelling=cancelling), 2)(
            np.float32(means), np.arange(2)
        )
        expected = 0 if cancels else sign * (1 + x) / (1 - x)
        bound = 8 * ROUNDING / cancelling
        np.testing.assert_allclose(found, [expected], rtol=bound)
        assert gradient.any() == (not cancels)


def test_by_default_means_cancel_below_a_hundredth():
    """Means 1 and -x: 99 at x = 0.98, and at 0.981 it would be 104."""
    responses = np.float32([[1, 1], [-0.98, -0.981]])
    found, _ = compiled(selectivity(), 2)(responses, np.arange(2))
    np.testing.assert_allclose(found, [99, 0], rtol=8 * ROUNDING / CANCELLING)


@given(cancelling=st.sampled_from([0.001, 0.01, 0.5]), seed=seeds)
@settings(max_examples=30, deadline=None)
def test_class_selectivity_is_never_beyond_its_bound(cancelling, seed):
    """The sum that the index divides by has the roundings of two terms 1/c as large.

    Class means of every sign, with a small difference in size: many of them cancel.
    """
    rng = np.random.default_rng(seed)
    responses = rng.choice([-1, 1], (4, 50)) * (1 + rng.random((4, 50)) * cancelling * 4)
    found, _ = compiled(selectivity(cancelling=cancelling), 2)(
        np.float32(responses), np.array([0, 0, 1, 1])
    )
    assert np.abs(found).max() <= (1 + 8 * ROUNDING / cancelling) / cancelling


@pytest.mark.parametrize("negative", ["clip", "shift"])
@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_corrected_class_selectivity_keeps_its_range(negative, seed):
    """In float64: the roundings of large means of small difference are 1e-9 of it at most."""
    rng = np.random.default_rng(seed)
    responses = rng.normal(rng.normal(), 1, (7, 20))
    with jax.enable_x64(True):
        found, _ = compiled(selectivity(negative=negative), 3)(responses, rng.integers(0, 3, 7))
    assert ((found >= 0) & (found <= 1 + 1e-9)).all()


@each_negative
@pytest.mark.parametrize("response", [-0.3, 0.3], ids="{:+}".format)
def test_a_unit_that_responds_the_same_to_every_image_is_not_selective(negative, response):
    """Its class means are the same but for rounding, which is no selectivity: 1e-5 is a
    hundred times that of a mean of 256. No gradient is steeper than 1 / 0.3 for a mean.
    """
    labels = np.random.default_rng(0).integers(0, 10, 256)
    found, gradient = compiled(selectivity(negative=negative), 10)(
        np.full((256, 1), response, np.float32), labels
    )
    assert abs(found[0]) < 1e-5
    assert np.abs(gradient).max() < 1 / 0.3


@given(n_images=st.sampled_from([2, 9]), counting=st.sampled_from([0, 0.6, 1]), seed=seeds)
@settings(max_examples=15, deadline=None)
def test_sparseness_is_that_of_the_images_that_count(n_images, counting, seed):
    """`jaxsel.metrics.sparseness` says NaN where there is none."""
    rng = np.random.default_rng(seed)
    responses, where = np.abs(exact(rng, n_images)), rng.random(n_images) < counting
    with jax.enable_x64(True):
        found, _ = compiled(batch_sparseness, 1)(responses, np.zeros(n_images, int), where)
        rows = responses[where]
        expected = sparseness(rows) if len(rows) else np.zeros(5)
    np.testing.assert_allclose(found, np.nan_to_num(expected), rtol=0, atol=1e-14)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_sparseness_of_negative_responses_is_the_formula(seed):
    rng = np.random.default_rng(seed)
    responses, where = exact(rng, 9), rng.random(9) < 0.7
    with jax.enable_x64(True):
        found, _ = compiled(batch_sparseness, 1)(responses, np.zeros(9, int), where)
    np.testing.assert_allclose(found, sparseness_loop(responses, where), rtol=0, atol=1e-14)


@every_index
@given(
    scales=st.lists(st.floats(-30, 30).map(lambda power: 10.0**power), min_size=4, max_size=4),
    counting=st.sampled_from([0.0, 0.5, 1.0]),
    seed=seeds,
)
@settings(max_examples=40, deadline=None)
def test_value_and_gradient_are_finite_at_every_scale(index, scales, counting, seed):
    """Zeros included, and units silent for a class or for all; a gradient is 1e30 at most
    times 1 / `cancelling` times the 12 images of a mean of 1/8 or more: below 3e38.
    """
    rng = np.random.default_rng(seed)
    responses = np.float32(exact(rng, 12, 4) * rng.choice([0, 1], (12, 1)) * scales)
    where = rng.random(12) < counting
    labels = rng.integers(0, 3, 12)
    found, gradient = compiled(index, 3)(responses, labels, where)
    assert np.isfinite(found).all()
    assert np.isfinite(gradient).all()


@every_index
@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_a_unit_of_many_scales_has_a_finite_gradient(index, seed):
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.uniform(-30, 30, (12, 4))
    responses = np.float32(exact(rng, 12, 4) * scales)
    found, gradient = compiled(index, 3)(responses, rng.integers(0, 3, 12))
    assert np.isfinite(found).all()
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("make", [class_selectivity, lambda **k: by_class_means(max, **k)])
def test_an_unknown_way_with_negative_means_is_refused_with_the_possible_ones(make):
    with pytest.raises(ValueError, match=r"raw, clip, shift; found 'abs'"):
        make(negative="abs")


@each_negative
def test_an_own_function_of_class_means_is_an_index(negative, rng):
    """The range of the means, of classes 0 and 2: the batch has no image of class 1."""

    def spread(means, where):
        inside = {"axis": 0, "where": where[:, None]}
        return means.max(initial=-jnp.inf, **inside) - means.min(initial=jnp.inf, **inside)

    responses, labels = rng.normal(size=(6, 4)), np.array([0, 2, 2, 0, 2, 1])
    responses[:5] -= 3 * (np.arange(4) == 3)  # the last unit's means are all below 0
    where = np.arange(6) < 5
    with jax.enable_x64(True):
        found, gradient = compiled(by_class_means(spread, negative=negative), 3)(
            responses, labels, where
        )
    low, high = np.sort([responses[[0, 3]].mean(axis=0), responses[[1, 2, 4]].mean(axis=0)], 0)
    assert (high[:3] > 0).any()
    assert high[3] < 0
    clipped = np.maximum(high, 0) - np.maximum(low, 0)
    expected = clipped if negative == "clip" else high - low
    np.testing.assert_allclose(found, expected, atol=1e-14)
    assert not gradient[5].any()
    assert gradient[:5].any()


def test_both_indices_go_by_name(rng):
    responses, labels = np.float32(rng.gamma(1.0, size=(8, 4))), np.arange(8) % 3
    found, _ = compiled(INDICES["class_selectivity"], 3)(responses, labels)
    expected = class_selectivity_loop(responses, labels, 3, np.ones(8, bool))
    np.testing.assert_allclose(found, expected, rtol=0, atol=(8 + 3 + 4) * ROUNDING)
    assert INDICES["sparseness"] is batch_sparseness
    assert len(INDICES) == 2
