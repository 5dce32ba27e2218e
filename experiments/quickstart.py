"""Selective units of a small network, and what it loses without them, in one page.

Question: do selective units matter less for recognition than non-selective ones? Kanda et
al. (2020), arXiv:2001.07811, table 1 and figures 1 to 6, on a network small enough for a
laptop.

    python -m experiments.quickstart                # trains on 1,797 digits, then analyses
    python -m experiments.quickstart --images best  # on the five best images of each class
    python -m experiments.quickstart --data npz:mnist.npz --split test --weights DIR
    python -m experiments.quickstart --plan         # what it will take, and nothing else
    python -m experiments.quickstart --resume DIR   # goes on where a run was killed

Writes results/quickstart/<run>/ (or --out DIR): config.json, units.parquet (a row per
unit), summary.json, figures/, report.html. Expected: test accuracy at least .97, under 90
seconds on two cores. The same settings on the same machine give the same bytes.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxsel import plotting
from jaxsel.data import Dataset
from jaxsel.evaluation import best_images, evaluate
from jaxsel.folders import finished_folder

from . import cli, plan
from .kanda import figure1, figure6, figures2to5, measure
from .kanda.network import ported, sites_in_focus, trained
from .kanda.planned import planned
from .kanda.result import write_result
from .kanda.settings import N_BEST, TRAINED, Config, bytes_allowed
from .kanda.table1 import table_1


def main(config: Config) -> None:
    """Train or load, measure, ablate, draw, write."""
    config.check()
    if config.plan:
        with cli.progress() as bars:
            steps = planned(config, bars)
        print(plan.table(steps))
        return
    if config.resume is not None:  # before the work, not after it
        config.resume.mkdir(parents=True, exist_ok=True)
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
    long_run = {
        "memory": bytes_allowed(config),
        "resume": config.resume,
        "progress": progress,
    }
    measured = measure.measure(model, analysed, tuple(model.sites), **long_run)
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
                **long_run,
            ),
        ]
    settings = dataclasses.asdict(config)
    for name in ("out", "plan", "resume"):  # where a result lies is no part of it
        settings.pop(name)
    facts["accuracy"] = evaluation.accuracy()
    facts["n_analysed"] = len(analysed)
    numbers = [*table_numbers, *(number for numbers, _ in found for number in numbers)]
    drawings = [drawing for _, drawing in found]
    write_result(folder, settings, facts, measured, numbers, table, drawings)


def next_run(parent: Path, name: str) -> Path:
    """The first folder `name-001`, `name-002`, ... that is not there yet."""
    number = 1
    while (parent / f"{name}-{number:03}").exists():
        number += 1
    return parent / f"{name}-{number:03}"


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
