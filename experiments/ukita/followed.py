"""Networks that are trained here: selectivity over epochs, and with worse generalisation."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from jaxsel import models
from jaxsel.data import Dataset
from jaxsel.training import Replica

from .. import train
from ..told import Progress
from ..training.group import epoch_folder
from ..weights import sites_of
from .settings import Trained
from .tuning import mean_of, responses, selectivity

CLEAN = "all"


@dataclass(frozen=True)
class Condition:
    """What networks learn from.

    Attributes:
        name: of its folder.
        label_noise: share of labels drawn anew.
        share: of the training images.
    """

    name: str
    label_noise: float = 0.0
    share: float = 1.0


@dataclass(frozen=True, eq=False)
class Followed:
    """A network at some epochs.

    Attributes:
        seed: of the network.
        epochs: after which it was measured; 0 is before the first.
        accuracy: on validation images, after each; NaN before the first.
        gosi: mean over units, `(epochs, sites)`.
        lower: mean over the lower sites.
    """

    seed: int
    epochs: np.ndarray
    accuracy: np.ndarray
    gosi: np.ndarray
    lower: np.ndarray


@dataclass(frozen=True)
class Compared:
    """A network after training.

    Attributes:
        condition: what it learnt from.
        seed: of the network.
        accuracy: on the test images.
        train_accuracy: on what it learnt from, in the last epoch.
        lower: mean gOSI of the units of lower sites.
    """

    condition: Condition
    seed: int
    accuracy: float
    train_accuracy: float
    lower: float


def conditions(config: Trained) -> list[Condition]:
    """All images with their labels first, then what makes networks generalise worse."""
    return [
        Condition(CLEAN),
        *(Condition(f"noise{x:g}", label_noise=x) for x in dict.fromkeys(config.label_noises)),
        *(Condition(f"share{x:g}", share=x) for x in dict.fromkeys(config.shares)),
    ]


def trained(config: Trained) -> list[tuple[Condition, Trained]]:
    """Train networks of every condition, or go on with them; their settings, with folders."""
    found = []
    for condition in conditions(config):
        settings = dataclasses.replace(
            config,
            label_noise=condition.label_noise,
            share=condition.share,
            # Only those that learn from everything are followed.
            keep_every=config.keep_every if condition.name == CLEAN else None,
            out=config.folder / "training" / condition.name,
        )
        train.main(settings)
        found.append((condition, settings))
    return found


def best(settings: Trained, seed: int) -> Path:
    """The checkpoint of a network's best epoch."""
    return settings.folder / "networks" / str(Replica(seed))


def followed(
    config: Trained, settings: Trained, shown: Dataset, lower: Sequence[str], progress: Progress
) -> list[Followed]:
    """Measure the networks of every seed at every epoch that was kept.

    Args:
        config: what was asked for.
        settings: of the training whose networks these are.
        shown: gratings.
        lower: sites.
        progress: makes progress bars.
    """
    lines = (settings.folder / "curves.jsonl").read_text().splitlines()
    known = {(row["seed"], row["epoch"]): row for row in map(json.loads, lines)}
    assert config.keep_every is not None
    epochs = np.arange(0, config.epochs + 1, config.keep_every)
    seeds = tuple(dict.fromkeys(config.seeds))
    count, done, found = progress("epochs", len(seeds) * len(epochs)), 0, []
    for seed in seeds:
        rows = []
        for epoch in epochs.tolist():
            place = epoch_folder(settings.folder / "networks", Replica(seed), epoch)
            by_site = _selectivity(config, place, shown)
            sites = list(by_site)
            rows.append([mean_of(by_site, [s]) for s in sites] + [mean_of(by_site, lower)])
            count(done := done + 1)
        accuracy = [
            known.get((seed, e), {}).get("validation_accuracy") for e in epochs.tolist()
        ]
        values = np.array(rows)
        found.append(
            Followed(
                seed, epochs, np.array(accuracy, np.float64), values[:, :-1], values[:, -1]
            )
        )
    return found


def compared(
    config: Trained,
    networks: Sequence[tuple[Condition, Trained]],
    shown: Dataset,
    lower: Sequence[str],
    progress: Progress,
) -> list[Compared]:
    """Measure the best network of every condition and seed.

    Args:
        config: what was asked for.
        networks: conditions, with the settings of their training.
        shown: gratings.
        lower: sites.
        progress: makes progress bars.
    """
    found = []
    count = progress("networks", len(networks))
    for done, (condition, settings) in enumerate(networks):
        for row in pq.read_table(settings.folder / "replicas.parquet").to_pylist():
            by_site = _selectivity(config, best(settings, row["seed"]), shown)
            found.append(
                Compared(
                    condition,
                    row["seed"],
                    row["test_accuracy"],
                    row["train_accuracy"],
                    mean_of(by_site, lower),
                )
            )
        count(done + 1)
    return found


def _selectivity(config: Trained, place: Path, shown: Dataset) -> dict[str, np.ndarray]:
    """The gOSI of every unit, by site."""
    model = models.load(place)
    seen = responses(model, shown, sites_of(model))
    angles = shown.images.orientations
    return {site: selectivity(config, of_site, angles) for site, of_site in seen.items()}
