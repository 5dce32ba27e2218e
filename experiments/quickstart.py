"""Selective units of a small network, and what it loses without them, in one page.

Question: do selective units matter less for recognition than non-selective ones? Kanda et
al. (2020), arXiv:2001.07811, table 1 and figures 1 to 6, on a network small enough for a
laptop.

    python -m experiments.quickstart                # trains on 1,797 digits, then analyses
    python -m experiments.quickstart --images best  # on the five best images of each class
    python -m experiments.quickstart --data npz:mnist.npz --split test --weights DIR

Writes results/quickstart/<run>/ (or --out DIR): config.json, units.parquet (a row per
unit), summary.json, figures/, report.html. Expected: test accuracy at least .97, under 90
seconds on two cores. The same settings on the same machine give the same bytes.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rich.progress

from jaxsel import data, models, plotting
from jaxsel.data import Dataset
from jaxsel.evaluation import best_images, evaluate
from jaxsel.folders import finished_folder
from jaxsel.training import fit
from ports.download import file_sha256

from . import cli
from .kanda import figure1, figure6, figures2to5, measure
from .kanda.result import write_result
from .kanda.table1 import table_1
from .weights import ImageFlags, described, network_and_images

N_BEST = 5  # images per class in the set of best images, as in the paper
SPLIT = (0.60, 0.15, 0.25)  # train, validation, test
# A network trained on has losses near 1e-7 and nothing left to lose.
STOP_AT = 0.975
MOST_EPOCHS = 50
TRAINED = "alexnet_digits"


@dataclasses.dataclass(frozen=True)
class Config(ImageFlags):
    """Settings of the quickstart."""

    data: str = "digits"
    """digits, npz:PATH, folder:PATH, tfds:NAME or imagenet-val:PATH"""
    weights: Path | None = None
    """checkpoint written by python -m ports; without it, a network is trained on the digits"""
    sites: tuple[str, ...] | None = None
    """sites in focus, by default the network's last two; the first is used for figure 5"""
    images: Literal["all", "best"] = "all"
    """analyse all test images, or the five best of each class"""
    trials: int = 50
    """lines of figure 6"""
    seed: int = 0
    """of the division of the digits, the training, the bootstrap and figure 6"""
    out: Path | None = None
    """folder of the results, by default a new one in results/quickstart"""


def main(config: Config) -> None:
    """Train or load, measure, ablate, draw, write."""
    if config.trials < 1:
        raise ValueError(f"trials must be at least 1; found {config.trials}")
    if config.seed < 0:
        raise ValueError(f"the seed must be 0 or more; found {config.seed}")
    if config.out is None:
        kind, network = config.data.partition(":")[0], config.weights or Path(TRAINED)
        name = f"{kind}-{network.name}-{config.images}"
        out = next_run(Path("results/quickstart"), name)
    else:
        out = config.out
    with cli.progress() as bars, finished_folder(out) as folder:

        def progress(description: str, total: int) -> Callable[[int], None]:
            bar = bars.add_task(description, total=total)
            return lambda done: bars.update(bar, completed=done)

        if config.weights is None:
            model, test, facts = trained(config, progress)
        else:
            model, test, facts = ported(config, bars)
        analyse(config, model, test, facts, folder, progress)
    print(f"report: {out / 'report.html'}")


