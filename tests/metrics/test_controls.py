"""Cross-validated and shuffled indices: against loops, and what they are there for."""

import numpy as np
import pytest

from jaxsel.metrics import (
    category_selectivity_index,
    class_means,
    controls,
    cross_validated_csi,
    shuffled_csi,
)

LABELS = np.repeat(np.arange(20), 5)


def plain(responses, labels, n_classes):
    means, counts = class_means(responses, labels, n_classes)
    return np.asarray(category_selectivity_index(means, where=counts > 0))


def noise(rng, n_units=300):
    """Responses that know nothing of the classes, as after a ReLU."""
    return np.maximum(rng.normal(size=(100, n_units)), 0).astype(np.float32)


def test_responses_that_know_no_classes_have_no_cross_validated_index(rng):
    """Five images a class: the plain index, a maximum, is far above 0."""
    responses = noise(rng)
    found = cross_validated_csi(responses, LABELS, 20, rng=rng)
    assert plain(responses, LABELS, 20).mean() > 0.25
    # A unit's spreads by some 0.2: a standard error of 0.012.
    assert abs(found.mean()) < 0.04


def test_shuffled_labels_give_noise_what_it_has(rng):
    responses = noise(rng)
    null = shuffled_csi(responses, LABELS, 20, rng=rng, n_shuffles=10)
    assert null.shape == (10, 300)
    # A unit's spreads by some 0.08: standard errors below 0.005.
    assert abs(null.mean() - plain(responses, LABELS, 20).mean()) < 0.02


def test_shuffled_labels_are_permutations_of_the_labels(rng):
    """Units of one class only: the index of each shuffle tells how it was dealt."""
    responses = (LABELS[:, None] == np.arange(20)).astype(np.float32)
    null = shuffled_csi(responses, LABELS, 20, rng=np.random.default_rng(3), n_shuffles=4)
    again = np.random.default_rng(3)
    expected = [plain(responses, again.permutation(LABELS), 20) for _ in range(4)]
    np.testing.assert_array_equal(null, np.stack(expected))
    assert null.max() < 1 == plain(responses, LABELS, 20).min()


def loop(responses, labels, splits):
    """From given halves, unit by unit."""
    classes, found = np.unique(labels), []

    def compared(unit, images, top):
        others = [unit[images & (labels == c)].mean() for c in classes if c != top]
        return unit[images & (labels == top)].mean(), np.mean(others)

    for unit in responses.T.astype(np.float64):
        apart = []
        for half in splits:
            for choose, measure in ((half, ~half), (~half, half)):
                means = [unit[choose & (labels == c)].mean() for c in classes]
                best, others = compared(unit, measure, classes[int(np.argmax(means))])
                apart.append(best - others if any(means) else 0)
        everything = np.ones(len(labels), bool)
        means = [unit[labels == c].mean() for c in classes]
        size = sum(compared(unit, everything, classes[int(np.argmax(means))]))
        found.append(np.mean(apart) / size if size else np.nan)
    return np.array(found)


def test_equals_a_loop_over_the_same_halves(rng, monkeypatch):
    labels = rng.permutation(np.repeat([0, 1, 3, 4], [2, 5, 8, 9]))  # none of class 2
    responses = np.maximum(rng.normal(size=(24, 8)) - 1, 0).astype(np.float32)
    responses[:, 7] = 0
    splits, half_of = [], controls.half_of_each_class
    noted = lambda *a: splits.append(half_of(*a)) or splits[-1]  # noqa: E731
    monkeypatch.setattr(controls, "half_of_each_class", noted)
    found = cross_validated_csi(responses, labels, 5, rng=rng, n_splits=7)
    assert len(splits) == 7
    np.testing.assert_allclose(found, loop(responses, labels, splits), rtol=1e-12, atol=1e-15)
    assert np.isnan(found[7])
    for half in splits:
        counts = np.bincount(labels, minlength=5)
        of_half = np.bincount(labels[half], minlength=5)
        assert (np.abs(2 * of_half - counts) <= 1).all()


def test_a_unit_of_one_class_has_one_and_a_unit_of_one_image_nothing():
    responses = np.zeros((100, 2), np.float32)
    responses[LABELS == 7, 0] = 1
    responses[12, 1] = 1
    assert plain(responses, LABELS, 20).tolist() == [1, 1]
    found = cross_validated_csi(responses, LABELS, 20, rng=np.random.default_rng(0))
    assert found.tolist() == [1, 0]


@pytest.mark.parametrize(
    "labels, message",
    [([0, 0, 1], "2 classes, the smallest with 1 images"), ([0, 0, 0], "1 classes")],
)
def test_too_few_images_or_classes_are_refused(labels, message):
    responses = np.ones((3, 1), np.float32)
    with pytest.raises(ValueError, match=message):
        cross_validated_csi(responses, np.array(labels), 2, rng=np.random.default_rng(0))
