"""Pruning that is taught by the target: which units to keep, and whether that generalises."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Real

from .compare import triangle
from .prepared import prepared
from .pruning import checked_numbers, pruning_curve, removal_order
from .rsm import square
from .running_sums import fit, similarities

# Units whose sums share one.
BLOCK = 64
# Share of the pairs: where more have no similarity, a fit is of other images.
LEFT_OUT = 0.05


def effects_on_fit(
    responses: Real[ArrayLike, "images units"],
    target: Real[ArrayLike, "..."],
    *,
    kind: str = "pearson_squared",
    how: str = "pearson_squared",
) -> Float[np.ndarray, " units"]:
    """How much worse the similarity matrix agrees with a target without each unit.

    Every unit is taken away alone, from all others. Sums over the others are made of those
    before it and those after it, never by subtracting the unit's from the sum of all; they
    take 16 bytes x units / 64 x images squared of memory.

    Args:
        responses: one number per image and unit.
        target: similarity matrix of the same images, or its upper triangle.
        kind: of similarity, as in `rsm`.
        how: of comparison: `pearson` or `pearson_squared`.

    Returns:
        Fit with all units less fit without this one: above 0 for a unit that the fit needs,
        below 0 for one it is better without; infinite for one without which there is no fit.

    Raises:
        ValueError: as `pruning_curve`; a comparison by ranks, of which so many would take too
            long; fewer than three units, or a fit that does not exist.

    Source:
        Tarigopula et al. (2023), Neural Networks 168:89; github.com/tlmnhut/
        Visualize_PrunedDNN_by_HumanSim, pruning.py, `compute_feature_ranking`.

    >>> from jaxsel.similarity import rsm
    >>> responses = np.random.default_rng(0).normal(size=(8, 5))
    >>> effects = effects_on_fit(responses, rsm(responses[:, :4], "pearson"), kind="pearson")
    >>> int(effects.argmin())
    4
    """
    if how not in ("pearson", "pearson_squared"):
        raise ValueError(f"effects on a fit by {how!r}: possible are pearson, pearson_squared")
    work = prepared(responses, target, kind, how)
    n_units = len(work.patterns)
    if n_units < 3:
        raise ValueError(f"{n_units} units: what is left of them needs two or more")
    # One more that is silent: without it, there is the fit of all.
    n_blocks = n_units // BLOCK + 1
    blocks = np.zeros((n_blocks * BLOCK, work.patterns.shape[1]))
    blocks[:n_units] = work.patterns
    blocks = blocks.reshape(n_blocks, BLOCK, -1)
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        fits = np.asarray(_without(blocks, work.target, work.counts, n_units, kind, how))
    whole = fits[n_units]
    if np.isnan(whole):
        raise ValueError("all units together have no fit with the target")
    without = fits[:n_units]
    return np.where(np.isnan(without), np.inf, whole - without)


@partial(jax.jit, static_argnames=("n_units", "kind", "how"))
def _without(
    blocks: Float[Array, "blocks units images"],
    target: Real[Array, "images images"],
    counts: Float[Array, "images images"],
    n_units: int,
    kind: str,
    how: str,
):
    """The fit without each unit; those after `n_units` are silent."""

    def added(sums, patterns):
        return sums[0] + patterns.T @ patterns, sums[1] + patterns.sum(axis=0)

    def outside(sums, patterns):
        return added(sums, patterns), sums

    nothing = jnp.zeros_like(target), jnp.zeros_like(target[0])
    _, before = lax.scan(outside, nothing, blocks)
    _, after = lax.scan(outside, nothing, blocks, reverse=True)

    def of_block(block):
        number, patterns, before, after = block
        others = jax.tree.map(jnp.add, before, after)

        def of_unit(unit):
            left = patterns * (jnp.arange(BLOCK) != unit)[:, None]
            n_left = n_units - (number * BLOCK + unit < n_units)
            similar, defined = similarities(*added(others, left), n_left, kind)
            counted = jnp.where(defined, counts, 0)
            return fit(similar, target, counted, counted.sum(), how)

        return lax.map(of_unit, jnp.arange(BLOCK))

    return lax.map(of_block, (jnp.arange(len(blocks)), blocks, before, after)).ravel()


@dataclass(frozen=True, eq=False)
class SupervisedPruning:
    """Units kept by their effect on the fit, judged on images that had no part in it.

    Attributes:
        keep: numbers of units kept.
        train: fit on the images that ranked the units, `(folds, levels)`.
        test: fit of the same units on the images held out; pairs of these only.
        train_full: fit of all units on the ranking images, `(folds,)`.
        test_full: the same on the images held out.
        chosen: the level with the largest fit on the ranking images, `(folds,)`, of those at
            which no more than `LEFT_OUT` of the pairs have no similarity.
        left_out: of the pairs held out, the share without a similarity, `(folds, levels)`.
        held_out: the images of each fold.
    """

    keep: Int[np.ndarray, " levels"]
    train: Float[np.ndarray, "folds levels"]
    test: Float[np.ndarray, "folds levels"]
    train_full: Float[np.ndarray, " folds"]
    test_full: Float[np.ndarray, " folds"]
    chosen: Int[np.ndarray, " folds"]
    left_out: Float[np.ndarray, "folds levels"]
    held_out: tuple[np.ndarray, ...]

    @property
    def gain(self) -> Float[np.ndarray, " folds"]:
        """What pruning gains on images that had no part in it: fit less that of all units.

        NaN where more than `LEFT_OUT` of the pairs held out have no similarity to the units
        kept: fits of other pairs do not compare.
        """
        at = np.arange(len(self.chosen)), self.chosen
        gain = self.test[at] - self.test_full
        return np.where(self.left_out[at] <= LEFT_OUT, gain, np.nan)


def supervised_pruning(
    responses: Real[ArrayLike, "images units"],
    target: Real[ArrayLike, "..."],
    keep: Sequence[int] | Int[np.ndarray, " levels"],
    *,
    folds: int = 5,
    rng: np.random.Generator,
    kind: str = "pearson_squared",
    how: str = "pearson_squared",
    on_progress: Callable[[int], None] | None = None,
) -> SupervisedPruning:
    """Keep the units that a target's fit needs most; cross-validated over images.

    In each fold, units are ranked by `effects_on_fit` on most images, those that the fit needs
    least going first, and the number to keep is the one that fits best there. The units so
    chosen, as many thousands of choices, fit these images better in any case; what counts is
    the fit on the images held out.

    Args:
        responses: one number per image and unit.
        target: similarity matrix of the same images, or its upper triangle.
        keep: numbers of units among which to choose.
        folds: parts of the images, each held out once.
        rng: deals the images out.
        kind: of similarity, as in `rsm`.
        how: of comparison: `pearson` or `pearson_squared`.
        on_progress: called with the number of folds that are done.

    Returns:
        Fits on both kinds of images; NaN where the units kept are silent for too many of them.
        A silent unit has hardly an effect, so that units that hurt the fit go before it.

    Raises:
        ValueError: fewer than two folds, or so many that one has fewer than four images; as
            `effects_on_fit`.

    Source:
        Tarigopula et al. (2023), Neural Networks 168:89, study 1; units are put back from the
        most needed one on.
    """
    work = prepared(responses, target, kind, how)
    keep = checked_numbers(keep, len(work.patterns), kind)
    n_images = work.patterns.shape[1]
    if n_images < 8:
        raise ValueError(f"{n_images} images: folds of four or more need at least 8")
    if not 2 <= folds <= n_images // 4:
        raise ValueError(
            f"{n_images} images in {folds} folds: possible are 2 to {n_images // 4}, of four "
            "images or more"
        )
    responses, matrix = np.asarray(responses), square(triangle(target))
    held_out = tuple(np.sort(f) for f in np.array_split(rng.permutation(n_images), folds))
    levels = np.append(keep, len(work.patterns)) if len(work.patterns) not in keep else keep
    full = int(np.argmax(levels))
    train, test, missing = [], [], []
    for fold in held_out:
        rest = np.setdiff1d(np.arange(n_images), fold)
        of = {"kind": kind, "how": how}
        effects = effects_on_fit(responses[rest], matrix[np.ix_(rest, rest)], **of)
        order = removal_order(effects, highest_first=False)
        for images, fits in ((rest, train), (fold, test)):
            of_images = matrix[np.ix_(images, images)]
            curve = pruning_curve(responses[images], order, levels, of_images, **of)
            fits.append(curve.fit)
            missing.append(curve.undefined / np.isfinite(triangle(of_images)).sum())
        if on_progress is not None:
            on_progress(len(train))
    on_train, on_test = np.array(train), np.array(test)
    kept = slice(len(keep))
    eligible = np.where(np.array(missing[::2])[:, kept] <= LEFT_OUT, on_train[:, kept], np.nan)
    if not np.isfinite(eligible).any(axis=1).all():
        raise ValueError(
            f"with each of the numbers of units {keep.tolist()}, more than "
            f"{100 * LEFT_OUT:g} % of the pairs of images have no similarity"
        )
    return SupervisedPruning(
        keep,
        on_train[:, kept],
        on_test[:, kept],
        on_train[:, full],
        on_test[:, full],
        np.nanargmax(eligible, axis=1),
        np.array(missing[1::2])[:, kept],
        held_out,
    )
