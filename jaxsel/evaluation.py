"""How well a network does on every image: loss, P(correct), rank of the label."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float, Int

from .data.dataset import Dataset
from .delta.loss import cross_entropy, label_rank
from .intact import intact_pass, traceable
from .sites import Model


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One number of each kind per image.

    Attributes:
        loss: cross-entropy, nats; float64, so that losses of 1e-12 keep their order.
        probability: probability that the network gives to the label, 0 to 1.
        rank: classes that come before the label: below k, the image is right in the top k.
    """

    loss: Float[np.ndarray, " images"]
    probability: Float[np.ndarray, " images"]
    rank: Int[np.ndarray, " images"]

    def accuracy(self, k: int = 1) -> float:
        """Fraction of the images whose label is among the k largest logits."""
        return float(np.mean(self.rank < k))


def evaluate(
    model: Model,
    dataset: Dataset,
    *,
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Loss, probability and rank of the label for every image.

    In float64 throughout.

    Args:
        model: called as `model(images, tap)`.
        dataset: images and labels.
        batch_size: images at a time.
        progress: called with the number of images done after every batch.

    Returns:
        The three numbers of every image, in the order of the data set.

    Raises:
        ValueError: a label that the network has no logit for, or logits that are NaN.

    >>> dataset = Dataset(np.eye(2, dtype=np.float32), np.array([0, 1]), ("cat", "dog"))
    >>> evaluate(lambda images, tap: images, dataset).accuracy()
    1.0
    """
    loss, probability = np.empty(len(dataset)), np.empty(len(dataset))
    rank = np.empty(len(dataset), np.int64)
    network = traceable(model)
    for batch in dataset.batches(batch_size):
        rows = slice(batch.start, batch.start + batch.n_images)
        logits = np.asarray(intact_pass(network, batch.images, ())[0])[batch.where]
        loss[rows], rank[rows] = judge(logits, batch.labels[batch.where], batch.start)
        if progress is not None:
            progress(rows.stop)
    np.exp(-loss, out=probability)
    return Evaluation(loss, probability, rank)


def judge(
    logits: Float[np.ndarray, "images classes"],
    labels: Int[np.ndarray, " images"],
    start: int,
) -> tuple[Float[np.ndarray, " images"], Int[np.ndarray, " images"]]:
    """Loss in float64 and rank of the label, from logits.

    Args:
        logits: of some images.
        labels: of the same images.
        start: number of the first of them, for the message of an error.

    Returns:
        Losses in nats, and ranks from 0.

    Raises:
        ValueError: a label that there is no logit for, or logits that are NaN or infinite.

    >>> judge(np.array([[1.0, 3.0]], np.float32), np.array([1], np.int32), 0)[1].tolist()
    [0]
    """
    if labels.max() >= logits.shape[1]:
        raise ValueError(
            f"the labels reach {labels.max()}, but the network has {logits.shape[1]} classes: "
            f"possible are 0 to {logits.shape[1] - 1}"
        )
    if not np.isfinite(logits).all():
        row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        raise ValueError(f"the logits of image {start + row} are NaN or infinite")
    # Float64 for this alone: its exponentials reach losses of 1e-300.
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        loss, rank = _loss_and_rank(np.asarray(logits, np.float64), labels)
        return np.asarray(loss), np.asarray(rank)


def best_images(
    evaluation: Evaluation, labels: Int[np.ndarray, " images"], n_per_class: int = 5
) -> Int[np.ndarray, " chosen"]:
    """The images of each class that a network does best on.

    Ranked by the loss, which still tells images apart whose P(correct) rounds to 1; the
    first of equals wins.

    Args:
        evaluation: of the network that chooses.
        labels: class of each image.
        n_per_class: how many of each class, or all where a class has fewer.

    Returns:
        Indices of the images, class by class, the best first.

    Source:
        Kanda et al. (2020), arXiv:2001.07811, Methods: five images per class.

    >>> evaluation = Evaluation(np.array([0.3, 0.1, 0.2]), np.ones(3), np.zeros(3, int))
    >>> best_images(evaluation, np.array([0, 0, 1]), 1).tolist()
    [1, 2]
    """
    by_loss = np.argsort(evaluation.loss, kind="stable")
    return np.concatenate(
        [by_loss[labels[by_loss] == label][:n_per_class] for label in np.unique(labels)]
    )


@jax.jit
def _loss_and_rank(logits, labels):
    return cross_entropy(logits, labels), label_rank(logits, labels)
