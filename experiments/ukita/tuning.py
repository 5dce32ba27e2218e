"""How the units of a network are tuned to orientations, beside shuffled pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxsel import record
from jaxsel.data import Dataset, gratings
from jaxsel.metrics import (
    TuningFit,
    fit_tuning,
    global_orientation_selectivity_index,
    orientation_selectivity_index,
    preferred_orientation,
    tuning_curves,
    tuning_reliability,
)

from ..told import Progress
from .settings import Config

TUNED = 0.33  # the author's threshold of gOSI


@dataclass(frozen=True, eq=False)
class Tuning:
    """Of the units of one site; NaN for units that are silent, or 0 where that is asked for.

    Attributes:
        orientations: degrees.
        curves: `(orientations, units)`, at each unit's preferred frequency.
        frequency: that, cycles per image.
        gosi: global orientation selectivity index.
        osi: orientation selectivity index.
        preferred: orientation, degrees.
        reliability: correlation of the curves of two halves of the phases.
        fit: of each curve.
        control: gOSI for images with shuffled pixels.
        silent: which units respond to no grating.
    """

    orientations: np.ndarray
    curves: np.ndarray
    frequency: np.ndarray
    gosi: np.ndarray
    osi: np.ndarray
    preferred: np.ndarray
    reliability: np.ndarray
    fit: TuningFit
    control: np.ndarray
    silent: np.ndarray


def of_silent(config: Config) -> float:
    """The index of a unit that responds to no grating."""
    return 0.0 if config.silent == "zero" else np.nan


def frequencies(config: Config, image: Sequence[int]) -> np.ndarray:
    """Cycles per image: s W / (W + 8) for images of W pixels, s = 1, 2, ...

    W / 4 + 1 of them are the author's 9 for CIFAR and 57 for ImageNet.
    """
    side = min(image[:2])
    return side / (side + 8) * (1 + np.arange(config.frequencies or side // 4 + 1))


def refuse_unfit(config: Config, image: Sequence[int]) -> None:
    """What images of this size do not show.

    Raises:
        ValueError: stripes above Nyquist's frequency, a shift by the whole image.
    """
    side = min(image[:2])
    if (highest := frequencies(config, image)[-1]) > side / 2:
        raise ValueError(
            f"--frequencies: images of {image[0]}x{image[1]} pixels show {side / 2:g} cycles, "
            f"{config.frequencies} go up to {highest:.3g}: {(side + 8) // 2} are possible"
        )
    if max(config.shifts) >= side:
        raise ValueError(
            f"--shifts: by {max(config.shifts)} pixels, nothing is left of images of "
            f"{image[0]}x{image[1]}"
        )


def stimuli(
    config: Config, image: Sequence[int], preprocess: Any, white: int, *, shuffle: bool = False
) -> Dataset:
    """The gratings of the author's code, for images of any size.

    Args:
        config: how many.
        image: height, width and channels of the network's input.
        preprocess: of the network.
        white: the largest stored pixel.
        shuffle: the control.
    """
    return gratings(
        180 * np.arange(config.orientations) / config.orientations,
        frequencies(config, image),
        360 * np.arange(config.phases) / config.phases,
        image=image,
        preprocess=preprocess,
        white=white,
        shuffle=config.draws if shuffle else None,
    )


def responses(
    model: Any, shown: Dataset, sites: Sequence[str], on_progress: Any = None
) -> dict[str, np.ndarray]:
    """Of every site's units: `(orientations, frequencies, phases, units)`."""
    found = record(model, shown, sites, keep_responses=True, progress=on_progress)
    shape = shown.images.shape
    return {
        site: of.per_image.reshape(*shape, -1)
        for site, of in found.items()
        if of.per_image is not None
    }


def selectivity(config: Config, of_site: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """The gOSI of every unit.

    Args:
        config: how phases and silent units count.
        of_site: responses.
        orientations: degrees.
    """
    curves, _ = tuning_curves(of_site, config.over_phases)
    index = global_orientation_selectivity_index(curves, orientations, silent=of_silent(config))
    return np.asarray(index, np.float64)


def tuning(
    config: Config, model: Any, sites: Sequence[str], shown: Dataset, control: Dataset,
    progress: Progress,
) -> dict[str, Tuning]:  # fmt: skip
    """Measure all units of a network.

    Args:
        config: what was asked for.
        model: the network.
        sites: in network order.
        shown: gratings.
        control: the same, with shuffled pixels.
        progress: makes progress bars.
    """
    seen = responses(model, shown, sites, progress("gratings", len(shown)))
    mixed = responses(model, control, sites, progress("shuffled gratings", len(control)))
    n_units = sum(of.shape[-1] for of in seen.values())
    count, done, found = progress("tuning curves", n_units), 0, {}
    for site, of_site in seen.items():
        found[site] = _of_site(
            config, of_site, mixed[site], shown, lambda n, d=done: count(d + n)
        )
        done += of_site.shape[-1]
    return found


def _of_site(
    config: Config, of_site: np.ndarray, mixed: np.ndarray, shown: Dataset, count: Any
) -> Tuning:
    orientations = shown.images.orientations
    curves, frequency = tuning_curves(of_site, config.over_phases)
    silent = of_silent(config)
    gosi = global_orientation_selectivity_index(curves, orientations, silent=silent)
    osi = orientation_selectivity_index(curves, orientations, silent=silent)
    measured: Mapping[str, Any] = {
        "curves": curves,
        "frequency": shown.images.frequencies[np.asarray(frequency)],
        "gosi": gosi,
        "osi": osi,
        "preferred": preferred_orientation(curves, orientations),
        "reliability": tuning_reliability(of_site, config.over_phases),
    }
    return Tuning(
        orientations=orientations,
        fit=fit_tuning(curves, orientations, count),
        control=selectivity(config, mixed, orientations),
        silent=np.asarray((curves == 0).all(axis=0)),
        **{name: np.asarray(values, np.float64) for name, values in measured.items()},
    )


def lower_and_higher(sites: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The first and the last third of the sites (jaxsel's reading of lower and higher layers).

    >>> lower_and_higher(["a", "b", "c", "d"])
    (('a', 'b'), ('c', 'd'))
    """
    n = -(-len(sites) // 3)
    return tuple(sites[:n]), tuple(sites[-n:])


def mean_of(by_site: Mapping[str, np.ndarray], sites: Sequence[str]) -> float:
    """The mean over sites of the mean over units; NaN where a site has no index."""
    means = []
    for site in sites:
        known = by_site[site][np.isfinite(by_site[site])]
        means.append(float(known.mean()) if len(known) else np.nan)
    return float(np.mean(means))
