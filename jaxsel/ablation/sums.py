"""What an engine hands over, and the running float64 sums of it per unit and class."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped


class Block(NamedTuple):
    """The effects of some units on some images of a batch, which count.

    Attributes:
        images: which of the batch.
        units: which of those asked for, by position.
        change: of the loss, nats.
        error: estimate of the rounding error of the change.
        top1: 1 where an image is gained, -1 where one is lost.
        top5: likewise.
        spread: the error that shifted numbers tell of, NaN for images that were not tried;
            None where none was. See `condition.py`.
    """

    images: slice
    units: Int[np.ndarray, " units"]
    change: Float[np.ndarray, "images units"]
    error: Float[np.ndarray, "images units"]
    top1: Int[np.ndarray, "images units"]
    top5: Int[np.ndarray, "images units"]
    spread: Float[np.ndarray, "images units"] | None = None


def with_spread(
    block: Block,
    spread: Sequence[Float[np.ndarray, "images units"]],
    tried: Bool[np.ndarray, " images"],
    *,
    careful: bool,
) -> Block:
    """A block that knows what the largest of several draws tells of its error.

    Args:
        block: without it.
        spread: of each draw.
        tried: images that it is of.
        careful: whether it is of all images, and so becomes part of the error of each pair.
    """
    if not spread:
        return block
    largest = np.max(spread, axis=0)
    if careful:
        return block._replace(error=np.maximum(block.error, largest))
    return block._replace(spread=np.where(tried[:, None], largest, np.nan))


class GroupBlock(NamedTuple):
    """How some images do with some groups of units.

    Attributes:
        images: their numbers in the data set.
        labels: of the images.
        groups: which, by position.
        loss: nats.
        rank: of the label, from 0.
    """

    images: Int[np.ndarray, " images"]
    labels: Int[np.ndarray, " images"]
    groups: Int[np.ndarray, " groups"]
    loss: Float[np.ndarray, "images groups"]
    rank: Int[np.ndarray, "images groups"]


class Pass(NamedTuple):
    """A batch, ablated.

    Attributes:
        logits: of the intact network; of images whose blocks are still to come perhaps not
            yet there.
        precision: of the changes and of what they are changes of.
        blocks: every unit on every image once, computed as they are asked for.
    """

    logits: Float[np.ndarray, "images classes"]
    precision: str
    blocks: Generator[Block, None, None]


class Sums:
    """The running float64 sums of an ablation, per class and unit."""

    def __init__(self, n_units: int, n_classes: int):
        self.loss_change, self.top1_change, self.top5_change = (
            np.zeros((n_classes, n_units)) for _ in range(3)
        )
        self.estimate = np.zeros(n_units)
        # Of the same pairs: their part of the estimate, and what shifted numbers tell.
        self.checked, self.spread = np.zeros(n_units), np.zeros(n_units)
        self.tried = np.array(False)  # whether there are any

    def add(self, block: Block, labels: Int[np.ndarray, " images"]) -> None:
        """Count in some units on some images, whose labels these are."""
        units = block.units
        self.estimate[units] += block.error.sum(axis=0, dtype=np.float64)
        if block.spread is not None:
            tried = ~np.isnan(block.spread[:, 0])
            self.tried |= tried.any()
            self.checked[units] += block.error[tried].sum(axis=0, dtype=np.float64)
            self.spread[units] += block.spread[tried].sum(axis=0, dtype=np.float64)
        for total, values in (
            (self.loss_change, block.change),
            (self.top1_change, block.top1),
            (self.top5_change, block.top5),
        ):
            present, sums = class_sums(values, labels)
            total[np.ix_(present, units)] += sums

    def arrays(self) -> dict[str, Shaped[np.ndarray, "..."]]:
        """All sums by name, as they are."""
        return vars(self).copy()

    def restore(self, arrays: Mapping[str, Shaped[np.ndarray, "..."]]) -> None:
        """Go on from what `arrays` gave."""
        for name in vars(self):
            setattr(self, name, arrays[name])

    def put(self, rows: Int[np.ndarray, " some"], others: "Sums") -> None:
        """What others found of some rows stands in place of what was found here."""
        for own, theirs in (
            (self.loss_change, others.loss_change),
            (self.top1_change, others.top1_change),
            (self.top5_change, others.top5_change),
        ):
            own[:, rows] = theirs

    def error(self) -> Float[np.ndarray, " units"]:
        """The estimate of each unit, raised where shifted numbers tell of more.

        Infinite for a unit that moved nothing in what was tried although something was, and
        where it would be no number.
        """
        error = self.estimate.copy()
        if self.tried:
            moved = self.estimate > 0
            known = self.checked > 0
            error[moved & ~known] = np.inf
            error[known] *= np.maximum(self.spread[known] / self.checked[known], 1)
        return np.where(np.isnan(error), np.inf, error)


class GroupPass(NamedTuple):
    """Some batches, with groups of units kept.

    Attributes:
        logits: of the intact network, batch by batch.
        blocks: every group on every image once, computed as they are asked for.
    """

    logits: Sequence[Float[np.ndarray, "batch classes"]]
    blocks: Iterator[GroupBlock]


class GroupSums:
    """The running float64 sums of loss and correct images, per group and class."""

    def __init__(self, n_groups: int, n_classes: int, n_images: int):
        """Of every image also the loss, for the first `n_images`: all of them, or none."""
        self.loss, self.top1, self.top5 = (np.zeros((n_groups, n_classes)) for _ in range(3))
        self.losses = np.zeros((n_groups, n_images), np.float32)

    def add(self, block: GroupBlock) -> None:
        """Count in some images with some groups."""
        values = [block.loss, block.rank < 1, block.rank < 5]
        present, sums = class_sums(np.concatenate(values, axis=1), block.labels)
        at = np.ix_(block.groups, present)
        for total, own in zip(
            (self.loss, self.top1, self.top5), np.split(sums.T, 3), strict=True
        ):
            total[at] += own
        if self.losses.size:
            self.losses[np.ix_(block.groups, block.images)] = block.loss.T

    arrays, restore = Sums.arrays, Sums.restore


def class_sums(
    values: Shaped[np.ndarray, "images units"], labels: Int[np.ndarray, " images"]
) -> tuple[Int[np.ndarray, " present"], Float[np.ndarray, "present units"]]:
    """The classes that have images, and the float64 sums over the images of each.

    >>> present, sums = class_sums(np.array([[1.0], [2.0], [4.0]]), np.array([0, 2, 0]))
    >>> present.tolist(), sums.ravel().tolist()
    ([0, 2], [5.0, 2.0])
    """
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    return present, np.add.reduceat(values[order], starts, axis=0, dtype=np.float64)
