"""Units taken away from a space, by how rarely they fire: the curve, chance, teaching."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxsel.metrics import percentage_of_zeros
from jaxsel.similarity import (
    AgainstRandom,
    PruningCurve,
    SupervisedPruning,
    against_random,
    pruning_curve,
    random_curves,
    removal_order,
    supervised_pruning,
)
from jaxsel.similarity.supervised import LEFT_OUT

from ..told import Progress
from .settings import Categories, Objects

LEVELS = 204  # after the first: as many as the paper has of 4,096 units
# Signed: opposite judgements are no agreement. Ranks, unit after unit, would take hours.
TAUGHT_BY = "pearson"
FEWEST_IN_FOLD = 4  # images
FEWEST = 3  # units kept: of two, all correlations are 1 or -1
MARKS = (90, 80, 70, 60, 50)  # percentages of zeros; the paper does not say which it marks


@dataclass(frozen=True, eq=False)
class Pruned:
    """One space.

    Attributes:
        name: of the category or of the target.
        n_images: in it.
        n_judged: pairs with a judgement.
        zeros: percentage of zeros of every unit, over these images.
        curve: by percentage of zeros, the highest first.
        signed: Pearson's correlation at every level, with its sign.
        random: of random rankings.
        taught: pruning taught by the target; None where it was not asked for.
    """

    name: str
    n_images: int
    n_judged: int
    zeros: np.ndarray
    curve: PruningCurve
    signed: np.ndarray
    random: PruningCurve
    taught: SupervisedPruning | None

    @property
    def share(self) -> np.ndarray:
        """Of the units that are kept, at every level."""
        return self.curve.keep / len(self.zeros)

    @property
    def counts(self) -> np.ndarray:
        """Which levels are judged: of the others, too many pairs have no similarity."""
        most = LEFT_OUT * self.n_judged
        random = np.median(self.random.undefined, axis=0)
        return (self.curve.undefined <= most) & (random <= most) & np.isfinite(self.curve.fit)

    @property
    def best(self) -> int:
        """The level with the best fit, of those that are judged."""
        return int(np.argmax(np.where(self.counts, self.curve.fit, -np.inf)))

    @property
    def random_ends(self) -> np.ndarray:
        """Where the middle 95 % of random rankings end, `(2, levels)`; NaN without fits."""
        found = np.full((2, len(self.curve.keep)), np.nan)
        for level in np.flatnonzero(self.counts):
            fits = self.random.fit[:, level]
            found[:, level] = np.quantile(fits[np.isfinite(fits)], [0.025, 0.975])
        return found

    @cached_property
    def test(self) -> AgainstRandom:
        """Of the curve against random rankings, at the levels that are judged."""
        random = np.where(self.counts, self.random.fit, np.nan)
        return against_random(self.curve.fit, random)

    @property
    def marks(self) -> dict[str, float]:
        """Shares of units with at most so many zeros, where these are some but not all."""
        shares = {f"{at} %": float((self.zeros <= at).mean()) for at in MARKS}
        return {text: share for text, share in shares.items() if 0 < share < 1}

    def at(self, share: float) -> int | None:
        """The level with so large a share, or the next below; None where there is none."""
        below = np.flatnonzero(self.share <= share + 1e-9)
        return int(below[0]) if len(below) else None


def refuse_always_firing(zeros: np.ndarray) -> None:
    """A ranking by percentage of zeros needs some.

    Raises:
        ValueError: no unit fires more rarely than another.
    """
    if np.ptp(zeros) == 0:
        raise ValueError(
            f"all units respond 0 to {zeros[0]:g} % of the images, so that none fires "
            "more rarely than another: name a site after a ReLU"
        )


def pruned(
    name: str,
    responses: np.ndarray,
    target: np.ndarray,
    config: Categories | Objects,
    rng: np.random.Generator,
    progress: Progress,
) -> Pruned:
    """Analyse a space.

    Args:
        name: of it.
        responses: `(images, units)`.
        target: upper triangle of similarities; NaN for pairs that were not judged.
        config: what was asked for.
        rng: draws rankings and parts of the images.
        progress: called with a description and a total; returns what takes the count.
    """
    zeros = np.asarray(percentage_of_zeros(responses), np.float64)
    n_units = len(zeros)
    if n_units < FEWEST:
        raise ValueError(f"{n_units} units: similarities need {FEWEST} or more")
    refuse_always_firing(zeros)
    if config.folds and len(responses) < FEWEST_IN_FOLD * config.folds:
        raise ValueError(
            f"{len(responses)} images are too few for {config.folds} folds of "
            f"{FEWEST_IN_FOLD} or more: fewer --folds, or 0 for no taught pruning"
        )
    if config.rsm == "euclidean":  # distances are less where images are alike
        target = -target
    keep = np.arange(n_units, FEWEST - 1, -(config.step or max(1, n_units // LEVELS)))
    how: Mapping[str, str] = {"kind": config.rsm, "how": config.fit}
    order = removal_order(zeros)
    curve = pruning_curve(responses, order, keep, target, **how)
    signed = pruning_curve(responses, order, keep, target, kind=config.rsm, how="pearson").fit
    random = random_curves(
        responses,
        keep,
        target,
        rng=rng,
        n=config.rankings,
        on_progress=progress(f"random rankings, {name}", config.rankings),
        **how,
    )
    taught = None
    if config.folds:
        taught = supervised_pruning(
            responses,
            target,
            keep,
            folds=config.folds,
            rng=rng,
            on_progress=progress(f"taught pruning, {name}", config.folds),
            kind=config.rsm,
            how=TAUGHT_BY,
        )
    found = Pruned(
        name,
        len(responses),
        int(np.isfinite(target).sum()),
        zeros,
        curve,
        signed,
        random,
        taught,
    )
    if not found.counts[0] and not curve.undefined[0]:
        raise ValueError("all units together have the same similarity for all pairs of images")
    if not found.counts[0]:
        raise ValueError(
            f"{curve.undefined[0]} of {found.n_judged} pairs of images have no "
            "similarity even to all units: too many images leave them all silent"
        )
    return found