def trained(config: Config, progress) -> tuple[Any, Dataset, dict[str, Any]]:
    """A network trained on the digits, its test images, and how it came about."""
    images = data.load(config.data, split=config.split, labels=config.labels)
    if config.data != "digits":
        raise ValueError(
            f"--data {config.data} needs --weights: a network is trained on the digits only"
        )
    if config.preprocess is not None:
        raise ValueError("--preprocess goes with --weights: the digits have their own")
    train, validation, test = data.stratified(images, SPLIT, config.seed)
    model = models.build(TRAINED, seed=config.seed)
    sites_in_focus(config, model)  # before the work, not after it
    bar = progress("training", MOST_EPOCHS)
    result = fit(
        model,
        train,
        validation,
        rng=np.random.default_rng(config.seed),
        stop_at=STOP_AT,
        max_epochs=MOST_EPOCHS,
        progress=lambda epoch, accuracy: bar(epoch),
    )
    bar(MOST_EPOCHS)
    n_epochs, accuracy = len(result.validation_accuracy), result.validation_accuracy[-1]
    reached = "first reached" if accuracy >= STOP_AT else "had still not reached"
    facts = {
        "network": TRAINED,
        "preprocess": "sixteenths",
        "images": {"train": len(train), "validation": len(validation), "test": len(test)},
        "epochs": n_epochs,
        "validation_accuracy": accuracy,
        "introduction": (
            f"An AlexNet in small ({TRAINED}) was trained on {len(train):,} of scikit-learn's "
            f"{len(images):,} handwritten digits for {n_epochs} epochs, when its accuracy on "
            f"{len(validation)} validation images {reached} {100 * STOP_AT:.1f} % "
            f"({100 * accuracy:.1f} %). It never saw the {len(test)} test images."
        ),
    }
    return result.model, test, facts


def ported(config: Config, bars: rich.progress.Progress) -> tuple[Any, Dataset, dict[str, Any]]:
    """A network from a checkpoint, and the images it is analysed on."""
    assert config.weights is not None
    loaded = network_and_images(config.weights, config.data, config, bars)
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


def analyse(
    config: Config, model: Any, test: Dataset, facts: dict[str, Any], folder: Path, progress
) -> None:
    """Kanda's table and figures on these images, written to a folder."""
    focus = sites_in_focus(config, model)
    evaluation = evaluate(model, test, progress=progress("evaluating", len(test)))
    best = best_images(evaluation, test.labels, N_BEST)
    analysed = test if config.images == "all" else test.take(best)
    if len(np.unique(analysed.labels)) < 2:
        raise ValueError("the images are all of one class: selectivity compares classes")
    measured = measure.measure(model, analysed, tuple(model.sites), progress=progress)
    in_focus = {site: measured[site] for site in focus}
    if silent := [site for site, units in in_focus.items() if units.live.sum() < 3]:
        raise ValueError(f"fewer than three units respond at {', '.join(silent)}")
    (figures := folder / "figures").mkdir()
    rng = np.random.default_rng([config.seed, 1])
    table_numbers, table = table_1(evaluation, best, N_BEST)
    first = in_focus[focus[0]]
    with plotting.look():
        found = [
            figure1.figure_1a(first, figures),
            figure1.figure_1bc(in_focus, "csi", "b", figures, rng),
            figure1.figure_1bc(in_focus, "sparseness", "c", figures, rng),
            figure1.figure_1d(measured, focus, figures),
            figures2to5.figure_2(in_focus, figures, rng),
            figures2to5.figure_3(in_focus, figures),
            figures2to5.figure_4(measured, figures),
            figures2to5.figure_5(first, figures),
            figure6.figure_6(
                model,
                analysed,
                in_focus,
                figures,
                trials=config.trials,
                rng=rng,
                progress=progress,
            ),
        ]
    settings = dataclasses.asdict(config)
    settings.pop("out")  # where a result lies is no part of it
    facts["accuracy"] = evaluation.accuracy()
    facts["n_analysed"] = len(analysed)
    numbers = [*table_numbers, *(number for numbers, _ in found for number in numbers)]
    drawings = [drawing for _, drawing in found]
    write_result(folder, settings, facts, measured, numbers, table, drawings)


def data_sha256(source: str) -> str | None:
    """Checksum of an npz file; None for other sources."""
    kind, _, place = source.partition(":")
    return file_sha256(Path(place).expanduser()) if kind == "npz" else None


def next_run(parent: Path, name: str) -> Path:
    """The first folder `name-001`, `name-002`, ... that is not there yet."""
    number = 1
    while (parent / f"{name}-{number:03}").exists():
        number += 1
    return parent / f"{name}-{number:03}"


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
