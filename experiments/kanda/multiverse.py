"""The claims once more for every combination of what the paper leaves open."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jaxsel import ablate_units, record
from jaxsel.data import Dataset
from jaxsel.forward import REDUCTIONS

from .analysed import Analysed, Progress, long_run
from .claims import CATEGORY
from .figure6 import Mixing
from .measure import SiteUnits, with_metrics
from .reading import SHORT, Reading
from .settings import Config
from .tested import MIXED, TESTS, TRIALS, mixtures

# Of more test images, all are not one of the ways.
MOST_IMAGES = 10_000
THRESHOLDS = (0.25, 0.5, 0.75)
CLAIMS = {
    "costs": "taking away a unit costs the network, as a rule",
    "correlation": "the more selective a unit, the less its ablation costs",
    "needless": "taking away some of the selective units improves the network",
    "category": CATEGORY,
    "mixture": "half selective and half others do better than either kind alone",
}
POOLS = ("reduce", "index", "above")  # that say which units are selective
# What each claim depends on.
OPTIONS = {
    "costs": ("selection", "replacement", "measure"),
    "correlation": ("selection", "reduce", "index", "replacement", "measure"),
    "needless": ("selection", "reduce", "index", "above", "replacement"),
    "category": ("selection", "reduce", "index", "above", "replacement", "measure"),
    "mixture": ("selection", "reduce", "index", "above", "measure"),
}


@dataclass(frozen=True)
class Universe:
    """One claim under one combination of readings; an option it does not depend on is empty.

    Attributes:
        claim: key of `CLAIMS`.
        site: where the units are.
        selection: `all` images or the `best`.
        reduce: response of a map; empty where there are none.
        index: that units are selective by.
        above: quantile that they are above.
        replacement: `zero` or `mean`.
        measure: `loss` or `accuracy`; empty where that does not matter.
        verdict: as of a claim.
    """

    claim: str
    site: str
    selection: str
    reduce: str
    index: str
    above: str
    replacement: str
    measure: str
    verdict: str


def multiverse(
    config: Config, found: Analysed, pairs: Path, progress: Progress
) -> list[Universe]:
    """Every claim in every universe that is affordable.

    Args:
        config: what is asked for.
        found: the analysis.
        pairs: folder for the loss changes of all pairs of image and unit.
        progress: called with a description and a total; returns what takes the count.
    """
    every: list[Universe] = []
    for selection, images, intact in selections(found):
        for site in found.focus:
            every += of_site(config, found, selection, images, intact, site, pairs, progress)
    return every


def selections(found: Analysed) -> Iterator[tuple[str, Dataset, np.ndarray]]:
    """Images, and the intact loss of each, by how they were chosen."""
    rows = {"best": np.sort(found.best)}
    if len(found.best) < len(found.test) <= MOST_IMAGES:
        rows["all"] = np.arange(len(found.test))
    for name, chosen in rows.items():
        yield name, found.test.take(chosen), found.evaluation.loss[chosen]


@dataclass(frozen=True)
class Site:
    """The units of a site on some images, by reduction and replacement.

    Attributes:
        units: by both.
        reductions: those that differ.
    """

    units: Mapping[tuple[str, str], SiteUnits]
    reductions: tuple[str, ...]

    def read(self, reading: Reading) -> SiteUnits:
        """The units as they are read."""
        return replace(self.units[reading.reduce, reading.replacement], reading=reading)


def of_site(
    config: Config,
    found: Analysed,
    selection: str,
    images: Dataset,
    intact: np.ndarray,
    name: str,
    pairs: Path,
    progress: Progress,
) -> list[Universe]:
    """All universes of one selection of images and one site."""

    def named(text: str, total: int) -> Callable[[int], None]:
        return progress(f"multiverse, {selection} images: {text}", total)

    recorded = {
        reduce: record(found.model, images, (name,), reduce=reduce, keep_responses=True)[name]
        for reduce in REDUCTIONS
    }
    means = recorded["mean"].sums / len(images)
    total = len(images) * len(means)
    effects = {
        replacement: ablate_units(
            found.model,
            images,
            name,
            replacement=value,
            per_image=pairs / f"{selection}-{found.focus.index(name)}-{replacement}.npy",
            **long_run(config, named(f"ablating {name} by {replacement}", total)),
        )
        for replacement, value in (("zero", 0.0), ("mean", means))
    }
    responses = [np.asarray(one.per_image) for one in recorded.values()]
    maps = any((one != responses[0]).any() for one in responses)
    none, reading = np.zeros(len(means)), config.reading()
    units = {
        (reduce, replacement): with_metrics(name, of_way, effect, none, intact, reading)
        for reduce, of_way in recorded.items()
        for replacement, effect in effects.items()
    }
    site = Site(units, REDUCTIONS if maps else REDUCTIONS[:1])
    rng, curves = np.random.default_rng([config.seed, 8]), {}
    told = long_run(config, named)
    mixing = Mixing(found.model, images, rng, TRIALS, config.keep, MIXED, **told)
    for way in itertools.product(site.reductions, SHORT, THRESHOLDS):
        read = site.read(replace(reading, **dict(zip(POOLS, way, strict=True))))
        curves[way] = mixtures(mixing, read)
    return list(judged(site, reading, selection, curves))


def judged(
    site: Site,
    reading: Reading,
    selection: str,
    curves: Mapping[tuple[str, str, float], Mapping[str, str]],
) -> Iterator[Universe]:
    """Every claim in every universe."""
    ways: dict[str, tuple] = {
        "reduce": site.reductions,
        "index": tuple(SHORT),
        "above": THRESHOLDS,
        "replacement": ("zero", "mean"),
        "measure": ("loss", "accuracy"),
    }
    for claim, options in OPTIONS.items():
        asked = {name: ways[name] if name in options else ways[name][:1] for name in ways}
        for way in itertools.product(*asked.values()):
            chosen = dict(zip(asked, way, strict=True))
            measure = chosen.pop("measure")
            units = site.read(replace(reading, **chosen))
            if claim == "mixture":
                said = curves[tuple(chosen[name] for name in POOLS)][measure]
            else:
                said = TESTS[claim](units, measure)
            told = {name: str(chosen[name]) if name in options else "" for name in chosen}
            if len(site.reductions) == 1:
                told["reduce"] = ""
            told["measure"] = measure if "measure" in options else ""
            yield Universe(claim, units.site, selection, **told, verdict=said)
