"""What an engine hands over, and the running float64 sums of it per unit and class."""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped


class Block(NamedTuple):
    """The effects of some units on some images of a batch, which count.

    Attributes:
        images: which of the batch.
        units: which of those asked for, by position.
        change: of the loss, nats.
        error: estimate of the rounding error of the change.
        top1: 1 where an image is gained, -1 where one is lost.
        top5: likewise.
    """

    images: slice
    units: Int[np.ndarray, " units"]
    change: Float[np.ndarray, "images units"]
    error: Float[np.ndarray, "images units"]
    top1: Int[np.ndarray, "images units"]
    top5: Int[np.ndarray, "images units"]


class GroupBlock(NamedTuple):
    """How some images do with some groups of units.

    Attributes:
        labels: of the images.
        groups: which, by position.
        loss: nats.
        rank: of the label, from 0.
    """

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
        self.error = np.zeros(n_units)

    def add(self, block: Block, labels: Int[np.ndarray, " images"]) -> None:
        """Count in some units on some images, whose labels these are."""
        units = block.units
        self.error[units] += block.error.sum(axis=0, dtype=np.float64)
        for total, values in (
            (self.loss_change, block.change),
            (self.top1_change, block.top1),
            (self.top5_change, block.top5),
        ):
            present, sums = class_sums(values, labels)
            total[np.ix_(present, units)] += sums


class GroupSums:
    """The running float64 sums of loss and correct images, per group and class."""

    def __init__(self, n_groups: int, n_classes: int):
        self.loss, self.top1, self.top5 = (np.zeros((n_groups, n_classes)) for _ in range(3))

    def add(self, block: GroupBlock) -> None:
        """Count in some images with some groups."""
        values = [block.loss, block.rank < 1, block.rank < 5]
        present, sums = class_sums(np.concatenate(values, axis=1), block.labels)
        at = np.ix_(block.groups, present)
        for total, own in zip(
            (self.loss, self.top1, self.top5), np.split(sums.T, 3), strict=True
        ):
            total[at] += own


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
