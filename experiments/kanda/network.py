"""The network of the quickstart and the images that it is analysed on."""

from pathlib import Path
from typing import Any

import numpy as np
import rich.progress

from jaxsel import data, models
from jaxsel.data import Dataset
from jaxsel.training import Fit, fit
from ports.download import file_sha256

from ..weights import described, network_and_images
from .rehearsal import rehearsed
from .settings import MOST_EPOCHS, SPLIT, STOP_AT, TRAINED, Config


def found_network(
    config: Config, bars: rich.progress.Progress, progress
) -> tuple[Any, Dataset, dict[str, Any]]:
    """The network and the images that are asked for, and how they came about."""
    if config.rehearse is not None:
        return rehearsed(config.preset, config.rehearse, config.seed)
    if config.weights is None:
        return trained(config, progress)
    return ported(config, bars)


def divided(config: Config) -> list[Dataset]:
    """Training, validation and test images of the digits."""
    images = data.load(config.data, split=config.split, labels=config.labels)
    if config.data != "digits":
        raise ValueError(
            f"--data {config.data} needs --weights: a network is trained on the digits only"
        )
    if config.preprocess is not None:
        raise ValueError("--preprocess goes with --weights: the digits have their own")
    return data.stratified(images, SPLIT, config.seed)


def trained_on_digits(
    train: Dataset, validation: Dataset, seed: int, progress, what: str = "training"
) -> Fit:
    """A new network, trained until it is right often enough."""
    bar = progress(what, MOST_EPOCHS)
    result = fit(
        models.build(TRAINED, seed=seed),
        train,
        validation,
        rng=np.random.default_rng(seed),
        stop_at=STOP_AT,
        max_epochs=MOST_EPOCHS,
        progress=lambda epoch, accuracy: bar(epoch),
    )
    bar(MOST_EPOCHS)
    return result


def trained(config: Config, progress) -> tuple[Any, Dataset, dict[str, Any]]:
    """A network trained on the digits, its test images, and how it came about."""
    train, validation, test = divided(config)
    sites_in_focus(config, models.outline(TRAINED, {}))  # before the work, not after it
    result = trained_on_digits(train, validation, config.seed, progress)
    n_epochs, accuracy = len(result.validation_accuracy), result.validation_accuracy[-1]
    n_images = len(train) + len(validation) + len(test)
    reached = "first reached" if accuracy >= STOP_AT else "had still not reached"
    facts = {
        "network": TRAINED,
        "preprocess": "sixteenths",
        "images": {"train": len(train), "validation": len(validation), "test": len(test)},
        "epochs": n_epochs,
        "validation_accuracy": accuracy,
        "introduction": (
            f"An AlexNet in small ({TRAINED}) was trained on {len(train):,} of scikit-learn's "
            f"{n_images:,} handwritten digits for {n_epochs} epochs, when its accuracy on "
            f"{len(validation)} validation images {reached} {100 * STOP_AT:.1f} % "
            f"({100 * accuracy:.1f} %). It never saw the {len(test)} test images."
        ),
    }
    return result.model, test, facts


def ported(config: Config, bars: rich.progress.Progress) -> tuple[Any, Dataset, dict[str, Any]]:
    """A network from a checkpoint, and the images it is analysed on."""
    assert config.weights is not None
    loaded = network_and_images(config.weights, config.data, config, bars)
    kind = loaded.manifest["network"]
    if config.preset not in ("digits", kind):
        raise ValueError(
            f"the preset {config.preset} is for that network; {config.weights} is of {kind}"
        )
    sites_in_focus(config, loaded.model)
    manifest, images, corrupt = loaded.manifest, loaded.images, loaded.corrupt
    kind = described(config.data) + (f", split {config.split}" if config.split else "")
    without = f" ({len(corrupt):,} more cannot be decoded)" if corrupt else ""
    facts = {
        "network": manifest["network"],
        "preprocess": loaded.preprocess,
        "images": {"test": len(images)},
        "corrupt": list(corrupt),
        "weights": {key: manifest.get(key) for key in ("source", "sha256", "settings")},
        "data_sha256": data_sha256(config.data),
        "introduction": (
            f"The network {manifest['network']} has the weights of {manifest.get('source')}. "
            f"The test images are the {len(images):,} of the data ({kind}){without}, "
            f"preprocessed as {loaded.preprocess.replace('_', ' ')}."
        ),
    }
    return loaded.model, images, facts


def sites_in_focus(config: Config, model: Any) -> tuple[str, ...]:
    """The sites that were asked for, or the network's last two."""
    focus = tuple(dict.fromkeys(config.sites or tuple(model.sites)[-2:]))
    if unknown := [site for site in focus if site not in model.sites]:
        known = ", ".join(model.sites)
        raise KeyError(f"unknown site {', '.join(unknown)}: this network has {known}")
    return focus


def data_sha256(source: str) -> str | None:
    """Checksum of an npz file; None for other sources."""
    kind, _, place = source.partition(":")
    return file_sha256(Path(place).expanduser()) if kind == "npz" else None
