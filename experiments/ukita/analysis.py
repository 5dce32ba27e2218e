"""From settings to the result: measure, judge, draw."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsel import checkpoint, models
from jaxsel.data import Dataset, sixteenths

from .. import cli
from ..asked import asked
from ..told import Columns, Progress, Told, refuse_other, tell
from ..training.images import divided
from ..weights import network_and_images, sites_of
from . import claims, figures_of_ablation, figures_of_training, figures_of_units
from .followed import Compared, Condition, Followed, best, compared, followed, trained
from .halves import Lost, lost
from .invariance import invariance
from .settings import Config, Given, Trained
from .tuning import Tuning, lower_and_higher, refuse_unfit, stimuli, tuning

PAPER = (
    "Ukita (2020) asks whether orientation-selective units matter for generalisation. We have "
    "the paper's abstract and the author's code. Not in them, and jaxsel's own: which sites "
    "are lower and higher (the first and the last third), what is averaged over training and "
    "across networks, and what shift invariance is."
)


def run(config: Config) -> None:
    """Train what is to be trained, then measure, draw and write."""
    config.check()
    refuse_other(config.folder, config.preset, asked(config))
    networks = []
    if isinstance(config, Trained):
        refuse_unfit(config, divided(config)[2].inputs(slice(0, 1)).shape[1:])
        networks = trained(config)

    def measure(folder: Path, progress: Progress) -> Told:
        if isinstance(config, Trained):
            place = best(networks[0][1], config.seeds[0])
            model, images = models.load(place), divided(networks[0][1])[2]
        else:
            place, model, images = given(config)
        return _told(config, (place, model, images), networks, folder, progress)

    tell(config.folder, config.preset, asked(config), measure)


def given(config: Given) -> tuple[Path, Any, Dataset]:
    """The network and images that were named."""
    assert config.weights is not None
    assert config.data is not None
    with cli.progress() as bars:
        loaded = network_and_images(config.weights, config.data, config, bars)
    return config.weights, loaded.model, loaded.images


def _told(
    config: Config,
    given: tuple[Path, Any, Dataset],
    networks: Sequence[tuple[Condition, Trained]],
    folder: Path,
    progress: Progress,
) -> Told:
    place, model, images = given
    sites = sites_of(model)
    lower, higher = lower_and_higher(sites)
    image = images.inputs(slice(0, 1)).shape[1:]
    refuse_unfit(config, image)
    white = 16 if images.preprocess is sixteenths else 255
    shown, control = (
        stimuli(config, image, images.preprocess, white, shuffle=s) for s in (False, True)
    )
    tuned = tuning(config, model, sites, shown, control, progress)
    tested = spread(images, config.images or len(images))
    shifted = spread(images, config.shift_images)
    losses = lost(config, model, tested, tuned, progress)
    moved = invariance(config, model, shifted, tuned, (lower, higher), progress)
    tables = {"units": units_table(tuned), "halves": halves_table(losses)}
    found = [claims.exist(tuned, lower, higher)]
    drawn = [
        figures_of_units.by_site(tuned, folder),
        figures_of_units.of_units(model, tuned, folder),
        figures_of_ablation.without_halves(losses, folder, len(tested)),
        figures_of_ablation.shifts(moved, folder, len(shifted)),
    ]
    if isinstance(config, Trained):
        over = followed(config, networks[0][1], shown, lower, progress)
        others = compared(config, networks, shown, lower, progress)
        found += [claims.during(over), claims.across(others)]
        drawn += [
            figures_of_training.over_epochs(over, folder, lower),
            figures_of_training.across_networks(others, folder),
        ]
        tables |= {"epochs": epochs_table(over, sites), "networks": networks_table(others)}
    found += [claims.needed(losses, lower), claims.disrupted(moved)]
    return Told(
        "Orientation selectivity",
        [PAPER, about(config, place, tested, shown, (lower, higher))],
        found,
        claims.JUDGED,
        [drawing for drawing, _ in drawn],
        [number for _, of in drawn for number in of],
        tables,
        "The paper's own numbers are not known to us: the column is empty.",
    )


def spread(images: Dataset, n: int) -> Dataset:
    """Some of the images, spread evenly: of all classes, too, where these come in order."""
    n = min(n, len(images))
    return images.take(np.arange(n) * len(images) // n)


def about(
    config: Config,
    place: Path,
    tested: Dataset,
    shown: Dataset,
    lower_and_higher: tuple[Sequence[str], Sequence[str]],
) -> str:
    """What was measured, in a paragraph."""
    manifest = checkpoint.read_manifest(place)
    gratings = shown.images
    orientations, frequencies, phases = gratings.shape
    lower, higher = (f"{sites[0]} to {sites[-1]}" for sites in lower_and_higher)
    return (
        f"{manifest['network']} ({manifest['source']}), {len(tested):,} test images of "
        f"{asked(config)['data']}. "
        f"Gratings: {orientations} orientations, {frequencies} spatial frequencies from "
        f"{gratings.frequencies[0]:.2g} to {gratings.frequencies[-1]:.3g} cycles per image, "
        f"{phases} phases; the {'largest' if config.over_phases == 'max' else 'mean'} response "
        f"over phases. Lower sites: {lower}; higher sites: {higher}. "
        + ("Units that respond to no grating count as unselective, as in the author's code."
           if config.silent == "zero" else
           "Units that respond to no grating are left out of means and halves.")
    )  # fmt: skip


def units_table(tuned: Mapping[str, Tuning]) -> Columns:
    """A row per unit."""

    def joined(of: Any) -> np.ndarray:
        return np.concatenate([of(tuning) for tuning in tuned.values()])

    n = {site: len(of.gosi) for site, of in tuned.items()}
    values = {
        "site": np.repeat(list(n), list(n.values())),
        "unit": np.concatenate([np.arange(k) for k in n.values()]),
        "gosi": joined(lambda of: of.gosi),
        "osi": joined(lambda of: of.osi),
        "gosi_shuffled": joined(lambda of: of.control),
        "preferred": joined(lambda of: of.preferred),
        "frequency": joined(lambda of: of.frequency),
        "half_width": joined(lambda of: of.fit.half_width),
        "r_squared": joined(lambda of: of.fit.r_squared),
        "reliability": joined(lambda of: of.reliability),
        "silent": joined(lambda of: of.silent),
    }
    meanings = {
        "site": "where the unit is",
        "unit": "its number",
        "gosi": "global orientation selectivity index, 0 to 1",
        "osi": "orientation selectivity index, 0 to 1",
        "gosi_shuffled": "gOSI for images with shuffled pixels",
        "preferred": "preferred orientation of stripes, degrees anticlockwise from horizontal",
        "frequency": "preferred spatial frequency, cycles per image",
        "half_width": "of the fitted curve, degrees",
        "r_squared": "share of the tuning curve's variance that the fitted one explains",
        "reliability": "correlation of the curves of two halves of the phases",
        "silent": "whether it responds to no grating",
    }
    return Columns(values, meanings)


def halves_table(losses: Sequence[Lost]) -> Columns:
    """A row per site, place of the zeros and half."""
    names = [
        "selective" if k == 0 else "unselective" if k == 1 else f"random{k - 2}"
        for k in range(len(losses[0].mean))
    ]
    n = len(names)
    values = {
        "site": np.repeat([one.site for one in losses], n),
        "at": np.repeat([one.at for one in losses], n),
        "half": np.tile(names, len(losses)),
        "units": np.repeat([one.n_ablated for one in losses], n),
        "loss_change": np.concatenate([one.mean for one in losses]),
        "standard_error": np.concatenate([one.error for one in losses]),
        "accuracy": np.concatenate([one.accuracy for one in losses]),
    }
    meanings = {
        "site": "whose units are ablated",
        "at": "where the zeros are put: the site, or after its BatchNorm (in a residual block "
        "before the addition)",
        "half": "which: by gOSI, or random",
        "units": "in the half",
        "loss_change": "mean over images, nats",
        "standard_error": "of that mean over images, nats",
        "accuracy": "without the half",
    }
    return Columns(values, meanings)


def epochs_table(over: Sequence[Followed], sites: Sequence[str]) -> Columns:
    """A row per network, epoch and site."""
    n = len(sites)
    values = {
        "seed": np.concatenate([np.full(n * len(one.epochs), one.seed) for one in over]),
        "epoch": np.concatenate([np.repeat(one.epochs, n) for one in over]),
        "site": np.concatenate([np.tile(sites, len(one.epochs)) for one in over]),
        "gosi": np.concatenate([one.gosi.ravel() for one in over]),
        "validation_accuracy": np.concatenate([np.repeat(one.accuracy, n) for one in over]),
    }
    meanings = {
        "seed": "of the network",
        "epoch": "after which, 0 for before the first",
        "site": "whose units",
        "gosi": "mean over its units",
        "validation_accuracy": "of the network after that epoch",
    }
    return Columns(values, meanings)


def networks_table(others: Sequence[Compared]) -> Columns:
    """A row per network."""
    values = {
        "label_noise": np.array([one.condition.label_noise for one in others]),
        "share": np.array([one.condition.share for one in others]),
        "seed": np.array([one.seed for one in others]),
        "gosi_lower": np.array([one.lower for one in others]),
        "accuracy": np.array([one.accuracy for one in others]),
        "train_accuracy": np.array([one.train_accuracy for one in others]),
    }
    meanings = {
        "label_noise": "share of training labels drawn anew",
        "share": "of the training images",
        "seed": "of the network",
        "gosi_lower": "mean over lower sites of the mean over units",
        "accuracy": "on the test images",
        "train_accuracy": "on what it learnt from, in the last epoch",
    }
    return Columns(values, meanings)
