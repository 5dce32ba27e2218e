"""Percentage of zeros against counting, closed forms, invariances and real responses."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.metrics import dead_units, percentage_of_zeros

# A fraction and a sum in float32; the count itself is exact.
TWO_ROUNDINGS = 2 * 2.0**-24


def poz_loop(responses):
    """Count the zeros of one unit after the other."""
    n_images = len(responses)
    return [100 * sum(r == 0 for r in unit.tolist()) / n_images for unit in responses.T]


@given(
    n_images=st.sampled_from([1, 2, 3, 7, 50]),  # few shapes: each is compiled
    firing=st.sampled_from([0, 0.1, 0.5, 1]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_matches_counting_and_is_100_for_dead_units_only(n_images, firing, seed):
    rng = np.random.default_rng(seed)
    responses = (rng.normal(size=(n_images, 5)) * (rng.random((n_images, 5)) < firing)).astype(
        np.float32
    )
    found = percentage_of_zeros(responses)
    np.testing.assert_allclose(found, poz_loop(responses), rtol=TWO_ROUNDINGS)
    np.testing.assert_array_equal(found == 100, dead_units(responses))


@pytest.mark.parametrize(
    "responses, expected",
    [
        ([0, 0, 0], 100),
        ([1, 2, 3], 0),
        ([0, 1, 0, 5], 50),
        ([-1, -2, 0, 0], 50),
        ([-0.0, 1], 50),
        ([np.nan, 0], 50),
        ([1e-30, 0], 50),
        ([0], 100),
        ([7], 0),
    ],
    ids=str,
)
def test_closed_forms(responses, expected):
    assert percentage_of_zeros(jnp.array(responses, jnp.float32)[:, None]).tolist() == [
        expected
    ]


@pytest.mark.parametrize("n_images", [100, 120, 10_000])
def test_whole_percentages_are_whole(n_images):
    """So that a threshold, such as more than 80 %, is met by the units that meet it."""
    step = n_images // 20
    counts = np.arange(0, n_images + 1, step)
    responses = (np.arange(n_images)[:, None] >= counts).astype(np.float32)
    assert percentage_of_zeros(responses).tolist() == list(range(0, 101, 5))


def test_scale_and_image_order_are_irrelevant_an_offset_is_not(rng):
    responses = np.maximum(rng.normal(size=(40, 3)), 0).astype(np.float32)
    found = percentage_of_zeros(responses)
    np.testing.assert_array_equal(percentage_of_zeros(rng.permutation(3 * responses)), found)
    assert percentage_of_zeros(responses + 1).tolist() == [0, 0, 0]


@pytest.mark.data
def test_real_responses(data_folder):
    """Fc7 of VGG-16 on 144 photographs; numbers counted outside jaxsel."""
    responses = np.load(data_folder / "vgg16_fc7/fc7_relu_144x4096.npy")
    found = np.asarray(percentage_of_zeros(responses), np.float64)
    # Five printed digits; each of the 4,096 numbers has two float32 roundings.
    np.testing.assert_allclose(found.mean() / 100, 0.79438, rtol=0, atol=5e-6)
    tenths, _ = np.histogram(found, np.arange(0, 101, 10))
    assert tenths.tolist() == [0, 1, 5, 5, 9, 35, 334, 1649, 1834, 224]
    assert (found == 100).sum() == 8
