"""What another draw of images would have said: intervals over images.

Units are the network's own, images a sample: a claim about a network's units on images in
general is uncertain because of the images. They are drawn anew within each class, 200 times,
and every index and loss ratio computed again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import numpy as np
import scipy.sparse
import scipy.stats
from jaxtyping import Float, Int

from jaxsel import metrics

from .measure import SiteUnits
from .reading import NAMES

N_DRAWS = 200
CSI = jax.jit(metrics.category_selectivity_index)  # many times
SPARSENESS = jax.jit(metrics.sparseness_from_sums, static_argnums=2)
WIDE = float(scipy.stats.norm.ppf(0.975))  # of a 95 % interval, in standard deviations
Interval = tuple[float, float]


@dataclass(frozen=True)
class OverImages:
    """95 % intervals over images, NaN where a class has a single image.

    Attributes:
        median: of the medians of `csi`, `sparseness` and `loss_ratio` over the live units.
        rho: of the Spearman correlations of either index with the loss ratio.
    """

    median: dict[str, Interval]
    rho: dict[str, Interval]


def over_images(
    units: SiteUnits, rng: np.random.Generator, n_draws: int = N_DRAWS
) -> OverImages:
    r"""Intervals over images of a site's medians and correlations.

    $\theta \pm 1.96\,s$ with $s$ the standard deviation of $\theta$ over the draws; for a
    correlation the same of $\operatorname{artanh} \rho$. Not the draws' own quantiles: an index
    is a maximum over class means, which grows when images are drawn twice.

    Args:
        units: with the loss change of every pair, and every response.
        rng: draws the images.
        n_draws: how often.
    """
    found = {name: [] for name in (*NAMES, "loss_ratio")}
    rhos = {name: [] for name in NAMES}
    for draw in drawn(units, rng, n_draws):
        live = units.live & np.isfinite(draw["csi"]) & np.isfinite(draw["sparseness"])
        for name, values in draw.items():
            found[name].append(np.median(values[live]) if live.any() else np.nan)
        for name in NAMES:
            rhos[name].append(rank_correlation(draw[name][live], draw["loss_ratio"][live]))
    medians = {name: np.median(getattr(units, name)[units.live]) for name in found}
    ratios = units.loss_ratio[units.live]
    points = {
        name: rank_correlation(getattr(units, name)[units.live], ratios) for name in NAMES
    }
    return OverImages(
        {name: _around(float(medians[name]), np.array(found[name])) for name in found},
        {name: _back(_around(_artanh(points[name]), _artanh(rhos[name]))) for name in NAMES},
    )


def over_images_entries(what: str, interval: Interval, unit: str = "1") -> list[tuple]:
    """The interval among the numbers of a result."""
    return [
        (f"images_{end}", f"{what}, 95 % interval over images, {which} end", value, unit)
        for end, which, value in zip(("low", "high"), ("lower", "upper"), interval, strict=True)
    ]


def drawn(
    units: SiteUnits, rng: np.random.Generator, n_draws: int
) -> Iterator[dict[str, Float[np.ndarray, " units"]]]:
    """Index and loss ratio of every unit on images drawn anew; nothing with single images."""
    counts = units.responses.class_counts
    if counts[counts > 0].min() < 2:
        return
    of_images = by_times(units)
    for _ in range(n_draws):
        yield of_images(times_drawn(units.responses.labels, rng))


def by_times(
    units: SiteUnits,
) -> Callable[[Int[np.ndarray, " images"]], dict[str, Float[np.ndarray, " units"]]]:
    """A function from how often each image counts to index and loss ratio of every unit."""
    labels, n_classes = units.responses.labels, len(units.responses.class_counts)
    assert units.responses.per_image is not None
    assert units.effects.per_image is not None
    responses = np.asarray(units.responses.per_image, np.float64)
    squares, pairs = np.square(responses), np.asarray(units.effects.per_image, np.float64)

    def of_images(times: Int[np.ndarray, " images"]) -> dict[str, np.ndarray]:
        counts = np.bincount(labels, times, n_classes)
        entries = (times.astype(np.float64), (labels, np.arange(len(labels))))
        sums = scipy.sparse.csr_matrix(entries, (n_classes, len(labels))) @ responses
        means = sums[counts > 0] / counts[counts > 0][:, None]
        totals = sums.sum(axis=0), times @ squares, int(times.sum())
        both = {"csi": CSI(means), "sparseness": SPARSENESS(*totals)}
        found = {name: np.asarray(index, np.float64) for name, index in both.items()}
        if units.reading.silent == "zero":
            found = {name: np.nan_to_num(index) for name, index in found.items()}
        return {**found, "loss_ratio": 100 * (times @ pairs) / (times @ units.intact)}

    return of_images


def times_drawn(
    labels: Int[np.ndarray, " images"], rng: np.random.Generator
) -> Int[np.ndarray, " images"]:
    """How often each image is drawn, when each class gets as many as it has."""
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    starts, n = np.cumsum(counts) - counts, len(labels)
    drawn = starts[labels] + (rng.random(n) * counts[labels]).astype(np.int64)
    return np.bincount(by_class[drawn], minlength=n)


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's, without its test; NaN where it has none."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    ranks = [scipy.stats.rankdata(one) for one in (x, y)]
    return float(np.corrcoef(ranks)[0, 1])


def _artanh(rho):
    return np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))


def _around(value: float, draws: np.ndarray) -> Interval:
    draws = draws[np.isfinite(draws)]
    half = WIDE * float(draws.std(ddof=1)) if len(draws) > 1 else np.nan
    return float(value - half), float(value + half)


def _back(interval: Interval) -> Interval:
    return float(np.tanh(interval[0])), float(np.tanh(interval[1]))
