"""Units taken away one after the other: how a network does with fewer and fewer of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from ..data.dataset import Dataset
from ..sites import Model
from .checks import activation_shape, check_units
from .effects import GroupEffects
from .groups import ablate_groups


@dataclass(frozen=True, eq=False)
class RemovalCurve:
    """How a network does after more and more of its units were ablated.

    Attributes:
        n_ablated: how many of the order's units, from 0 on; one number per point.
        effects: loss and correct images at each point.
    """

    n_ablated: Int[np.ndarray, " points"]
    effects: GroupEffects


def ablate_in_order(
    model: Model,
    dataset: Dataset,
    site: str,
    order: Int[np.ndarray, " ablated"],
    *,
    every: int = 1,
    batch_size: int = 256,
    chunk: int = 16,
    engine: str | None = None,
    memory: int | None = None,
    resume: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> RemovalCurve:
    """Ablate the first unit of an order, the first two, the first three, and so on.

    Args:
        model: called as `model(images, tap)`, in evaluation mode.
        dataset: images and labels.
        site: where the units are; ablated responses are 0.
        order: numbers of units, such as those sorted by an index; the others always stay.
        every: evaluate after each so many units; the end of the order always is evaluated.
        batch_size: images at a time.
        chunk: points at a time. Memory grows with `batch_size * chunk`.
        engine: as in `ablate_groups`.
        memory: likewise.
        resume: likewise.
        progress: called with the number of pairs (image, point) done.

    Returns:
        The points with 0, `every`, 2 `every`, ... units ablated, and with all of the order.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: a unit that the site does not have or that comes twice, steps below 1, an
            engine that does not fit.
        FloatingPointError: a loss that is NaN or infinite.

    Source:
        Morcos et al. (2018), arXiv:1803.06959: cumulative ablation, there in random orders.

    >>> model = lambda images, tap: tap("all", images)
    >>> dataset = Dataset(np.eye(3, dtype=np.float32), np.arange(3), tuple("abc"))
    >>> curve = ablate_in_order(model, dataset, "all", np.array([2, 1, 0]))
    >>> curve.n_ablated.tolist(), curve.effects.top1.sum(axis=1).tolist()
    ([0, 1, 2, 3], [3, 2, 1, 1])
    """
    if every < 1:
        raise ValueError(f"every must be at least 1; found {every}")
    n_units, order = activation_shape(model, dataset, site).shape[-1], np.asarray(order)
    check_units(order, n_units, site)
    if len(np.unique(order)) < len(order):
        raise ValueError("a unit comes twice in the order")
    n_ablated = np.append(np.arange(0, len(order), every), len(order))
    keep = np.ones((len(n_ablated), n_units), bool)
    for mask, n in zip(keep, n_ablated, strict=True):
        mask[order[:n]] = False
    effects = ablate_groups(
        model,
        dataset,
        {site: keep},
        batch_size=batch_size,
        chunk=chunk,
        engine=engine,
        memory=memory,
        resume=resume,
        progress=progress,
    )
    return RemovalCurve(n_ablated, effects)
