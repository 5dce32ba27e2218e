"""How long the analysis will take, step by step."""

import time
from typing import Any

import numpy as np
import rich.progress

from jaxsel import ablate_groups, ablate_units, models, record
from jaxsel.ablation import first_orders
from jaxsel.data import Dataset
from jaxsel.evaluation import evaluate
from jaxsel.training import fit

from .. import plan
from . import figure6, multiverse, tested
from .analysed import drawn_channels
from .measure import BATCH
from .network import divided, ported, sites_in_focus
from .reading import SHORT
from .rehearsal import rehearsed
from .settings import MOST_EPOCHS, TRAINED, Config, bytes_allowed

# Groups of figure 6, and epochs of training, that a plan is timed on.
GROUPS_TIMED = 16
EPOCHS_TIMED = (1, 3)
IMAGES_VERIFIED = 8


def planned(config: Config, bars: rich.progress.Progress) -> list[plan.Step]:
    """What the run will take, step by step.

    Drawing images anew, the arithmetic of the indices and drawing figures are not among them.
    """
    model: Any
    model, test, steps = _network(config, bars)
    sites, focus = tuple(model.sites), sites_in_focus(config, model)
    n_best = min(config.n_best * len(np.unique(test.labels)), len(test))
    n_analysed = len(test) if config.images == "all" else n_best
    analysed = test.take(np.arange(n_analysed))  # which they are is not known yet
    evaluating = plan.timed(lambda some: evaluate(model, some), test)
    recording = plan.timed(lambda some: record(model, some, sites), analysed)
    nothing = dict.fromkeys(sites, 0.0)
    estimates = plan.timed(
        lambda some: first_orders(model, some, nothing, batch_size=BATCH), analysed
    )
    units, means = drawn_channels(config, model, analysed, focus), None
    if config.replacement == "mean":
        some = analysed.take(np.arange(min(plan.SAMPLE, n_analysed)))
        recorded = record(model, some, sites)
        means = {site: one.sums / len(some) for site, one in recorded.items()}
    memory = bytes_allowed(config)
    ablating = plan.ablations(model, analysed, sites, memory, units=units, replacement=means)
    again = [step for step, site in zip(ablating, sites, strict=True) if site in focus]
    n_records = 2 if means else 1
    steps += [
        plan.Step("evaluating", sum(evaluating)),
        plan.Step("recording responses", n_records * sum(recording)),
        *ablating,
        plan.Step("first-order estimates", sum(estimates)),
    ]
    if config.verify:
        each = _verifying(model, analysed, sites[0])
        what = f"verifying {config.verify} units of each site, at most"
        steps.append(plan.Step(what, config.verify * len(sites) * each))
    others = len(figure6.others(config.reading())) * min(
        config.trials, figure6.MOST_TRIALS_OF_OTHERS
    )
    n_groups = (config.trials + others) * len(config.fractions)
    mixing = {site: _mixing(model, analysed, site) for site in focus}
    for site, (compiling, each) in mixing.items():
        seconds, pairs = compiling + each * n_groups, n_groups * n_analysed
        steps.append(plan.Step(f"mixing units of {site}", seconds, pairs=pairs))
    if config.controls:
        times = 1 + (config.networks - 1) + len(config.replicates)
        times += config.images == "best" and n_best < len(test)
        what = f"controls: the sites in focus {times} times again"
        steps.append(_again(what, again, times))
    if config.multiverse:
        n_images = n_best + (len(test) if len(test) <= multiverse.MOST_IMAGES else 0)
        share = n_images / n_analysed
        steps.append(_again("multiverse: ablating", again, 2 * share))
        curves = len(SHORT) * len(multiverse.THRESHOLDS)
        n_groups = curves * tested.TRIALS * len(tested.MIXED)
        seconds = sum(each * n_groups * share for _, each in mixing.values())
        pairs = round(n_groups * n_analysed * share * len(focus))
        steps.append(plan.Step("multiverse: mixing units, at least", seconds, pairs=pairs))
    return steps


def _network(
    config: Config, bars: rich.progress.Progress
) -> tuple[Any, Dataset, list[plan.Step]]:
    """The network, untrained where it is to be trained, the images, and the first step."""
    if config.rehearse is not None:
        n = min(config.rehearse, plan.SAMPLE)
        model, few, _ = rehearsed(config.preset, n, config.seed)
        return model, few.take(np.arange(config.rehearse) % n), []  # more are not looked at
    if config.weights is not None:
        model, test, _ = ported(config, bars)
        return model, test, []
    train, validation, test = divided(config)
    model = models.build(TRAINED, seed=config.seed)
    taken = []
    for n in EPOCHS_TIMED:
        begun, rng = time.perf_counter(), np.random.default_rng(config.seed)
        fit(model, train, validation, rng=rng, max_epochs=n)
        taken.append(time.perf_counter() - begun)
    each = (taken[1] - taken[0]) / (EPOCHS_TIMED[1] - EPOCHS_TIMED[0])
    seconds = taken[0] + (MOST_EPOCHS - EPOCHS_TIMED[0]) * max(each, 0.0)
    n_networks = config.networks if config.controls else 1
    what = f"training, {MOST_EPOCHS} epochs at most"
    return model, test, [plan.Step(what, n_networks * seconds)]


def _verifying(model: Any, images: Dataset, site: str) -> float:
    """Seconds that one unit by brute force takes on all images; later sites take less."""
    some = images.take(np.arange(min(IMAGES_VERIFIED, len(images))))
    taken = []
    for verify in (0, 1, 1):
        begun = time.perf_counter()
        ablate_units(model, some, site, units=np.arange(1), verify=verify)
        taken.append(time.perf_counter() - begun)
    return taken[2] * len(images) / len(some)


def _mixing(model: Any, images: Dataset, site: str) -> tuple[float, float]:
    """Seconds of compiling, and of one group of figure 6 with all images."""
    n_units = len(record(model, images.take(np.arange(1)), (site,))[site].zeros)
    keep = {site: np.random.default_rng(0).random((GROUPS_TIMED, n_units)) < 0.25}
    compiling, running = plan.timed(lambda some: ablate_groups(model, some, keep), images)
    return compiling, running / GROUPS_TIMED


def _again(what: str, steps: list[plan.Step], times: float) -> plan.Step:
    """Steps that are done more than once."""
    return plan.Step(
        what,
        times * sum(step.seconds for step in steps),
        pairs=round(times * sum(step.pairs or 0 for step in steps)),
        flop=times * sum(step.flop or 0 for step in steps),
    )
