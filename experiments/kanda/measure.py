"""Every unit of every site: its metrics, and what its ablation does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

import numpy as np

from jaxsel import ablate_units, evaluate, metrics, record
from jaxsel.ablation import UnitEffects, first_orders
from jaxsel.data import Dataset
from jaxsel.recording import UnitResponses
from jaxsel.sites import Model

from .reading import DEFAULTS, Reading

BATCH = 32  # images of a backward pass, which keeps every activation
# Column of units.parquet: what it is, with its unit.
MEANINGS = {
    "site": "where the unit is",
    "unit": "number of the unit at its site, from 0",
    "csi": "category selectivity index (Kanda et al.), 0 to 1; NaN for a silent unit, or with "
    "--silent zero 0",
    "class_selectivity_index": "class selectivity index (Morcos et al.), 0 to 1",
    "sparseness": "sparseness over images (Vinje and Gallant), 0 to 1; if silent as csi",
    "precision": "share of the commonest class among the strongest images, 0 to 1; NaN if "
    "silent",
    "percentage_of_zeros": "percent of the images to which the unit responds 0",
    "dead": "whether the unit responds 0 to every image",
    "best_class": "category of the unit: the class of the image with the largest response, or "
    "with --category class that with the largest mean response",
    "loss_change": "change of the summed loss when the unit is ablated, nats",
    "replacement": "what its response is set to then, in the units of the activation",
    "first_order": "first-order estimate of loss_change from one backward pass, nats",
    "loss_change_error": "estimate of the rounding error of loss_change, nats",
    "loss_ratio": "loss_change in percent of the intact network's summed loss",
    "top1_change": "images gained (+) or lost (-) in the top 1",
    "top5_change": "images gained (+) or lost (-) in the top 5",
    "verdict": "what its ablation does to the network, given the error: improves, harms, zero "
    "or undecided",
}


@dataclass(frozen=True, eq=False)
class SiteUnits:
    """The units of one site; arrays have one entry per unit.

    But for `intact`, the intact network's loss, which has one per image.
    """

    site: str
    responses: UnitResponses
    effects: UnitEffects
    first_order: np.ndarray
    csi: np.ndarray
    class_selectivity_index: np.ndarray
    sparseness: np.ndarray
    precision: np.ndarray
    percentage_of_zeros: np.ndarray
    dead: np.ndarray
    intact: np.ndarray
    reading: Reading = DEFAULTS

    @property
    def live(self) -> np.ndarray:
        """Units that enter the statistics: those with a category selectivity index."""
        return np.isfinite(self.csi)

    @property
    def loss_ratio(self) -> np.ndarray:
        """Percent of the intact loss."""
        return self.effects.loss_ratio()

    @property
    def selective(self) -> np.ndarray:
        """Units with an index above a quantile of the live ones, the median as a rule."""
        index = getattr(self, self.reading.index)
        return self.live & (index > np.quantile(index[self.live], self.reading.above))

    @property
    def best_class(self) -> np.ndarray:
        """Class of each unit's optimal image, or the class with its largest mean response."""
        if self.reading.category == "class":
            counts = self.responses.class_counts[:, None]
            return np.where(counts > 0, self.responses.class_means, -np.inf).argmax(axis=0)
        return self.responses.labels[self.responses.best_image]


