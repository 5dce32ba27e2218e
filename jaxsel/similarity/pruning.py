"""Pruning curves: how a representational space changes as units are taken away."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Real

from .prepared import prepared
from .rsm import fewest_units

# Rankings that one program does: a progress bar moves between.
TOGETHER = 32


@dataclass(frozen=True, eq=False)
class PruningCurve:
    """How well what is left of the units agrees with a target, at each number kept.

    Attributes:
        keep: numbers of units kept, as they were asked for.
        fit: agreement of the similarity matrix of the kept units with the target; NaN where
            fewer than three pairs of images have a similarity, or it is the same for all.
            Shape `(levels,)`, of random rankings `(rankings, levels)`.
        undefined: pairs of images that have a similarity in the target but none here, as the
            kept units respond alike to one of the two; they are left out. Shaped as `fit`.
    """

    keep: Int[np.ndarray, " levels"]
    fit: Float[np.ndarray, "*rankings levels"]
    undefined: Int[np.ndarray, "*rankings levels"]


def removal_order(
    values: Real[ArrayLike, " units"], *, highest_first: bool = True
) -> Int[np.ndarray, " units"]:
    """In which order units are taken away, by any number per unit.

    Args:
        values: such as the percentage of zeros, an index, or the loss change of each unit's
            ablation. Units without a value (NaN: silent units have no index) go first.
        highest_first: whether the units with the largest values go first, or those with the
            smallest.

    Returns:
        Numbers of the units, the first to go first. Ties are broken by unit number: the lower
        goes first.

    Raises:
        ValueError: not one number per unit.

    >>> removal_order(np.array([10.0, 90.0, 10.0, np.nan])).tolist()
    [3, 1, 0, 2]
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1:
        raise ValueError(f"an order needs one number per unit, not shape {values.shape}")
    order = np.argsort(-values if highest_first else values, kind="stable")  # NaN last
    n_absent = int(np.isnan(values).sum())
    return np.roll(order, n_absent)


def pruning_curve(
    responses: Real[ArrayLike, "images units"],
    ranking: Int[ArrayLike, " ranking"],
    keep: Sequence[int] | Int[np.ndarray, " levels"],
    target: Real[ArrayLike, "..."],
    *,
    kind: str = "pearson_squared",
    how: str = "pearson_squared",
) -> PruningCurve:
    r"""How well the similarity matrix agrees with a target as units are taken away.

    At each level the last units of the ranking are kept, the similarity matrix of the images is
    computed from these alone, and compared with the target. Levels share their work: sums over
    units of products $x_{ik} x_{jk}$ are built up from the fewest units to the most, so that
    all levels cost little more than the largest; nothing is ever subtracted from a sum, which
    would lose digits. All in float64. Where units that go are so much larger than those that
    stay that sums have lost half of their digits (some 1e4 times), a level is computed again by
    itself. Distances below 2e-7 of the responses' size count as 0.

    Comparisons by ranks hold the similarities of all levels of one ranking in memory, 8 bytes
    x levels x images squared.

    Args:
        responses: one number per image and unit; or per class, for similarities of classes.
        ranking: the order in which units are taken away, each once (`removal_order`).
        keep: how many units are kept at each level, in any order, each once.
        target: similarity matrix of the same images, or its upper triangle: human judgements,
            or that of all units for the network's own space. Pairs that are NaN in it (not
            judged) are left out.
        kind: of similarity, as in `rsm`.
        how: of comparison, as in `compare`.

    Returns:
        The curve.

    Raises:
        ValueError: responses that are NaN; a ranking that is none; a number of units that
            cannot be kept; a target of other size, with fewer than three pairs, or the same
            for all pairs; a kind or comparison that there is not.

    Source:
        Truong and Hasson, experiments 1 and 2.

    >>> from jaxsel.similarity import rsm
    >>> rng = np.random.default_rng(0)
    >>> responses = np.maximum(rng.normal(size=(6, 10)), 0)
    >>> curve = pruning_curve(responses, np.arange(10), [10, 5], rsm(responses))
    >>> curve.fit.round(3).tolist()
    [1.0, 0.311]
    """
    work = prepared(responses, target, kind, how)
    ranking = np.asarray(ranking)
    n_units = len(work.patterns)
    keep = checked_numbers(keep, n_units, kind)
    if (
        ranking.shape != (n_units,)
        or ranking.dtype.kind not in "iu"
        or (np.sort(ranking) != np.arange(n_units)).any()
    ):
        raise ValueError(
            f"a ranking of {n_units} units has each of the numbers 0 to {n_units - 1} once"
        )
    fit, undefined = work.fits(ranking[None], keep)
    return PruningCurve(keep, fit[0], undefined[0])


def random_curves(
    responses: Real[ArrayLike, "images units"],
    keep: Sequence[int] | Int[np.ndarray, " levels"],
    target: Real[ArrayLike, "..."],
    *,
    rng: np.random.Generator,
    n: int = 1000,
    kind: str = "pearson_squared",
    how: str = "pearson_squared",
    on_progress: Callable[[int], None] | None = None,
) -> PruningCurve:
    """The curves of random rankings: what is to be expected of taking away so many units.

    Args:
        responses: one number per image and unit; or per class, for similarities of classes.
        keep: how many units are kept at each level, in any order, each once.
        target: similarity matrix of the same images, or its upper triangle.
        rng: draws the rankings.
        n: how many.
        kind: of similarity, as in `rsm`.
        how: of comparison, as in `compare`.
        on_progress: called with the number of rankings that are done.

    Returns:
        The curves, `(n, levels)`.

    Raises:
        ValueError: as `pruning_curve`.
    """
    if n < 1:
        raise ValueError(f"{n} rankings: chance needs one or more")
    work = prepared(responses, target, kind, how)
    n_units = len(work.patterns)
    keep = checked_numbers(keep, n_units, kind)
    rankings = np.stack([rng.permutation(n_units) for _ in range(n)])
    fits, undefined = [], []
    # Comparisons that sort have all similarities of a ranking in memory.
    together = TOGETHER if how.startswith("pearson") else 1
    for start in range(0, n, together):
        fit, left_out = work.fits(rankings[start : start + together], keep)
        fits.append(fit)
        undefined.append(left_out)
        if on_progress is not None:
            on_progress(sum(map(len, fits)))
    return PruningCurve(keep, np.concatenate(fits), np.concatenate(undefined))


def checked_numbers(
    keep: Sequence[int] | Int[np.ndarray, " levels"], n_units: int, kind: str
) -> Int[np.ndarray, " levels"]:
    """Numbers of units to keep, that can be kept."""
    keep, fewest = np.asarray(keep), fewest_units(kind)
    fits = keep.ndim == 1 and len(keep) > 0 and keep.dtype.kind in "iu"
    fits = fits and fewest <= keep.min() and keep.max() <= n_units
    if not fits or len(np.unique(keep)) < len(keep):
        raise ValueError(
            f"of {n_units} units, {fewest} to {n_units} can be kept, each number once, not "
            f"{keep.tolist()}"
        )
    return keep
