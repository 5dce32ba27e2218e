"""One pass of an engine over a data set, summed in float64 on the host."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from ..data.dataset import Batch, Dataset
from ..evaluation import judge
from .baseline import BaselineSums
from .sums import Pass, Sums


@dataclass(frozen=True, eq=False)
class Summed:
    """What a pass found.

    Attributes:
        sums: per class and ablation.
        intact: the intact network.
        precision: of the changes and of what they are changes of.
    """

    sums: Sums
    intact: BaselineSums
    precision: str


def summed(
    run: Callable[[Batch], Pass],
    dataset: Dataset,
    names: np.ndarray,
    site: str,
    *,
    batch_size: int,
    pairs: np.ndarray | None,
    columns: np.ndarray,
    progress: Callable[[int], None] | None,
) -> Summed:
    """All ablations on all images.

    Args:
        run: the engine.
        dataset: images and labels.
        names: numbers of the ablated units or groups.
        site: where they are.
        batch_size: images at a time.
        pairs: filled with the loss change of every pair, in the columns of these ablations.
        columns: of each ablation.
        progress: called with the number of pairs done.

    Raises:
        FloatingPointError: a loss change that is NaN or infinite.
    """
    n, n_classes = len(names), len(dataset.class_names)
    intact, sums = BaselineSums(n_classes), Sums(n, n_classes)
    precisions = set()
    for batch in dataset.batches(batch_size):
        found = run(batch)
        precisions.add(found.precision)
        done = 0
        with closing(found.blocks) as blocks:
            for block in blocks:
                labels = batch.labels[: batch.n_images][block.images]
                if not np.isfinite(block.change).all():
                    judge(found.logits[block.images], labels, batch.start + block.images.start)
                    _refuse_no_number(block.change, names[block.units], site)
                sums.add(block, labels)
                if pairs is not None:
                    rows = np.arange(batch.start, batch.start + batch.n_images)[block.images]
                    pairs[np.ix_(rows, columns[block.units])] = block.change
                done += block.change.size
                if progress is not None:
                    progress(batch.start * n + done)
        intact.add(found.logits, batch)
    return Summed(sums, intact, " and ".join(sorted(precisions)))


def _refuse_no_number(change: np.ndarray, names: np.ndarray, site: str) -> None:
    finite = np.isfinite(change).all(axis=0)
    raise FloatingPointError(
        f"the loss change of unit {names[~finite][0]} of {site} is NaN or infinite"
    )
