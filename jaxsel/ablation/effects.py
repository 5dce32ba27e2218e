"""What ablation returns: float64 sums over the images of each class, in host memory."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from .verify import Verification


@dataclass(frozen=True, eq=False)
class Baseline:
    """The intact network, summed over the images of each class.

    Attributes:
        loss: cross-entropy in nats.
        top1: images whose label has the largest logit.
        top5: images whose label is among the five largest.
        images: how many there are.
    """

    loss: Float[np.ndarray, " classes"]
    top1: Int[np.ndarray, " classes"]
    top5: Int[np.ndarray, " classes"]
    images: Int[np.ndarray, " classes"]


@dataclass(frozen=True, eq=False)
class UnitEffects:
    """What the ablation of each unit, or group of units, of a site changes.

    Attributes:
        site: where the units are.
        units: their numbers.
        loss_change: nats, summed over the images of each class; above 0 the network
            needed the unit.
        top1_change: images gained (+) or lost (-) by each class.
        top5_change: likewise for the top five; with five classes or fewer always 0.
        error: estimate of the rounding error of a unit's loss change summed over classes,
            nats; see `condition.py`. Exactly 0 for a unit that changes no logit at all.
        baseline: the intact network on the same images.
        per_image: loss change of every pair, a memory-mapped float32 file; None unless
            asked for.
        engine: how the changes were computed.
        precision: of the changes and of what they are changes of.
        replacement: what the ablated responses were set to.
        groups: the masks, where groups of units were ablated; `units` then numbers them.
        recomputed: numbers of the units that float32 could not decide, and whose effects are
            therefore from changes in float64.
        verification: some units by brute force, where that was asked for.
    """

    site: str
    units: Int[np.ndarray, " units"]
    loss_change: Float[np.ndarray, "units classes"]
    top1_change: Int[np.ndarray, "units classes"]
    top5_change: Int[np.ndarray, "units classes"]
    error: Float[np.ndarray, " units"]
    baseline: Baseline
    per_image: Float[np.ndarray, "images units"] | None
    engine: str
    precision: str
    replacement: float | Float[np.ndarray, " _"]
    groups: Bool[np.ndarray, "units _"] | None = None
    recomputed: Int[np.ndarray, " _"] = field(default_factory=lambda: np.zeros(0, np.int64))
    verification: Verification | None = None

    def total(self) -> Float[np.ndarray, " units"]:
        """Loss change of each unit over all images, nats."""
        return self.loss_change.sum(axis=1)

    def loss_ratio(self) -> Float[np.ndarray, " units"]:
        """Loss change in percent of the intact network's loss on the same images.

        Raises:
            ZeroDivisionError: the intact network's loss is exactly 0.

        Source:
            Kanda et al. (2020), arXiv:2001.07811, Methods.
        """
        return 100 * self.total() / _positive(self.baseline.loss.sum())

    def verdict(self) -> list[str]:
        """What is certain of each unit's ablation, given the error estimate.

        Returns:
            `improves` (the loss falls), `harms` (it rises), `zero` (no logit of any image
            changes) or `undecided` (the error may be larger than the effect).
        """
        total = self.total()
        decided = np.where(total > 0, "harms", "improves")
        unsure = np.where(self.error == 0, "zero", "undecided")
        return np.where(np.abs(total) > self.error, decided, unsure).tolist()


@dataclass(frozen=True, eq=False)
class GroupEffects:
    """How the network does with only some of its units, summed over the images of a class.

    Attributes:
        loss: nats.
        top1: images whose label has the largest logit.
        top5: images whose label is among the five largest.
        baseline: the intact network on the same images.
        engine: how they were computed.
        losses: of every image, nats, if they were asked for.
    """

    loss: Float[np.ndarray, "groups classes"]
    top1: Int[np.ndarray, "groups classes"]
    top5: Int[np.ndarray, "groups classes"]
    baseline: Baseline
    engine: str
    losses: Float[np.ndarray, "groups images"] | None = None

    def accuracy(self, k: int = 1) -> Float[np.ndarray, " groups"]:
        """Fraction of all images right in the top k, with k 1 or 5."""
        if k not in (1, 5):
            raise ValueError(f"accuracy is known for k = 1 and k = 5; found {k}")
        right = self.top1 if k == 1 else self.top5
        return right.sum(axis=1) / self.baseline.images.sum()

    def loss_ratio(self) -> Float[np.ndarray, " groups"]:
        """Loss less the intact network's loss, in percent of the latter."""
        intact = _positive(self.baseline.loss.sum())
        return 100 * (self.loss.sum(axis=1) - intact) / intact


def _positive(loss: float) -> float:
    if loss == 0:
        raise ZeroDivisionError("the intact network's loss is exactly 0: there is no ratio")
    return float(loss)
