"""What an engine hands over, and the running float64 sums of it per unit and class."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Block(NamedTuple):
    """The effects of some units on every image of a batch.

    Attributes:
        rows: which of the units asked for.
        change: of the loss, nats.
        error: estimate of the rounding error of the change.
        top1: 1 where an image is gained, -1 where one is lost.
        top5: likewise.
    """

    rows: Int[np.ndarray, " rows"]
    change: Float[np.ndarray, "rows images"]
    error: Float[np.ndarray, "rows images"]
    top1: Int[np.ndarray, "rows images"]
    top5: Int[np.ndarray, "rows images"]


class Pass(NamedTuple):
    """A batch, ablated.

    Attributes:
        logits: of the intact network.
        precision: of the changes and of what they are changes of.
        blocks: every unit once, computed as they are asked for.
    """

    logits: Float[np.ndarray, "images classes"]
    precision: str
    blocks: Iterator[Block]


class Sums:
    """The running float64 sums of an ablation, per unit and class."""

    def __init__(self, n_units: int, n_classes: int):
        self.loss_change = np.zeros((n_units, n_classes))
        self.top1_change = np.zeros((n_units, n_classes))
        self.top5_change = np.zeros((n_units, n_classes))
        self.error = np.zeros(n_units)

    def add(self, block: Block, members: Float[np.ndarray, "images classes"]) -> None:
        """Count in some units; `members` is 1 where an image counts for a class, else 0."""
        rows = block.rows
        self.loss_change[rows] += block.change.astype(np.float64) @ members
        self.error[rows] += block.error.astype(np.float64) @ members.sum(axis=1)
        self.top1_change[rows] += block.top1 @ members
        self.top5_change[rows] += block.top5 @ members
