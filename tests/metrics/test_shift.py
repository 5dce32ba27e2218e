"""Shift invariance against scipy, closed forms, and networks that are blind to shifts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.data import shifted
from jaxsel.metrics import shift_invariance

ROUNDING = 2e-6  # float32 sums of some 50 products


@given(n_images=st.sampled_from([3, 50]), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_it_is_pearsons_correlation(n_images, seed):
    rng = np.random.default_rng(seed)
    first, second = np.float32(rng.normal(size=(2, n_images, 4)))
    for unit, found in enumerate(shift_invariance(first, second)):
        expected = scipy.stats.pearsonr(first[:, unit], second[:, unit])[0]
        assert float(found) == pytest.approx(expected, abs=ROUNDING)
    for image, found in enumerate(shift_invariance(first, second, over="units")):
        expected = scipy.stats.pearsonr(first[image], second[image])[0]
        assert float(found) == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize("scale", [1e-25, 1, 1e25])
def test_size_and_offset_are_irrelevant(scale, rng):
    responses = np.float32(rng.uniform(size=(20, 3)))
    found = shift_invariance(responses * np.float32(scale), 3 * responses + 1)
    np.testing.assert_allclose(found, 1, rtol=0, atol=ROUNDING)


def test_units_that_do_not_vary_are_undefined(rng):
    responses = np.float32(rng.uniform(size=(20, 3)))
    flat = responses * np.float32([1, 0, 0]) + np.float32([0, 0, 0.1])
    assert np.isnan(shift_invariance(responses, flat)).tolist() == [False, True, True]
    assert np.isnan(shift_invariance(flat, responses)).tolist() == [False, True, True]


@pytest.mark.usefixtures("unchecked")
def test_other_names_and_shapes_are_refused():
    with pytest.raises(ValueError, match="images or units; found 'classes'"):
        shift_invariance(jnp.ones((2, 2)), jnp.ones((2, 2)), over="classes")
    with pytest.raises(ValueError, match=r"shapes \(2, 2\) and \(3, 2\) are not pairs"):
        shift_invariance(jnp.ones((2, 2)), jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"pairs of shape \(images, units\)"):
        shift_invariance(jnp.ones((2, 4, 4, 2)), jnp.ones((2, 4, 4, 2)))


def test_roundings_and_broken_responses_have_no_correlation(rng):
    responses = np.float32(rng.uniform(size=(20, 4)))
    wrong = responses.copy()
    wrong[:, 1] = 1 + 1e-7 * rng.integers(0, 3, 20)
    wrong[3, 2], wrong[5, 3] = np.nan, np.inf
    assert np.isnan(shift_invariance(responses, wrong)).tolist() == [False, True, True, True]


def test_a_pooling_network_is_invariant_and_a_template_is_not(rng):
    """Spots on black: their sum does not move, a filter at one place does."""
    images = np.zeros((40, 12, 12, 1), np.float32)
    images[np.arange(40), rng.integers(4, 8, 40), rng.integers(4, 8, 40), 0] = rng.uniform(
        size=40
    )
    moved = shifted(images, 1, -1)
    pooled = [jax.nn.relu(x).mean(axis=(1, 2)) for x in (images, moved)]
    np.testing.assert_allclose(shift_invariance(*pooled), 1, rtol=0, atol=ROUNDING)
    template = [x[:, 5, 5] for x in (images, moved)]
    assert abs(float(shift_invariance(*template)[0])) < 0.5
