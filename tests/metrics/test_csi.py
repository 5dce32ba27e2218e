"""Category selectivity index against Kanda et al.'s definition on images.

What it shares with the class selectivity index is tested there.
"""

import numpy as np
import pytest

from jaxsel.metrics import (
    category_selectivity_index,
    class_means,
    class_selectivity_index,
    dead_units,
)


def csi_loop(responses, labels, n_classes):
    """Largest class mean against the mean over all images of the other classes, float64."""
    index = []
    for unit in responses.T.astype(np.float64):
        means = [unit[labels == c].mean() for c in range(n_classes)]
        best = int(np.argmax(means))
        others = unit[labels != best].mean()
        total = means[best] + others
        index.append((means[best] - others) / total if total else np.nan)
    return np.array(index)


@pytest.fixture
def responses(rng):
    """As after a ReLU: 60 images, 7 units, the last of them silent."""
    found = np.maximum(rng.normal(size=(60, 7)), 0).astype(np.float32)
    found[:, 6] = 0
    return found


@pytest.mark.parametrize("n_classes", [2, 10])
def test_balanced_classes_give_the_index_over_images(responses, rng, n_classes):
    labels = rng.permutation(np.repeat(np.arange(n_classes), 60 // n_classes))
    means, _ = class_means(responses, labels, n_classes)
    # Class means carry up to 60 float32 roundings, of which the index sees half.
    np.testing.assert_allclose(
        category_selectivity_index(means), csi_loop(responses, labels, n_classes), atol=2e-6
    )


def test_a_rare_class_counts_as_much_as_a_common_one():
    """Class means 4, 2, 0: others 1, index 3/5, though 8 of the 9 other images give 2."""
    responses = np.array([[4.0]] + [[2.0]] * 8 + [[0.0]], np.float32)
    means, _ = class_means(responses, np.array([0] + [1] * 8 + [2]), 3)
    np.testing.assert_allclose(category_selectivity_index(means), [0.6], rtol=1e-6)


def test_only_silent_units_are_nan(responses, rng):
    means, _ = class_means(responses, rng.permutation(np.repeat(np.arange(5), 12)), 5)
    silent = np.isnan(category_selectivity_index(means))
    np.testing.assert_array_equal(silent, dead_units(responses))
    assert silent.tolist() == [False] * 6 + [True]


def test_is_the_class_selectivity_index_where_there_is_one(responses, rng):
    means, _ = class_means(responses, rng.permutation(np.repeat(np.arange(5), 12)), 5)
    index = category_selectivity_index(means)
    # The same formula, each with some roundings of 2**-24.
    np.testing.assert_allclose(
        np.nan_to_num(index, nan=0), class_selectivity_index(means), rtol=0, atol=2**-22
    )
