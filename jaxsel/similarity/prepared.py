"""How well what is left of the units agrees with a target, for many rankings at once."""

from dataclasses import dataclass

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from .compare import COMPARISONS, all_alike, check_comparison, ranked, triangle
from .rsm import check_kind, checked_responses, square
from .running_sums import finer, nested, nested_groups, shifted

# Of a mean square, a variance that has lost half of float64's digits or more.
FEW_DIGITS = 1e-8


@dataclass(frozen=True, eq=False)
class Prepared:
    """Responses and target, checked: what all rankings share.

    Attributes:
        responses: as they are, `(images, units)`.
        patterns: what products are summed of, `(units, images)`.
        target: matrix, 0 where it does not count.
        counts: 1 for a pair of images that counts, above the diagonal.
        kind: of similarity.
        how: of comparison.
    """

    responses: Float[np.ndarray, "images units"]
    patterns: Float[np.ndarray, "units images"]
    target: Float[np.ndarray, "images images"]
    counts: Float[np.ndarray, "images images"]
    kind: str
    how: str

    def fits(
        self, rankings: Int[np.ndarray, "rankings units"], keep: Int[np.ndarray, " levels"]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fits and left out pairs of some rankings, `(rankings, levels)`."""
        levels = finer(np.sort(keep))
        found, defined, digits = self._nested(self.patterns, rankings, levels)
        asked = np.searchsorted(levels, keep)
        found, defined, digits = found[:, asked], defined[:, asked], digits[:, asked]
        if self.kind.startswith("pearson"):
            # Beside units that are far larger, what is left has lost its digits: once more,
            # with sums of its own.
            for row, level in np.argwhere(digits < FEW_DIGITS):
                kept = rankings[row, len(rankings[row]) - keep[level] :]
                alone = shifted(self.responses[:, kept], self.kind).T
                numbers = np.arange(len(kept))[None], np.array([len(kept)])
                again, there, _ = self._nested(alone, *numbers)
                found[row, level], defined[row, level] = again[0, 0], there[0, 0]
        if not self.how.startswith("pearson"):
            found = self._by_rank(found)
        return found, int(self.counts.sum()) - defined.astype(int)

    def _nested(
        self, patterns: np.ndarray, rankings: np.ndarray, levels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`nested`, in float64 on the host."""
        with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
            outputs = nested(
                patterns,
                self.target,
                self.counts,
                *nested_groups(rankings, levels),
                levels,
                kind=self.kind,
                how=self.how if self.how.startswith("pearson") else None,
            )
            found, defined, digits = (np.array(output) for output in outputs)
        return found, defined, digits

    def _by_rank(self, similarities: np.ndarray) -> np.ndarray:
        """Comparisons that sort: outside the program, a level at a time."""
        counts = self.counts > 0
        target = self.target[counts]
        ranks = ranked(target)
        fits = np.full(similarities.shape[:2], np.nan)
        for place in np.ndindex(fits.shape):
            values, of_target, how = similarities[place][counts], target, self.how
            present = ~np.isnan(values)
            if not present.all():
                values, of_target = values[present], target[present]
            if len(values) < 3 or all_alike(values) or all_alike(of_target):
                continue
            if how == "spearman" and present.all():  # the target is ranked once
                values, of_target, how = ranked(values), ranks, "pearson"
            fits[place] = COMPARISONS[how](values, of_target)
        return fits


def prepared(responses: ArrayLike, target: ArrayLike, kind: str, how: str) -> Prepared:
    """Check responses and a target; see `pruning_curve` for what is refused."""
    check_kind(kind)
    check_comparison(how)
    responses = checked_responses(responses)
    n_images = len(responses)
    of_target = triangle(target)
    if len(of_target) != n_images * (n_images - 1) // 2:
        raise ValueError(
            f"{n_images} images have {n_images * (n_images - 1) // 2} pairs, the target "
            f"has {len(of_target)}"
        )
    present = ~np.isnan(of_target)
    if np.isinf(of_target).any():
        raise ValueError(f"{np.isinf(of_target).sum()} similarities are infinite")
    if present.sum() < 3:
        raise ValueError(
            f"the target has {present.sum()} pairs of images: agreement needs three"
        )
    if all_alike(of_target[present]):
        raise ValueError("the target is the same for all pairs: nothing to agree with")
    counts = np.triu(square(present.astype(float), 0.0), 1)
    return Prepared(
        responses,
        shifted(responses, kind).T,
        square(np.where(present, of_target, 0), 0.0),
        counts,
        kind,
        how,
    )
