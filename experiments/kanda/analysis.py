"""The analysis of Kanda et al., from a network and images to a folder with a page."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsel import plotting
from jaxsel.data import Dataset
from jaxsel.folders import finished_folder
from jaxsel.report import Drawing, Number

from .. import cli, plan
from . import claims, figure1, figure6, figures2to5
from .analysed import Analysed, Progress, analysed, long_run
from .controls import controls
from .elsewhere import check_replicates
from .measure import SiteUnits
from .multiverse import multiverse
from .multiverse_page import multiverse_page
from .network import found_network
from .paper import NOTHING, PAPERS, Paper
from .planned import planned
from .result import depends_on, write_numbers, write_result
from .settings import TRAINED, Config
from .table1 import table_1

# What a result lies in, or how it came about, is no part of it.
NO_SETTINGS = ("out", "plan", "resume", "memory")


def run(config: Config, parent: Path = Path("results/kanda")) -> None:
    """Train or load, measure, ablate, draw, write.

    Args:
        config: what is asked for.
        parent: folder of results that have no name of their own.
    """
    config.check()
    if config.plan:
        with cli.progress() as bars:
            steps = planned(config, bars)
        print(plan.table(steps))
        return
    if config.resume is not None:  # before the work, not after it
        config.resume.mkdir(parents=True, exist_ok=True)
    out = config.out or next_run(parent, name_of(config))
    with cli.progress() as bars, finished_folder(out) as folder:

        def progress(description: str, total: int) -> Callable[[int], None]:
            bar = bars.add_task(description, total=total)
            return lambda done: bars.update(bar, completed=done)

        model, test, facts = found_network(config, bars, progress)
        measured = analyse(config, model, test, facts, folder, progress)
    if config.verify:
        print(verified(measured))
    print(f"report: {out / 'report.html'}")


def analyse(
    config: Config,
    model: Any,
    test: Dataset,
    facts: dict[str, Any],
    folder: Path,
    progress: Progress,
) -> Mapping[str, SiteUnits]:
    """Kanda's table and figures on these images, written to a folder."""
    check_replicates(config.replicates, facts)
    (pairs := folder / "pairs").mkdir()
    found = analysed(config, model, test, pairs, progress)
    paper = NOTHING if config.rehearse else PAPERS.get(facts["network"], NOTHING)
    own = config.selected_by is None
    numbers, table = table_1(found.evaluation, found.best, config.n_best, paper, own=own)
    drawings = []
    for of_figure, drawing in drawn_figures(config, found, folder, paper, progress):
        numbers += of_figure
        drawings.append(drawing)
    told = claims.claims(numbers, list(found.measured), found.focus, config.reading())
    settings = dataclasses.asdict(config)
    for name in NO_SETTINGS:
        settings.pop(name)
    facts["accuracy"] = found.evaluation.accuracy()
    facts["n_analysed"] = len(found.images)
    rows = depends_on(settings, found.measured)
    write_result(
        folder, settings, facts, found.measured, numbers, table, drawings, told, paper, rows
    )
    if config.controls:
        of_controls, told_too = controls(config, found, facts, folder, rows, progress)
        numbers, told = [*numbers, *of_controls], [*told, *told_too]
    if config.multiverse:
        every = multiverse(config, found, pairs, progress)
        numbers = [*numbers, *multiverse_page(every, len(test), folder, rows)]
    write_numbers(folder, numbers, told)
    shutil.rmtree(pairs)
    return found.measured


def drawn_figures(
    config: Config, found: Analysed, folder: Path, paper: Paper, progress: Progress
) -> list[tuple[list[Number], Drawing]]:
    """Figures 1 to 6, with the numbers of each."""
    (figures := folder / "figures").mkdir()
    rng, focus, images = np.random.default_rng([config.seed, 1]), found.focus, found.over_images
    first = found.measured[focus[0]]
    mixing = figure6.Mixing(
        found.model,
        found.images,
        rng,
        config.trials,
        config.keep,
        config.fractions,
        **long_run(config, progress),
    )
    others = dataclasses.replace(mixing, rng=np.random.default_rng([config.seed, 4]))
    with plotting.look():
        return [
            figure1.figure_1a(first, figures, paper),
            figure1.figure_1bc(found.in_focus, images, "csi", "b", figures, rng, paper),
            figure1.figure_1bc(found.in_focus, images, "sparseness", "c", figures, rng, paper),
            figure1.figure_1d(found.measured, focus, figures, rng),
            figures2to5.figure_2(found.in_focus, images, figures, rng, paper),
            figures2to5.figure_3(found.in_focus, images, figures, paper),
            figures2to5.figure_4(found.measured, images, figures),
            figures2to5.figure_5(first, figures, rng, paper),
            figure6.figure_6(mixing, found.in_focus, figures, paper),
            figure6.figure_6_others(others, found.in_focus, figures),
        ]


def verified(measured: Mapping[str, SiteUnits]) -> str:
    """The worst error of all units that were ablated again, in words."""
    all_of_them = [units.effects.verification for units in measured.values()]
    n = sum(len(one.units) for one in all_of_them if one is not None)
    worst = max(one.worst() for one in all_of_them if one is not None)
    return (
        f"{n} units again by brute force in float64: the worst error of a loss change is "
        f"{worst:.1e} of the unit's summed absolute changes"
    )


def name_of(config: Config) -> str:
    """Begins the name of a result's folder."""
    if config.preset != "digits":
        return f"{config.preset}-{'rehearsal' if config.rehearse else config.images}"
    kind, network = config.data.partition(":")[0], config.weights or Path(TRAINED)
    return f"{kind}-{network.name}-{config.images}"


def next_run(parent: Path, name: str) -> Path:
    """The first folder `name-001`, `name-002`, ... that is not there yet."""
    number = 1
    while (parent / f"{name}-{number:03}").exists():
        number += 1
    return parent / f"{name}-{number:03}"
