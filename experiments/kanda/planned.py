"""How long the quickstart will take, step by step."""

import time
from typing import Any

import jax
import numpy as np
import rich.progress

from jaxsel import ablate_groups, first_order, forward, models, record
from jaxsel.data import Dataset
from jaxsel.evaluation import evaluate
from jaxsel.training import fit

from .. import plan
from . import figure6
from .network import divided, ported, sites_in_focus
from .rehearsal import rehearsed
from .settings import MOST_EPOCHS, TRAINED, Config, bytes_allowed

# Groups of figure 6, and epochs of training, that a plan is timed on.
GROUPS_TIMED = 16
EPOCHS_TIMED = (1, 3)


def planned(config: Config, bars: rich.progress.Progress) -> list[plan.Step]:
    """What the run will take, step by step."""
    steps: list[plan.Step] = []
    model: Any
    if config.rehearse is not None:
        model, test, _ = rehearsed(config.preset, config.rehearse, config.seed)
    elif config.weights is None:
        train, validation, test = divided(config)
        model = models.build(TRAINED, seed=config.seed)
        taken = []
        for n in EPOCHS_TIMED:
            begun, rng = time.perf_counter(), np.random.default_rng(config.seed)
            fit(model, train, validation, rng=rng, max_epochs=n)
            taken.append(time.perf_counter() - begun)
        each = (taken[1] - taken[0]) / (EPOCHS_TIMED[1] - EPOCHS_TIMED[0])
        what = f"training, {MOST_EPOCHS} epochs at most"
        seconds = taken[0] + (MOST_EPOCHS - EPOCHS_TIMED[0]) * max(each, 0.0)
        steps.append(plan.Step(what, seconds))
    else:
        model, test, _ = ported(config, bars)
    sites, focus = tuple(model.sites), sites_in_focus(config, model)
    n_best = config.n_best * len(np.unique(test.labels))
    n_analysed = len(test) if config.images == "all" else min(n_best, len(test))
    analysed = test.take(np.arange(n_analysed))  # which they are is not known yet
    evaluating = plan.timed(lambda some: evaluate(model, some), test)
    recording = plan.timed(lambda some: record(model, some, sites), analysed)
    estimates = plan.timed(lambda some: first_order(model, some, sites[0]), analysed)
    steps += [
        plan.Step("evaluating", sum(evaluating)),
        plan.Step("recording responses", sum(recording)),
        *plan.ablations(model, analysed, sites, bytes_allowed(config)),
        plan.Step("first-order estimates", len(sites) * sum(estimates)),
    ]
    for site in focus:
        n_groups, n_units = (
            config.trials * len(figure6.FRACTIONS),
            n_units_of(model, test, site),
        )
        keep = {site: np.random.default_rng(0).random((GROUPS_TIMED, n_units)) < 0.25}
        compiling, running = plan.timed(
            lambda some, keep=keep: ablate_groups(model, some, keep), analysed
        )
        seconds = compiling + running * n_groups / GROUPS_TIMED
        pairs = n_groups * len(analysed)
        steps.append(plan.Step(f"mixing units of {site}", seconds, pairs=pairs))
    return steps


def n_units_of(model: Any, images: Dataset, site: str) -> int:
    """How many units a site has."""
    one = jax.ShapeDtypeStruct(images.inputs(slice(0, 1)).shape, np.float32)
    activations = jax.eval_shape(lambda x: forward(model, x, sites=(site,))[1], one)
    return activations[site].shape[-1]
