"""Several subjects' similarity judgements: how well a model can and does agree with them."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Real

from .compare import COMPARISONS, all_alike, check_comparison, compare, ranked, triangle
from .rsm import n_images_of, square


class NoiseCeiling(NamedTuple):
    """The range in which the agreement of the best model possible lies.

    Attributes:
        lower: mean agreement of each subject with the mean of the others.
        upper: mean agreement of each subject with the mean of all, which contains it.
    """

    lower: float
    upper: float


def noise_ceiling(subjects: Real[ArrayLike, "..."], how: str = "spearman") -> NoiseCeiling:
    """How well any model could agree with subjects who do not agree with each other.

    Subjects are brought to one scale before they are averaged: to mean 0 and standard deviation
    1 for `pearson` and its square, to ranks for `spearman` and `kendall`.

    Args:
        subjects: similarity matrix of each subject, or its upper triangle.
        how: of comparison, as in `compare`.

    Returns:
        Lower and upper end, comparable with the mean of `agreement_by_subject`. Averaging
        maximises the mean agreement for `pearson` and `spearman`; for the others the upper end
        is approximate.

    Raises:
        ValueError: fewer than two subjects; one with NaN, or the same for all pairs; what
            `compare` refuses.

    Source:
        Nili et al. (2014), PLoS Computational Biology 10:e1003553, "Noise ceiling".

    >>> subjects = np.array([[1.0, 2, 3], [1, 3, 2], [2, 1, 3]])
    >>> [round(end, 3) for end in noise_ceiling(subjects, "pearson")]
    [0.333, 0.667]
    """
    check_comparison(how)
    each = triangles(subjects)
    if len(each) < 2:
        raise ValueError("one subject: how subjects agree needs two or more")
    for number, one in enumerate(each):
        if (absent := np.isnan(one).sum()) or all_alike(one):
            what = f"{absent} pairs without a value" if absent else "the same for all pairs"
            raise ValueError(f"subject {number} of {len(each)} has {what}")
    scaled = np.array([_scaled(one, how) for one in each])
    total = scaled.mean(axis=0)
    others = [np.delete(scaled, number, axis=0).mean(axis=0) for number in range(len(each))]
    return NoiseCeiling(
        float(
            np.mean([compare(one, rest, how) for one, rest in zip(each, others, strict=True)])
        ),
        float(np.mean([compare(one, total, how) for one in each])),
    )


def agreement_by_subject(
    model: Real[ArrayLike, "..."],
    subjects: Real[ArrayLike, "..."],
    how: str = "spearman",
) -> Float[np.ndarray, " subjects"]:
    """How well a model agrees with every subject.

    Args:
        model: its similarity matrix, or the upper triangle.
        subjects: similarity matrix of each subject, or its upper triangle.
        how: of comparison, as in `compare`.

    Raises:
        ValueError: what `compare` refuses.

    >>> agreement_by_subject(np.array([1.0, 2, 3]), np.array([[1.0, 2, 4], [3, 2, 1]])).tolist()
    [1.0, -1.0]
    """
    return np.array([compare(model, one, how) for one in triangles(subjects)])


def bootstrap_agreement(
    model: Real[ArrayLike, "..."],
    subjects: Real[ArrayLike, "..."],
    how: str = "spearman",
    *,
    over: str,
    rng: np.random.Generator,
    n_resamples: int = 1000,
    on_progress: Callable[[int], None] | None = None,
) -> Float[np.ndarray, " resamples"]:
    """The mean agreement with subjects, of images or subjects drawn anew.

    Images are drawn with replacement; pairs of one image with itself are left out, and pairs
    of images that are drawn several times count as often. Its quantiles are an interval for a
    model's agreement with other images of the kind, with other subjects, or both.

    Args:
        model: its similarity matrix, or the upper triangle.
        subjects: similarity matrix of each subject, or its upper triangle; a single matrix is
            one subject's.
        how: of comparison, as in `compare`.
        over: `images`, `subjects`, or `both`.
        rng: draws.
        n_resamples: how often.
        on_progress: called with the number of resamples that are done.

    Returns:
        One mean per resample; NaN where the drawn images have fewer than three pairs, or are
        all alike.

    Raises:
        ValueError: what there is to draw from is one alone, or what `compare` refuses.

    Source:
        Nili et al. (2014); as rsatoolbox draws (`rsatoolbox.inference.bootstrap_sample`).
    """
    if over not in ("images", "subjects", "both"):
        raise ValueError(f"over={over!r}: possible are images, subjects and both")
    if n_resamples < 1:
        raise ValueError(f"{n_resamples} resamples: an interval needs one or more")
    model = triangle(model)
    each = triangles(subjects)
    fits = agreement_by_subject(model, each, how)  # refuses what cannot be compared
    if over != "images" and len(each) < 2:
        raise ValueError("one subject: an interval over subjects needs two or more")
    n_images = n_images_of(len(model))
    matrices = np.stack([square(one) for one in (model, *each)])
    upper = np.triu_indices(n_images, 1)
    found = np.full(n_resamples, np.nan)
    for resample in range(n_resamples):
        who = np.arange(len(each))
        if over != "images":
            who = rng.integers(len(each), size=len(each))
        if over != "subjects":
            drawn = rng.integers(n_images, size=n_images)
            others = drawn[upper[0]] != drawn[upper[1]]
            values = matrices[:, drawn[upper[0]], drawn[upper[1]]][:, others]
            fits = agreements(values[0], values[1:], how)
        found[resample] = fits[who].mean()
        if on_progress is not None:
            on_progress(resample + 1)
    return found


def triangles(subjects: ArrayLike) -> Float[np.ndarray, "subjects pairs"]:
    """The upper triangle of each subject's matrix; a single matrix is one subject's."""
    subjects = np.asarray(subjects, np.float64)
    if subjects.ndim == 1 or (subjects.ndim == 2 and _is_matrix(subjects)):
        subjects = subjects[None]
    if subjects.ndim not in (2, 3):
        raise ValueError(
            "subjects are (subjects, images, images) or (subjects, pairs), these have shape "
            f"{subjects.shape}"
        )
    each = np.stack([triangle(one) for one in subjects])
    n_images_of(each.shape[1])  # refuses what is no triangle
    return each


def _is_matrix(subjects: np.ndarray) -> bool:
    """Whether it is one subject's matrix, and not so many subjects with so many pairs."""
    n = len(subjects)
    if n != subjects.shape[1]:
        return False
    n_images = (1 + math.isqrt(1 + 8 * n)) // 2
    no_triangle = n_images * (n_images - 1) // 2 != n
    return no_triangle or np.array_equal(subjects, subjects.T, equal_nan=True)


def _scaled(similarities: np.ndarray, how: str) -> np.ndarray:
    if how.startswith("pearson"):
        return (similarities - similarities.mean()) / similarities.std()
    return ranked(similarities)


def agreements(model: np.ndarray, subjects: np.ndarray, how: str) -> np.ndarray:
    """With every subject, NaN where pairs are too few or all alike; nothing is checked."""
    if len(model) < 3:
        return np.full(len(subjects), np.nan)
    if how == "spearman":  # ranks are made once for all subjects
        model, subjects = ranked(model), np.array([ranked(one) for one in subjects])
        how = "pearson"
    alike = [all_alike(model) or all_alike(one) for one in subjects]
    return np.array([
        np.nan if same else COMPARISONS[how](model, one)
        for one, same in zip(subjects, alike, strict=True)
    ])  # fmt: skip
