"""Class means against a float64 loop, closed forms and invariances."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.metrics import class_means
from jaxsel.metrics.class_means import best_and_others

ROUNDING = 2.0**-24  # of one float32 operation, relative


def class_means_loop(responses, labels, n_classes):
    """The definition, one class at a time, in float64."""
    means = np.zeros((n_classes, responses.shape[1]))
    for c in range(n_classes):
        if (labels == c).any():
            means[c] = responses[labels == c].astype(np.float64).mean(axis=0)
    return means


@given(
    n_images=st.sampled_from([1, 2, 7, 60]),  # few shapes: each is compiled
    n_classes=st.sampled_from([1, 2, 8]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_matches_loop_for_responses_of_any_sign(n_images, n_classes, seed):
    rng = np.random.default_rng(seed)
    responses = rng.normal(size=(n_images, 3)).astype(np.float32)
    labels = rng.integers(n_classes, size=n_images)
    means, counts = class_means(responses, labels, n_classes)
    # A sum of n terms is off by at most n roundings of the sum of their sizes.
    bound = (n_images + 1) * ROUNDING * np.abs(responses).sum(axis=0).max()
    np.testing.assert_allclose(
        means, class_means_loop(responses, labels, n_classes), rtol=0, atol=bound
    )
    np.testing.assert_array_equal(counts, np.bincount(labels, minlength=n_classes))


def test_class_without_images_has_mean_and_count_zero():
    means, counts = class_means(jnp.array([[2.0], [4.0]]), jnp.array([2, 2]), 4)
    assert means[:, 0].tolist() == [0, 0, 3, 0]
    assert counts.tolist() == [0, 0, 2, 0]


def test_a_single_image_is_its_own_mean():
    means, counts = class_means(jnp.array([[0.1, -7.0]]), jnp.array([0]), 1)
    np.testing.assert_array_equal(means, np.array([[0.1, -7]], np.float32))
    assert counts.tolist() == [1]


def test_a_thousand_classes_are_not_mixed_up():
    """Image i belongs to class i and responds i: no sum is needed, none may be rounded."""
    labels = np.random.default_rng(0).permutation(1000)
    means, _ = class_means(labels[:, None].astype(np.float32), labels, 1000)
    np.testing.assert_array_equal(means[:, 0], np.arange(1000))


def test_image_order_is_irrelevant_but_labels_must_go_along(rng):
    responses = rng.integers(0, 50, (30, 3)).astype(np.float32)  # sums are exact
    labels = rng.integers(0, 4, 30)
    order = rng.permutation(30)
    means, _ = class_means(responses, labels, 4)
    np.testing.assert_array_equal(class_means(responses[order], labels[order], 4)[0], means)
    assert not np.array_equal(class_means(responses[order], labels, 4)[0], means)


def test_others_keep_their_digits_beside_a_best_class_a_million_times_larger():
    means = jnp.array([[1.0], [3e6], [0.1], [0.3]], jnp.float32)
    best, others, n_others = best_and_others(means, None)
    assert float(best[0]) == 3e6
    assert int(n_others) == 3
    exact = (1 + float(np.float32(0.1)) + float(np.float32(0.3))) / 3
    # Two sums and a quotient, all of positive numbers.
    np.testing.assert_allclose(others, [exact], rtol=3 * ROUNDING)


@pytest.mark.parametrize("where", [None, [True, True, True]], ids=["default", "all"])
def test_of_equal_best_classes_one_is_an_other(where):
    means = jnp.array([[2.0], [2.0], [0.0]])
    where = None if where is None else jnp.array(where)
    best, others, _ = best_and_others(means, where)
    assert (best.tolist(), others.tolist()) == ([2], [1])
