"""Sparseness against a float64 loop, closed forms, invariances and real responses."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.metrics import sparseness, sparseness_from_sums

ROUNDING = 2.0**-24  # of one float32 operation, relative


def sparseness_loop(responses):
    """The definition, one unit at a time, in float64.

    Of responses that cancel each other the formula makes up to n / (n - 1): 1 is its end.
    """
    n_images, found = len(responses), []
    for unit in responses.T.astype(np.float64):
        squares = math.fsum(unit**2)
        if n_images < 2 or squares == 0:
            found.append(np.nan)
        else:
            evenness = math.fsum(unit) ** 2 / (n_images * squares)
            found.append(min((1 - evenness) / (1 - 1 / n_images), 1.0))
    return np.array(found)


def assert_close(found, expected, n_images):
    """Two sums of n terms, one of them squared: 3 n roundings of a term of at most 1."""
    bound = (3 * n_images + 8) * ROUNDING / (1 - 1 / max(n_images, 2))
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


@given(
    n_images=st.sampled_from([1, 2, 3, 7, 40]),  # few shapes: each is compiled
    negative=st.booleans(),
    firing=st.sampled_from([0.05, 0.5, 1]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_matches_loop_and_keeps_its_range(n_images, negative, firing, seed):
    rng = np.random.default_rng(seed)
    responses = rng.normal(size=(n_images, 4)) * (rng.random((n_images, 4)) < firing)
    responses = (responses if negative else np.abs(responses)).astype(np.float32)
    found = np.asarray(sparseness(responses))
    assert_close(found, sparseness_loop(responses), n_images)
    defined = found[~np.isnan(found)]
    assert ((defined >= 0) & (defined <= 1)).all()


@pytest.mark.parametrize("n_images", [2, 10, 1000])
@pytest.mark.parametrize("share", [1 / 1000, 0.1, 0.5, 1])
def test_equal_responses_to_k_of_n_images(n_images, share):
    """(1 - k/n) / (1 - 1/n): 1 for one image, 0 for all of them."""
    k = max(round(share * n_images), 1)
    responses = np.zeros((n_images, 1), np.float32)
    responses[:k] = 0.3
    assert_close(sparseness(responses), [(1 - k / n_images) / (1 - 1 / n_images)], n_images)


@pytest.mark.parametrize(
    "responses",
    [[[0.0], [0.0]], [[3.0]], [[0.0]]],
    ids=["silent", "single image", "silent and single"],
)
def test_has_no_value(responses):
    assert np.isnan(sparseness(jnp.array(responses))).tolist() == [True]


def test_a_silent_unit_leaves_its_neighbours_alone():
    responses = jnp.array([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    assert_close(sparseness(responses), [np.nan, 1], 3)


def test_responses_that_cancel_are_of_sparseness_one_at_most():
    """A sum of 0 would give 1 / (1 - 1/n) > 1 by the formula: the range is kept."""
    assert sparseness(jnp.array([[1.0], [-1.0]])).tolist() == [1]


@pytest.mark.parametrize("scale", [1e-30, 1e-6, -1, 1e6, 1e30])
def test_scale_is_irrelevant_even_where_squares_leave_float32(scale, rng):
    responses = np.maximum(rng.normal(size=(20, 3)), 0).astype(np.float32)
    scaled = responses * np.float32(scale)
    assert_close(sparseness(scaled), sparseness(responses), 20)


def test_an_offset_is_not_irrelevant():
    """One image of two is sparseness 1; 2 and 1 are (1 - 9/10) / (1/2) = 1/5."""
    assert_close(sparseness(jnp.array([[1.0], [0.0]])), [1], 2)
    assert_close(sparseness(jnp.array([[2.0], [1.0]])), [1 / 5], 2)


def test_image_order_is_irrelevant(rng):
    responses = rng.gamma(0.5, size=(30, 3)).astype(np.float32)
    assert_close(sparseness(rng.permutation(responses)), sparseness(responses), 30)


@pytest.mark.parametrize("n_images", [1, 2, 50])
def test_running_sums_give_the_same(n_images, rng):
    responses = np.maximum(rng.normal(size=(n_images, 4)), 0).astype(np.float32)
    responses[:, 0] = 0
    sums, squares = responses.sum(axis=0), np.square(responses).sum(axis=0)
    found = sparseness_from_sums(sums, squares, n_images)
    assert_close(found, sparseness_loop(responses), n_images)


@pytest.mark.data
def test_real_responses_match_loop(data_folder):
    responses = np.load(data_folder / "vgg16_fc7/fc7_relu_144x4096.npy")
    found = sparseness(responses)
    assert_close(found, sparseness_loop(responses), 144)
    assert int(np.isnan(found).sum()) == 8  # silent units, counted outside jaxsel
