"""Experiment 2: people's similarities of the images of a category, and a network's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxsel import record
from jaxsel.data import Dataset
from jaxsel.data.encoded import EncodedImages

from .. import cli
from ..told import Columns, Progress, Told
from ..weights import shown_to, sites_of
from .claims import JUDGED, of_spaces
from .human import matrices
from .named import named
from .pruned import pruned
from .rehearsal import NETWORK, WHAT_IT_IS, judged, rehearsed
from .settings import Categories
from .spaces import MEANINGS, drawn, introduced, rows

PAPER = "VGG16, fc7; six categories of 120 images (Peterson et al.)"


def categories(config: Categories, figures: Path, progress: Progress) -> Told:
    """Analyse every category, draw figures 2 and 3."""
    rng = np.random.default_rng(config.draws)
    seen = _rehearsed(config, progress, rng) if config.rehearse else _seen(config, progress)
    spaces = []
    for name, human in seen.human.items():
        with named(name):
            spaces.append(pruned(name, seen.responses[name], human, config, rng, progress))
    site, n_units = seen.site, len(spaces[0].zeros)
    drawings, found = drawn(spaces, config, figures, site, ("2", "3", "S1"))
    return Told(
        "Rarely firing units and people's similarity judgements",
        [
            "This is experiment 2 of Truong and Hasson (2022): for every category of images, "
            "units are taken away, those first that respond 0 to most of these images, and the "
            "similarities of images that are left are compared with people's.",
            f"{seen.network}, site {site}, {n_units:,} units; "
            + ", ".join(f"{space.name} ({space.n_images} images)" for space in spaces)
            + f"; preprocessing {seen.preprocess}. The paper: {PAPER}.",
            *introduced(spaces, config),
            *([WHAT_IT_IS] if config.rehearse else []),
        ],
        of_spaces(spaces),
        JUDGED,
        drawings,
        found,
        {"curves": Columns(rows(spaces), MEANINGS)},
        f"The paper's values are read from its text: {PAPER}.",
    )


@dataclass(frozen=True, eq=False)
class Seen:
    """What a network has to say to the images, and people.

    Attributes:
        network: its name.
        preprocess: what the images went through.
        site: whose units.
        responses: `(images, units)` of every category.
        human: upper triangle of people's similarities of every category.
    """

    network: str
    preprocess: str
    site: str
    responses: Mapping[str, np.ndarray]
    human: Mapping[str, np.ndarray]


def _seen(config: Categories, progress: Progress) -> Seen:
    assert config.weights is not None
    assert config.images is not None
    assert config.human is not None
    with cli.progress() as bars:
        loaded = shown_to(config.weights, f"folder:{config.images}", config, bars)
    images = loaded.images
    assert isinstance(images.images, EncodedImages)
    files: dict[str, list[str]] = {name: [] for name in images.class_names}
    for row, label in enumerate(images.labels):
        files[images.class_names[int(label)]].append(images.images.name_of(row))
    # Before the images are shown, which takes longer.
    human = matrices(config.human, list(files), list(files.values()))
    site = config.site or sites_of(loaded.model)[-1]
    responses = _responses(loaded.model, images, site, progress)
    return Seen(loaded.manifest["network"], loaded.preprocess, site, responses, human)


def _rehearsed(config: Categories, progress: Progress, rng: np.random.Generator) -> Seen:
    model, images = rehearsed(config.rehearse or 0, config.draws)
    site = config.site or sites_of(model)[-1]
    responses = _responses(model, images, site, progress)
    human = {name: judged(of, rng) for name, of in responses.items()}
    return Seen(NETWORK, "none", site, responses, human)


def _responses(
    model: Any, images: Dataset, site: str, progress: Progress
) -> dict[str, np.ndarray]:
    bar = progress("recording", len(images))
    found = record(model, images, [site], keep_responses=True, progress=bar)[site].per_image
    assert found is not None
    return {name: found[images.labels == k] for k, name in enumerate(images.class_names)}
