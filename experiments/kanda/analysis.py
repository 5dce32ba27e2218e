"""The analysis of Kanda et al., from a network and images to a folder with a page."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsel import forward, plotting
from jaxsel.data import Dataset
from jaxsel.evaluation import best_images, evaluate
from jaxsel.folders import finished_folder
from jaxsel.report import Drawing, Number

from .. import cli, plan
from . import figure1, figure6, figures2to5, measure
from .measure import SiteUnits
from .network import found_network, sites_in_focus
from .paper import NOTHING, PAPERS
from .planned import planned
from .result import write_result
from .selection import selected_by
from .settings import TRAINED, Config, bytes_allowed
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
    progress: Callable[[str, int], Callable[[int], None]],
) -> dict[str, SiteUnits]:
    """Kanda's table and figures on these images, written to a folder."""
    focus = sites_in_focus(config, model)
    evaluation = evaluate(model, test, progress=progress("evaluating", len(test)))
    selector = evaluation
    if config.selected_by is not None:
        selector = selected_by(config.selected_by, test.labels)
    best = best_images(selector, test.labels, config.n_best)
    # In the order of the data: errors are measured on some images, which should not be of the
    # same few classes.
    analysed = test if config.images == "all" else test.take(np.sort(best))
    if len(np.unique(analysed.labels)) < 2:
        raise ValueError("the images are all of one class: selectivity compares classes")
    sites = tuple(model.sites)
    long_run = {
        "memory": bytes_allowed(config),
        "resume": config.resume,
        "progress": progress,
    }
    measured = measure.measure(
        model,
        analysed,
        sites,
        reading=config.reading(),
        chosen=drawn_channels(config, model, analysed, focus),
        verify=config.verify,
        **long_run,
    )
    in_focus = {site: measured[site] for site in focus}
    if silent := [site for site, units in in_focus.items() if units.live.sum() < 3]:
        raise ValueError(f"fewer than three units respond at {', '.join(silent)}")
    known = NOTHING if config.rehearse else PAPERS.get(facts["network"], NOTHING)
    own = config.selected_by is None
    table_numbers, table = table_1(evaluation, best, config.n_best, known, own=own)
    rng = np.random.default_rng([config.seed, 1])
    settled = {"trials": config.trials, "rng": rng, "paper": known, **long_run}
    found = drawn_figures(model, analysed, measured, focus, folder, settled)
    settings = dataclasses.asdict(config)
    for name in NO_SETTINGS:
        settings.pop(name)
    facts["accuracy"] = evaluation.accuracy()
    facts["n_analysed"] = len(analysed)
    numbers = [*table_numbers, *(number for numbers, _ in found for number in numbers)]
    drawings = [drawing for _, drawing in found]
    write_result(folder, settings, facts, measured, numbers, table, drawings, known)
    return measured


def drawn_figures(
    model: Any,
    analysed: Dataset,
    measured: dict[str, SiteUnits],
    focus: tuple[str, ...],
    folder: Path,
    settled: dict[str, Any],
) -> list[tuple[list[Number], Drawing]]:
    """Figures 1 to 6, with the numbers of each; `settled` is what figure 6 is told besides."""
    rng, paper = settled["rng"], settled["paper"]
    (figures := folder / "figures").mkdir()
    in_focus = {site: measured[site] for site in focus}
    first = in_focus[focus[0]]
    with plotting.look():
        return [
            figure1.figure_1a(first, figures, paper),
            figure1.figure_1bc(in_focus, "csi", "b", figures, rng, paper),
            figure1.figure_1bc(in_focus, "sparseness", "c", figures, rng, paper),
            figure1.figure_1d(measured, focus, figures),
            figures2to5.figure_2(in_focus, figures, rng, paper),
            figures2to5.figure_3(in_focus, figures, paper),
            figures2to5.figure_4(measured, figures),
            figures2to5.figure_5(first, figures, paper),
            figure6.figure_6(model, analysed, in_focus, figures, **settled),
        ]


def drawn_channels(
    config: Config, model: Any, images: Dataset, focus: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Some units of each site of maps that is not in focus, if that was asked for."""
    if config.channels_per_site is None:
        return {}
    one = jax.ShapeDtypeStruct(images.inputs(slice(0, 1)).shape, np.float32)
    activations = jax.eval_shape(lambda x: forward(model, x)[1], one)
    rng, chosen = np.random.default_rng([config.seed, 3]), {}
    for site, activation in activations.items():
        n_units = activation.shape[-1]
        if len(activation.shape) > 2 and site not in focus:
            n = min(config.channels_per_site, n_units)
            chosen[site] = np.sort(rng.choice(n_units, n, replace=False))
    return chosen


def verified(measured: dict[str, SiteUnits]) -> str:
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
