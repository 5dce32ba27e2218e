"""Evaluation against float64 arithmetic on the logits."""

import numpy as np
import pytest

from jaxsel import Dataset, best_images, evaluate
from jaxsel.evaluation import Evaluation
from tests.references import mlp


def as_they_are(images, tap):
    """The images are the logits."""
    return images


@pytest.fixture
def dataset(rng):
    """Logits of 23 images, from a tie of all classes to a lead of 60 nats."""
    logits = rng.normal(size=(23, 7)) * np.geomspace(1e-3, 30, 23)[:, None]
    logits[0] = 0
    return Dataset(logits.astype(np.float32), rng.integers(0, 7, 23), tuple("abcdefg"))


@pytest.mark.parametrize("batch_size", [1, 5, 23, 256])
def test_loss_probability_and_rank_equal_float64(dataset, batch_size):
    found = evaluate(as_they_are, dataset, batch_size=batch_size)
    logits, labels = dataset.images.astype(np.float64), dataset.labels
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    # Float64 throughout; a loss of 60 nats is known to 1e-14, its exponential to 1e-12.
    np.testing.assert_allclose(found.loss, mlp.losses(logits, labels), rtol=1e-13)
    np.testing.assert_allclose(found.probability, shares[np.arange(23), labels], rtol=1e-12)
    np.testing.assert_array_equal(found.rank, mlp.ranks(logits, labels))


@pytest.mark.parametrize("k", [1, 3, 5, 7])
def test_accuracy_counts_labels_among_the_k_largest(dataset, k):
    """By sorting; a stable sort puts the lower class first among equals."""
    order = np.argsort(-dataset.images, axis=1, kind="stable")[:, :k]
    right = [label in row for label, row in zip(dataset.labels, order, strict=True)]
    assert evaluate(as_they_are, dataset).accuracy(k) == np.mean(right)


def test_tiny_losses_keep_their_order():
    """P(label) rounds to 1 for all of them; the losses are e**-40, e**-50, e**-300."""
    logits = np.array([[40, 0], [50, 0], [300, 0]], np.float32)
    found = evaluate(as_they_are, Dataset(logits, np.zeros(3, int), ("a", "b")))
    np.testing.assert_allclose(found.loss, np.exp([-40.0, -50.0, -300.0]), rtol=1e-12)
    np.testing.assert_array_equal(found.probability, [1, 1, 1])
    np.testing.assert_array_equal(best_images(found, np.zeros(3, int), 3), [2, 1, 0])


def test_progress_counts_images_without_the_padding(dataset):
    done = []
    evaluate(as_they_are, dataset, batch_size=10, progress=done.append)
    assert done == [10, 20, 23]


def test_a_label_without_a_logit_is_refused(dataset):
    more = Dataset(dataset.images, np.arange(23) % 9, tuple("abcdefghi"))
    with pytest.raises(ValueError, match="labels reach 8, but the network has 7 classes"):
        evaluate(as_they_are, more)


def test_logits_that_are_no_numbers_are_refused_with_their_image(dataset):
    """Image 0 has logits of 0, and 0/0 is NaN; the padding of a batch never counts."""
    with pytest.raises(ValueError, match="logits of image 0 are NaN"):
        evaluate(lambda images, tap: images / images, dataset)
    rest = dataset.take(np.arange(1, 23))
    assert np.isfinite(evaluate(lambda images, tap: images / images, rest).loss).all()


def of_losses(*losses):
    n = len(losses)
    return Evaluation(np.array(losses, np.float64), np.ones(n), np.zeros(n, np.int64))


@pytest.mark.parametrize(
    "losses, labels, n_per_class, expected",
    [
        ([0.3, 0.1, 0.2, 0.4], [1, 0, 1, 0], 1, [1, 2]),
        ([0.3, 0.1, 0.2, 0.4], [1, 0, 1, 0], 2, [1, 3, 2, 0]),
        ([0.5, 0.5, 0.5, 0.1], [0, 0, 0, 0], 3, [3, 0, 1]),  # the first of equals
        ([0.5, 0.2, 0.1], [3, 3, 7], 5, [1, 0, 2]),  # fewer images, classes that are absent
        ([1e-300, 1e-301], [0, 0], 1, [1]),
    ],
)
def test_best_images_class_by_class_best_first(losses, labels, n_per_class, expected):
    found = best_images(of_losses(*losses), np.array(labels), n_per_class)
    np.testing.assert_array_equal(found, expected)


def test_five_images_per_class_by_default(rng):
    labels = np.repeat([0, 1], 8)
    losses = rng.permutation(16) / 16
    found = best_images(of_losses(*losses), labels)
    expected = [
        i
        for label in (0, 1)
        for i in sorted(np.flatnonzero(labels == label), key=losses.__getitem__)[:5]
    ]
    np.testing.assert_array_equal(found, expected)  # fmt: skip
