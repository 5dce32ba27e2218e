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
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxsel import checkpoint, data, models, plotting, report
from jaxsel.data import PREPROCESS, Dataset
from jaxsel.evaluation import best_images, evaluate
from jaxsel.folders import finished_folder
from jaxsel.training import fit

from . import cli
from .kanda import figure1, figure6, figures2to5, measure
from .kanda.table1 import table_1

N_BEST = 5  # images per class in the set of best images, as in the paper
SPLIT = (0.60, 0.15, 0.25)  # train, validation, test
# A network trained on has losses near 1e-7 and nothing left to lose.
STOP_AT = 0.975
MOST_EPOCHS = 50
TRAINED = "alexnet_digits"


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the quickstart."""

    data: str = "digits"
    """where the images come from: digits, or npz:PATH"""
    split: str | None = None
    """part of an npz file, such as test"""
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

        model, test, facts = (trained if config.weights is None else ported)(config, progress)
        analyse(config, model, test, facts, folder, progress)
    print(f"report: {out / 'report.html'}")


def trained(config: Config, progress) -> tuple[Any, Dataset, dict[str, Any]]:
    """A network trained on the digits, its test images, and how it came about."""
    images = data.load(config.data, split=config.split)
    if config.data != "digits":
        raise ValueError(
            f"--data {config.data} needs --weights: a network is trained on the digits only"
        )
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
            f"{len(validation)} validation images {reached} {STOP_AT:.1%} ({accuracy:.1%}). It "
            f"is analysed on the {len(test)} test images, which it has never seen."
        ),
    }
    return result.model, test, facts


def ported(config: Config, progress) -> tuple[Any, Dataset, dict[str, Any]]:
    """A network from a checkpoint, and the images it is analysed on."""
    del progress
    assert config.weights is not None
    manifest = checkpoint.read_manifest(config.weights)
    name = manifest.get("preprocess")
    if name not in PREPROCESS:
        raise ValueError(
            f"{config.weights} asks for the preprocessing {name!r}: known are "
            f"{', '.join(PREPROCESS)}"
        )
    images = data.load(config.data, split=config.split, preprocess=PREPROCESS[name])
    model = models.load(config.weights)
    sites_in_focus(config, model)
    kind = config.data.partition(":")[0] + (f", split {config.split}" if config.split else "")
    facts = {
        "network": manifest["network"],
        "preprocess": name,
        "images": {"test": len(images)},
        "weights": {key: manifest.get(key) for key in ("source", "sha256", "settings")},
        "introduction": (
            f"The network {manifest['network']} with the weights of {manifest.get('source')} "
            f"is analysed on {len(images):,} images ({kind}), preprocessed as "
            f"{name.replace('_', ' ')}."
        ),
    }
    return model, images, facts


def sites_in_focus(config: Config, model: Any) -> tuple[str, ...]:
    """The sites that were asked for, or the network's last two."""
    focus = config.sites or tuple(model.sites)[-2:]
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
    numbers = [*table_numbers, *(number for numbers, _ in found for number in numbers)]
    drawings = [drawing for _, drawing in found]
    facts["introduction"] += f" Its accuracy on them is {evaluation.accuracy():.1%}."
    write(config, facts, folder, measured, numbers, table, drawings, len(analysed))


def write(
    config: Config, facts, folder: Path, measured, numbers, table, drawings, n_analysed: int
) -> None:
    """The files beside the figures."""
    environment = report.environment()
    engines = {units.effects.engine for units in measured.values()}
    precisions = {units.effects.precision for units in measured.values()}
    settings = dataclasses.asdict(config)
    settings.pop("out")  # where a result lies is no part of it
    introduction = facts.pop("introduction")
    described = {
        "experiment": "quickstart",
        "settings": settings,
        **facts,
        "n_analysed": n_analysed,
        "engine": sorted(engines),
        "precision": sorted(precisions),
        "environment": environment,
    }
    write_json(folder / "config.json", described)
    write_json(folder / "summary.json", {n.key: dataclasses.asdict(n) for n in numbers})
    report.write_parquet(
        folder / "units.parquet", measure.unit_table(measured), measure.MEANINGS
    )
    versions = ", ".join(f"{name} {v}" for name, v in environment["versions"].items())
    which = (
        "all of these images"
        if config.images == "all"
        else f"the {N_BEST} best images of each class ({n_analysed} images)"
    )
    report.write_page(
        folder / "report.html",
        title="Selective units, and what a network loses without them",
        introduction=[
            introduction,
            "What follows is the analysis of Kanda et al. (2020, arXiv:2001.07811) on "
            f"{which}. Every unit of every site was ablated: its response set to 0 after the "
            "ReLU. The change of the loss was propagated through the network rather than found "
            "by subtracting two losses, so that effects of a millionth of the loss keep their "
            "digits. A loss ratio is the change of the summed cross-entropy in percent of the "
            "intact network's.",
            "The paper's networks are AlexNet and VGG-19 on ImageNet. Its numbers, AlexNet's, "
            "are quoted for orientation; a network of this size can only agree or disagree "
            "with their direction.",
        ],
        tables=[table],
        drawings=drawings,
        figures=folder / "figures",
        numbers=numbers,
        note="The paper's values are AlexNet's, fc6 and fc7 where there are two.",
        settings=[
            *((name, "default" if v is None else str(v)) for name, v in settings.items()),
            ("engine", ", ".join(sorted(engines))),
            ("precision", ", ".join(sorted(precisions))),
            ("device", environment["device"]),
            ("versions", f"Python {environment['python']}, {versions}"),
            ("commit", environment["git_commit"] or "not run from a checkout"),
        ],
    )


def write_json(path: Path, content: Any) -> None:
    """Readable, without NaN, with a newline at the end."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    path.write_text(text + "\n", encoding="utf-8")


def next_run(parent: Path, name: str) -> Path:
    """The first folder `name-001`, `name-002`, ... that is not there yet."""
    number = 1
    while (parent / f"{name}-{number:03}").exists():
        number += 1
    return parent / f"{name}-{number:03}"


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
