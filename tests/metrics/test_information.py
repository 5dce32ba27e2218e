"""Mutual information against scikit-learn's, closed forms, and what noise should give."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from jaxsel.metrics import mutual_information


def binned(values, n_bins):
    below = np.array([(values < value).sum() for value in values])
    return below * n_bins // len(values)


@pytest.mark.parametrize("n_bins", [2, 5, 16])
def test_uncorrected_it_is_scikit_learns_of_the_bins(rng, n_bins):
    labels = rng.integers(0, 7, 150)
    responses = np.maximum(rng.normal(size=(150, 6)) + 0.3 * labels[:, None] - 1, 0)
    responses = responses.astype(np.float32)  # many are 0: one bin
    expected = [
        mutual_info_score(labels, binned(unit, n_bins)) / np.log(2) for unit in responses.T
    ]
    found = mutual_information(responses, labels, 7, n_bins=n_bins, correct=False)
    # Sums of some hundred terms n log2 n near 500, over 150, in float32.
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("n_classes", [2, 4, 8])
def test_a_response_that_is_the_class_carries_all_of_it(n_classes):
    labels = np.tile(np.arange(n_classes), 400)
    found = mutual_information(labels[:, None].astype(np.float32), labels, n_classes)
    np.testing.assert_allclose(found, [np.log2(n_classes)], rtol=1e-6)


def test_the_correction_takes_off_what_noise_pretends(rng):
    """300 images of 10 classes in 8 bins: 63 / (2 x 300 ln 2) = 0.15 bits too many."""
    responses = rng.normal(size=(300, 400)).astype(np.float32)
    labels = np.repeat(np.arange(10), 30)
    plain, corrected = (
        np.asarray(mutual_information(responses, labels, 10, correct=correct))
        for correct in (False, True)
    )
    assert abs(plain.mean() - 0.15) < 0.02
    # Cells that are empty by chance (3.75 images each) are not counted: some of it is left.
    assert abs(corrected.mean()) < 0.15 * plain.mean()


def test_only_the_order_of_responses_counts(rng):
    responses, labels = rng.random((60, 4)).astype(np.float32), rng.integers(0, 3, 60)
    np.testing.assert_array_equal(
        mutual_information(responses, labels, 3), mutual_information(responses**3, labels, 3)
    )


def test_silent_units_carry_nothing_and_nan_stays_nan():
    responses = np.zeros((10, 2), np.float32)
    responses[3, 1] = np.nan
    found = np.asarray(mutual_information(responses, np.arange(10) % 2, 2))
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert np.isnan(found[1])


def test_one_bin_is_refused():
    with pytest.raises(ValueError, match="n_bins must be at least 2; found 1"):
        mutual_information(np.ones((2, 1), np.float32), np.array([0, 1]), 2, n_bins=1)
