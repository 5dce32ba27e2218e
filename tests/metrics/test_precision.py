"""Precision against a loop in exact fractions, the paper's examples and invariances."""

from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.metrics import precision

# A quotient, a product, a sum and a quotient of positive numbers, in float32.
FOUR_ROUNDINGS = 4 * 2.0**-24


def precision_loop(responses, labels, n_classes, n_top):
    """Hand out the places from the largest response down, tied images in equal shares.

    A silent unit prefers nothing: NaN.
    """
    found = []
    for unit in responses.T:
        if not unit.any():
            found.append(float("nan"))
            continue
        left, places = n_top, [Fraction(0)] * n_classes
        for response in sorted(set(unit.tolist()), reverse=True):
            tied = labels[unit == response]
            taken = min(left, len(tied))
            for label in tied:
                places[label] += Fraction(taken, len(tied))
            left -= taken
        found.append(max(places) / n_top)
    return found


def ten_firing_images():
    """10 classes x 1000 images; unit 0 fires for ten images of class 3, unit 1 is silent."""
    labels = np.repeat(np.arange(10), 1000)
    responses = np.zeros((10_000, 2), np.float32)
    responses[3000:3010, 0] = np.linspace(0.1, 2, 10)
    return responses, labels


def test_leavitt_and_morcos_example_of_ten_firing_images():
    """Their "0.11": the other 990 places are shared by the 9,990 images at 0."""
    responses, labels = ten_firing_images()
    exact = (10 + Fraction(990 * 990, 9990)) / 1000
    assert precision_loop(responses, labels, 10, 1000)[0] == exact
    found = precision(responses, labels, 10, 1000)
    np.testing.assert_allclose(found, [float(exact), np.nan], rtol=FOUR_ROUNDINGS)
    np.testing.assert_allclose(found[0], 0.10810810810810811, rtol=FOUR_ROUNDINGS)


def test_leavitt_and_morcos_example_of_74_images_in_the_top_200():
    """74/200 is .37; the paper prints .34."""
    labels = np.concatenate([np.zeros(74, int), np.repeat(np.arange(1, 10), 14), np.arange(10)])
    responses = np.arange(len(labels), 0, -1, dtype=np.float32)[:, None]
    np.testing.assert_allclose(precision(responses, labels, 10, 200), [0.37], rtol=1e-6)


@given(
    n_images=st.sampled_from([1, 2, 7, 25]),  # few shapes: each is compiled
    n_classes=st.sampled_from([1, 2, 5]),
    n_values=st.sampled_from([1, 2, 5, 1000]),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_matches_exact_loop_and_keeps_its_range(n_images, n_classes, n_values, data):
    n_top = data.draw(st.integers(1, n_images))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    responses = rng.integers(-n_values, n_values, (n_images, 3)).astype(np.float32)
    labels = rng.integers(n_classes, size=n_images)
    found = np.asarray(precision(responses, labels, n_classes, n_top))
    exact = [float(p) for p in precision_loop(responses, labels, n_classes, n_top)]
    np.testing.assert_allclose(found, exact, rtol=FOUR_ROUNDINGS)
    slack = 1 + FOUR_ROUNDINGS
    found = found[~np.isnan(found)]
    assert (found >= 1 / n_classes / slack).all()
    assert (found <= slack).all()


def test_image_order_is_irrelevant_with_ties(rng):
    """Counts are exact: to the last bit."""
    responses = rng.integers(0, 4, (60, 5)).astype(np.float32)
    labels = rng.integers(0, 3, 60)
    order = rng.permutation(60)
    np.testing.assert_array_equal(
        precision(responses[order], labels[order], 3, 17), precision(responses, labels, 3, 17)
    )


def test_only_the_order_of_responses_counts(rng):
    responses = rng.integers(-9, 9, (60, 5)).astype(np.float32)
    labels = rng.integers(0, 3, 60)
    found = precision(responses, labels, 3, 17)
    for same_order in (2 * responses - 100, responses**3):
        np.testing.assert_array_equal(precision(same_order, labels, 3, 17), found)
    assert not np.array_equal(precision(-responses, labels, 3, 17), found)


@pytest.mark.parametrize("response", [3, -2])
def test_a_constant_unit_has_the_share_of_the_most_common_class(response):
    responses = jnp.full((4, 1), response, jnp.float32)
    found = precision(responses, jnp.array([0, 1, 1, 1]), 2, 2)
    np.testing.assert_allclose(found, [3 / 4], rtol=FOUR_ROUNDINGS)


@pytest.mark.parametrize("responses", [[0, 0, 0, 0], [0.0, -0.0, 0.0, -0.0]])
def test_a_silent_unit_has_no_precision(responses):
    responses = jnp.array(responses, jnp.float32)[:, None]
    assert np.isnan(precision(responses, jnp.array([0, 1, 1, 1]), 2, 2)).all()


@pytest.mark.parametrize(
    "n_top, expected", [(1, 1), (2, 1), (3, 2 / 3), (5, 3 / 5)], ids="top {}".format
)
def test_closed_forms(n_top, expected):
    responses = jnp.array([[9.0], [8.0], [3.0], [2.0], [-1.0]])
    found = precision(responses, jnp.array([1, 1, 0, 0, 0]), 2, n_top)
    np.testing.assert_allclose(found, [expected], rtol=FOUR_ROUNDINGS)


def test_a_single_image_is_all_of_the_top():
    assert precision(jnp.array([[-3.0]]), jnp.array([2]), 5, 1).tolist() == [1]


def test_nan_responses_give_nan_to_their_unit_only():
    responses = jnp.array([[jnp.nan, 2.0], [1.0, 1.0]])
    np.testing.assert_array_equal(precision(responses, jnp.array([0, 1]), 2, 1), [np.nan, 1])


@pytest.mark.parametrize("n_top", [-1, 0, 3])
def test_a_top_that_the_images_cannot_fill_is_refused(n_top):
    with pytest.raises(ValueError, match=f"n_top must be 1 to 2, .* found {n_top}"):
        precision(jnp.zeros((2, 1)), jnp.array([0, 1]), 2, n_top)