def measure(
    model: Model,
    dataset: Dataset,
    sites: tuple[str, ...],
    *,
    reading: Reading = DEFAULTS,
    chosen: Mapping[str, np.ndarray] | None = None,
    verify: int = 0,
    intact: np.ndarray | None = None,
    pairs: Path | None = None,
    memory: int | None = None,
    resume: Path | None = None,
    progress: Callable[[str, int], Callable[[int], None]],
) -> dict[str, SiteUnits]:
    """Record, compute every metric, and ablate every unit of every site, or some of them.

    Args:
        model: the network.
        dataset: the images analysed.
        sites: in network order.
        reading: of what the paper leaves open.
        chosen: the units of some sites that take part, instead of all.
        verify: so many units of each site are ablated again by brute force in float64.
        intact: loss of every image, where it is known.
        pairs: folder for the loss change of every pair of image and unit, where it is wanted.
        memory: bytes that one program may use.
        resume: folder in which ablations go on that were killed.
        progress: called with a description and a total; returns what takes the count.
    """
    responses = record(
        model,
        dataset,
        sites,
        reduce=reading.reduce,
        keep_responses=True,
        progress=progress("recording responses", len(dataset)),
    )
    # Mean ablation is by the mean of whole maps, whatever their response is.
    means = record(model, dataset, sites) if reading.replacement == "mean" else {}
    if intact is None:
        intact = evaluate(model, dataset).loss
    replacements = {
        site: means[site].sums / len(dataset) if means else np.zeros(len(responses[site].zeros))
        for site in sites
    }
    bar = progress("estimating to first order", len(dataset))
    estimates = first_orders(model, dataset, replacements, batch_size=BATCH, progress=bar)
    found = {}
    for number, site in enumerate(sites):
        n_units = len(responses[site].zeros)
        units = (chosen or {}).get(site, np.arange(n_units))
        bar = progress(f"ablating {len(units)} units of {site}", len(units) * len(dataset))
        replacement = replacements[site]
        effects = ablate_units(
            model,
            dataset,
            site,
            units=units,
            replacement=replacement[units],
            verify=min(verify, len(units)),
            per_image=None if pairs is None else pairs / f"{number}.npy",
            memory=memory,
            resume=resume,
            progress=bar,
        )
        shortcut = estimates[site].sum(axis=1)
        some = of_units(responses[site], units)
        found[site] = with_metrics(site, some, effects, shortcut[units], intact, reading)
    return found


def of_units(responses: UnitResponses, units: np.ndarray) -> UnitResponses:
    """The responses of some units of a site."""
    arrays = ("class_sums", "sum_of_squares", "zeros", "best_image", "per_image")
    return replace(responses, **{name: getattr(responses, name)[..., units] for name in arrays})


def with_metrics(
    site: str,
    responses: UnitResponses,
    effects: UnitEffects,
    shortcut: np.ndarray,
    intact: np.ndarray,
    reading: Reading = DEFAULTS,
) -> SiteUnits:
    """The units of a site with every metric, from recorded responses."""
    n_images = len(responses.labels)
    present = responses.class_counts > 0
    means = responses.class_means
    # Precision's N is the number of images per class in the set.
    n_top = max(round(n_images / int(present.sum())), 1)
    per_image = responses.per_image
    assert per_image is not None
    by_metric = {
        "csi": metrics.category_selectivity_index(means, where=present),
        "class_selectivity_index": metrics.class_selectivity_index(means, where=present),
        "sparseness": metrics.sparseness_from_sums(
            responses.sums, responses.sum_of_squares, n_images
        ),
        "precision": metrics.precision(per_image, responses.labels, len(present), n_top),
        "percentage_of_zeros": metrics.percentage_of_zeros(per_image),
        "dead": metrics.dead_units(per_image),
    }
    arrays = {name: np.asarray(values) for name, values in by_metric.items()}
    if reading.silent == "zero":
        arrays |= {name: np.nan_to_num(arrays[name]) for name in ("csi", "sparseness")}
    return SiteUnits(
        site, responses, effects, shortcut, **arrays, intact=intact, reading=reading
    )


def unit_table(measured: Mapping[str, SiteUnits]) -> dict[str, np.ndarray | list[str]]:
    """One row per unit of every site: the columns of `MEANINGS`."""
    columns = {
        "site": lambda s: [s.site] * len(s.csi),
        "unit": lambda s: s.effects.units,
        "loss_change": lambda s: s.effects.total(),
        "replacement": lambda s: np.broadcast_to(s.effects.replacement, s.csi.shape),
        "loss_change_error": lambda s: s.effects.error,
        "top1_change": lambda s: s.effects.top1_change.sum(axis=1),
        "top5_change": lambda s: s.effects.top5_change.sum(axis=1),
        "verdict": lambda s: s.effects.verdict(),
    }
    return {
        name: np.concatenate(
            [columns.get(name, attrgetter(name))(site) for site in measured.values()]
        )
        for name in MEANINGS
    }
