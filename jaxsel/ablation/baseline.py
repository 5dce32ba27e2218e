"""The intact network beside its ablations: running sums over the images of each class."""

import numpy as np
from jaxtyping import Float

from ..data.dataset import Batch
from ..evaluation import judge
from .effects import Baseline


class BaselineSums:
    """Float64 sums of loss and correct images per class, batch by batch."""

    def __init__(self, n_classes: int):
        self.loss, self.top1, self.top5, self.images = (np.zeros(n_classes) for _ in range(4))

    def add(
        self, logits: Float[np.ndarray, "batch outputs"], batch: Batch
    ) -> Float[np.ndarray, "batch classes"]:
        """Count in a batch; returns 1 where an image counts for a class, else 0."""
        classes = np.arange(len(self.images))
        members = (batch.labels[:, None] == classes) & batch.where[:, None]
        members = members.astype(np.float64)
        loss, rank = judge(logits[batch.where], batch.labels[batch.where], batch.start)
        self.loss += loss @ members[batch.where]
        self.top1 += (rank < 1) @ members[batch.where]
        self.top5 += (rank < 5) @ members[batch.where]
        self.images += members.sum(axis=0)
        return members

    def finish(self) -> Baseline:
        """The sums as a record."""
        counts = (self.top1, self.top5, self.images)
        return Baseline(self.loss, *(count.astype(np.int64) for count in counts))
