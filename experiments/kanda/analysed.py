"""Which images are analysed, and what was measured on them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jaxsel import forward
from jaxsel.data import Dataset
from jaxsel.evaluation import Evaluation, best_images, evaluate

from .measure import SiteUnits, measure
from .network import sites_in_focus
from .resampled import OverImages, over_images
from .selection import selected_by
from .settings import Config, bytes_allowed

Progress = Callable[[str, int], Callable[[int], None]]


@dataclass(frozen=True, eq=False)
class Analysed:
    """A network, the images, and every unit of every site.

    Attributes:
        model: the network.
        test: all test images.
        evaluation: of the network on these.
        best: numbers of the best of each class.
        chosen: numbers of those analysed.
        images: these.
        measured: the units by site.
        over_images: intervals by site.
        focus: the sites of figures 1 to 3, 5 and 6.
    """

    model: Any
    test: Dataset
    evaluation: Evaluation
    best: Int[np.ndarray, " best"]
    chosen: Int[np.ndarray, " images"]
    images: Dataset
    measured: Mapping[str, SiteUnits]
    over_images: Mapping[str, OverImages]
    focus: tuple[str, ...]

    @property
    def in_focus(self) -> dict[str, SiteUnits]:
        """The units of the sites in focus."""
        return {site: self.measured[site] for site in self.focus}


def analysed(
    config: Config, model: Any, test: Dataset, pairs: Path, progress: Progress
) -> Analysed:
    """Evaluate, choose the images, record, ablate.

    Args:
        config: what is asked for.
        model: the network.
        test: all test images.
        pairs: folder for the loss changes of all pairs of image and unit.
        progress: called with a description and a total; returns what takes the count.
    """
    focus = sites_in_focus(config, model)
    evaluation = evaluate(model, test, progress=progress("evaluating", len(test)))
    selector = evaluation
    if config.selected_by is not None:
        selector = selected_by(config.selected_by, test.labels)
    best = best_images(selector, test.labels, config.n_best)
    # In the order of the data: errors are measured on some images, which should not be of the
    # same few classes.
    chosen = np.arange(len(test)) if config.images == "all" else np.sort(best)
    images = test if config.images == "all" else test.take(chosen)
    if len(np.unique(images.labels)) < 2:
        raise ValueError("the images are all of one class: selectivity compares classes")
    measured = measure(
        model,
        images,
        tuple(model.sites),
        reading=config.reading(),
        chosen=drawn_channels(config, model, images, focus),
        verify=config.verify,
        intact=evaluation.loss[chosen],
        pairs=pairs,
        **long_run(config, progress),
    )
    if silent := [site for site in focus if (~measured[site].dead).sum() < 3]:
        raise ValueError(f"fewer than three units respond at {', '.join(silent)}")
    count, rng = progress("drawing images anew", len(measured)), [config.seed, 5]
    intervals = {}
    for number, (site, units) in enumerate(measured.items()):
        intervals[site] = over_images(units, np.random.default_rng([*rng, number]))
        count(number + 1)
    return Analysed(model, test, evaluation, best, chosen, images, measured, intervals, focus)


def long_run(config: Config, progress: Callable[..., Any]) -> dict[str, Any]:
    """What every ablation is told besides."""
    return {
        "memory": bytes_allowed(config),
        "resume": config.resume,
        "progress": progress,
    }


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
