"""d-prime against its definition in float64."""

import numpy as np
import pytest

from jaxsel.metrics import d_prime


def loop(responses, labels, n_classes):
    found = []
    for unit in responses.T.astype(np.float64):
        present = [c for c in range(n_classes) if (labels == c).any()]
        best = max(present, key=lambda c: unit[labels == c].mean())
        own, others = unit[labels == best], unit[labels != best]
        size = np.sqrt((own.var(ddof=1) + others.var(ddof=1)) / 2)
        found.append((own.mean() - others.mean()) / size)
    return np.array(found)


@pytest.mark.parametrize("offset", [0, 100])
def test_equals_its_definition(rng, offset):
    """An offset costs digits of the float32 responses, not of their variance."""
    labels = rng.integers(0, 6, 200)
    responses = (rng.normal(size=(200, 9)) + labels[:, None] * rng.random(9) + offset).astype(
        np.float32
    )
    # Class means near 100 are known to some 4e-6 each; the differences are near 1.
    np.testing.assert_allclose(
        d_prime(responses, labels, 8), loop(responses, labels, 8), rtol=1e-4, atol=2e-5
    )


def test_two_normal_distributions_are_as_far_apart_as_they_were_made(rng):
    labels = np.repeat([0, 1], 20_000)
    responses = rng.normal(size=(40_000, 1)) + 1.5 * (labels == 1)[:, None]
    # Standard error: sqrt(2 / 20,000 (1 + 1.5^2 / 8)) = 0.011.
    assert abs(float(d_prime(responses.astype(np.float32), labels, 2)[0]) - 1.5) < 0.05


def test_what_does_not_vary_is_infinite_or_nothing():
    responses = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], np.float32)
    found = np.asarray(d_prime(responses, np.array([0, 0, 1, 1]), 2))
    assert found[0] == np.inf
    assert np.isnan(found[1])


@pytest.mark.parametrize("value", [0.1, 0.7])
def test_equal_responses_that_float32_cannot_add_exactly_are_nothing_all_the_same(value):
    labels = np.repeat([0, 1, 2], [7, 50, 43])
    both = np.where(labels == 1, np.float32(0.9), np.float32(value))
    responses = np.stack([np.full(100, value, np.float32), both], axis=1)
    found = np.asarray(d_prime(responses, labels, 3))
    assert np.isnan(found[0])
    assert found[1] == np.inf


def test_one_image_of_the_best_class_is_too_few():
    responses = np.array([[5], [1], [2]], np.float32)
    assert np.isnan(d_prime(responses, np.array([0, 1, 1]), 2)[0])
