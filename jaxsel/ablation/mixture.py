"""Networks of selective and non-selective units in every proportion (Kanda, figure 6)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from ..data.dataset import Dataset
from ..sites import Model
from .groups import ablate_groups


@dataclass(frozen=True, eq=False)
class MixtureCurve:
    """How networks do that keep a number of units, some of them non-selective.

    Attributes:
        keep: units kept.
        n_non_selective: how many of them are non-selective, per point of a curve.
        accuracy: fraction of images right in the top k, one curve per trial.
        loss_ratio: percent by which the loss exceeds the intact network's.
        k: of the accuracy.
    """

    keep: int
    n_non_selective: Int[np.ndarray, " points"]
    accuracy: Float[np.ndarray, "trials points"]
    loss_ratio: Float[np.ndarray, "trials points"]
    k: int


def mixture_curve(
    model: Model,
    dataset: Dataset,
    site: str,
    selective: Bool[np.ndarray, " units"],
    non_selective: Bool[np.ndarray, " units"],
    *,
    rng: np.random.Generator,
    keep: int | None = None,
    fractions: Sequence[float] = tuple(np.linspace(0, 1, 11)),
    trials: int = 50,
    k: int = 5,
    batch_size: int = 256,
    chunk: int = 16,
    engine: str | None = None,
    memory: int | None = None,
    resume: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> MixtureCurve:
    """Keep few units of a site, in changing proportions, and see how the network does.

    In each trial both pools are shuffled once; every point of its curve takes the first so
    many of each. Neighbouring points of a trial therefore share units, and a line shows
    the proportion, not the luck of the draw. Kept responses are not rescaled.

    Args:
        model: called as `model(images, tap)`.
        dataset: images and labels.
        site: where units are kept; the other sites stay whole.
        selective: the pool of selective units.
        non_selective: the other pool; units in neither (silent ones) are always ablated.
        rng: draws the trials.
        keep: units kept; by default `default_keep` of the pools.
        fractions: shares of non-selective units, 0 to 1.
        trials: curves.
        k: 1 or 5, for the accuracy.
        batch_size: images at a time.
        chunk: masks at a time.
        engine: as in `ablate_groups`.
        memory: likewise.
        resume: likewise, with an `rng` of the same state.
        progress: called with the number of pairs (image, mask) done.

    Returns:
        Accuracy and loss ratio of every trial at every share.

    Raises:
        ValueError: a pool smaller than `keep`, pools that overlap, a fraction outside 0 to
            1, or an engine that does not fit.

    Source:
        Kanda et al. (2020), arXiv:2001.07811, figure 6: 1,000 of 4,096 units kept, 50
        trials, top-5. The grid of fractions and the draw are not stated there: jaxsel's
        choice.

    >>> model = lambda images, tap: tap("all", images)
    >>> dataset = Dataset(np.eye(4, dtype=np.float32), np.arange(4), tuple("abcd"))
    >>> first = np.array([True, True, False, False])
    >>> rng = np.random.default_rng(0)
    >>> settings = {"rng": rng, "keep": 2, "trials": 1, "k": 1}
    >>> curve = mixture_curve(model, dataset, "all", first, ~first, **settings)
    >>> curve.accuracy[0, [0, -1]].tolist()  # two classes left; ties go to the first class
    [0.5, 0.75]
    """
    keep = default_keep(selective, non_selective) if keep is None else keep
    masks, n_non_selective = _masks(selective, non_selective, keep, fractions, trials, rng)
    effects = ablate_groups(
        model,
        dataset,
        {site: masks.reshape(-1, masks.shape[-1])},
        batch_size=batch_size,
        chunk=chunk,
        engine=engine,
        memory=memory,
        resume=resume,
        progress=progress,
    )
    shape = masks.shape[:2]
    return MixtureCurve(
        keep,
        n_non_selective,
        effects.accuracy(k).reshape(shape),
        effects.loss_ratio().reshape(shape),
        k,
    )


def default_keep(
    selective: Bool[np.ndarray, " units"], non_selective: Bool[np.ndarray, " units"]
) -> int:
    """As many units as 1,000 are of the paper's 4,096, at most what either pool holds.

    >>> default_keep(np.arange(4096) < 2048, np.arange(4096) >= 2048)
    1000
    """
    pools = int(selective.sum()), int(non_selective.sum())
    return min(round(1000 / 4096 * len(selective)), *pools)


def _masks(selective, non_selective, keep, fractions, trials, rng):
    """Units kept, `(trials, points, units)`, and how many are non-selective, `(points,)`."""
    if (selective & non_selective).any():
        raise ValueError("a unit is in both pools")
    pools = [np.flatnonzero(selective), np.flatnonzero(non_selective)]
    if not 1 <= keep <= min(len(pool) for pool in pools):
        raise ValueError(
            f"cannot keep {keep} units of either kind: there are {len(pools[0])} selective "
            f"and {len(pools[1])} non-selective ones"
        )
    if not all(0 <= fraction <= 1 for fraction in fractions):
        raise ValueError(f"the fractions must be 0 to 1; found {list(fractions)}")
    n_non_selective = np.round(np.asarray(fractions) * keep).astype(np.int64)
    masks = np.zeros((trials, len(n_non_selective), len(selective)), bool)
    for trial in range(trials):
        of_selective, of_others = (rng.permutation(pool) for pool in pools)
        for point, n in enumerate(n_non_selective):
            masks[trial, point, of_others[:n]] = True
            masks[trial, point, of_selective[: keep - n]] = True
    return masks, n_non_selective
