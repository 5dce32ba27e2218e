"""The intact network beside its ablations: running sums over the images of each class."""

import numpy as np
from jaxtyping import Float

from ..data.dataset import Batch
from ..evaluation import judge
from .effects import Baseline
from .sums import class_sums


class BaselineSums:
    """Float64 sums of loss and correct images per class, batch by batch."""

    def __init__(self, n_classes: int):
        self.sums = np.zeros((n_classes, 4))

    def add(self, logits: Float[np.ndarray, "batch outputs"], batch: Batch) -> None:
        """Count in a batch."""
        labels = batch.labels[: batch.n_images]
        loss, rank = judge(logits[: batch.n_images], labels, batch.start)
        kinds = np.stack([loss, rank < 1, rank < 5, np.ones(len(loss))], axis=1)
        present, sums = class_sums(kinds, labels)
        self.sums[present] += sums

    def finish(self) -> Baseline:
        """The sums as a record."""
        loss, *counts = self.sums.T
        return Baseline(loss, *(count.astype(np.int64) for count in counts))
