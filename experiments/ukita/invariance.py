"""Shift invariance of higher sites, with and without selective units of lower ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxsel import ablated, record
from jaxsel.data import Dataset, shifted
from jaxsel.metrics import shift_invariance

from ..told import Progress
from .halves import halves_of
from .settings import Config
from .tuning import Tuning


@dataclass(frozen=True, eq=False)
class Invariance:
    """How far units' responses follow a shift of the images (jaxsel's definition).

    Attributes:
        shifts: pixels.
        sites: the higher ones.
        lower: the lower ones, whose units are ablated.
        intact: `(shifts, units)`: correlation over images of the responses to images and to
            shifted images, mean over right and down; the units of all higher sites.
        without: `(lower sites, halves, shifts, units)`: without the more selective half, the
            less selective one, random ones.
    """

    shifts: tuple[int, ...]
    sites: tuple[str, ...]
    lower: tuple[str, ...]
    intact: np.ndarray
    without: np.ndarray

    @property
    def alive(self) -> np.ndarray:
        """Which units have a correlation in the whole network; silent ones have none."""
        return np.asarray(np.isfinite(self.intact).all(axis=0))

    @property
    def compared(self) -> np.ndarray:
        """`(lower sites, units)`: which have one without any half of the site, too."""
        return np.asarray(np.isfinite(self.without).all(axis=(1, 2)) & self.alive)

    @property
    def silenced(self) -> np.ndarray:
        """Share of units that have none any more without each half, mean over lower sites."""
        without = np.isfinite(self.without[..., self.alive]).all(axis=2)
        return 1 - without.mean(axis=(0, 2))

    @property
    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """With all units `(shifts,)`, without halves `(halves, shifts)`, of those compared."""
        site, unit = np.nonzero(self.compared)
        return self.intact[:, unit].mean(axis=1), self.without[site, :, :, unit].mean(axis=0)

    def drop(self) -> np.ndarray:
        """How much less without each half, `(halves, units)`: mean over shifts, lower sites.

        Of each unit over those sites where it is compared; units that are at none are left out.
        """
        fall = (self.intact - self.without).mean(axis=2)
        compared = self.compared
        count = compared.sum(axis=0)
        total = np.where(compared[:, None], fall, 0).sum(axis=0)
        return total[:, count > 0] / count[count > 0]


def invariance(
    config: Config,
    model: Any,
    images: Dataset,
    tuned: Mapping[str, Tuning],
    lower_and_higher: tuple[Sequence[str], Sequence[str]],
    progress: Progress,
) -> Invariance:
    """Shift images, and record the higher sites with and without halves of the lower ones.

    Args:
        config: what was asked for.
        model: the network.
        images: that are shifted.
        tuned: the units of its sites.
        lower_and_higher: sites.
        progress: makes progress bars.
    """
    lower, higher = map(tuple, lower_and_higher)
    rng = np.random.default_rng([config.draws, 3, 1])  # not those of `lost`
    masks = {site: halves_of(tuned[site].gosi, config.shift_halves, rng) for site in lower}
    n_networks = 1 + sum(map(len, masks.values()))
    count = progress("shifted images", n_networks)
    intact = _invariance(config, model, images, higher)
    count(done := 1)
    without = []
    for site, keep in masks.items():
        rows = []
        for mask in keep:
            rows.append(_invariance(config, ablated(model, {site: mask}), images, higher))
            count(done := done + 1)
        without.append(rows)
    return Invariance(config.shifts, higher, lower, intact, np.array(without))


def _invariance(
    config: Config, model: Any, images: Dataset, sites: Sequence[str]
) -> np.ndarray:
    """`(shifts, units)`."""
    still = _responses(model, images, sites)
    found = []
    for pixels in config.shifts:
        moved = [
            shift_invariance(still, _responses(model, _moved(images, *way), sites))
            for way in ((pixels, 0), (0, pixels))
        ]
        found.append(np.mean(moved, axis=0, dtype=np.float64))
    return np.array(found)


def _responses(model: Any, images: Dataset, sites: Sequence[str]) -> np.ndarray:
    found = record(model, images, sites, keep_responses=True)
    return np.concatenate(
        [of.per_image for of in found.values() if of.per_image is not None], axis=1
    )


def _moved(images: Dataset, right: int, down: int) -> Dataset:
    """What the network sees, moved: after the preprocessing, whatever that does to sizes."""
    seen = images.inputs(slice(None))
    return replace(images, images=shifted(seen, right, down), preprocess=None)
